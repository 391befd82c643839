//! Life of a packet: 20 ms of somebody's voice, from the wire to a sealed block on disk.
//!
//! ```text
//!   kernel ──▶ receive buffer ──▶ track ──▶ window ──▶ sealed frame ──▶ block ──▶ disk
//!             (ring)             (media)   (one copy)  (seal)           (ring, O_DIRECT)
//!      every 20 ms: one tick of the shard does all of this for all its calls
//!      in between: a turn for commands and for calls that are being opened, no more often than every half millisecond
//! ```
//!
//! 1. **It arrives.** Each track has a UDP socket of its own, so the local port says whose packet it is. The ring ([`crate::ring`]) has a multishot receive
//!    armed on each socket. The kernel puts the datagram into one of the shard's buffers; nobody is woken. With privileges there are better ways in:
//!    [`super::receive_tiers`].
//! 2. **The tick.** Every 20 ms ([`crate::limits::TICK`]) the shard drains its ring. It sleeps beside it, where packets do not wake it and
//!    the control core can: a command finds an awake shard, or wakes it ([`crate::link::Sleeper`]). Batching by time is what makes receiving cheap:
//!    waking for each packet costs about four times as much. The packet's arrival time comes with it.
//! 3. **Is it RTP?** On a secured track it first has to be authentic, and is decrypted ([`super::media_encryption`]). Then
//!    [`crate::rtp::Packet::parse`] makes the checks of RFC 3550 appendix A.1. What fails is counted as malformed. RTCP on the
//!    same port is told apart by its type (RFC 5761 section 4) and read for its sender reports.
//! 4. **Is it from whom we listen to?** The address in the session description is a hint that is always right; clients send from others all the
//!    same. So the source is learned, locked after a few packets, learned anew after a re-INVITE, and left when it has fallen silent and another
//!    talks: [`crate::media::SourceLock`]. A source that moves without a word is heard again within 300 ms at 20 ms a packet. Everybody else is
//!    counted as `wrong_source`, however much they send. On a secured track whoever has the key is the source.
//! 5. **Is it new?** The sequence number is extended past its wrap; a number seen before is a duplicate. A payload type that was not
//!    agreed is counted, comfort noise and telephone events are recognised and are not audio.
//! 6. **Where does it belong?** [`crate::media::Track`] turns the RTP timestamp into a position, in samples since the start of the
//!    recording session. A source is anchored where its first packet arrives; its timestamps carry it on from there, whatever
//!    the order of arrival. A new source, a jump, or a clock that has drifted gets a new anchor, which the manifest lists.
//!    So does one that stays behind: where a sender stalls and goes on as if nothing had been, or the way becomes longer for good, a horizon's worth of
//!    audio (40 ms at least) comes too late, as `late`, and what comes then lies where it arrives; the rest of the gap is `drift`. A burst moves
//!    nothing, and neither does who is late once. Behind a hold in which the timestamps stood still nothing is lost: the gap is `hold`.
//! 7. **Is it to be recorded?** What arrives in a pause is thrown away here, before the copy, and counted as `paused`, wherever it belongs:
//!    once a pause is confirmed nothing that comes is heard, were the source ever so far behind. So is what was said in it and comes after it. What
//!    had come when the pause began stays. A pause in silence leaves silence; a cut ends the segment
//!    once the horizon has passed, and the next one begins at the resume (a cut shorter than the horizon is silence). Either way the stretch is an
//!    interval with the cause `pause`.
//! 8. **One copy.** The payload is copied, interleaved with the other tracks as channels, to the very place from which it will be
//!    sealed and written. That place was filled with silence beforehand, so a packet that never comes leaves silence. G.711 stays
//!    G.711: nothing is decoded. The receive buffer goes back to the kernel.
//! 9. **Sealed.** When a frame is older than the horizon (200 ms by default) nothing may change it any more: it is encrypted and
//!    authenticated in place. What was not covered by then becomes an interval with a cause: [`crate::media::Cause`]. A packet that
//!    comes after this is counted as late.
//! 10. **Written.** Two frames make a block of 8 KiB. It goes out as one write past the page cache; a block that would
//!     leave a sample unwritten for too long goes out early ([`crate::limits::LOSS_AT_CRASH_MAX`]). Frames for which nothing came have no
//!     block: they are owed to the file until they are many or audio comes behind them ([`crate::limits::SILENCE_FRAMES`]), which then waits
//!     until they are written.
//!
//! Tracks may be added while a call runs: their ports are bound as at its opening, then what is unsealed moves along into a segment with a channel for
//! each. In segments from before they are silent, also when the recording is exported as one file.
//!
//! Every packet ends in exactly one [`crate::media::Fate`], and the sum of them equals the packets received: the ledger adds up, per
//! track, in every manifest. Nothing on this path allocates, locks, or asks for the time.
