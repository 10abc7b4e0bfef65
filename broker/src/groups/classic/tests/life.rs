//! Sessions, heartbeats, commits, lost links, the end of a group.

use keylane_protocol::error_code::ErrorCode;

use super::fixture::{Fixture, SESSION_MS, claim, known, protocol, request};
use crate::groups::classic::{GroupState, JoinRequest, Leaving, RebalanceCause};

#[test]
fn a_silent_member_is_removed_when_its_session_ends() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    fixture.live(&[&joined[0]], SESSION_MS - 1);
    assert_eq!(fixture.state(), GroupState::Stable);
    fixture.pass(1);
    assert_eq!(fixture.causes, [RebalanceCause::SessionExpired]);
    assert_eq!(
        fixture.heartbeat(&joined[1]),
        Err(ErrorCode::UnknownMemberId)
    );
    assert_eq!(
        fixture.heartbeat(&joined[0]),
        Err(ErrorCode::RebalanceInProgress)
    );
}

#[test]
fn a_heartbeat_keeps_a_member() {
    let (mut fixture, joined) = Fixture::stable(vec![request()]);
    fixture.live(&[&joined[0]], 20 * SESSION_MS);
    assert_eq!(fixture.heartbeat(&joined[0]), Ok(()));
}

#[test]
fn a_commit_keeps_a_member() {
    let (mut fixture, joined) = Fixture::stable(vec![request()]);
    for _ in 0..20 {
        fixture.pass(SESSION_MS - 1);
        assert_eq!(fixture.commit(&joined[0]), Ok(()));
    }
}

#[test]
fn who_waits_for_others_does_not_have_to_say_that_it_lives() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    let leader = fixture.join(known(&joined[0].member_id));
    fixture.live(&[&joined[1]], 5 * SESSION_MS);
    let follower = fixture.join(known(&joined[1].member_id));
    let (leader, follower) = (fixture.joined(leader), fixture.joined(follower));
    assert_eq!(leader.members.len(), 2);
    fixture.sync(&leader, &[]);
    fixture.live(&[&follower], 5 * SESSION_MS);
    fixture.persisted();
    fixture.live(&[&follower], SESSION_MS - 1);
    assert_eq!(fixture.heartbeat(&leader), Ok(()));
}

#[test]
fn a_session_begins_anew_with_each_answer() {
    let mut fixture = Fixture::new();
    let caller = fixture.join(request());
    fixture.pass(3_000);
    let joined = [fixture.joined(caller)];
    fixture.pass(SESSION_MS - 1);
    assert_eq!(fixture.state(), GroupState::CompletingRebalance);
    fixture.pass(1);
    assert_eq!(fixture.state(), GroupState::Empty);
    assert_eq!(
        fixture.heartbeat(&joined[0]),
        Err(ErrorCode::UnknownMemberId)
    );
}

#[test]
fn heartbeats_of_another_generation_are_refused() {
    let (mut fixture, joined) = Fixture::stable(vec![request()]);
    let now_ms = fixture.now_ms;
    let id = &joined[0].member_id;
    for generation in [-1, 0, 2] {
        let claim = claim(id, generation);
        let refused = Err(ErrorCode::IllegalGeneration);
        assert_eq!(fixture.group.on_heartbeat(claim, now_ms), refused);
        assert_eq!(fixture.group.validate_commit(claim, now_ms), refused);
    }
}

#[test]
fn heartbeats_are_fine_while_assignments_are_awaited() {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(vec![request()]);
    assert_eq!(fixture.heartbeat(&joined[0]), Ok(()));
    assert_eq!(
        fixture.commit(&joined[0]),
        Err(ErrorCode::RebalanceInProgress)
    );
}

#[test]
fn the_generation_before_may_commit_until_all_have_joined() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    fixture.join(request());
    assert_eq!(fixture.commit(&joined[0]), Ok(()));
    fixture.join(known(&joined[0].member_id));
    fixture.join(known(&joined[1].member_id));
    assert_eq!(
        fixture.commit(&joined[0]),
        Err(ErrorCode::IllegalGeneration)
    );
}

