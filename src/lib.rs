//! Tapehead, a SIPREC call recorder (RFC 7866, 7865): the library behind the binary.
//!
//! Start at [`manual`] for how it works. The layers, dependencies pointing down only
//! (enforced by `tidy.rs`):
//!
//! - commands: `cli`, [`demo`]
//! - drivers, which touch sockets, files, clocks and threads: [`ring`], [`shard`], [`link`],
//!   [`sys`], `sip_net`, [`admin`], [`keys`], [`store`], [`src_client`], [`tune`], [`doctor`]
//! - cores, pure functions of their input: [`rtp`], [`sdp`], [`sip`], [`siprec`], [`media`],
//!   [`seal`], [`recording`], [`control`], [`stun`], [`sizing`]
//! - base: [`limits`], [`config`], [`base`]
//! - [`sim`], a simulated world for the cores and the shard

pub mod admin;
pub mod base;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod doctor;
pub mod keys;
pub mod limits;
pub mod link;
pub mod manual;
pub mod media;
pub mod recorder;
pub mod recording;
pub mod ring;
pub mod rtp;
pub mod sdp;
pub mod seal;
pub mod shard;
pub mod sim;
pub mod sip;
pub mod sip_net;
pub mod siprec;
pub mod sizing;
pub mod src_client;
pub mod srtp;
pub mod store;
pub mod stun;
pub mod sys;
#[cfg(test)]
mod tidy;
pub mod tune;
