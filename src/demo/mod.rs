//! The demonstration's own parts: who calls, comparing what was recorded with what was sent, drawing it, saying it.
//!
//! Leaves out the recording client ([`crate::src_client`]) and the course of it all (`cli::demo`).

pub mod cast;
pub mod compare;
pub mod picture;
pub mod recorded;
pub mod report;
