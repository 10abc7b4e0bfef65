//! A router and the leaders behind it, as the rules of routed batches have them, in one thread.
//!
//! The router's part asserts what a client must never do: a hole, a floor that falls, a number that stands for something
//! else than before. The leaders' part keeps the ids of records, by offset.

use std::collections::BTreeMap;

use bytes::Bytes;
use keylane_protocol::error_code::ErrorCode;
use keylane_protocol::identifiers::{PartitionIndex, TopicId};
use keylane_protocol::message::routed_produce::RoutedProduceRequest;
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::RecordBatch;
use keylane_protocol::routed::{NUMBERS_MAX, WINDOW_BYTES_MAX, is_routed, partition_of};

/// The records of a batch that belong to one partition, as a router sends them to its leader.
#[derive(Clone, Debug)]
pub(super) struct SubBatch {
    pub(super) topic: TopicId,
    pub(super) partition: PartitionIndex,
    producer_id: i64,
    epoch: i16,
    number: i32,
    previous: Option<i32>,
    floor: i32,
    ids: Vec<u64>,
}

/// What a router remembers of a producer's topic on one connection.
#[derive(Debug, Default)]
pub(super) struct RouterSessions {
    sessions: BTreeMap<(i64, TopicId), RouterSession>,
}

#[derive(Debug)]
struct RouterSession {
    epoch: i16,
    floor: i32,
    last: i32,
    /// By partition, the largest number that touched it.
    touched: BTreeMap<PartitionIndex, i32>,
}

/// What every number has stood for, whoever sent it.
#[derive(Debug, Default)]
pub(super) struct Contents {
    known: BTreeMap<(i64, i16, TopicId, i32), (Bytes, i32)>,
}

impl Contents {
    fn check(&mut self, key: (i64, i16, TopicId, i32), request: &RoutedProduceRequest) {
        let bytes = request.records.clone().expect("set");
        let content = (bytes, request.partition_count);
        let known = self.known.entry(key).or_insert_with(|| content.clone());
        assert_eq!(known.1, content.1, "partitions of {key:?}");
        assert_eq!(known.0, content.0, "records of {key:?}");
        let span = self
            .known
            .range((key.0, key.1, key.2, request.floor.0)..=key);
        let span: usize = span.map(|(_, (bytes, _))| bytes.len()).sum();
        assert!(span <= WINDOW_BYTES_MAX, "{span} bytes from the floor on");
    }
}

impl RouterSessions {
    /// Takes a request and returns what to send to the leaders, or the error of a session that has ended.
    ///
    /// # Panics
    /// When the client breaks a rule.
    pub(super) fn split(
        &mut self,
        request: &RoutedProduceRequest,
        contents: &mut Contents,
    ) -> Result<Vec<SubBatch>, ErrorCode> {
        let batch = RecordBatch::check(request.records.clone().expect("set")).expect("sound");
        let header = *batch.header();
        let (number, floor) = (header.base_sequence.0, request.floor.0);
        let (id, epoch) = (header.producer_id.0, header.producer_epoch.0);
        assert!(is_routed(header.producer_id) && request.partition_count > 0);
        assert!((floor..floor + NUMBERS_MAX).contains(&number));
        contents.check((id, epoch, request.topic_id, number), request);
        let key = (id, request.topic_id);
        if request.is_first {
            assert_eq!(number, floor, "a session begins at the floor");
            let session = RouterSession {
                epoch,
                floor,
                last: number - 1,
                touched: BTreeMap::new(),
            };
            self.sessions.insert(key, session);
        }
        let session = self.sessions.get_mut(&key);
        // An error ended it, and what was on its way by then comes to nothing.
        let session = session.ok_or(ErrorCode::OutOfOrderSequenceNumber)?;
        assert_eq!(epoch, session.epoch, "a session has one epoch");
        assert!(floor >= session.floor, "a floor never falls");
        assert_eq!(number, floor.max(session.last + 1), "no hole");
        session.floor = floor;
        session.last = number;
        let mut parts: BTreeMap<PartitionIndex, SubBatch> = BTreeMap::new();
        for record in batch.records(1 << 20).expect("sound") {
            let record = record.expect("sound");
            let key = record.key.as_deref();
            let partition = partition_of(
                key,
                header.producer_id,
                header.base_sequence,
                request.partition_count,
            );
            let part = parts.entry(partition).or_insert_with(|| {
                let previous = session.touched.get(&partition).copied();
                SubBatch {
                    topic: request.topic_id,
                    partition,
                    producer_id: id,
                    epoch,
                    number,
                    previous: previous.filter(|&previous| previous >= floor),
                    floor,
                    ids: Vec::new(),
                }
            });
            let value = record.value.expect("set");
            let id = value[..8].try_into().expect("eight bytes");
            part.ids.push(u64::from_be_bytes(id));
        }
        for &partition in parts.keys() {
            session.touched.insert(partition, number);
        }
        Ok(parts.into_values().collect())
    }