#[test]
fn who_is_no_member_may_commit_while_the_group_is_empty() {
    let mut fixture = Fixture::new();
    let nobody = claim("", -1);
    assert_eq!(fixture.group.validate_commit(nobody, 0), Ok(()));
    assert_eq!(
        fixture.group.validate_commit(claim("somebody", 1), 0),
        Err(ErrorCode::UnknownMemberId)
    );
    let joined = fixture.gather(vec![request()]);
    assert_eq!(
        fixture.group.validate_commit(nobody, 0),
        Err(ErrorCode::UnknownMemberId)
    );
    fixture.settle(&joined);
    assert_eq!(
        fixture.group.validate_commit(nobody, 0),
        Err(ErrorCode::UnknownMemberId)
    );
}

#[test]
fn a_lost_link_gives_its_members_ten_seconds_more() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    fixture.live(&[&joined[0], &joined[1]], 5_000);
    fixture.pass(4_000);
    let now_ms = fixture.now_ms;
    let lost = [&*joined[1].member_id, "nobody"];
    fixture.group.on_link_lost(lost, now_ms);
    fixture.live(&[&joined[0]], SESSION_MS + 9_999);
    assert_eq!(fixture.state(), GroupState::Stable);
    fixture.pass(1);
    assert_eq!(fixture.causes, [RebalanceCause::SessionExpired]);
}

#[test]
fn a_lost_link_shortens_no_session() {
    let mut fixture = Fixture::new();
    fixture.join(JoinRequest {
        session_timeout_ms: 6_000,
        ..request()
    });
    let joined = fixture.group.describe().members;
    let now_ms = fixture.now_ms;
    let ids = joined.iter().map(|member| &*member.member_id);
    fixture.group.on_link_lost(ids, now_ms);
    fixture.pass(3_000);
    assert_eq!(fixture.state(), GroupState::CompletingRebalance);
}

#[test]
fn a_group_that_ends_answers_everybody() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    let join = fixture.join(JoinRequest {
        protocols: vec![protocol("range", "other")],
        ..known(&joined[1].member_id)
    });
    fixture.close(ErrorCode::NotCoordinator);
    assert_eq!(fixture.refused(join), ErrorCode::NotCoordinator);
    let late = fixture.join(known(&joined[0].member_id));
    let gone = ErrorCode::CoordinatorNotAvailable;
    assert_eq!(fixture.refused(late), gone);
    let late = fixture.sync(&joined[0], &[]);
    assert_eq!(fixture.sync_refused(late), gone);
    assert_eq!(fixture.heartbeat(&joined[0]), Err(gone));
    assert_eq!(fixture.commit(&joined[0]), Err(gone));
    let leaving = Leaving {
        member_id: joined[0].member_id.clone(),
        instance_id: None,
        reason: None,
    };
    assert_eq!(fixture.leave(&[leaving]), Err(gone));
    assert_eq!(fixture.group.next_deadline_ms(), None);
    assert_eq!(fixture.state().name(), "Dead");
}

#[test]
fn an_ended_group_does_not_mind_what_became_of_its_records() {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(vec![request()]);
    let sync = fixture.sync(&joined[0], &[]);
    fixture.close(ErrorCode::NotCoordinator);
    assert_eq!(fixture.sync_refused(sync), ErrorCode::NotCoordinator);
    fixture.persisted();
    assert_eq!(fixture.state(), GroupState::Dead);
}

#[test]
fn a_description_shows_subscriptions_of_a_stable_group_only() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.group.describe().state.name(), "Empty");
    let joined = fixture.gather(vec![request()]);
    let described = fixture.group.describe();
    assert_eq!(described.state.name(), "CompletingRebalance");
    assert_eq!(described.protocol, "");
    assert!(described.members[0].metadata.is_empty());
    fixture.settle(&joined);
    let described = fixture.group.describe();
    assert_eq!(described.state.name(), "Stable");
    assert_eq!(described.protocol_type, "consumer");
    assert_eq!(described.protocol, "range");
    let member = &described.members[0];
    assert_eq!(member.client.id, "client");
    assert_eq!(member.client.host, "/10.0.0.1");
    assert_eq!(&member.metadata[..], b"topics");
    assert_eq!(&member.assignment[..], b"work 0");
    fixture.join(request());
    assert_eq!(fixture.group.describe().state.name(), "PreparingRebalance");
    fixture.join(known(&joined[0].member_id));
    let described = fixture.group.describe();
    assert_eq!(described.state.name(), "CompletingRebalance");
    let mut members = described.members.iter();
    assert!(members.all(|member| member.assignment.is_empty()));
}
