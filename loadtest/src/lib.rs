//! A load generator and verifier for SIPREC recorders: thousands of recorded calls, every sample of them checked.
//!
//! What a stream sends follows from a seed, the call's number and the track's number alone, so a recording can be checked sample by
//! sample without anything of what was sent being kept.
//!
//! ```text
//!   plan ─▶ run ─┬─▶ client ── SIP ──▶ recorder          seed ─▶ profile ─▶ schedule, signal ─▶ send::stream
//!                ├─▶ send ─── RTP ───▶   │
//!                └─▶ run.jsonl, plan.toml, result.json ─▶ verify, report
//! ```
//!
//! - what is done: [`plan`] (from [`args`]), [`sweep`]; [`ramp`] says when calls begin and how long they last
//! - what is sent, pure functions of the seed: [`profile`], [`schedule`], [`signal`]
//! - who does it: [`run`], [`client`] and [`offer`] for SIP, [`send`] for RTP, [`figures`] asks the recorder, [`sys`] the kernel
//! - what comes of it: [`tally`], [`record`], [`show`], [`report`] from [`readings`] by [`plot`]; [`verify`] holds every sample recorded against what was sent
//! - commands: [`cli`], [`command`] (run), [`climb`] (plan), [`report`], [`verify`]

pub mod args;
pub mod cli;
pub mod client;
pub mod climb;
pub mod command;
pub mod figures;
pub mod offer;
pub mod plan;
pub mod plot;
pub mod profile;
pub mod ramp;
pub mod readings;
pub mod record;
pub mod report;
pub mod run;
pub mod schedule;
pub mod send;
pub mod show;
pub mod signal;
pub mod sweep;
pub mod sys;
pub mod tally;
pub mod verify;
