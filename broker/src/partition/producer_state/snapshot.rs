//! The bytes of a producer-state snapshot. A cache: whoever finds it damaged reads the log instead.
//!
//! ```text
//! u32 magic "KLPS"   u16 version 1   u16 zero   u32 producers
//! producers × { i64 id   i16 epoch   u16 batches (1–5)
//!               batches × { i32 base sequence   i32 last sequence   i64 base offset   i64 end offset } }
//! u32 CRC-32C of everything before it                       big-endian; producers in the order of their last append
//! ```

use bytes::{Buf, BufMut};
use crc_fast::{CrcAlgorithm, checksum};

use super::{
    AHashMap, BATCHES_REMEMBERED, BTreeMap, Offset, Producer, ProducerEpoch, ProducerId,
    ProducerLimits, Producers, RememberedBatch, Sequence, VecDeque,
};

const MAGIC: u32 = u32::from_be_bytes(*b"KLPS");
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 12;
const PRODUCER_BYTES: usize = 12;
const BATCH_BYTES: usize = 24;
const CRC_BYTES: usize = 4;

/// A snapshot is damaged, or of another version; the log itself holds everything it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the producer snapshot cannot be used: {reason}")]
pub struct InvalidSnapshot {
    /// What is wrong with it.
    pub reason: &'static str,
}

fn invalid(reason: &'static str) -> InvalidSnapshot {
    InvalidSnapshot { reason }
}

impl Producers {
    /// Returns the state as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(
            HEADER_BYTES + self.count() * (PRODUCER_BYTES + BATCH_BYTES) + CRC_BYTES,
        );
        out.put_u32(MAGIC);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.put_u32(u32::try_from(self.count()).expect("bounded by producers_max"));
        for id in self.by_last_append.values() {
            let producer = &self.by_id[id];
            out.put_i64(id.0);
            out.put_i16(producer.epoch.0);
            out.put_u16(u16::try_from(producer.batches.len()).expect("at most five"));
            for batch in &producer.batches {
                out.put_i32(batch.base_sequence.0);
                out.put_i32(batch.last_sequence.0);
                out.put_i64(batch.base_offset.0);
                out.put_i64(batch.end_offset.0);
            }
        }
        out.put_u32(crc_of(&out));
        out
    }

    /// Returns the state that `bytes` describe; every producer counts as just used.
    ///
    /// # Errors
    /// When the bytes are not a whole, undamaged snapshot of this version.
    pub fn decode(
        bytes: &[u8],
        limits: ProducerLimits,
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
        let mut producers = Self {
            limits,
            by_id: AHashMap::new(),
            by_last_append: BTreeMap::new(),
        };
        for _ in 0..count {
            producers.decode_producer(&mut body, now_ms)?;
        }
        if body.has_remaining() {
            return Err(invalid("bytes follow the last producer"));
        }
        while producers.count() > limits.producers_max {
            producers.forget_oldest();
        }
        Ok(producers)
    }

    fn decode_producer(&mut self, body: &mut &[u8], now_ms: u64) -> Result<(), InvalidSnapshot> {
        if body.remaining() < PRODUCER_BYTES {
            return Err(invalid("it ends within a producer"));
        }
        let id = ProducerId(body.get_i64());
        let epoch = ProducerEpoch(body.get_i16());
        let count = usize::from(body.get_u16());
        if count == 0 || count > BATCHES_REMEMBERED || body.remaining() < count * BATCH_BYTES {
            return Err(invalid("it ends within a batch"));
        }
        let batches: VecDeque<RememberedBatch> = (0..count)
            .map(|_| RememberedBatch {
                base_sequence: Sequence(body.get_i32()),
                last_sequence: Sequence(body.get_i32()),
                base_offset: Offset(body.get_i64()),
                end_offset: Offset(body.get_i64()),
            })
            .collect();
        let producer = Producer {
            epoch,
            batches,
            used_ms: now_ms,
        };
        let last_append = producer.last().base_offset;
        let is_new = self.by_last_append.insert(last_append, id).is_none()
            && self.by_id.insert(id, producer).is_none();
        if is_new {
            Ok(())
        } else {
            Err(invalid("it names a producer or an offset twice"))
        }
    }
}

fn crc_of(bytes: &[u8]) -> u32 {
    u32::try_from(checksum(CrcAlgorithm::Crc32Iscsi, bytes)).expect("a 32-bit checksum")
}
