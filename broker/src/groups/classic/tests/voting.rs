//! Which protocol a generation has.

use keylane_protocol::error_code::ErrorCode;

use super::fixture::{Fixture, known, protocol, request, text};
use crate::groups::classic::JoinRequest;

fn with(names: &[&str]) -> JoinRequest {
    JoinRequest {
        protocols: names.iter().map(|name| protocol(name, name)).collect(),
        ..request()
    }
}

fn elected(members: &[&[&str]]) -> String {
    let mut fixture = Fixture::new();
    let joined = fixture.gather(members.iter().map(|names| with(names)).collect());
    let protocol = joined[0].protocol.clone().expect("one is chosen");
    let seen: Vec<&[u8]> = joined[0]
        .members
        .iter()
        .map(|each| &each.metadata[..])
        .collect();
    assert!(seen.iter().all(|metadata| *metadata == protocol.as_bytes()));
    protocol.to_string()
}

#[test]
fn the_protocol_with_the_most_votes_wins() {
    assert_eq!(
        elected(&[
            &["range", "sticky"],
            &["sticky", "range"],
            &["sticky", "range"]
        ]),
        "sticky"
    );
}

#[test]
fn only_what_all_members_support_can_win() {
    assert_eq!(
        elected(&[&["range", "sticky"], &["range", "sticky"], &["sticky"]]),
        "sticky"
    );
}

#[test]
fn a_vote_goes_to_the_first_that_all_support() {
    assert_eq!(
        elected(&[
            &["own", "range", "sticky"],
            &["range", "sticky"],
            &["sticky", "range"]
        ]),
        "range"
    );
}

#[test]
fn of_as_many_votes_the_first_of_the_leader_wins() {
    assert_eq!(
        elected(&[&["range", "sticky"], &["sticky", "range"]]),
        "range"
    );
    assert_eq!(
        elected(&[&["sticky", "range"], &["range", "sticky"]]),
        "sticky"
    );
}

#[test]
fn a_protocol_named_twice_counts_once() {
    assert_eq!(
        elected(&[&["range", "range", "sticky"], &["sticky"]]),
        "sticky"
    );
}

#[test]
fn a_member_without_a_common_protocol_is_refused() {
    let mut fixture = Fixture::new();
    fixture.join(with(&["range", "sticky"]));
    fixture.join(with(&["sticky"]));
    for names in [&["range"][..], &[]] {
        let caller = fixture.join(with(names));
        assert_eq!(
            fixture.refused(caller),
            ErrorCode::InconsistentGroupProtocol
        );
    }
}

#[test]
fn a_member_of_another_kind_is_refused() {
    let mut fixture = Fixture::new();
    fixture.join(request());
    let caller = fixture.join(JoinRequest {
        protocol_type: text("connect"),
        ..request()
    });
    assert_eq!(
        fixture.refused(caller),
        ErrorCode::InconsistentGroupProtocol
    );
}

#[test]
fn the_first_member_names_a_kind_and_a_protocol() {
    let mut fixture = Fixture::new();
    for nothing in [
        with(&[]),
        JoinRequest {
            protocol_type: text(""),
            ..request()
        },
    ] {
        let caller = fixture.join(nothing);
        assert_eq!(
            fixture.refused(caller),
            ErrorCode::InconsistentGroupProtocol
        );
    }
}

#[test]
fn an_empty_group_takes_another_kind() {
    let (mut fixture, _) = Fixture::stable(vec![request()]);
    fixture.pass(super::fixture::SESSION_MS);
    let joined = fixture.gather(vec![JoinRequest {
        protocol_type: text("connect"),
        ..request()
    }]);
    assert_eq!(joined[0].protocol_type, Some(text("connect")));
}

#[test]
fn the_vote_follows_what_members_say_last() {
    let (mut fixture, joined) = Fixture::stable(vec![with(&["range"]), with(&["range", "sticky"])]);
    let first = fixture.join(JoinRequest {
        member_id: joined[0].member_id.clone(),
        ..with(&["sticky", "range"])
    });
    fixture.join(JoinRequest {
        member_id: joined[1].member_id.clone(),
        ..with(&["sticky", "range"])
    });
    assert_eq!(fixture.joined(first).protocol, Some(text("sticky")));
    let caller = fixture.join(known(&joined[0].member_id));
    assert_eq!(
        fixture.state(),
        crate::groups::classic::GroupState::PreparingRebalance
    );
    assert!(!fixture.joins.contains_key(&caller));
}
