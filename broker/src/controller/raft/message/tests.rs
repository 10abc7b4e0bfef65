//! Every message round-trips; any other bytes are refused, without a panic and without memory of their choosing.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use keylane_protocol::identifiers::{BrokerId, ClusterId};
use openraft::raft::{AppendEntriesRequest, InstallSnapshotRequest, VoteRequest};
use openraft::{CommittedLeaderId, EntryPayload};
use proptest::prelude::*;

use super::{Answer, Call, Request, fuzz};
use crate::controller::raft::types::{
    Entry, LogId, Membership, SnapshotMeta, StoredMembership, Vote, Voter,
};
use crate::limits::{
    RAFT_ENTRY_BYTES_MAX, RAFT_MESSAGE_BYTES_MAX, RAFT_REPLICATE_BYTES, RAFT_SNAPSHOT_BYTES_MAX,
    RAFT_SNAPSHOT_CHUNK_BYTES,
};

fn id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(3, 8), index)
}

fn membership() -> Membership {
    let voter = |number: u16| Voter {
        broker_id: BrokerId(i32::from(number)),
        host: format!("host-{number}"),
        port: number,
    };
    let nodes = BTreeMap::from([(8, voter(1)), (9, voter(2)), (10, voter(3))]);
    Membership::new(vec![[8].into(), [8, 9].into()], nodes)
}

fn call(request: Request) -> Call {
    Call {
        cluster_id: ClusterId([6; 16]),
        to: 0x0102_0304_0506_0708,
        request,
    }
}

fn append(entries: Vec<Entry>) -> Call {
    call(Request::Append(AppendEntriesRequest {
        vote: Vote::new_committed(3, 8),
        prev_log_id: Some(id(4)),
        entries,
        leader_commit: Some(id(2)),
    }))
}

fn chunk(offset: u64, bytes: usize) -> Call {
    call(Request::Snapshot(InstallSnapshotRequest {
        vote: Vote::new_committed(3, 8),
        meta: SnapshotMeta {
            last_log_id: Some(id(9)),
            last_membership: StoredMembership::new(Some(id(1)), membership()),
            snapshot_id: "nine".to_owned(),
        },
        offset,
        data: vec![7; bytes],
        done: true,
    }))
}

fn calls() -> Vec<Call> {
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Normal(Bytes::from_static(b"records")),
        EntryPayload::Membership(membership()),
    ];
    let entries = (5..).zip(payloads).map(|(index, payload)| Entry {
        log_id: id(index),
        payload,
    });
    vec![
        append(entries.collect()),
        append(Vec::new()),
        call(Request::Vote(VoteRequest::new(Vote::new(4, 9), None))),
        call(Request::Vote(VoteRequest::new(
            Vote::new(4, 9),
            Some(id(1)),
        ))),
        chunk(100, 20),
    ]
}

fn answers() -> Vec<Answer> {
    vec![
        Answer::Appended,
        Answer::AppendedUpTo(None),
        Answer::AppendedUpTo(Some(id(3))),
        Answer::Conflict,
        Answer::HigherVote(Vote::new(9, 1)),
        Answer::Voted {
            vote: Vote::new(1, 2),
            is_granted: true,
            last: Some(id(7)),
        },
        Answer::Received(Vote::new_committed(2, 2)),
        Answer::FromTheBeginning,
        Answer::Misaddressed {
            cluster_id: ClusterId([1; 16]),
            node_id: 2,
        },
        Answer::NotUnderstood,
        Answer::Unavailable,
    ]
}

#[test]
fn every_call_and_answer_round_trips() {
    for call in calls() {
        let bytes = call.encode();
        let again = Call::decode(bytes.clone()).expect("it decodes");
        assert_eq!(format!("{again:?}"), format!("{call:?}"));
        assert_eq!(again.encode(), bytes);
        for (part, other) in (0..bytes.len()).zip(1..) {
            fuzz(&bytes[..part]);
            fuzz(&bytes[other..]);
        }
    }
    for answer in answers() {
        assert_eq!(Answer::decode(answer.encode()), Ok(answer));
    }
}

