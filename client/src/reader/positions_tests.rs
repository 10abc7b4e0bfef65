//! Tests of what to fetch next.
