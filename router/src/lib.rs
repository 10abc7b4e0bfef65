//! A stateless router: any Kafka client dials it and sees one cluster at one address.
//!
//! ```text
//! request ─▶ plan/<api> ─▶ parts for brokers ─▶ (links) ─▶ merge/<api> ─▶ answer
//!               ▲                                              ▲
//!            routing: who leads, since when nobody does     deadline, holding: how long to wait
//! ```
//! Everything here decides and nothing acts: no I/O, no clock, no randomness; times come in as parameters. What clients
//! are told of addresses is in [`advertise`]; what a request becomes is in [`plan`], one file per API, and its answers
//! are joined in [`merge`]. [`producing`], [`fetching`] and [`asking`] carry what outlives one event: each belongs to one
//! client connection and dies with it. Besides, a router has only caches: [`routing`] and [`lookups`].

pub mod advertise;
pub mod asking;
pub mod deadline;
pub mod fetching;
pub mod holding;
pub mod limits;
pub mod lookups;
pub mod merge;
pub mod plan;
pub mod producing;
pub mod routing;

#[cfg(test)]
mod testing;
