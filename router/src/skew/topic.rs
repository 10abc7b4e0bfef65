//! What a router has seen of one topic: hot keys, bytes per partition, and producers whose keys lie elsewhere.
//!
//! Keys are those of a sample, each counted for as many records as it stands for; bytes are all bytes. Both fade: at a
//! bound everything is halved, so that what is shown is of about the last so many records and bytes.

use std::collections::BTreeMap;

use keylane_protocol::compression::Compression;
use keylane_protocol::partitioner::partition_for_key;
use keylane_protocol::record_batch::{HEADER_BYTES, RecordBatchHeader, peek_key};

use super::draw::Gaps;
use super::heavy::HeavyHitters;
use super::{Passed, PlacedBy};

/// One record in so many is looked at once a topic has had [`RECORDS_CLOSELY_SEEN`] of them for each; before, more are.
const GAP_MAX: u64 = 64;

/// So many of a topic's first records are all looked at.
const RECORDS_CLOSELY_SEEN: u64 = 1024;

/// About so many records of one batch are looked at at most, however many it has.
const SAMPLES_PER_BATCH: u64 = 64;

/// No more records of a batch are stepped over to reach one.
const RECORDS_STEPPED_OVER_MAX: u64 = 63;

/// When samples stand for so many records, their counts are halved.
const RECORDS_HALVED_AT: u64 = 1 << 22;

/// When so many bytes have passed, their counts are halved.
const BYTES_HALVED_AT: u64 = 4 << 30;

/// How many clients are told apart; what others place is counted together.
pub const CLIENTS_MAX: usize = 32;

/// How much of a client's id is kept.
const CLIENT_ID_CHARACTERS_MAX: usize = 64;

/// The fewest bytes of a record.
const RECORD_BYTES_MIN: u64 = 7;

/// How many of a client's keys were compared with the partition it named for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placing {
    /// Records with a key that were looked at.
    pub compared: u64,
    /// Those of them that murmur2 would have placed elsewhere.
    pub elsewhere: u64,
}

/// What was seen of a topic.
#[derive(Clone, Debug, Default)]
pub struct TopicWatch {
    /// Keys, counted for the records that they stand for.
    pub keys: HeavyHitters,
    /// For how many records the samples stand.
    pub records: u64,
    /// Those of them that had no key.
    pub keyless: u64,
    /// Bytes of batches, by partition; those that are missing had none.
    pub partition_bytes: Vec<u64>,
    /// Those in which no record can be looked at, being compressed.
    pub compressed_bytes: u64,
    /// What clients name for their keys, by client id, cut off after 64 characters; only those that choose partitions.
    pub clients: BTreeMap<Box<str>, Placing>,
    /// The same of clients beyond [`CLIENTS_MAX`].
    pub other_clients: Placing,
    /// Records that were looked at; never halved.
    pub sampled_total: u64,
    /// Keys that murmur2 would have placed elsewhere; never halved.
    pub elsewhere_total: u64,
    /// The sum of all partitions' bytes, kept for [`BYTES_HALVED_AT`].
    bytes_held: u64,
    /// Records that have passed, as far as their batches say.
    seen: u64,
    /// How many records pass before the next that is looked at.
    until_next: u64,
    /// For how many records that one stands.
    gap: u64,
}

impl TopicWatch {
    /// Sees a batch on its way to the leader of its partition.
    pub(super) fn on_batch(&mut self, passed: &Passed<'_>, gaps: &mut Gaps) {
        let bytes = passed.batch.len() as u64;
        let partition = usize::try_from(passed.partition.0).unwrap_or(0);
        if self.partition_bytes.len() <= partition {
            self.partition_bytes.resize(partition + 1, 0);
        }
        self.partition_bytes[partition] += bytes;
        self.bytes_held += bytes;
        // What is no batch is refused by its leader.
        if let Ok(header) = RecordBatchHeader::read(passed.batch) {
            match header.compression() {
                Ok(Compression::None) => self.sample(passed, &header, gaps),
                _ => self.compressed_bytes += bytes,
            }
        }
        self.fade();
    }

