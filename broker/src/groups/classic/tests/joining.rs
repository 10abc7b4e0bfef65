//! JoinGroup: ids, the barrier, bounds.

use keylane_protocol::error_code::ErrorCode;

use super::fixture::{Fixture, REBALANCE_MS, SESSION_MS, fixed, known, protocol, request, text};
use crate::groups::classic::{
    ClassicGroup, ClassicSettings, GroupState, JoinRequest, RebalanceCause,
};

fn modern() -> JoinRequest {
    JoinRequest {
        takes_member_id: true,
        ..request()
    }
}

#[test]
fn the_first_join_waits_for_the_initial_delay() {
    let mut fixture = Fixture::new();
    let caller = fixture.join(request());
    assert_eq!(fixture.state(), GroupState::PreparingRebalance);
    fixture.pass(2_999);
    assert!(fixture.joins.is_empty());
    fixture.pass(1);
    let joined = fixture.joined(caller);
    assert_eq!(joined.generation, 1);
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(joined.protocol, Some(text("range")));
    assert_eq!(joined.protocol_type, Some(text("consumer")));
    assert!(!joined.skip_assignment);
    assert_eq!(fixture.state(), GroupState::CompletingRebalance);
}

#[test]
fn the_initial_delay_is_extended_while_members_come() {
    let mut fixture = Fixture::new();
    fixture.join(request());
    for _ in 0..4 {
        fixture.pass(2_900);
        fixture.join(request());
    }
    assert!(fixture.joins.is_empty());
    // The last came at 11.6 s, within the fourth delay; the fifth brings nobody.
    fixture.pass(3_399);
    assert!(fixture.joins.is_empty());
    fixture.pass(1);
    assert_eq!(fixture.joins.len(), 5);
}

#[test]
fn the_initial_delay_is_extended_no_further_than_the_rebalance_timeout() {
    let mut fixture = Fixture::new();
    let hurried = JoinRequest {
        rebalance_timeout_ms: 7_000,
        ..request()
    };
    fixture.join(hurried.clone());
    for _ in 0..3 {
        fixture.pass(2_000);
        fixture.join(hurried.clone());
    }
    fixture.pass(999);
    assert!(fixture.joins.is_empty());
    fixture.pass(1);
    assert_eq!(fixture.joins.len(), 4);
}

#[test]
fn without_an_initial_delay_the_first_member_is_alone() {
    let settings = ClassicSettings {
        initial_rebalance_delay_ms: 0,
        ..ClassicSettings::default()
    };
    let mut fixture = Fixture::of(ClassicGroup::new(settings));
    let caller = fixture.join(request());
    assert_eq!(fixture.joined(caller).members.len(), 1);
}

#[test]
fn only_the_leader_is_told_of_the_members() {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(vec![request(), request(), fixed("third")]);
    assert_eq!(joined[0].leader, joined[0].member_id);
    assert_eq!(joined[0].members.len(), 3);
    let third = joined[0].members.iter();
    let third = third.filter(|member| member.instance_id == Some(text("third")));
    let third: Vec<_> = third.map(|member| &member.member_id).collect();
    assert_eq!(third, [&joined[2].member_id]);
    assert_eq!(&joined[0].members[0].metadata[..], b"topics");
    for follower in &joined[1..] {
        assert_eq!(follower.leader, joined[0].member_id);
        assert!(follower.members.is_empty());
    }
}

#[test]
fn a_new_dynamic_member_is_sent_away_with_an_id() {
    let mut fixture = Fixture::new();
    let caller = fixture.join(modern());
    let refused = fixture.joins.remove(&caller).unwrap().unwrap_err();
    assert_eq!(refused.error, ErrorCode::MemberIdRequired);
    assert_eq!(refused.member_id, "client-0001");
    assert_eq!(fixture.state(), GroupState::Empty);
    assert!(!fixture.group.is_vacant());
    let caller = fixture.join(known(&refused.member_id));
    fixture.pass(3_000);
    assert_eq!(fixture.joined(caller).member_id, refused.member_id);
}

