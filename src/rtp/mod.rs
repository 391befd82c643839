//! RTP and RTCP without I/O (RFC 3550, 3551, 5761): header, sequence numbers, reception statistics, control packets.
//!
//! What a packet means for the recording is decided in [`crate::media`]; payloads stay opaque here. SRTP is undone before
//! ([`crate::srtp`]).

mod packet;
mod reception;
pub mod rtcp;
mod sequence;

pub use packet::{HEADER_BYTES, Header, Malformed, Packet, write};
pub use reception::{Reception, ReportBlock};
pub use sequence::{MAX_DROPOUT, SEQUENCE_WINDOW, Seen, Sequence};
