//! The simulated world: network, disk, clock, SIPREC clients, checkers, planted bugs.
//!
//! Everything follows from a seed: `tapehead vopr SEED` runs what a test ran. Leaves out real time, threads and
//! the operating system.

pub mod disk;
pub mod fault;
pub mod log;
pub mod machine;
pub mod net;