#[test]
fn bent_messages_are_refused_or_round_trip() {
    let calls = calls().into_iter().map(|call| call.encode());
    let answers = answers().into_iter().map(|answer| answer.encode());
    for bytes in calls.chain(answers) {
        for at in 0..bytes.len() {
            for bit in [0x01, 0x10, 0x80, 0xff] {
                let mut bent = BytesMut::from(bytes.as_ref());
                bent[at] ^= bit;
                fuzz(&bent);
            }
        }
    }
}

#[test]
fn a_call_keeps_its_drawn_form() {
    let mut expected = BytesMut::new();
    expected.put_u8(1);
    expected.put_slice(&[6; 16]);
    expected.put_u64(0x0102_0304_0506_0708);
    expected.put_u8(2);
    expected.put_u64(4);
    expected.put_u64(9);
    expected.put_u8(0);
    expected.put_u8(1);
    expected.put_u64(3);
    expected.put_u64(8);
    expected.put_u64(1);
    let vote = VoteRequest::new(Vote::new(4, 9), Some(id(1)));
    assert_eq!(call(Request::Vote(vote)).encode(), expected);
}

#[test]
fn entries_with_a_hole_or_out_of_order_are_refused() {
    let entry = |log_id| Entry {
        log_id,
        payload: EntryPayload::Blank,
    };
    let older = LogId::new(CommittedLeaderId::new(2, 8), 6);
    for ids in [
        vec![id(6)],
        vec![id(5), id(7)],
        vec![id(5), id(5)],
        vec![id(5), older],
    ] {
        let call = append(ids.into_iter().map(entry).collect());
        assert!(Call::decode(call.encode()).is_err(), "{call:?}");
    }
}

#[test]
fn a_chunk_beyond_the_largest_snapshot_is_refused() {
    let end = RAFT_SNAPSHOT_BYTES_MAX as u64;
    assert!(Call::decode(chunk(end - 5, 5).encode()).is_ok());
    assert!(Call::decode(chunk(end - 5, 6).encode()).is_err());
    assert!(Call::decode(chunk(u64::MAX - 1, 6).encode()).is_err());
    assert!(Call::decode(chunk(0, RAFT_SNAPSHOT_CHUNK_BYTES + 1).encode()).is_err());
}

#[test]
fn numbers_that_cannot_be_counted_on_from_are_refused() {
    let vote = |term| call(Request::Vote(VoteRequest::new(Vote::new(term, 1), None)));
    assert!(Call::decode(vote((1 << 62) - 1).encode()).is_ok());
    assert!(Call::decode(vote(1 << 62).encode()).is_err());
    assert!(Answer::decode(Answer::AppendedUpTo(Some(id(u64::MAX))).encode()).is_err());
}

#[test]
fn the_largest_messages_fit() {
    let small = RAFT_REPLICATE_BYTES / 300;
    let mut entries: Vec<_> = (5..305)
        .map(|index| Entry {
            log_id: id(index),
            payload: EntryPayload::Normal(Bytes::from(vec![1; small])),
        })
        .collect();
    entries.push(Entry {
        log_id: id(305),
        payload: EntryPayload::Normal(Bytes::from(vec![1; RAFT_ENTRY_BYTES_MAX])),
    });
    let bytes = append(entries).encode();
    assert!(bytes.len() <= RAFT_MESSAGE_BYTES_MAX);
    assert!(Call::decode(bytes).is_ok());
    let bytes = chunk(0, RAFT_SNAPSHOT_CHUNK_BYTES).encode();
    assert!(bytes.len() <= RAFT_MESSAGE_BYTES_MAX);
    assert!(Call::decode(bytes).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_round_trip(
        kind in 0_u8..12,
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        fuzz(&bytes);
        let mut begun = vec![1, kind];
        begun.extend_from_slice(&bytes);
        fuzz(&begun);
        let mut begun = vec![1; 25];
        begun.push(kind);
        begun.extend_from_slice(&bytes);
        fuzz(&begun);
    }
}
