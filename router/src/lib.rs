//! A stateless router: any Kafka client dials it and sees one cluster at one address.
//!
//! ```text
//! request ─▶ plan/<api> ─▶ parts for brokers ─▶ (links) ─▶ merge/<api> ─▶ answer
//!               ▲                                              ▲
//!            routing: who leads, since when nobody does     deadline, holding: how long to wait
//! ```
//! The public modules but [`config`] decide and never act: what clients are told of addresses is in [`advertise`], what
//! becomes of a request in [`plan`] and [`merge`], which keys are hot in [`skew`]; [`producing`], [`routed`], [`fetching`] and [`asking`] belong to one
//! client connection. The shell around them: [`Router`], `control` (metadata), `link` (brokers), `session` (clients).

pub mod advertise;
pub mod asking;
pub mod config;
pub mod deadline;
pub mod fetching;
pub mod holding;
pub mod limits;
pub mod lookups;
pub mod merge;
pub mod plan;
pub mod producing;
pub mod routed;
pub mod routing;
pub mod skew;

mod budget;
mod control;
mod link;
mod mailbox;
mod meters;
mod probe;
mod router;
mod runtime;
mod server;
mod session;
mod threads;
mod watching;

#[cfg(test)]
mod testing;

pub use probe::{Probe, TopicSkew};
pub use router::{Router, Serving, StartError};
