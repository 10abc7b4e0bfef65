//! Kafka's error codes and whether a client may try again.
