//! The group of batches that arrived together: checked, stamped in place, written by one vectored write, synced once.

use std::io::{self, IoSlice};
use std::ops::Range;

use keylane_protocol::offset::{LeaderEpoch, Offset};
use keylane_protocol::record_batch::{HEADER_BYTES, RecordBatchHeader, checksum, stamp};

use super::connection::Connection;
use super::partitions::{Partitions, StoredBatch};
use super::store::Store;

/// A batch of the group.
#[derive(Debug)]
pub(super) struct GroupBatch {
    pub(super) connection: usize,
    /// Where the batch lies in the connection's input.
    pub(super) range: Range<usize>,
    /// Where its topic's name lies.
    pub(super) topic: Range<usize>,
    pub(super) partition: i32,
    pub(super) base_offset: i64,
    pub(super) records: i64,
}

/// The batches that are about to be written.
#[derive(Debug, Default)]
pub(super) struct Group {
    batches: Vec<GroupBatch>,
}

impl Group {
    pub(super) fn push(&mut self, batch: GroupBatch) {
        self.batches.push(batch);
    }

    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    pub(super) fn clear(&mut self) {
        self.batches.clear();
    }

    /// Gives up the batches of a connection, whose bytes are gone.
    pub(super) fn forget(&mut self, connection: usize) {
        self.batches.retain(|batch| batch.connection != connection);
    }

    pub(super) fn bytes(&self) -> u64 {
        let lengths = self.batches.iter().map(|batch| batch.range.len() as u64);
        lengths.sum()
    }

    /// Writes the group and remembers where its batches lie.
    pub(super) fn write(
        &self,
        store: &mut Store,
        connections: &mut [Option<Connection>],
        partitions: &mut Partitions,
        partition_count: i32,
    ) -> io::Result<()> {
        if self.batches.is_empty() {
            return Ok(());
        }
        for batch in &self.batches {
            if let Some(connection) = &mut connections[batch.connection] {
                let bytes = &mut connection.input[batch.range.clone()];
                stamp(bytes, Offset(batch.base_offset), LeaderEpoch(0));
            }
        }
        let place = store.place(self.bytes())?;
        let mut position = place;
        let mut slices = Vec::with_capacity(self.batches.len());
        for batch in &self.batches {
            let Some(connection) = &connections[batch.connection] else {
                continue;
            };
            slices.push(IoSlice::new(&connection.input[batch.range.clone()]));
            let topic = &connection.input[batch.topic.clone()];
            if let Some(partition) = partitions.get(topic, batch.partition, partition_count) {
                partition.remember(StoredBatch {
                    base_offset: batch.base_offset,
                    end_offset: batch.base_offset + batch.records,
                    position,
                    length: batch.range.len(),
                });
            }
            position += batch.range.len() as u64;
        }
        store.write(place, &mut slices)
    }
}

/// Returns the number of records of a batch whose header and checksum are right; a sink does not look at the bytes.
pub(super) fn sound(records: &[u8], is_checked: bool) -> Option<i64> {
    let header = RecordBatchHeader::read(records).ok()?;
    let is_whole = header.size_bytes() == records.len() && records.len() >= HEADER_BYTES;
    let is_sound = is_whole && (!is_checked || checksum(records) == header.crc);
    is_sound.then_some(i64::from(header.record_count.max(0)))
}
