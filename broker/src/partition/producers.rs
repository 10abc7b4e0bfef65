//! The producers of a partition, plain ones and routed ones: by its id, each is judged by its own rules.
//!
//! A core, as the two it is made of: [`producer_state`] and [`routed_state`].
//! A snapshot of plain producers alone is theirs; another holds both:
//!
//! ```text
//! u32 magic "KLPR"   u16 version 1   u16 zero   u32 length │ the plain producers' snapshot │ the routed producers' to the end
//! ```
//! Each part has its own checksum.

use bytes::{Buf, BufMut};
use keylane_protocol::identifiers::ProducerId;
use keylane_protocol::offset::Offset;
use keylane_protocol::record_batch::RecordBatchHeader;
use keylane_protocol::routed::is_routed;

use super::producer_state::{self, InvalidSnapshot, ProducerLimits, Producers, SequencedBatch};
use super::routed_state::{self, Original, RoutedBatch, RoutedLimits, RoutedProducers, Routing};

const MAGIC: &[u8; 4] = b"KLPR";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 12;

/// What the producer of a batch says of its place among its others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberedBatch {
    /// Its records are numbered (KIP-98).
    Plain(SequencedBatch),
    /// It is a part of a numbered batch.
    Routed(RoutedBatch),
}

impl NumberedBatch {
    /// Returns the numbers of a batch; `None` if its producer numbers nothing.
    #[must_use]
    pub fn of(header: &RecordBatchHeader, routing: Routing) -> Option<Self> {
        match header.producer_id {
            ProducerId::NONE => None,
            id if is_routed(id) => Some(Self::Routed(RoutedBatch::new(header, routing))),
            producer_id => Some(Self::Plain(SequencedBatch {
                producer_id,
                epoch: header.producer_epoch,
                base_sequence: header.base_sequence,
                record_count: header.record_count,
            })),
        }
    }
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The batch is the next one: append it.
    Append,
    /// The batch was appended before: answer with this one once it is durable.
    Duplicate(Original),
    /// The batch must not be appended.
    Refused(Refusal),
}

