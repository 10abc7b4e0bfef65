//! What voters say to one another, as bytes. A core without I/O; whatever carries the bytes knows nothing of them.
//!
//! ```text
//! call          version u8 (1) · cluster id 16 bytes · addressee's node id u64 · kind u8 · body to the end
//! 1 entries     vote · previous log id option · committed log id option · entries to the end, each:
//!               length u32 of what follows · log id · payload
//! 2 vote        vote · last log id option
//! 3 snapshot    vote · meta (last log id option · since option · membership · id text) · offset u64 · last chunk u8 · bytes
//! answer        version u8 (1) · kind u8 · body: see [`Answer`]. Parts are drawn in [`codec`](super::codec)
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keylane_protocol::identifiers::ClusterId;
use openraft::raft::{AppendEntriesRequest, InstallSnapshotRequest, VoteRequest};

use super::codec::{
    Malformed, malformed, put_log_id, put_option, put_payload, put_snapshot_meta, put_vote,
    take_bool, take_log_id, take_option, take_payload, take_snapshot_meta, take_u64, take_vote,
};
use super::types::{Entry, LogId, NodeId, Types, Vote, end_of};
use crate::limits::{RAFT_MESSAGE_BYTES_MAX, RAFT_SNAPSHOT_BYTES_MAX, RAFT_SNAPSHOT_CHUNK_BYTES};

const VERSION: u8 = 1;

/// A call and whom it is meant for.
#[derive(Clone, Debug)]
pub struct Call {
    /// The cluster that the caller belongs to.
    pub cluster_id: ClusterId,
    /// The node that is to answer, and no other in its place.
    pub to: NodeId,
    /// What is asked.
    pub request: Request,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Request {
    /// To append entries, or none: then it is a heartbeat.
    Append(AppendEntriesRequest<Types>),
    /// To vote.
    Vote(VoteRequest<NodeId>),
    /// To take a chunk of a snapshot.
    Snapshot(InstallSnapshotRequest<Types>),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 1: all entries are there.
    Appended,
    /// 2, log id option: the entries up to there are.
    AppendedUpTo(Option<LogId>),
    /// 3: the entry before the first is not there.
    Conflict,
    /// 4, vote: the node follows, or voted for, another.
    HigherVote(Vote),
    /// 5, vote · granted u8 · last log id option: what a candidate wants to know.
    Voted {
        /// The vote that the node holds.
        vote: Vote,
        /// Whether it is the candidate's.
        is_granted: bool,
        /// The node's last entry.
        last: Option<LogId>,
    },
    /// 6, vote: the chunk is there; the vote is the node's.
    Received(Vote),
    /// 7: the snapshot must be sent from its beginning.
    FromTheBeginning,
    /// 8, cluster id 16 bytes · node id u64: the call was meant for another.
    Misaddressed {
        /// The cluster of the one who answers.
        cluster_id: ClusterId,
        /// Its node id.
        node_id: NodeId,
    },
    /// 9: the call was not understood.
    NotUnderstood,
    /// 10: the node has stopped or too much waits for it.
    Unavailable,
}

impl Call {
    /// Returns the bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        out.put_slice(&self.cluster_id.0);
        out.put_u64(self.to);
        match &self.request {
            Request::Append(request) => put_append(&mut out, request),
            Request::Vote(request) => {
                out.put_u8(2);
                put_vote(&mut out, &request.vote);
                put_option(&mut out, request.last_log_id.as_ref(), put_log_id);
            }
            Request::Snapshot(request) => {
                out.put_u8(3);
                put_vote(&mut out, &request.vote);
                put_snapshot_meta(&mut out, &request.meta);
                out.put_u64(request.offset);
                out.put_u8(u8::from(request.done));
                out.put_slice(&request.data);
            }
        }
        out.freeze()
    }

    /// Returns the call.
    ///
    /// # Errors
    /// When the bytes are too many, of another version or not a call.
    pub fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        let what = "a call";
        let body = &mut bytes;
        check_beginning(body, what)?;
        let mut cluster_id = [0; 16];
        body.try_copy_to_slice(&mut cluster_id)
            .map_err(malformed(what))?;
        let to = take_u64(body, what)?;
        let request = match body.try_get_u8().map_err(malformed(what))? {
            1 => Request::Append(take_append(body)?),
            2 => Request::Vote(VoteRequest {
                vote: take_vote(body)?,
                last_log_id: take_option(body, take_log_id)?,
            }),
            3 => Request::Snapshot(take_chunk(body)?),
            _ => return Err(Malformed { what }),
        };
        check_end(body, what)?;
        Ok(Self {
            cluster_id: ClusterId(cluster_id),
            to,
            request,
        })
    }
}

fn check_beginning(body: &mut Bytes, what: &'static str) -> Result<(), Malformed> {
    if body.len() > RAFT_MESSAGE_BYTES_MAX || body.try_get_u8() != Ok(VERSION) {
        return Err(Malformed { what });
    }
    Ok(())
}

fn check_end(body: &Bytes, what: &'static str) -> Result<(), Malformed> {
    if body.is_empty() {
        Ok(())
    } else {
        Err(Malformed { what })
    }
}

