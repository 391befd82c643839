//! The simulated world: SIPREC clients, a control core, crashes, checkers, planted bugs, over the machine of [`crate::ring::sim`].
//!
//! Everything follows from a seed: `tapehead vopr SEED` runs what a test ran. Leaves out real time, threads and
//! the operating system.

mod aftermath;
pub mod call;
pub mod check;
mod control;
pub mod message;
pub mod peer;
pub mod reading;
pub mod store;
pub mod timeline;
pub mod witness;
pub mod world;

pub use world::{Outcome, run};

#[cfg(test)]
mod tests;