    /// Looks at the records whose turn it is.
    fn sample(&mut self, passed: &Passed<'_>, header: &RecordBatchHeader, gaps: &mut Gaps) {
        let records = &passed.batch[HEADER_BYTES..];
        let possible = records.len() as u64 / RECORD_BYTES_MIN;
        let count = u64::try_from(header.record_count).unwrap_or(0);
        let count = count.min(possible);
        let mean = (self.seen / RECORDS_CLOSELY_SEEN).clamp(1, GAP_MAX);
        let mean = mean.max(count / SAMPLES_PER_BATCH);
        self.seen = self.seen.saturating_add(count);
        while self.until_next < count {
            let before = match self.until_next {
                near @ 0..=RECORDS_STEPPED_OVER_MAX => near,
                far => far % (RECORDS_STEPPED_OVER_MAX + 1),
            };
            let before = usize::try_from(before).unwrap_or(0);
            if let Ok(key) = peek_key(records, before) {
                self.on_record(key, passed);
            }
            self.gap = mean;
            self.until_next += gaps.next(mean);
        }
        self.until_next -= count;
    }

    fn on_record(&mut self, key: Option<&[u8]>, passed: &Passed<'_>) {
        let stands_for = self.gap.max(1);
        self.sampled_total += 1;
        self.records += stands_for;
        let Some(key) = key else {
            self.keyless += stands_for;
            return;
        };
        self.keys.on_key(key, stands_for);
        let PlacedBy::Client {
            id,
            partition_count,
        } = passed.placed_by
        else {
            return;
        };
        let Some(partition_count) = partition_count.filter(|count| *count > 0) else {
            return;
        };
        let is_elsewhere = partition_for_key(key, partition_count) != passed.partition;
        let placing = self.placing(id);
        placing.compared += 1;
        placing.elsewhere += u64::from(is_elsewhere);
        self.elsewhere_total += u64::from(is_elsewhere);
    }

    fn placing(&mut self, client_id: &str) -> &mut Placing {
        let end = client_id.char_indices().nth(CLIENT_ID_CHARACTERS_MAX);
        let client_id = &client_id[..end.map_or(client_id.len(), |(end, _)| end)];
        let has_room = self.clients.len() < CLIENTS_MAX;
        if has_room && !self.clients.contains_key(client_id) {
            self.clients.insert(client_id.into(), Placing::default());
        }
        let known = self.clients.get_mut(client_id);
        known.unwrap_or(&mut self.other_clients)
    }

    fn fade(&mut self) {
        if self.records >= RECORDS_HALVED_AT {
            self.records /= 2;
            self.keyless /= 2;
            self.keys.halve();
            self.other_clients.halve();
            self.clients.values_mut().for_each(Placing::halve);
            self.clients.retain(|_, placing| placing.compared > 0);
        }
        if self.bytes_held >= BYTES_HALVED_AT {
            self.compressed_bytes /= 2;
            self.partition_bytes
                .iter_mut()
                .for_each(|bytes| *bytes /= 2);
            self.bytes_held = self.bytes();
        }
    }

    /// Returns the bytes of all partitions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.partition_bytes.iter().sum()
    }

    /// Returns how many times the mean of all partitions the fullest one got; `None` before there were any bytes.
    #[must_use]
    pub fn skew(&self, partition_count: i32) -> Option<f64> {
        let (bytes, fullest) = (self.bytes(), self.partition_bytes.iter().max()?);
        #[expect(clippy::cast_precision_loss, reason = "it is shown, not counted with")]
        let skew = *fullest as f64 * f64::from(partition_count) / bytes as f64;
        (bytes > 0).then_some(skew)
    }

    /// Adds what was seen of the same topic elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.keys.merge(&other.keys);
        self.records += other.records;
        self.keyless += other.keyless;
        let count = self.partition_bytes.len().max(other.partition_bytes.len());
        self.partition_bytes.resize(count, 0);
        for (bytes, more) in self.partition_bytes.iter_mut().zip(&other.partition_bytes) {
            *bytes += more;
        }
        self.bytes_held += other.bytes_held;
        self.compressed_bytes += other.compressed_bytes;
        for (client_id, placing) in &other.clients {
            self.placing(client_id).add(*placing);
        }
        self.other_clients.add(other.other_clients);
        self.sampled_total += other.sampled_total;
        self.elsewhere_total += other.elsewhere_total;
    }
}

impl Placing {
    fn halve(&mut self) {
        self.compared /= 2;
        self.elsewhere /= 2;
    }

    fn add(&mut self, more: Self) {
        self.compared += more.compared;
        self.elsewhere += more.elsewhere;
    }
}