#[test]
fn a_static_member_is_not_sent_away() {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(vec![JoinRequest {
        takes_member_id: true,
        ..fixed("one")
    }]);
    assert_eq!(joined[0].member_id, "one-0001");
}

#[test]
fn an_old_client_is_not_sent_away() {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(vec![request()]);
    assert_eq!(joined[0].member_id, "client-0001");
}

#[test]
fn an_id_that_is_not_used_in_time_expires() {
    let mut fixture = Fixture::new();
    let caller = fixture.join(modern());
    let id = fixture
        .joins
        .remove(&caller)
        .unwrap()
        .unwrap_err()
        .member_id;
    fixture.pass(SESSION_MS);
    assert!(fixture.group.is_vacant());
    let caller = fixture.join(known(&id));
    assert_eq!(fixture.refused(caller), ErrorCode::UnknownMemberId);
}

#[test]
fn an_id_of_a_dynamic_member_is_not_for_a_static_one() {
    let mut fixture = Fixture::new();
    let caller = fixture.join(modern());
    let id = fixture
        .joins
        .remove(&caller)
        .unwrap()
        .unwrap_err()
        .member_id;
    let caller = fixture.join(JoinRequest {
        member_id: id,
        ..fixed("one")
    });
    assert_eq!(fixture.refused(caller), ErrorCode::UnknownMemberId);
}

#[test]
fn a_rebalance_waits_for_those_who_were_given_an_id() {
    let (mut fixture, joined) = Fixture::stable(vec![request()]);
    let caller = fixture.join(modern());
    let id = fixture
        .joins
        .remove(&caller)
        .unwrap()
        .unwrap_err()
        .member_id;
    let leader = fixture.join(known(&joined[0].member_id));
    assert!(fixture.joins.is_empty());
    let newcomer = fixture.join(known(&id));
    assert_eq!(fixture.joined(leader).members.len(), 2);
    assert_eq!(fixture.joined(newcomer).generation, 2);
}

#[test]
fn a_rebalance_does_not_wait_for_an_id_that_expired() {
    let (mut fixture, joined) = Fixture::stable(vec![request()]);
    fixture.join(modern());
    fixture.joins.clear();
    let leader = fixture.join(known(&joined[0].member_id));
    fixture.pass(SESSION_MS);
    assert_eq!(fixture.joined(leader).members.len(), 1);
}

#[test]
fn an_unknown_member_is_refused() {
    let mut fixture = Fixture::new();
    let caller = fixture.join(known(&text("nobody")));
    assert_eq!(fixture.refused(caller), ErrorCode::UnknownMemberId);
    assert!(fixture.group.is_vacant());
}

#[test]
fn a_new_member_makes_all_others_join_again() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    let newcomer = fixture.join(request());
    assert_eq!(fixture.causes, [RebalanceCause::NewMember]);
    assert_eq!(
        fixture.heartbeat(&joined[0]),
        Err(ErrorCode::RebalanceInProgress)
    );
    let first = fixture.join(known(&joined[0].member_id));
    assert!(fixture.joins.is_empty());
    let second = fixture.join(known(&joined[1].member_id));
    let generations = [newcomer, first, second].map(|each| fixture.joined(each).generation);
    assert_eq!(generations, [2, 2, 2]);
}

#[test]
fn a_member_that_does_not_join_again_is_removed() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    let leader = fixture.join(known(&joined[0].member_id));
    fixture.live(&[&joined[1]], REBALANCE_MS);
    assert_eq!(fixture.joined(leader).members.len(), 1);
    assert_eq!(
        fixture.heartbeat(&joined[1]),
        Err(ErrorCode::UnknownMemberId)
    );
}

#[test]
fn the_longest_rebalance_timeout_counts() {
    let patient = JoinRequest {
        rebalance_timeout_ms: 90_000,
        ..request()
    };
    let (mut fixture, joined) = Fixture::stable(vec![request(), patient]);
    let leader = fixture.join(known(&joined[0].member_id));
    fixture.live(&[&joined[1]], 89_999);
    assert!(fixture.joins.is_empty());
    fixture.pass(1);
    fixture.joined(leader);
}

