//! The demonstration's own parts: comparing what was recorded with what was sent, and drawing it.
//!
//! Functions of their input alone. Leaves out the calls ([`crate::src_client`]) and the course of it all (`cli::demo`).

pub mod compare;
pub mod picture;
