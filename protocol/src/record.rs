//! One record of a batch.
