//! Fetch: ask the shards, join what they found, and park until there is enough, the time is up, or others wait behind.
//!
//! Every requested partition is in the answer, also an empty one, or Java drops the whole answer. Sessions (KIP-227)
//! are not kept: the answer names session 0. A damaged range is an error of its partition, never skipped.

mod counted;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{BrokerId, PartitionIndex, TopicId};
use keylane_protocol::message::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchablePartitionResponse,
    FetchableTopicResponse,
};
use keylane_protocol::offset::Offset;
use keylane_protocol::primitive::Records;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Duration, Instant, sleep_until};

use self::counted::Fetched;
use crate::limits::FETCH_BYTES_AT_BOUND;
use crate::log::TopicPartition;
use crate::meters::now;
use crate::partition::read::{PartitionRead, ReadError, ReadFound};
use crate::partition::tail::ReadLimit;
use crate::partition::waiting::ConnectionId;
use crate::server::BrokerState;
use crate::shard::request::{ReadOutcome, ReadPart, ReadRequest, ShardRequest, Watch};
use crate::topics::{NotLed, Topic};
use keylane_protocol::meters::Share;
use keylane_protocol::transport::HeldBytes;

/// The first version that names topics by id.
const VERSION_BY_ID: i16 = 13;

/// What a Fetch needs to wait at the head of its connection's queue.
pub(crate) struct Parking<'a> {
    pub connection: ConnectionId,
    pub wake: &'a Arc<Notify>,
    /// The request's place among those of the connection.
    pub sequence: u64,
    /// The place of the latest request that is not a Fetch; its sender goes away with the client.
    pub last_other: watch::Receiver<u64>,
}

/// Reads for a client; waits as long as the request permits.
pub(crate) async fn answer(
    broker: &Arc<BrokerState>,
    request: &FetchRequest,
    version: i16,
    mut parking: Parking<'_>,
) -> (FetchResponse, HeldBytes) {
    if let Some(error_code) = refuse_whole(request) {
        let refused = FetchResponse {
            error_code,
            ..FetchResponse::default()
        };
        return (refused, HeldBytes::default());
    }
    let wait_max = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = Instant::now() + wait_max.min(broker.config.limits.fetch_wait_max);
    let bytes_min = bytes(request.min_bytes).min(bytes(request.max_bytes));
    let mut is_last = wait_max.is_zero() || parking.is_hurried();
    let mut may_be_watched = false;
    loop {
        let fetch = Fetch::plan(broker, request, version);
        // Each of several shards may find too little although all of them find enough.
        may_be_watched |= fetch.by_shard.len() > 1 && !is_last;
        let (response, gathered) = fetch.run(&parking, bytes_min, is_last).await;
        if is_last || gathered.bytes >= bytes_min || gathered.is_due() {
            if may_be_watched {
                broker.forget_connection(parking.connection).await;
            }
            gathered.fetched.count(&broker.meters.records);
            return (response, gathered.held);
        }
        may_be_watched = true;
        // It is read again when there is more: what waits must hold no records, and none of the bound of all answers.
        drop((response, gathered));
        let mut parked = Share::of(&broker.meters.parked);
        parked.set(1);
        tokio::select! {
            biased;
            () = parking.wake.notified() => {}
            () = parking.hurried() => is_last = true,
            () = sleep_until(deadline) => is_last = true,
        }
    }
}

impl Parking<'_> {
    fn is_hurried(&self) -> bool {
        *self.last_other.borrow() > self.sequence || self.last_other.has_changed().is_err()
    }

    /// Waits until another kind of request waits behind this one, or the client has gone.
    async fn hurried(&mut self) {
        let sequence = self.sequence;
        let _ = self.last_other.wait_for(|last| *last > sequence).await;
    }
}