    /// Ends a session, as a batch does that cannot be split.
    pub(super) fn end(&mut self, request: &RoutedProduceRequest) {
        let batch = RecordBatch::check(request.records.clone().expect("set")).expect("sound");
        let id = batch.header().producer_id.0;
        self.sessions.remove(&(id, request.topic_id));
    }
}

/// A partition as its leader keeps it.
#[derive(Debug, Default)]
pub(super) struct Leader {
    /// The ids of the records, by offset.
    pub(super) records: Vec<u64>,
    pub(super) producers: BTreeMap<i64, Producer>,
    /// Planted bugs, to show that the checks find them.
    pub(super) never_remembers: bool,
    pub(super) ignores_previous: bool,
}

#[derive(Debug)]
pub(super) struct Producer {
    epoch: i16,
    last: i32,
    floor: i32,
    remembered: BTreeMap<i32, (Offset, usize)>,
}

impl Leader {
    /// Appends a sub-batch and returns its base offset, or refuses it.
    pub(super) fn append(&mut self, batch: &SubBatch) -> Result<Offset, ErrorCode> {
        let known = self.producers.get_mut(&batch.producer_id);
        if known
            .as_ref()
            .is_some_and(|known| batch.epoch < known.epoch)
        {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        let known = known.filter(|known| known.epoch == batch.epoch);
        if let Some(known) = known {
            known.floor = known.floor.max(batch.floor);
            let same = known.remembered.get(&batch.number);
            if let Some(&(offset, count)) = same.filter(|_| !self.never_remembers) {
                assert_eq!(count, batch.ids.len(), "a number's content is fixed");
                return Ok(offset);
            }
            let follows = match batch.previous {
                Some(previous) => previous == known.last,
                None => known.last < batch.floor,
            };
            let is_new = batch.number > known.last && (follows || self.ignores_previous);
            if !(is_new || self.never_remembers) {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
        } else if batch.previous.is_some() && !self.ignores_previous {
            return Err(ErrorCode::OutOfOrderSequenceNumber);
        }
        let offset = Offset(i64::try_from(self.records.len()).expect("few"));
        self.records.extend(&batch.ids);
        let fresh = || Producer {
            epoch: batch.epoch,
            last: -1,
            floor: batch.floor,
            remembered: BTreeMap::new(),
        };
        let producer = self
            .producers
            .entry(batch.producer_id)
            .or_insert_with(fresh);
        if producer.epoch != batch.epoch {
            *producer = fresh();
        }
        producer.last = batch.number;
        producer
            .remembered
            .insert(batch.number, (offset, batch.ids.len()));
        let (floor, last) = (producer.floor, producer.last);
        producer
            .remembered
            .retain(|&number, _| number >= floor || number == last);
        Ok(offset)
    }

    /// Loses the state of all producers, as when it expires.
    pub(super) fn forget(&mut self) {
        self.producers.clear();
    }
}
