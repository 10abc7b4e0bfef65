//! What a producer is given: a record that borrows everything, since `send` copies it straight into its batch.

use keylane_protocol::identifiers::PartitionIndex;

/// A record to send. It borrows topic, key, value and headers; making one allocates nothing unless it has headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ProducerRecord<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: Option<PartitionIndex>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

impl<'a> ProducerRecord<'a> {
    /// Returns a record for a topic, without key, value and headers.
    pub fn to(topic: &'a str) -> Self {
        Self {
            topic,
            ..Self::default()
        }
    }

    /// Sets the key: records of one key go to one partition and keep their order.
    pub fn key<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// Sets the value. A record without one is a tombstone in a compacted topic.
    pub fn value<V: AsRef<[u8]> + ?Sized>(mut self, value: &'a V) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// Adds a header; order is kept and a name may occur more than once.
    pub fn header<V: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a V) -> Self {
        self.headers.push((name, Some(value.as_ref())));
        self
    }

    /// Chooses the partition, whatever the key says.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(PartitionIndex(partition));
        self
    }

    /// Sets the time of the record, in milliseconds since 1970; without it the time of `send` is taken.
    pub fn timestamp(mut self, timestamp_ms: i64) -> Self {
        self.timestamp = Some(timestamp_ms);
        self
    }
}
