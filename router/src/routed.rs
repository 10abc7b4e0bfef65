//! What a router remembers of routed producers: nothing but the sessions of each client connection.
//!
//! Which partition each record belongs to follows from the batch alone (`keylane_protocol::routed`), and whether it was
//! written before is known by the partition's leader. In between, [`sessions`] sees to it that the numbers of a producer
//! come without a hole, and tells leaders which number touched the partition before.

pub mod sessions;
