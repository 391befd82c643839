//! A load generator and verifier for SIPREC recorders: thousands of recorded calls, every sample of them checked.
//!
//! What a stream sends follows from a seed, the call's number and the track's number alone, so a recording can be checked sample by
//! sample without anything of what was sent being kept.

pub mod args;
pub mod cli;
pub mod client;
pub mod command;
pub mod figures;
pub mod offer;
pub mod plan;
pub mod profile;
pub mod ramp;
pub mod record;
pub mod run;
pub mod schedule;
pub mod send;
pub mod show;
pub mod signal;
pub mod sys;
pub mod tally;
pub mod verify;
