//! The rules of a classic group, each in a sentence; `model` tries them against everything that may happen.

mod bugs;
mod fixture;
mod joining;
mod judge;
mod leaving;
mod life;
mod model;
mod recovering;
mod statics;
mod syncing;
mod voting;
mod world;
