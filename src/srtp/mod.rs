//! SRTP and SRTCP (RFC 3711, 6188, 7714) without I/O: what comes in is authenticated and decrypted before anything looks at it, our
//! receiver reports go out as SRTCP.
//!
//! The transform is ours, over the primitives of aws-lc-rs, because it runs per packet: the crate webrtc-srtp (0.17) allocates for each, keeps
//! state for every SSRC that a stranger cares to invent, knows no MKI, and brings sixty crates along. The second implementation in tests and the
//! baseline of the bench is libsrtp2, which the field runs on.
//!
//! Keys come from the session description (`sdp`, RFC 4568). Leaves out DTLS-SRTP, key derivation rates and the F8 mode.

mod index;
mod keys;
mod receive;
mod send;
mod session;
mod suite;
mod transform;

pub use keys::Keys;
pub use send::Sender;
pub use session::{Failure, Session};
pub use suite::Suite;

/// What secures one track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// For both directions.
    pub suite: Suite,
    /// What the peer protects its packets with: one master key, or several told apart by their identifiers, all of one length.
    pub peer: Vec<Keys>,
    /// What we protect our reports with.
    pub ours: Keys,
    /// SRTP is only authenticated (RFC 4568 section 6.3.2).
    pub clear_rtp: bool,
    /// SRTCP is only authenticated.
    pub clear_rtcp: bool,
}