/// Why a batch must not be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The rules of plain producers forbid it.
    #[error(transparent)]
    Plain(#[from] producer_state::Refusal),
    /// The rules of routed producers forbid it.
    #[error(transparent)]
    Routed(#[from] routed_state::Refusal),
}

impl From<producer_state::Judgement> for Judgement {
    fn from(judgement: producer_state::Judgement) -> Self {
        match judgement {
            producer_state::Judgement::Append => Self::Append,
            producer_state::Judgement::Duplicate(batch) => Self::Duplicate(Original {
                base_offset: batch.base_offset,
                end_offset: batch.end_offset,
            }),
            producer_state::Judgement::Refused(refusal) => Self::Refused(refusal.into()),
        }
    }
}

impl From<routed_state::Judgement> for Judgement {
    fn from(judgement: routed_state::Judgement) -> Self {
        match judgement {
            routed_state::Judgement::Append => Self::Append,
            routed_state::Judgement::Duplicate(original) => Self::Duplicate(original),
            routed_state::Judgement::Refused(refusal) => Self::Refused(refusal.into()),
        }
    }
}

/// The producers of one partition. Neither kind takes room from the other: the bound holds for each.
#[derive(Debug)]
pub struct PartitionProducers {
    plain: Producers,
    routed: RoutedProducers,
}

impl PartitionProducers {
    /// Returns the state of a partition in which nobody has written.
    #[must_use]
    pub fn new(limits: ProducerLimits) -> Self {
        Self {
            plain: Producers::new(limits),
            routed: RoutedProducers::new(routed(limits)),
        }
    }

    /// Returns the offset behind the last batch of any that are remembered.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.plain.end_offset().max(self.routed.end_offset())
    }

    /// Decides what becomes of a batch; changes nothing but to forget what may be forgotten.
    pub fn judge(&mut self, batch: &NumberedBatch, now_ms: u64) -> Judgement {
        match batch {
            NumberedBatch::Plain(batch) => self.plain.judge(batch, now_ms).into(),
            NumberedBatch::Routed(batch) => self.routed.judge(batch, now_ms).into(),
        }
    }

    /// Notes that a batch lies in the log at `base_offset`, behind all others.
    pub fn remember(&mut self, batch: &NumberedBatch, base_offset: Offset, now_ms: u64) {
        match batch {
            NumberedBatch::Plain(batch) => self.plain.remember(batch, base_offset, now_ms),
            NumberedBatch::Routed(batch) => self.routed.remember(batch, base_offset, now_ms),
        }
    }

    /// Notes that everything below `end` is durable.
    pub fn on_durable(&mut self, end: Offset) {
        self.routed.on_durable(end);
    }

    /// Takes in a durable batch of the log, of which nothing but its header is known.
    pub fn recover(&mut self, header: &RecordBatchHeader, now_ms: u64) {
        if let Some(numbered) = NumberedBatch::of(header, Routing::NONE) {
            self.remember(&numbered, header.base_offset, now_ms);
            self.on_durable(header.end_offset());
        }
    }

    /// Returns the state as bytes, as it is when everything appended is durable.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let plain = self.plain.encode();
        if self.routed.count() == 0 {
            return plain;
        }
        let routed = self.routed.encode();
        let mut out = Vec::with_capacity(HEADER_BYTES + plain.len() + routed.len());
        out.put_slice(MAGIC);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.put_u32(u32::try_from(plain.len()).expect("bounded by producers_max"));
        out.put_slice(&plain);
        out.put_slice(&routed);
        out
    }

    /// Returns the state that `bytes` describe; every producer counts as just used.
    ///
    /// # Errors
    /// When the bytes are not a whole, undamaged snapshot of a known version.
    pub fn decode(
        mut bytes: &[u8],
        limits: ProducerLimits,
        now_ms: u64,
    ) -> Result<Self, InvalidSnapshot> {
        let invalid = |reason| Err(InvalidSnapshot { reason });
        if !bytes.starts_with(MAGIC) {
            return Ok(Self {
                plain: Producers::decode(bytes, limits, now_ms)?,
                routed: RoutedProducers::new(routed(limits)),
            });
        }
        if bytes.len() < HEADER_BYTES {
            return invalid("it is too short");
        }
        bytes.advance(MAGIC.len());
        if bytes.get_u16() != VERSION || bytes.get_u16() != 0 {
            return invalid("its version is not known");
        }
        let plain_length = usize::try_from(bytes.get_u32()).unwrap_or(usize::MAX);
        let Some((plain, both)) = bytes.split_at_checked(plain_length) else {
            return invalid("it ends within the plain producers");
        };
        Ok(Self {
            plain: Producers::decode(plain, limits, now_ms)?,
            routed: RoutedProducers::decode(both, routed(limits), now_ms)?,
        })
    }
}

/// Routed producers are never forgotten early, so there is no time after which one makes room.
fn routed(limits: ProducerLimits) -> RoutedLimits {
    RoutedLimits {
        producers_max: limits.producers_max,
        expiry_ms: limits.expiry_ms,
    }
}

#[cfg(test)]
mod tests {
    use keylane_protocol::offset::{ProducerEpoch, Sequence};
    use keylane_protocol::routed::PRODUCER_ID_MIN;

    use super::*;

    const LIMITS: ProducerLimits = ProducerLimits {
        producers_max: 3,
        expiry_ms: 1_000,
        idle_ms_min: 100,
    };

    fn plain(id: i64) -> NumberedBatch {
        NumberedBatch::Plain(SequencedBatch {
            producer_id: ProducerId(id),
            epoch: ProducerEpoch(0),
            base_sequence: Sequence(0),
            record_count: 2,
        })
    }

    fn routed(id: i64) -> NumberedBatch {
        NumberedBatch::Routed(RoutedBatch {
            producer_id: ProducerId(PRODUCER_ID_MIN.0 + id),
            epoch: ProducerEpoch(0),
            number: Sequence(0),
            floor: Sequence(0),
            previous: Sequence::NONE,
            record_count: 2,
            crc: 7,
        })
    }

