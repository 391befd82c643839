//! A load generator and verifier for SIPREC recorders: thousands of recorded calls, every sample of them checked.
//!
//! What a stream sends follows from a seed, the call's number and the track's number alone, so a recording can be checked sample by
//! sample without anything of what was sent being kept.

pub mod cli;
pub mod profile;
pub mod record;
pub mod schedule;
pub mod signal;
pub mod verify;
