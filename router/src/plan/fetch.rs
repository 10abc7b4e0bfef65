//! Fetch: which partitions are asked for, in which order, and the parts that brokers are asked.
//!
//! Parts name topics by id and carry a leader epoch always: the client's, or that of the image. They share the request's
//! bytes. The order of partitions rotates, so that each is the first in turn; each topic stays in one piece, since some
//! clients (Sarama) keep only the last piece of a topic. Sessions are not kept (KIP-227), and followers are refused.

use ahash::AHashSet;
use bytestring::ByteString;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId};
use keylane_protocol::message::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchablePartitionResponse,
};
use keylane_protocol::offset::{LeaderEpoch, Offset};

use crate::lookups::Missing;
use crate::merge::fetch::{grouped, without_records};
use crate::routing::{Route, Routing, TopicKey};

/// The version in which brokers are asked.
pub const VERSION: i16 = 17;

/// The first version that names topics by id.
const VERSION_BY_ID: i16 = 13;

/// The first version whose answer has a place for what is wrong with the whole request.
const VERSION_WITH_ERROR: i16 = 7;

/// A partition that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// The topic's name, as in the request.
    pub topic: ByteString,
    /// The topic's id, as in the request.
    pub topic_id: TopicId,
    /// Which of the two says what topic it is.
    pub key: TopicKey,
    /// Where to read.
    pub from: FetchPartition,
}

/// What a broker is asked for one partition. An answer to it serves a later request for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadFrom {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The first offset wanted.
    pub offset: Offset,
    /// The leader epoch by which the reader is fenced.
    pub leader_epoch: LeaderEpoch,
    /// The leader epoch of the last record read.
    pub last_fetched_epoch: LeaderEpoch,
    /// The most bytes.
    pub bytes_max: i32,
    /// Which records may be seen.
    pub isolation_level: i8,
}

/// What holds for all partitions of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTerms {
    /// How long brokers may wait for records, in milliseconds.
    pub wait_ms: i32,
    /// From how many bytes on they answer at once.
    pub bytes_min: i32,
    /// How many bytes they may answer with together; each may exceed its share by one batch.
    pub bytes_max: usize,
    /// Which records may be seen.
    pub isolation_level: i8,
    /// Where the consumer is.
    pub rack_id: ByteString,
}

/// What one broker is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPart {
    /// The broker.
    pub broker: BrokerId,
    /// The request, in [`VERSION`].
    pub request: FetchRequest,
    /// What it asks for, each with its place among the requested partitions.
    pub reads: Vec<(usize, ReadFrom)>,
}

/// Refuses a request as a whole: a follower's, or one of a session.
#[must_use]
pub fn refuse(request: &FetchRequest, version: i16) -> Option<FetchResponse> {
    let is_follower = request.replica_id.0 >= 0 || request.replica_state.replica_id.0 >= 0;
    let error_code = if is_follower {
        ErrorCode::ClusterAuthorizationFailed
    } else if request.session_id != 0 {
        ErrorCode::FetchSessionIdNotFound
    } else if request.session_epoch > 0 {
        ErrorCode::InvalidFetchSessionEpoch
    } else {
        return None;
    };
    let mut response = FetchResponse {
        error_code,
        ..FetchResponse::default()
    };
    if version < VERSION_WITH_ERROR {
        let refused = requested(request, version, 0).into_iter().map(|requested| {
            let refused = refused(requested.from.partition, error_code);
            (requested, refused)
        });
        response.responses = grouped(refused);
    }
    Some(response)
}

/// Returns an answer with an error for a partition.
#[must_use]
pub fn refused(
    partition_index: PartitionIndex,
    error_code: ErrorCode,
) -> FetchablePartitionResponse {
    FetchablePartitionResponse {
        error_code,
        ..without_records(partition_index)
    }
}

/// Returns the partitions asked for, each once, beginning with the one whose turn it is.
#[must_use]
pub fn requested(request: &FetchRequest, version: i16, turn: usize) -> Vec<Requested> {
    let mut topics: Vec<Vec<Requested>> = Vec::with_capacity(request.topics.len());
    let mut place_of = ahash::AHashMap::new();
    let mut seen = AHashSet::new();
    for topic in &request.topics {
        let key = if version >= VERSION_BY_ID {
            TopicKey::Id(topic.topic_id)
        } else {
            TopicKey::Name(topic.topic.clone())
        };
        let place = *place_of.entry(key.clone()).or_insert(topics.len());
        if place == topics.len() {
            topics.push(Vec::with_capacity(topic.partitions.len()));
        }
        for from in &topic.partitions {
            if seen.insert((place, from.partition)) {
                topics[place].push(Requested {
                    topic: topic.topic.clone(),
                    topic_id: topic.topic_id,
                    key: key.clone(),
                    from: from.clone(),
                });
            }
        }
    }
    rotated(topics, turn)
}

