//! LeaveGroup.

use keylane_protocol::error_code::ErrorCode;

use super::fixture::{Fixture, SESSION_MS, fixed, known, protocol, request, text};
use crate::groups::classic::{GroupState, JoinRequest, Joined, Leaving, RebalanceCause};

fn by_id(joined: &Joined) -> Leaving {
    Leaving {
        member_id: joined.member_id.clone(),
        instance_id: None,
        reason: None,
    }
}

fn by_name(name: &str) -> Leaving {
    Leaving {
        member_id: text(""),
        instance_id: Some(text(name)),
        reason: None,
    }
}

#[test]
fn a_member_that_leaves_makes_the_others_join_again() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    assert_eq!(
        fixture.leave(&[by_id(&joined[1])]),
        Ok(vec![ErrorCode::None])
    );
    assert_eq!(fixture.causes, [RebalanceCause::MemberLeft]);
    assert_eq!(fixture.commit(&joined[1]), Err(ErrorCode::UnknownMemberId));
    let caller = fixture.join(known(&joined[0].member_id));
    assert_eq!(fixture.joined(caller).members.len(), 1);
}

#[test]
fn the_last_member_that_leaves_makes_the_group_empty() {
    let (mut fixture, joined) = Fixture::stable(vec![request()]);
    fixture.leave(&[by_id(&joined[0])]).unwrap();
    assert_eq!(fixture.state(), GroupState::Empty);
    assert!(fixture.group.is_vacant());
    let record = fixture.persisted();
    assert_eq!(record.generation, 2);
    assert!(record.members.is_empty());
    assert_eq!(record.protocol_type, Some(text("consumer")));
    assert_eq!((record.protocol, record.leader), (None, None));
    assert_eq!(fixture.group.next_deadline_ms(), None);
}

#[test]
fn many_leave_at_once_by_id_or_name_and_each_is_told_its_own() {
    let (mut fixture, joined) =
        Fixture::stable(vec![request(), fixed("one"), fixed("two"), fixed("three")]);
    let fenced = Leaving {
        instance_id: Some(text("three")),
        ..by_id(&joined[1])
    };
    let named = Leaving {
        instance_id: Some(text("two")),
        ..by_id(&joined[2])
    };
    let outcomes = fixture.leave(&[
        by_id(&joined[0]),
        by_name("one"),
        fenced,
        named,
        by_name("four"),
        by_id(&joined[0]),
    ]);
    assert_eq!(
        outcomes,
        Ok(vec![
            ErrorCode::None,
            ErrorCode::None,
            ErrorCode::FencedInstanceId,
            ErrorCode::None,
            ErrorCode::UnknownMemberId,
            ErrorCode::UnknownMemberId,
        ])
    );
    assert_eq!(fixture.causes, [RebalanceCause::MemberLeft]);
    assert_eq!(fixture.group.describe().members.len(), 1);
}

#[test]
fn a_leave_of_nobody_changes_nothing() {
    let (mut fixture, _) = Fixture::stable(vec![request()]);
    let outcomes = fixture.leave(&[by_name("one")]);
    assert_eq!(outcomes, Ok(vec![ErrorCode::UnknownMemberId]));
    assert_eq!(fixture.state(), GroupState::Stable);
}

#[test]
fn who_was_given_an_id_may_leave_without_disturbing_anybody() {
    let (mut fixture, joined) = Fixture::stable(vec![request()]);
    let caller = fixture.join(JoinRequest {
        takes_member_id: true,
        ..request()
    });
    let id = fixture
        .joins
        .remove(&caller)
        .unwrap()
        .unwrap_err()
        .member_id;
    let leaving = Leaving {
        member_id: id,
        ..by_id(&joined[0])
    };
    assert_eq!(fixture.leave(&[leaving]), Ok(vec![ErrorCode::None]));
    assert_eq!(fixture.state(), GroupState::Stable);
    fixture.live(&[&joined[0]], 2 * SESSION_MS);
    assert_eq!(fixture.state(), GroupState::Stable);
}

#[test]
fn who_leaves_is_not_waited_for() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    let leader = fixture.join(known(&joined[0].member_id));
    fixture.leave(&[by_id(&joined[1])]).unwrap();
    assert_eq!(fixture.joined(leader).members.len(), 1);
}

#[test]
fn the_requests_of_who_leaves_are_answered() {
    let (mut fixture, joined) = Fixture::stable(vec![request(), request()]);
    let join = fixture.join(JoinRequest {
        protocols: vec![protocol("range", "other")],
        ..known(&joined[1].member_id)
    });
    fixture.leave(&[by_id(&joined[1])]).unwrap();
    assert_eq!(fixture.refused(join), ErrorCode::UnknownMemberId);

    let mut fixture = Fixture::new();
    let joined = fixture.gather(vec![request(), request()]);
    let sync = fixture.sync(&joined[1], &[]);
    fixture.leave(&[by_id(&joined[1])]).unwrap();
    assert_eq!(fixture.sync_refused(sync), ErrorCode::UnknownMemberId);
}

#[test]
fn all_who_came_to_an_empty_group_may_leave_before_it_begins() {
    let mut fixture = Fixture::new();
    let caller = fixture.join(fixed("one"));
    fixture.leave(&[by_name("one")]).unwrap();
    assert_eq!(fixture.refused(caller), ErrorCode::UnknownMemberId);
    assert_eq!(fixture.state(), GroupState::Empty);
    assert_eq!(fixture.group.next_deadline_ms(), None);
}