/// Returns a number of bytes; a negative one counts as none.
fn bytes(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn refuse_whole(request: &FetchRequest) -> Option<ErrorCode> {
    let is_follower =
        request.replica_id != BrokerId::NONE || request.replica_state.replica_id != BrokerId::NONE;
    if is_follower {
        // A client-facing listener serves no replicas.
        return Some(ErrorCode::ClusterAuthorizationFailed);
    }
    if request.session_id != 0 {
        return Some(ErrorCode::FetchSessionIdNotFound);
    }
    if request.session_epoch > 0 {
        return Some(ErrorCode::InvalidFetchSessionEpoch);
    }
    None
}

/// What was gathered for one try.
#[derive(Default)]
struct Gathered {
    bytes: usize,
    held: HeldBytes,
    /// Those of `bytes` for which there was no room in the bound of all answers.
    bytes_above_bound: usize,
    has_error: bool,
    fetched: Fetched,
    /// There is more than the request's limits let through, or the reader is behind the tail, where its segment may end
    /// before enough bytes.
    has_more: bool,
}

impl Gathered {
    /// Tells whether the answer does not wait for more bytes.
    fn is_due(&self) -> bool {
        self.has_error || self.has_more
    }
}

/// Where in the response the outcome of a part belongs.
type Place = (usize, usize);

/// One try to answer a request.
struct Fetch<'a> {
    broker: &'a BrokerState,
    response: FetchResponse,
    by_shard: BTreeMap<usize, (Vec<Place>, Vec<ReadPart>)>,
    bytes_max: usize,
}

impl<'a> Fetch<'a> {
    fn plan(broker: &'a BrokerState, request: &FetchRequest, version: i16) -> Self {
        let mut fetch = Self {
            broker,
            response: FetchResponse::default(),
            by_shard: BTreeMap::new(),
            bytes_max: bytes(request.max_bytes).min(broker.config.limits.fetch_bytes_max),
        };
        let image = broker.topics.load();
        for (topic_place, topic) in request.topics.iter().enumerate() {
            let known = if version >= VERSION_BY_ID {
                image.with_id(topic.topic_id)
            } else {
                image.named(&topic.topic)
            };
            let response = fetch.plan_topic(topic_place, topic, known.map(|topic| &**topic));
            fetch.response.responses.push(response);
        }
        fetch
    }

    fn plan_topic(
        &mut self,
        topic_place: usize,
        asked: &FetchTopic,
        known: Option<&Topic>,
    ) -> FetchableTopicResponse {
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for (place, part) in asked.partitions.iter().enumerate() {
            let error_code = match known {
                Some(topic) => match topic.check_leader(part.partition, self.broker.config.id) {
                    Ok(()) => {
                        self.plan_part((topic_place, place), topic, part);
                        ErrorCode::None
                    }
                    Err(error) => not_led_code(error),
                },
                None if asked.topic_id != TopicId::ZERO => ErrorCode::UnknownTopicId,
                _ => ErrorCode::UnknownTopicOrPartition,
            };
            partitions.push(FetchablePartitionResponse {
                partition_index: part.partition,
                error_code,
                high_watermark: Offset(-1),
                ..FetchablePartitionResponse::default()
            });
        }
        FetchableTopicResponse {
            topic: asked.topic.clone(),
            topic_id: asked.topic_id,
            partitions,
        }
    }

    fn plan_part(&mut self, place: Place, topic: &Topic, asked: &FetchPartition) {
        let partition = TopicPartition {
            topic_id: topic.id,
            partition: asked.partition,
        };
        let shard = self.broker.shard_of(partition);
        let (places, parts) = self.by_shard.entry(shard).or_default();
        places.push(place);
        parts.push(ReadPart {
            partition,
            offset: asked.fetch_offset,
            bytes_max: bytes(asked.partition_max_bytes),
            leader_epoch: asked.current_leader_epoch,
        });
    }

