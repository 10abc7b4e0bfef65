//! The bytes of a snapshot of routed producers, which is used once all that it names is durable.
//!
//! ```text
//! u32 magic "KLRP"   u16 version 1   u16 zero   u32 producers
//! producers × { i64 id   i16 newest epoch   u16 numbers (1–1,024)
//!               numbers × { i32 number   i64 base offset   i32 records   u32 CRC of the batch } }
//! u32 CRC-32C of everything before it                       big-endian; producers in the order of their last append
//! ```

use bytes::{Buf, BufMut};
use crc_fast::{CrcAlgorithm, checksum};
use keylane_protocol::routed::is_routed;

use super::{
    Appended, NUMBERS_MAX, Offset, Producer, ProducerEpoch, ProducerId, RoutedLimits,
    RoutedProducers, Sequence, VecDeque, Written,
};
use crate::partition::producer_state::InvalidSnapshot;

const MAGIC: u32 = u32::from_be_bytes(*b"KLRP");
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 12;
const PRODUCER_BYTES: usize = 12;
const NUMBER_BYTES: usize = 20;
const CRC_BYTES: usize = 4;

/// The most numbers in a snapshot, so that it fits into an index file: of more, each producer keeps its newest. One that
/// is left out counts as written, so it is refused, and never written twice.
const SNAPSHOT_NUMBERS_MAX: usize = 1 << 20;

fn invalid(reason: &'static str) -> InvalidSnapshot {
    InvalidSnapshot { reason }
}

impl Producer {
    /// Returns which numbers matter once all are durable, at most so many.
    fn lasting(&self, numbers_max: usize) -> impl ExactSizeIterator<Item = &Written> {
        let lowest = (self.last().epoch, self.lowest());
        let settled = self
            .written
            .partition_point(|written| written.place() < lowest);
        let skipped = settled
            .max(self.written.len().saturating_sub(numbers_max))
            .min(self.written.len() - 1);
        self.written.iter().skip(skipped)
    }
}

impl RoutedProducers {
    /// Returns the state as bytes, as it is when everything appended is durable. Floors are left out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_within(SNAPSHOT_NUMBERS_MAX)
    }

    pub(super) fn encode_within(&self, numbers_max: usize) -> Vec<u8> {
        let each_max = numbers_max / self.count().max(1);
        let mut out = Vec::with_capacity(
            HEADER_BYTES + self.count() * (PRODUCER_BYTES + NUMBER_BYTES) + CRC_BYTES,
        );
        out.put_u32(MAGIC);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.put_u32(u32::try_from(self.count()).expect("bounded by producers_max"));
        let last = |appended: &&Appended| appended.is_last(&self.by_id);
        for Appended {
            producer_id: id, ..
        } in self.appends.iter().filter(last)
        {
            let producer = &self.by_id[id];
            let lasting = producer.lasting(each_max);
            out.put_i64(id.0);
            out.put_i16(producer.last().epoch.0);
            out.put_u16(u16::try_from(lasting.len()).expect("at most 1,024"));
            for written in lasting {
                out.put_i32(written.number.0);
                out.put_i64(written.base_offset.0);
                out.put_i32(written.record_count);
                out.put_u32(written.crc);
            }
        }
        out.put_u32(crc_of(&out));
        out
    }

    /// Returns the state that `bytes` describe, all of which is durable; every producer counts as just used, and no floor
    /// was heard.
    ///
    /// # Errors
    /// When the bytes are not a whole, undamaged snapshot of this version.
    pub fn decode(
        bytes: &[u8],
        limits: RoutedLimits,
        now_ms: u64,
    ) -> Result<Self, InvalidSnapshot> {
        if bytes.len() < HEADER_BYTES + CRC_BYTES {
            return Err(invalid("it is too short"));
        }
        let (mut body, mut crc) = bytes.split_at(bytes.len() - CRC_BYTES);
        if crc.get_u32() != crc_of(body) {
            return Err(invalid("its checksum does not match"));
        }
        if body.get_u32() != MAGIC {
            return Err(invalid("it does not begin with the magic number"));
        }
        if body.get_u16() != VERSION || body.get_u16() != 0 {
            return Err(invalid("its version is not known"));
        }
        let count = body.get_u32();
        let mut producers = Self::new(limits);
        for _ in 0..count {
            producers.decode_producer(&mut body, now_ms)?;
        }
        if body.has_remaining() {
            return Err(invalid("bytes follow the last producer"));
        }
        let appends = producers.appends.make_contiguous();
        appends.sort_unstable_by_key(|appended| appended.base_offset);
        let is_twice = |pair: &[Appended]| pair[0].base_offset == pair[1].base_offset;
        if appends.windows(2).any(is_twice) {
            return Err(invalid("it names an offset twice"));
        }
        while producers.count() > limits.producers_max {
            producers.forget_first();
        }
        producers.durable_end = producers.end_offset;
        Ok(producers)
    }

    fn decode_producer(&mut self, body: &mut &[u8], now_ms: u64) -> Result<(), InvalidSnapshot> {
        if body.remaining() < PRODUCER_BYTES {
            return Err(invalid("it ends within a producer"));
        }
        let id = ProducerId(body.get_i64());
        let epoch = ProducerEpoch(body.get_i16());
        let count = usize::from(body.get_u16());
        if !is_routed(id) || epoch.0 < 0 {
            return Err(invalid("it names a producer that is not routed"));
        }
        if !(1..=numbers_max()).contains(&count) || body.remaining() < count * NUMBER_BYTES {
            return Err(invalid("it ends within a number"));
        }
        let mut written = VecDeque::with_capacity(count);
        for _ in 0..count {
            let next = decode_written(body, epoch);
            if !follows(written.back(), &next) {
                return Err(invalid("its numbers are not in order"));
            }
            written.push_back(next);
        }
        let producer = Producer {
            written,
            floor: Sequence::NONE,
        };
        let last = *producer.last();
        self.end_offset = self.end_offset.max(last.end_offset());
        self.appends.push_back(Appended {
            producer_id: id,
            base_offset: last.base_offset,
            at_ms: now_ms,
        });
        match self.by_id.insert(id, producer) {
            None => Ok(()),
            Some(_) => Err(invalid("it names a producer twice")),
        }
    }
}

fn numbers_max() -> usize {
    usize::try_from(NUMBERS_MAX).expect("it is positive")
}

fn decode_written(body: &mut &[u8], epoch: ProducerEpoch) -> Written {
    Written {
        epoch,
        number: Sequence(body.get_i32()),
        base_offset: Offset(body.get_i64()),
        record_count: body.get_i32(),
        crc: body.get_u32(),
    }
}

/// Tells whether a number can stand behind another, or first.
fn follows(before: Option<&Written>, written: &Written) -> bool {
    let (number, end) = before.map_or((Sequence::NONE, Offset(0)), |before| {
        (before.number, before.end_offset())
    });
    written.number > number
        && written.base_offset >= end
        && written.record_count > 0
        && i64::MAX - written.base_offset.0 >= i64::from(written.record_count)
}

fn crc_of(bytes: &[u8]) -> u32 {
    u32::try_from(checksum(CrcAlgorithm::Crc32Iscsi, bytes)).expect("a 32-bit checksum")
}