#[test]
fn a_leader_that_does_not_join_again_is_followed_by_the_oldest_member() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request(), request()]);
    let third = fixture.join(JoinRequest {
        protocols: vec![protocol("range", "other topics")],
        ..known(&joined[2].member_id)
    });
    let second = fixture.join(known(&joined[1].member_id));
    fixture.live(&[&joined[0]], REBALANCE_MS);
    let second = fixture.joined(second);
    assert_eq!(second.leader, second.member_id);
    assert_eq!(second.members.len(), 2);
    assert_eq!(fixture.joined(third).leader, second.member_id);
}

#[test]
fn the_leader_stays_the_leader() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    let newcomer = fixture.join(request());
    fixture.join(known(&joined[1].member_id));
    fixture.join(known(&joined[0].member_id));
    assert_eq!(fixture.joined(newcomer).leader, joined[0].member_id);
}

#[test]
fn a_second_join_of_a_member_replaces_the_first() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    let first = fixture.join(known(&joined[0].member_id));
    let second = fixture.join(known(&joined[0].member_id));
    assert_eq!(fixture.refused(first), ErrorCode::RebalanceInProgress);
    assert!(fixture.joins.is_empty());
    fixture.join(known(&joined[1].member_id));
    assert_eq!(fixture.joined(second).generation, 2);
}

#[test]
fn a_follower_that_joins_again_unchanged_is_told_how_things_are() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    let caller = fixture.join(known(&joined[1].member_id));
    assert_eq!(fixture.joined(caller), joined[1]);
    assert_eq!(fixture.state(), GroupState::Stable);
}

#[test]
fn a_follower_with_other_metadata_begins_a_rebalance() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    fixture.join(JoinRequest {
        protocols: vec![protocol("range", "other topics")],
        ..known(&joined[1].member_id)
    });
    assert_eq!(fixture.causes, [RebalanceCause::MemberRejoined]);
}

#[test]
fn a_leader_that_joins_again_unchanged_begins_a_rebalance() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    fixture.join(known(&joined[0].member_id));
    assert_eq!(fixture.causes, [RebalanceCause::MemberRejoined]);
}

#[test]
fn who_did_not_hear_of_the_generation_joins_again_and_is_told() {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(vec![request(), request()]);
    for each in &joined {
        let caller = fixture.join(known(&each.member_id));
        assert_eq!(&fixture.joined(caller), each);
    }
    assert_eq!(fixture.state(), GroupState::CompletingRebalance);
    let caller = fixture.join(JoinRequest {
        protocols: vec![protocol("range", "other topics")],
        ..known(&joined[1].member_id)
    });
    assert_eq!(fixture.state(), GroupState::PreparingRebalance);
    fixture.join(known(&joined[0].member_id));
    assert_eq!(fixture.joined(caller).generation, 2);
}

/// A member that revokes before it gives up (KIP-429) joins a second time at once, with what it owns in its metadata.
#[test]
fn a_cooperative_member_joins_twice_in_a_row() {
    let (mut fixture, joined) = Fixture::stable(vec![request()]);
    let newcomer = fixture.join(request());
    let owner = fixture.join(JoinRequest {
        protocols: vec![protocol("range", "topics, owns 0 and 1")],
        ..known(&joined[0].member_id)
    });
    let first = [fixture.joined(owner), fixture.joined(newcomer)];
    fixture.settle(&first);
    let owner = fixture.join(JoinRequest {
        protocols: vec![protocol("range", "topics, owns 0")],
        ..known(&joined[0].member_id)
    });
    let newcomer = fixture.join(known(&first[1].member_id));
    let second = [fixture.joined(owner), fixture.joined(newcomer)];
    assert_eq!(second[0].generation, 3);
    let mut owns = second[0].members.iter();
    let owns = owns.find(|member| member.member_id == second[0].member_id);
    assert_eq!(&owns.unwrap().metadata[..], b"topics, owns 0");
    fixture.settle(&second);
}

#[test]
fn a_new_member_is_not_waited_for_for_ever() {
    let (mut fixture, joined) = Fixture::stable(vec![JoinRequest {
        rebalance_timeout_ms: 1_000_000,
        ..request()
    }]);
    let newcomer = fixture.join(request());
    fixture.live(&[&joined[0]], 299_999);
    assert!(fixture.joins.is_empty());
    fixture.pass(1);
    assert_eq!(fixture.refused(newcomer), ErrorCode::UnknownMemberId);
}

