//! Compression codecs of record batches, each with a cap on what it may produce.