    /// Asks the shards and joins what they found, in the order of the request and within its bytes.
    async fn run(
        mut self,
        parking: &Parking<'_>,
        bytes_min: usize,
        is_last: bool,
    ) -> (FetchResponse, Gathered) {
        let has_error = self
            .response
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions)
            .any(|partition| !partition.error_code.is_none());
        let watches = !is_last && !has_error && bytes_min > 0;
        let outcomes = self.ask(parking, watches.then_some(bytes_min)).await;
        let mut gathered = Gathered {
            has_error,
            ..Gathered::default()
        };
        for ((topic, place), outcome) in outcomes {
            let room = self.bytes_max.saturating_sub(gathered.bytes);
            let limit = ReadLimit {
                bytes_max: room,
                at_least_one: gathered.bytes == 0,
            };
            let read = match outcome {
                Ok(read) => self.load(read, limit, &mut gathered).await,
                Err(error) => Err(error),
            };
            gathered.has_error |= read.is_err();
            let answer = &mut self.response.responses[topic].partitions[place];
            *answer = part_response(answer.partition_index, read);
            gathered.bytes += answer.records.as_ref().map_or(0, Records::len);
        }
        (self.response, gathered)
    }

    /// Gets the record bytes of one partition, from memory or disk, within what is left of the request.
    async fn load(
        &self,
        read: PartitionRead,
        mut limit: ReadLimit,
        gathered: &mut Gathered,
    ) -> Result<Loaded, ReadError> {
        let wanted = read.found.bytes().min(limit.bytes_max);
        gathered.has_more |= read.found.has_more();
        let is_held = self.broker.answers.hold(wanted, &mut gathered.held);
        if !is_held {
            let left = FETCH_BYTES_AT_BOUND.saturating_sub(gathered.bytes_above_bound);
            limit.bytes_max = limit.bytes_max.min(left);
        }
        let (records, count) = match read.found {
            ReadFound::Nothing => (Records::default(), 0),
            ReadFound::Recent(recent) => {
                let recent = recent.within(limit);
                gathered.has_more |= recent.is_cut;
                let count = counted::in_halves(&recent.slices);
                (recent.slices.into_iter().collect(), count)
            }
            ReadFound::OnDisk(_) if limit.bytes_max == 0 => (Records::default(), 0),
            ReadFound::OnDisk(place) => {
                let bytes = self.broker.readers.read(place, limit).await?;
                let count = counted::in_batches(&bytes);
                (Records::from(bytes), count)
            }
        };
        if !is_held {
            gathered.bytes_above_bound += records.len();
        }
        gathered.fetched.add(read.counters, records.len(), count);
        Ok(Loaded {
            high_watermark: read.high_watermark,
            log_start_offset: read.log_start_offset,
            records,
        })
    }

    async fn ask(
        &mut self,
        parking: &Parking<'_>,
        watch_for: Option<usize>,
    ) -> BTreeMap<Place, ReadOutcome> {
        let is_divided = self.by_shard.len() > 1;
        let mut waiting = Vec::with_capacity(self.by_shard.len());
        for (shard, (places, parts)) in std::mem::take(&mut self.by_shard) {
            let (reply, replied) = oneshot::channel();
            let read = ReadRequest {
                connection: parking.connection,
                parts,
                bytes_max: self.bytes_max,
                watch: watch_for.map(|bytes_min| Watch {
                    bytes_min,
                    is_divided,
                    wake: Arc::clone(parking.wake),
                }),
                sent_at: now(),
                reply,
            };
            let _ = self.broker.shards[shard]
                .send(ShardRequest::Read(read))
                .await;
            waiting.push((places, replied));
        }
        let mut outcomes = BTreeMap::new();
        for (places, replied) in waiting {
            match replied.await {
                Ok(found) => outcomes.extend(places.into_iter().zip(found)),
                Err(_) => {
                    let offline = places
                        .into_iter()
                        .map(|place| (place, Err(ReadError::Offline)));
                    outcomes.extend(offline);
                }
            }
        }
        outcomes
    }
}

/// What one partition has for the reader.
struct Loaded {
    high_watermark: Offset,
    log_start_offset: Offset,
    records: Records,
}

fn part_response(
    partition_index: PartitionIndex,
    read: Result<Loaded, ReadError>,
) -> FetchablePartitionResponse {
    match read {
        Ok(loaded) => FetchablePartitionResponse {
            partition_index,
            error_code: ErrorCode::None,
            high_watermark: loaded.high_watermark,
            // Without transactions every record below the high watermark is stable.
            last_stable_offset: loaded.high_watermark,
            log_start_offset: loaded.log_start_offset,
            records: Some(loaded.records),
            ..FetchablePartitionResponse::default()
        },
        Err(error) => FetchablePartitionResponse {
            partition_index,
            error_code: read_error_code(&error),
            high_watermark: Offset(-1),
            ..FetchablePartitionResponse::default()
        },
    }
}

/// Returns the code for a partition that this broker does not lead.
pub(crate) fn not_led_code(error: NotLed) -> ErrorCode {
    match error {
        NotLed::Unknown => ErrorCode::UnknownTopicOrPartition,
        NotLed::Elsewhere => ErrorCode::NotLeaderOrFollower,
    }
}

/// Returns the code of a failed read.
pub(crate) fn read_error_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::Gone => ErrorCode::UnknownTopicOrPartition,
        ReadError::NotLeader => ErrorCode::NotLeaderOrFollower,
        ReadError::OffsetOutOfRange => ErrorCode::OffsetOutOfRange,
        ReadError::FencedLeaderEpoch => ErrorCode::FencedLeaderEpoch,
        ReadError::UnknownLeaderEpoch => ErrorCode::UnknownLeaderEpoch,
        ReadError::Damaged => ErrorCode::CorruptMessage,
        ReadError::Offline => ErrorCode::KafkaStorageError,
    }
}
