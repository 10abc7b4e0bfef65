//! How ids, votes, members and entries are written, in files as between voters. Big-endian; a core without I/O.
//!
//! ```text
//! option       0 u8 | 1 u8 · value
//! log id       term u64 · leader node id u64 · index u64
//! vote         term u64 · node id u64 · committed u8 (0, 1)
//! text         length u16 · UTF-8
//! membership   configs u8 · each: voters u16 · node id u64 …     nodes u16 · each: node id u64 · broker id i32 · host text · port u16
//! payload      0 u8 (blank) | 1 u8 · bytes to the end | 2 u8 · membership
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keylane_protocol::identifiers::BrokerId;
use openraft::{CommittedLeaderId, EntryPayload};

use super::types::{LogId, Membership, SnapshotMeta, StoredMembership, Types, Vote, Voter};
use crate::limits::{RAFT_ENTRY_BYTES_MAX, RAFT_MEMBERS_MAX};

/// The most groups of voters that count at once: two while one is changed for another.
const CONFIGS_MAX: u8 = 8;

/// Terms and indexes are below this, so that counting on from any of them is safe.
const NUMBER_END: u64 = 1 << 62;

/// Bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is malformed")]
pub struct Malformed {
    /// What could not be decoded.
    pub what: &'static str,
}

/// Returns the error for something.
pub(super) fn malformed<E>(what: &'static str) -> impl FnOnce(E) -> Malformed {
    move |_| Malformed { what }
}

pub(super) fn take_u64(body: &mut Bytes, what: &'static str) -> Result<u64, Malformed> {
    body.try_get_u64().map_err(malformed(what))
}

/// Takes a term or an index.
fn take_number(body: &mut Bytes, what: &'static str) -> Result<u64, Malformed> {
    let number = take_u64(body, what)?;
    if number < NUMBER_END {
        Ok(number)
    } else {
        Err(Malformed { what })
    }
}

/// Takes a byte that is 0 or 1.
pub(super) fn take_bool(body: &mut Bytes, what: &'static str) -> Result<bool, Malformed> {
    match body.try_get_u8() {
        Ok(0) => Ok(false),
        Ok(1) => Ok(true),
        _ => Err(Malformed { what }),
    }
}

pub(super) fn put_option<T>(
    out: &mut BytesMut,
    value: Option<&T>,
    put: impl FnOnce(&mut BytesMut, &T),
) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

pub(super) fn take_option<T>(
    body: &mut Bytes,
    take: impl FnOnce(&mut Bytes) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    take_bool(body, "an option")?
        .then(|| take(body))
        .transpose()
}

pub(super) fn put_log_id(out: &mut BytesMut, id: &LogId) {
    out.put_u64(id.leader_id.term);
    out.put_u64(id.leader_id.node_id);
    out.put_u64(id.index);
}

pub(super) fn take_log_id(body: &mut Bytes) -> Result<LogId, Malformed> {
    let what = "a log id";
    let term = take_number(body, what)?;
    let node_id = take_u64(body, what)?;
    let index = take_number(body, what)?;
    Ok(LogId::new(CommittedLeaderId::new(term, node_id), index))
}

pub(super) fn put_vote(out: &mut BytesMut, vote: &Vote) {
    out.put_u64(vote.leader_id.term);
    out.put_u64(vote.leader_id.node_id);
    out.put_u8(u8::from(vote.committed));
}

pub(super) fn take_vote(body: &mut Bytes) -> Result<Vote, Malformed> {
    let term = take_number(body, "a vote")?;
    let node_id = take_u64(body, "a vote")?;
    let committed = take_bool(body, "a vote")?;
    Ok(if committed {
        Vote::new_committed(term, node_id)
    } else {
        Vote::new(term, node_id)
    })
}

pub(super) fn put_text(out: &mut BytesMut, text: &str) {
    let length = u16::try_from(text.len()).expect("texts were checked when they came in");
    out.put_u16(length);
    out.put_slice(text.as_bytes());
}