/// Begins with the `turn`th partition, in rotation; topics stay in one piece.
fn rotated(mut topics: Vec<Vec<Requested>>, turn: usize) -> Vec<Requested> {
    topics.retain(|topic| !topic.is_empty());
    let count: usize = topics.iter().map(Vec::len).sum();
    let mut first = turn.checked_rem(count).unwrap_or(0);
    let mut first_topic = 0;
    while let Some(topic) = topics.get_mut(first_topic) {
        if first < topic.len() {
            topic.rotate_left(first);
            break;
        }
        first -= topic.len();
        first_topic += 1;
    }
    topics.rotate_left(first_topic);
    topics.into_iter().flatten().collect()
}

impl Requested {
    /// Returns where the partition is served.
    #[must_use]
    pub fn route(&self, routing: &Routing) -> Route {
        let topic = routing.topic(&self.key);
        topic.map_or(Route::Unknown, |topic| {
            routing.route(topic, self.from.partition)
        })
    }

    /// Returns who is to be asked what; `None` if nobody can be.
    #[must_use]
    pub fn read_from(
        &self,
        routing: &Routing,
        isolation_level: i8,
    ) -> Option<(BrokerId, ReadFrom)> {
        let topic = routing.topic(&self.key)?;
        let Route::Leader { broker, epoch } = routing.route(topic, self.from.partition) else {
            return None;
        };
        let known = self.from.current_leader_epoch;
        let read = ReadFrom {
            topic_id: topic.id,
            partition: self.from.partition,
            offset: self.from.fetch_offset,
            leader_epoch: if known == LeaderEpoch::NONE {
                epoch
            } else {
                known
            },
            last_fetched_epoch: self.from.last_fetched_epoch,
            bytes_max: self.from.partition_max_bytes,
            isolation_level,
        };
        Some((broker, read))
    }

    /// Returns what to look up if the partition is not known.
    #[must_use]
    pub fn missing(&self) -> Missing {
        (self.key.clone(), self.from.partition)
    }

    /// Returns the error of a partition that does not exist.
    #[must_use]
    pub fn unknown_code(&self, routing: &Routing) -> ErrorCode {
        match self.key {
            TopicKey::Id(_) if routing.topic(&self.key).is_none() => ErrorCode::UnknownTopicId,
            _ => ErrorCode::UnknownTopicOrPartition,
        }
    }
}

/// Returns what each broker is asked. `reads` are in the order in which they are to be served.
#[must_use]
pub fn parts(reads: &[(usize, BrokerId, ReadFrom)], terms: &FetchTerms) -> Vec<FetchPart> {
    let mut parts: Vec<FetchPart> = Vec::new();
    for (place, broker, read) in reads {
        let known = parts.iter().position(|part| part.broker == *broker);
        let part = known.unwrap_or_else(|| {
            parts.push(FetchPart {
                broker: *broker,
                request: FetchRequest::default(),
                reads: Vec::new(),
            });
            parts.len() - 1
        });
        parts[part].reads.push((*place, *read));
    }
    let needs: Vec<usize> = parts.iter().map(need).collect();
    for (part, share) in parts.iter_mut().zip(shares(&needs, terms.bytes_max)) {
        part.request = request(&part.reads, terms, share);
    }
    parts
}

/// Returns how many bytes a part can make use of.
fn need(part: &FetchPart) -> usize {
    let each = part
        .reads
        .iter()
        .map(|(_, read)| usize::try_from(read.bytes_max).unwrap_or(0));
    each.fold(0, usize::saturating_add)
}

/// Splits bytes evenly, and what one cannot use among the others. A share is at least 1: 0 would not be waited for.
fn shares(needs: &[usize], bytes: usize) -> Vec<usize> {
    let mut shares = vec![0; needs.len()];
    let mut order: Vec<usize> = (0..needs.len()).collect();
    order.sort_by_key(|&part| needs[part]);
    let mut left = bytes;
    for (served, &part) in order.iter().enumerate() {
        let share = needs[part].min(left / (needs.len() - served));
        left -= share;
        shares[part] = share.max(1);
    }
    shares
}

fn request(reads: &[(usize, ReadFrom)], terms: &FetchTerms, share: usize) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (_, read) in reads {
        if topics
            .last()
            .is_none_or(|topic| topic.topic_id != read.topic_id)
        {
            topics.push(FetchTopic {
                topic_id: read.topic_id,
                ..FetchTopic::default()
            });
        }
        let topic = topics.last_mut().expect("one was pushed");
        topic.partitions.push(FetchPartition {
            partition: read.partition,
            current_leader_epoch: read.leader_epoch,
            fetch_offset: read.offset,
            last_fetched_epoch: read.last_fetched_epoch,
            partition_max_bytes: read.bytes_max,
            ..FetchPartition::default()
        });
    }
    let bytes_max = i32::try_from(share).unwrap_or(i32::MAX);
    FetchRequest {
        max_wait_ms: terms.wait_ms,
        min_bytes: terms.bytes_min.min(bytes_max),
        max_bytes: bytes_max,
        isolation_level: terms.isolation_level,
        topics,
        rack_id: terms.rack_id.clone(),
        ..FetchRequest::default()
    }
}

#[cfg(test)]
mod tests;
