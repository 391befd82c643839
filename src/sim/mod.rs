//! The simulated world: SIPREC clients, a control core, crashes, checkers, planted bugs, over the machine of [`crate::ring::sim`].
//!
//! Everything follows from a seed: `tapehead vopr SEED` runs what a test ran. Leaves out real time, threads and
//! the operating system.

pub mod message;
pub mod peer;