pub(super) fn take_text(body: &mut Bytes) -> Result<String, Malformed> {
    let length = usize::from(body.try_get_u16().map_err(malformed("a text"))?);
    if length > body.len() {
        return Err(Malformed { what: "a text" });
    }
    String::from_utf8(body.split_to(length).into()).map_err(malformed("a text"))
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u16(u16::try_from(count).expect("members are few"));
}

fn take_count(body: &mut Bytes) -> Result<usize, Malformed> {
    let what = "the number of members";
    let count = usize::from(body.try_get_u16().map_err(malformed(what))?);
    if count > RAFT_MEMBERS_MAX {
        return Err(Malformed { what });
    }
    Ok(count)
}

pub(super) fn put_membership(out: &mut BytesMut, membership: &Membership) {
    let configs = membership.get_joint_config();
    out.put_u8(u8::try_from(configs.len()).expect("configs are few"));
    for voters in configs {
        put_count(out, voters.len());
        voters.iter().for_each(|voter| out.put_u64(*voter));
    }
    put_count(out, membership.nodes().count());
    for (id, node) in membership.nodes() {
        out.put_u64(*id);
        out.put_i32(node.broker_id.0);
        put_text(out, &node.host);
        out.put_u16(node.port);
    }
}

pub(super) fn take_membership(body: &mut Bytes) -> Result<Membership, Malformed> {
    let what = "a membership";
    let count = body.try_get_u8().map_err(malformed(what))?;
    if count > CONFIGS_MAX {
        return Err(Malformed { what });
    }
    let mut configs = Vec::new();
    for _ in 0..count {
        let mut voters = BTreeSet::new();
        for _ in 0..take_count(body)? {
            voters.insert(take_u64(body, what)?);
        }
        configs.push(voters);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..take_count(body)? {
        let id = take_u64(body, what)?;
        nodes.insert(id, take_voter(body)?);
    }
    // A voter nobody knows how to reach would be given an empty address.
    let mut voters = configs.iter().flatten();
    if configs.iter().any(BTreeSet::is_empty) || !voters.all(|voter| nodes.contains_key(voter)) {
        return Err(Malformed { what });
    }
    Ok(Membership::new(configs, nodes))
}

fn take_voter(body: &mut Bytes) -> Result<Voter, Malformed> {
    let what = "a voter";
    Ok(Voter {
        broker_id: BrokerId(body.try_get_i32().map_err(malformed(what))?),
        host: take_text(body)?,
        port: body.try_get_u16().map_err(malformed(what))?,
    })
}

pub(super) fn put_snapshot_meta(out: &mut BytesMut, meta: &SnapshotMeta) {
    put_option(out, meta.last_log_id.as_ref(), put_log_id);
    put_option(out, meta.last_membership.log_id().as_ref(), put_log_id);
    put_membership(out, meta.last_membership.membership());
    put_text(out, &meta.snapshot_id);
}

pub(super) fn take_snapshot_meta(body: &mut Bytes) -> Result<SnapshotMeta, Malformed> {
    let last_log_id = take_option(body, take_log_id)?;
    let since = take_option(body, take_log_id)?;
    Ok(SnapshotMeta {
        last_log_id,
        last_membership: StoredMembership::new(since, take_membership(body)?),
        snapshot_id: take_text(body)?,
    })
}

pub(super) fn put_payload(out: &mut BytesMut, payload: &EntryPayload<Types>) {
    match payload {
        EntryPayload::Blank => out.put_u8(0),
        EntryPayload::Normal(bytes) => {
            out.put_u8(1);
            out.put_slice(bytes);
        }
        EntryPayload::Membership(membership) => {
            out.put_u8(2);
            put_membership(out, membership);
        }
    }
}

/// Takes a payload, which ends where the bytes end.
pub(super) fn take_payload(body: &mut Bytes) -> Result<EntryPayload<Types>, Malformed> {
    let what = "an entry";
    let payload = match body.try_get_u8().map_err(malformed(what))? {
        0 => EntryPayload::Blank,
        1 if body.len() <= RAFT_ENTRY_BYTES_MAX => EntryPayload::Normal(body.split_off(0)),
        2 => EntryPayload::Membership(take_membership(body)?),
        _ => return Err(Malformed { what }),
    };
    if body.is_empty() {
        Ok(payload)
    } else {
        Err(Malformed { what })
    }
}
