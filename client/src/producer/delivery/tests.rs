//! Tests of the delivery core.