fn put_append(out: &mut BytesMut, request: &AppendEntriesRequest<Types>) {
    out.put_u8(1);
    put_vote(out, &request.vote);
    put_option(out, request.prev_log_id.as_ref(), put_log_id);
    put_option(out, request.leader_commit.as_ref(), put_log_id);
    for entry in &request.entries {
        let at = out.len();
        out.put_u32(0);
        put_log_id(out, &entry.log_id);
        put_payload(out, &entry.payload);
        let length = u32::try_from(out.len() - at - 4).expect("entries are small");
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

fn take_append(body: &mut Bytes) -> Result<AppendEntriesRequest<Types>, Malformed> {
    let what = "an entry";
    let vote = take_vote(body)?;
    let prev_log_id = take_option(body, take_log_id)?;
    let leader_commit = take_option(body, take_log_id)?;
    let mut entries = Vec::new();
    let mut last = prev_log_id;
    while !body.is_empty() {
        let length = body.try_get_u32().map_err(malformed(what))?;
        let length = usize::try_from(length).map_err(malformed(what))?;
        if length > body.len() {
            return Err(Malformed { what });
        }
        let mut entry = body.split_to(length);
        let log_id = take_log_id(&mut entry)?;
        // A log that took entries with a hole could not be read again.
        if log_id.index != end_of(last.as_ref()) || Some(log_id) <= last {
            return Err(Malformed { what });
        }
        last = Some(log_id);
        let payload = take_payload(&mut entry)?;
        entries.push(Entry { log_id, payload });
    }
    Ok(AppendEntriesRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit,
    })
}

fn take_chunk(body: &mut Bytes) -> Result<InstallSnapshotRequest<Types>, Malformed> {
    let what = "a chunk of a snapshot";
    let vote = take_vote(body)?;
    let meta = take_snapshot_meta(body)?;
    let offset = take_u64(body, what)?;
    let done = take_bool(body, what)?;
    let end = usize::try_from(offset)
        .ok()
        .and_then(|offset| offset.checked_add(body.len()));
    // Room is made for everything up to the chunk's end.
    let is_small = body.len() <= RAFT_SNAPSHOT_CHUNK_BYTES;
    if !is_small || end.is_none_or(|end| end > RAFT_SNAPSHOT_BYTES_MAX) {
        return Err(Malformed { what });
    }
    Ok(InstallSnapshotRequest {
        vote,
        meta,
        offset,
        data: body.split_off(0).into(),
        done,
    })
}

impl Answer {
    /// Returns the bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        match self {
            Self::Appended => out.put_u8(1),
            Self::AppendedUpTo(last) => {
                out.put_u8(2);
                put_option(&mut out, last.as_ref(), put_log_id);
            }
            Self::Conflict => out.put_u8(3),
            Self::HigherVote(vote) => {
                out.put_u8(4);
                put_vote(&mut out, vote);
            }
            Self::Voted {
                vote,
                is_granted,
                last,
            } => {
                out.put_u8(5);
                put_vote(&mut out, vote);
                out.put_u8(u8::from(*is_granted));
                put_option(&mut out, last.as_ref(), put_log_id);
            }
            Self::Received(vote) => {
                out.put_u8(6);
                put_vote(&mut out, vote);
            }
            Self::FromTheBeginning => out.put_u8(7),
            Self::Misaddressed {
                cluster_id,
                node_id,
            } => {
                out.put_u8(8);
                out.put_slice(&cluster_id.0);
                out.put_u64(*node_id);
            }
            Self::NotUnderstood => out.put_u8(9),
            Self::Unavailable => out.put_u8(10),
        }
        out.freeze()
    }

    /// Returns the answer.
    ///
    /// # Errors
    /// When the bytes are too many, of another version or not an answer.
    pub fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        let what = "an answer";
        let body = &mut bytes;
        check_beginning(body, what)?;
        let answer = match body.try_get_u8().map_err(malformed(what))? {
            1 => Self::Appended,
            2 => Self::AppendedUpTo(take_option(body, take_log_id)?),
            3 => Self::Conflict,
            4 => Self::HigherVote(take_vote(body)?),
            5 => Self::Voted {
                vote: take_vote(body)?,
                is_granted: take_bool(body, what)?,
                last: take_option(body, take_log_id)?,
            },
            6 => Self::Received(take_vote(body)?),
            7 => Self::FromTheBeginning,
            8 => {
                let mut cluster_id = [0; 16];
                body.try_copy_to_slice(&mut cluster_id)
                    .map_err(malformed(what))?;
                Self::Misaddressed {
                    cluster_id: ClusterId(cluster_id),
                    node_id: take_u64(body, what)?,
                }
            }
            9 => Self::NotUnderstood,
            10 => Self::Unavailable,
            _ => return Err(Malformed { what }),
        };
        check_end(body, what)?;
        Ok(answer)
    }
}

/// The body of a fuzz target: any bytes as a call and as an answer must not panic, and what decodes encodes to bytes that
/// decode to the same.
///
/// # Panics
/// When it does not.
pub fn fuzz(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    if let Ok(call) = Call::decode(bytes.clone()) {
        let encoded = call.encode();
        let again = Call::decode(encoded.clone()).expect("what was encoded decodes");
        assert_eq!(again.encode(), encoded);
        assert_eq!(format!("{again:?}"), format!("{call:?}"));
    }
    if let Ok(answer) = Answer::decode(bytes) {
        assert_eq!(Answer::decode(answer.encode()), Ok(answer));
    }
}

#[cfg(test)]
mod tests;
