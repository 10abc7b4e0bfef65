//! The peer as a router: it splits routed batches, remembers numbers as leaders do, and bends its answers as it is told to.

use std::collections::BTreeMap;

use keylane_client::{ErrorCode, Offset, PartitionIndex};
use keylane_protocol::message::init_routed_producer::{
    InitRoutedProducerRequest, InitRoutedProducerResponse,
};
use keylane_protocol::message::routed_produce::{
    RoutedProducePartition, RoutedProduceRequest, RoutedProduceResponse,
};
use keylane_protocol::offset::ProducerEpoch;
use keylane_protocol::record_batch::RecordBatch;
use keylane_protocol::routed::{PRODUCER_ID_MIN, SplitBatch, split};

use super::{Action, Peer, Script, State};

/// How an answer to a routed batch that was written is bent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bend {
    /// Its first partition is not mentioned.
    FirstMissing,
    /// No partition is mentioned.
    AllMissing,
    /// Every partition is another one.
    OtherPartitions,
    /// Partitions that nobody asked about are mentioned too, and all of them twice.
    More,
    /// The topic's partition count makes no sense.
    Count(i32),
}

/// What the peer keeps as a router.
pub(super) struct RoutedState {
    pub(super) is_offered: bool,
    on_routed: Script,
    requests: usize,
    /// As a router: the largest number of this session that touched each partition.
    touched: BTreeMap<PartitionIndex, i32>,
    /// As a leader: the last number of each partition.
    last: BTreeMap<PartitionIndex, i32>,
    /// Base offsets by partition and number.
    numbers: BTreeMap<(PartitionIndex, i32), Offset>,
    values: BTreeMap<PartitionIndex, Vec<String>>,
    on_identity: OnIdentity,
}

type OnIdentity = Box<dyn Fn(&InitRoutedProducerRequest) -> InitRoutedProducerResponse + Send>;

impl Default for RoutedState {
    fn default() -> Self {
        Self {
            is_offered: false,
            on_routed: Box::new(|_| Action::Serve),
            requests: 0,
            touched: BTreeMap::new(),
            last: BTreeMap::new(),
            numbers: BTreeMap::new(),
            values: BTreeMap::new(),
            on_identity: Box::new(|_| routed_identity()),
        }
    }
}

/// An id as a broker gives it.
pub(crate) fn routed_identity() -> InitRoutedProducerResponse {
    InitRoutedProducerResponse {
        producer_id: PRODUCER_ID_MIN,
        producer_epoch: ProducerEpoch(0),
        expiry_ms: 7 * 24 * 3600 * 1000,
        ..Default::default()
    }
}

impl Peer {
    /// Offers what routers offer, and says what to do with routed batches.
    pub(crate) fn on_routed(&self, script: impl FnMut(usize) -> Action + Send + 'static) {
        let mut state = self.lock();
        state.routed.is_offered = true;
        state.routed.on_routed = Box::new(script);
    }

    /// Says how an id for a routed producer is answered.
    pub(crate) fn on_routed_identity(
        &self,
        answer: impl Fn(&InitRoutedProducerRequest) -> InitRoutedProducerResponse + Send + 'static,
    ) {
        self.lock().routed.on_identity = Box::new(answer);
    }

    pub(crate) fn routed_requests(&self) -> usize {
        self.lock().routed.requests
    }

    /// Returns the values of records in order, by partition.
    pub(crate) fn routed_values(&self) -> BTreeMap<PartitionIndex, Vec<String>> {
        self.lock().routed.values.clone()
    }
}

impl State {
    pub(super) fn init_routed_producer(
        &self,
        request: &InitRoutedProducerRequest,
    ) -> InitRoutedProducerResponse {
        (self.routed.on_identity)(request)
    }

    pub(super) fn routed_produce(
        &mut self,
        request: &RoutedProduceRequest,
    ) -> (Action, RoutedProduceResponse) {
        let action = (self.routed.on_routed)(self.routed.requests);
        self.routed.requests += 1;
        let mut partitions = Vec::new();
        if request.topic_id == self.topic_id {
            let writes = !matches!(action, Action::Close | Action::Ignore | Action::Refuse(_));
            partitions = self.routed.write(request, writes, self.keeps);
        }
        if let Action::Refuse(error_code) = action {
            let refused = RoutedProduceResponse {
                error_code,
                ..Default::default()
            };
            return (action, refused);
        }
        let mut response = RoutedProduceResponse {
            partition_count: i32::try_from(self.partitions.len()).expect("few"),
            partitions,
            ..Default::default()
        };
        match action {
            Action::WriteAndRefuse(code) => {
                for partition in &mut response.partitions {
                    partition.error_code = code;
                }
            }
            Action::BendRouted(bend) => bend.apply(&mut response),
            _ => {}
        }
        (action, response)
    }
}

impl RoutedState {
    /// Splits a batch and writes its parts, or only takes note of which partitions it touches.
    fn write(
        &mut self,
        request: &RoutedProduceRequest,
        writes: bool,
        keeps: bool,
    ) -> Vec<RoutedProducePartition> {
        let batch = RecordBatch::check(request.records.clone().expect("set")).expect("sound");
        let number = batch.header().base_sequence.0;
        if request.is_first {
            self.touched.clear();
        }
        let parts = split(&batch, request.partition_count).expect("it can be split");
        let mut answers = Vec::new();
        for part in parts {
            let previous = self.touched.insert(part.partition, number);
            let previous = previous.filter(|&previous| previous >= request.floor.0);
            let result = match (writes, keeps) {
                (true, true) => self.append(number, previous, request.floor.0, &part),
                _ => Ok(Offset(0)),
            };
            answers.push(RoutedProducePartition {
                partition: part.partition,
                error_code: result.err().unwrap_or(ErrorCode::None),
                base_offset: result.unwrap_or(Offset(-1)),
                ..Default::default()
            });
        }
        answers
    }

    fn append(
        &mut self,
        number: i32,
        previous: Option<i32>,
        floor: i32,
        part: &SplitBatch,
    ) -> Result<Offset, ErrorCode> {
        if let Some(&known) = self.numbers.get(&(part.partition, number)) {
            return Ok(known);
        }
        let last = self.last.entry(part.partition).or_insert(-1);
        let follows = previous.map_or(*last < floor, |previous| previous == *last);
        if number <= *last || !follows {
            return Err(ErrorCode::OutOfOrderSequenceNumber);
        }
        *last = number;
        let values = self.values.entry(part.partition).or_default();
        let base_offset = Offset(i64::try_from(values.len()).expect("few"));
        let batch = RecordBatch::check(part.batch.clone()).expect("sound");
        let records = batch.records(1 << 24).expect("readable");
        values.extend(records.map(|record| {
            let value = record.expect("readable").value.expect("set");
            String::from_utf8(value.to_vec()).expect("text")
        }));
        self.numbers.insert((part.partition, number), base_offset);
        Ok(base_offset)
    }
}

impl Bend {
    fn apply(self, response: &mut RoutedProduceResponse) {
        let partitions = &mut response.partitions;
        match self {
            Self::FirstMissing => drop(partitions.remove(0)),
            Self::AllMissing => partitions.clear(),
            Self::OtherPartitions => {
                for partition in partitions {
                    partition.partition = PartitionIndex(-3 - partition.partition.0);
                }
            }
            Self::More => {
                let foreign = RoutedProducePartition {
                    partition: PartitionIndex(i32::MAX),
                    base_offset: Offset(i64::MAX),
                    ..Default::default()
                };
                partitions.push(foreign);
                partitions.extend_from_within(..);
            }
            Self::Count(count) => response.partition_count = count,
        }
    }
}
