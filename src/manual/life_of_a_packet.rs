//! Life of a packet: 20 ms of somebody's voice, from the wire to a sealed block on disk.
//!
//! ```text
//!   kernel ──▶ receive buffer ──▶ track ──▶ window ──▶ sealed frame ──▶ block ──▶ disk
//!             (ring)             (media)   (one copy)  (seal)           (ring, O_DIRECT)
//!      every 20 ms: one tick of the shard does all of this for all its calls
//! ```
//!
//! 1. **It arrives.** Each track has a UDP socket of its own, so the local port says whose packet it is; who sent it does not
//!    matter, for clients put wrong addresses into their session descriptions. The ring ([`crate::ring`]) has a multishot receive
//!    armed on each socket. The kernel puts the datagram into one of the shard's buffers; nobody is woken.
//! 2. **The tick.** Every 20 ms ([`crate::limits::TICK`]) the shard drains its ring. Batching by time is what makes receiving cheap:
//!    waking for each packet costs about four times as much. The packet's arrival time comes with it.
//! 3. **Is it RTP?** [`crate::rtp::Packet::parse`] makes the checks of RFC 3550 appendix A.1. What fails is counted as malformed. RTCP on the
//!    same port is told apart by its type (RFC 5761 section 4) and read for its sender reports.
//! 4. **Is it new?** The sequence number is extended past its wrap; a number seen before is a duplicate. A payload type that was not
//!    agreed is counted, comfort noise and telephone events are recognised and are not audio.
//! 5. **Where does it belong?** [`crate::media::Track`] turns the RTP timestamp into a position, in samples since the start of the
//!    recording session. A source is anchored where its first packet arrives; its timestamps carry it on from there, whatever
//!    the order of arrival. A new source, a jump, or a clock that has drifted gets a new anchor, which the manifest lists.
//! 6. **One copy.** The payload is copied, interleaved with the other tracks as channels, to the very place from which it will be
//!    sealed and written. That place was filled with silence beforehand, so a packet that never comes leaves silence. G.711 stays
//!    G.711: nothing is decoded. The receive buffer goes back to the kernel.
//! 7. **Sealed.** When a frame is older than the horizon (200 ms by default) nothing may change it any more: it is encrypted and
//!    authenticated in place. What was not covered by then becomes an interval with a cause: [`crate::media::Cause`]. A packet that
//!    comes after this is counted as late.
//! 8. **Written.** Four frames make a block of 16 KiB. It goes out as one write past the page cache; a block that would
//!    leave a sample unwritten for too long goes out early ([`crate::limits::LOSS_AT_CRASH_MAX`]).
//!
//! Every packet ends in exactly one [`crate::media::Fate`], and the sum of them equals the packets received: the ledger adds up, per
//! track, in every manifest. Nothing on this path allocates, locks, or asks for the time.
