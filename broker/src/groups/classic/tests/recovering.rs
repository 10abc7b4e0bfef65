//! A group that comes from its record.

use bytes::Bytes;
use keylane_protocol::error_code::ErrorCode;

use super::fixture::{Fixture, SESSION_MS, fixed, known, request, text};
use crate::groups::classic::{
    ClassicGroup, ClassicSettings, GroupMetadata, GroupState, Joined, MemberMetadata,
    RebalanceCause,
};

fn recovered(metadata: GroupMetadata) -> Fixture {
    let settings = ClassicSettings::default();
    Fixture::of(ClassicGroup::recovered(metadata, settings, 1_000_000))
}

fn record_of(joined: &[Joined], fixture: &mut Fixture) -> GroupMetadata {
    for follower in &joined[1..] {
        fixture.sync(follower, &[]);
    }
    fixture.sync(&joined[0], &[(&joined[0].member_id, "all")]);
    fixture.persisted()
}

#[test]
fn members_go_on_as_if_nothing_had_happened() {
    let mut before = Fixture::new();
    let joined = before.gather(vec![request(), fixed("one")]);
    let record = record_of(&joined, &mut before);
    let mut after = recovered(record);
    assert_eq!(after.group.describe(), before.group.describe());
    for each in &joined {
        assert_eq!(after.heartbeat(each), Ok(()));
        assert_eq!(after.commit(each), Ok(()));
    }
    let sync = after.sync(&joined[0], &[]);
    assert_eq!(after.assigned(sync), "all");
    let follower = after.join(fixed("one"));
    after.persisted();
    assert_eq!(after.joined(follower).leader, joined[0].member_id);
    let leader = after.join(known(&joined[0].member_id));
    assert_eq!(after.causes, [RebalanceCause::MemberRejoined]);
    assert!(!after.joins.contains_key(&leader));
}

#[test]
fn each_member_has_a_full_session_to_come_back() {
    let mut before = Fixture::new();
    let joined = before.gather(vec![request(), request()]);
    let record = record_of(&joined, &mut before);
    let mut after = recovered(record);
    after.pass(SESSION_MS - 1);
    assert_eq!(after.state(), GroupState::Stable);
    assert_eq!(after.heartbeat(&joined[0]), Ok(()));
    after.pass(1);
    assert_eq!(after.causes, [RebalanceCause::SessionExpired]);
    assert_eq!(after.heartbeat(&joined[1]), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn the_next_generation_is_above_the_recorded_one() {
    let mut before = Fixture::new();
    let joined = before.gather(vec![request()]);
    let record = record_of(&joined, &mut before);
    let mut after = recovered(record);
    let caller = after.join(known(&joined[0].member_id));
    assert_eq!(after.joined(caller).generation, 2);
}

#[test]
fn who_joined_a_generation_without_a_record_is_unknown() {
    let mut before = Fixture::new();
    let first = before.gather(vec![request()]);
    let record = record_of(&first, &mut before);
    let newcomer = before.join(request());
    before.join(known(&first[0].member_id));
    let newcomer = before.joined(newcomer);
    let mut after = recovered(record);
    assert_eq!(after.heartbeat(&newcomer), Err(ErrorCode::UnknownMemberId));
    let told = Joined {
        generation: 2,
        ..first[0].clone()
    };
    assert_eq!(after.heartbeat(&told), Err(ErrorCode::IllegalGeneration));
}

#[test]
fn a_group_without_members_is_empty() {
    let mut after = recovered(GroupMetadata {
        protocol_type: Some(text("consumer")),
        generation: 7,
        ..GroupMetadata::default()
    });
    assert_eq!(after.state(), GroupState::Empty);
    assert!(after.group.is_vacant());
    let joined = after.gather(vec![request()]);
    assert_eq!(joined[0].generation, 8);
}

#[test]
fn a_record_that_no_group_writes_does_no_harm() {
    let member = |id: &str, name: Option<&str>| MemberMetadata {
        member_id: text(id),
        instance_id: name.map(text),
        client: Default::default(),
        session_timeout_ms: -5,
        rebalance_timeout_ms: i32::MIN,
        subscription: Bytes::new(),
        assignment: Bytes::new(),
    };
    let mut after = recovered(GroupMetadata {
        protocol_type: None,
        generation: -3,
        protocol: None,
        leader: Some(text("nobody")),
        members: vec![
            member("a", Some("one")),
            member("a", None),
            member("b", Some("one")),
            member("c", None),
        ],
    });
    assert_eq!(after.group.describe().members.len(), 2);
    let caller = after.join(request());
    assert_eq!(after.refused(caller), ErrorCode::InconsistentGroupProtocol);
    after.pass(0);
    assert_eq!(after.state(), GroupState::Empty);
    assert_eq!(after.group.generation(), 1);
}

#[test]
fn after_the_greatest_generation_comes_the_first() {
    let mut after = recovered(GroupMetadata {
        generation: i32::MAX,
        ..GroupMetadata::default()
    });
    assert_eq!(after.gather(vec![request()])[0].generation, 1);
}
