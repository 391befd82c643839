//! The manual, as rustdoc.
//!
//! - [`life_of_a_packet`]: from the wire to the sealed frame
//! - [`cost_of_a_packet`]: where each nanosecond of it goes
//! - [`life_of_a_call`]: from INVITE to a recording that is complete
//! - [`cost_of_a_call`]: where each microsecond of the control thread goes
//! - [`sealed_format`]: what a recording is, byte by byte, for whoever has to open one without us
//! - [`interop`]: what recording clients really send, where it is taken care of, and what proves it
//! - [`media_encryption`]: SRTP, from the session description to the packet
//! - [`receive_tiers`]: how media gets from the kernel to a shard, and what each way needs
//! - [`failure_model`]: what may break, what it costs, and where it is written down
//! - [`operating`]: installing, configuring, watching, recovering
//! - [`sizing`]: what so many calls need, and how far to believe it
//! - [`proving`]: what `./check` proves, and how to add to it
//! - [`glossary`]: the words

pub mod cost_of_a_call;
pub mod cost_of_a_packet;
pub mod failure_model;
pub mod glossary;
pub mod interop;
pub mod life_of_a_call;
pub mod life_of_a_packet;
pub mod media_encryption;
pub mod operating;
pub mod proving;
pub mod receive_tiers;
pub mod sealed_format;
pub mod sizing;
