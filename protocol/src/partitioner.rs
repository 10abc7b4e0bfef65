//! From key to partition, the way Kafka's Java client does it.