    /// Returns the state after batches of two records.
    fn after(batches: &[NumberedBatch]) -> PartitionProducers {
        let mut producers = PartitionProducers::new(LIMITS);
        for (batch, at) in batches.iter().zip(0..) {
            assert_eq!(producers.judge(batch, 0), Judgement::Append, "{batch:?}");
            producers.remember(batch, Offset(at * 2), 0);
        }
        producers
    }

    #[test]
    fn a_snapshot_gives_back_producers_of_both_kinds() {
        for batches in [
            &[][..],
            &[plain(1)],
            &[routed(1)],
            &[plain(1), routed(1), routed(2), plain(2)],
        ] {
            let bytes = after(batches).encode();
            let mut again = PartitionProducers::decode(&bytes, LIMITS, 0).expect("just encoded");
            assert_eq!(again.encode(), bytes);
            let end_offset = Offset(batches.len() as i64 * 2);
            assert_eq!(again.end_offset(), end_offset);
            for (batch, at) in batches.iter().zip(0..) {
                let original = Original {
                    base_offset: Offset(at * 2),
                    end_offset: Offset(at * 2 + 2),
                };
                assert_eq!(again.judge(batch, 0), Judgement::Duplicate(original));
            }
        }
    }

    #[test]
    fn a_snapshot_of_the_version_without_routed_producers_is_read() {
        let mut older = Producers::new(LIMITS);
        let NumberedBatch::Plain(batch) = plain(1) else {
            panic!("it is plain");
        };
        older.remember(&batch, Offset(0), 0);
        let bytes = older.encode();
        let mut read = PartitionProducers::decode(&bytes, LIMITS, 0).expect("it is read");
        assert!(matches!(read.judge(&plain(1), 0), Judgement::Duplicate(_)));
        assert_eq!(read.judge(&routed(1), 0), Judgement::Append);
        assert_eq!(read.encode(), bytes, "and can be read by that version");
    }

    #[test]
    fn a_damaged_snapshot_is_refused_wherever_the_damage_is() {
        let bytes = after(&[plain(1), routed(1)]).encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let decode = |bytes: &[u8]| PartitionProducers::decode(bytes, LIMITS, 0);
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn neither_kind_takes_room_from_the_other() {
        let batches = [
            routed(1),
            routed(2),
            routed(3),
            plain(1),
            plain(2),
            plain(3),
        ];
        let mut producers = after(&batches);
        assert!(matches!(
            producers.judge(&routed(4), 500),
            Judgement::Refused(Refusal::Routed(_))
        ));
        assert_eq!(producers.judge(&plain(4), 500), Judgement::Append);
        producers.remember(&plain(4), Offset(12), 500);
        for batch in &batches[..3] {
            let judgement = producers.judge(batch, 999);
            assert!(matches!(judgement, Judgement::Duplicate(_)));
        }
    }

    #[test]
    fn the_id_chooses_the_rules() {
        let header = |id| RecordBatchHeader {
            base_offset: Offset(0),
            batch_length: 100,
            leader_epoch: keylane_protocol::offset::LeaderEpoch(0),
            crc: 7,
            attributes: 0,
            last_offset_delta: 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: id,
            producer_epoch: ProducerEpoch(0),
            base_sequence: Sequence(0),
            record_count: 2,
        };
        let of = |id| NumberedBatch::of(&header(id), Routing::NONE);
        assert_eq!(of(ProducerId::NONE), None);
        assert_eq!(of(ProducerId(5)), Some(plain(5)));
        let last_plain = ProducerId(PRODUCER_ID_MIN.0 - 1);
        assert!(matches!(of(last_plain), Some(NumberedBatch::Plain(_))));
        assert!(matches!(
            of(PRODUCER_ID_MIN),
            Some(NumberedBatch::Routed(_))
        ));
    }
}