#[test]
fn session_timeouts_have_limits() {
    let mut fixture = Fixture::new();
    for (session_timeout_ms, is_fine) in [
        (-1, false),
        (5_999, false),
        (6_000, true),
        (1_800_000, true),
        (1_800_001, false),
    ] {
        let caller = fixture.join(JoinRequest {
            session_timeout_ms,
            ..modern()
        });
        let error = fixture.refused(caller);
        let is_refused = error == ErrorCode::InvalidSessionTimeout;
        assert_eq!(is_refused, !is_fine, "{session_timeout_ms}");
    }
}

#[test]
fn a_full_group_takes_nobody_in() {
    let settings = ClassicSettings {
        members_max: 2,
        ..ClassicSettings::default()
    };
    let mut fixture = Fixture::of(ClassicGroup::new(settings));
    let first = fixture.join(modern());
    let id = fixture.joins.remove(&first).unwrap().unwrap_err().member_id;
    let second = fixture.join(fixed("one"));
    for request in [request(), modern(), fixed("two")] {
        let caller = fixture.join(request);
        assert_eq!(fixture.refused(caller), ErrorCode::GroupMaxSizeReached);
    }
    let first = fixture.join(known(&id));
    fixture.pass(6_000);
    assert_eq!(fixture.joined(second).members.len(), 2);
    let again = fixture.join(known(&id));
    assert_eq!(fixture.joined(again), fixture.joined(first));
    // A static member that comes back is not one more.
    let back = fixture.join(fixed("one"));
    let first = fixture.join(known(&id));
    assert_eq!(fixture.joined(back).members.len(), 2);
    fixture.joined(first);
}

#[test]
fn members_may_not_tell_more_than_the_group_can_keep() {
    let settings = ClassicSettings {
        metadata_bytes_max: 200,
        ..ClassicSettings::default()
    };
    let mut fixture = Fixture::of(ClassicGroup::new(settings));
    let large = "x".repeat(100);
    let large = || JoinRequest {
        protocols: vec![protocol("range", &large)],
        ..request()
    };
    fixture.join(large());
    let second = fixture.join(large());
    assert_eq!(fixture.refused(second), ErrorCode::GroupMaxSizeReached);
}

#[test]
fn names_without_end_are_refused() {
    let mut fixture = Fixture::new();
    let long = "x".repeat(1_001);
    let many = (0..65).map(|i| protocol(&i.to_string(), "")).collect();
    for request in [
        fixed(&long),
        JoinRequest {
            protocol_type: text(&long),
            ..request()
        },
        JoinRequest {
            protocols: vec![protocol(&long, "")],
            ..request()
        },
        JoinRequest {
            protocols: many,
            ..request()
        },
    ] {
        let caller = fixture.join(request);
        assert_eq!(fixture.refused(caller), ErrorCode::InvalidRequest);
    }
    assert!(fixture.group.is_vacant());
}

#[test]
fn an_id_begins_with_the_client_name_cut_between_characters() {
    let mut fixture = Fixture::new();
    let mut long = request();
    long.client.id = text(&"é".repeat(200));
    let joined = fixture.gather(vec![long]);
    assert_eq!(
        joined[0].member_id,
        format!("{}-0001", "é".repeat(127)).as_str()
    );
}

/// With a timer or a count over all members for each of them, this would take minutes.
#[test]
fn ten_thousand_members_join_at_once() {
    let mut fixture = Fixture::new();
    let joined = fixture.gather((0..10_000).map(|_| request()).collect());
    assert_eq!(joined[0].members.len(), 10_000);
    fixture.settle(&joined);
    let caller = fixture.join(request());
    assert_eq!(fixture.refused(caller), ErrorCode::GroupMaxSizeReached);
    fixture.pass(SESSION_MS);
    assert_eq!(fixture.state(), GroupState::Empty);
    assert_eq!(fixture.group.next_deadline_ms(), None);
}
