//! Life of a call: from the first INVITE to a recording that is complete, verified by its own hashes.
//!
//! ```text
//!   SRC                control core                       shard                  background
//!    │ INVITE ──────────▶ 100 at once
//!    │                    admit ▸ place ▸ key wrapped
//!    │                    ── Open ──────────────────────▶ ports bound, file made
//!    │                    ◀───────────────────── Opened ──
//!    │ ◀─────────── 200   answer: same m-lines, labels, recvonly
//!    │ ACK ─────────────▶
//!    │ RTP ═════════════════════════════════════════════▶ placed, sealed, written
//!    │ re-INVITE ───────▶ ── Update ────────────────────▶ hold, resume, codecs
//!    │ BYE ─────────────▶ 200
//!    │                    ── Close ─────────────────────▶ horizon, last frame, sync, rename
//!    │                    ◀── SegmentClosed, Closed ─────
//!    │                    ── finalise ───────────────────────────────────────▶ hashes, manifest, folder of the day
//! ```
//!
//! **What can't be recorded is not accepted.** The order in front of the 200 is: is there room for another call, is there room on the
//! disk; which shard; are there ports; can the data key be wrapped; can the file be made. Whatever fails first is answered
//! 503 with Retry-After, at once, so that the client can try the next recorder (RFC 7866 section 6.1.2 leaves the choice to it). 488 if
//! nothing in the offer can be stored.
//!
//! **Metadata never decides.** A missing, broken or strange document is flagged and kept raw; the call is recorded. Every revision
//! (INVITE, re-INVITE, UPDATE, BYE) is kept with its time in the manifest. See [`crate::siprec`].
//!
//! **The answer** repeats the offer's m-lines in order, with their labels, `recvonly` or `inactive` computed anew from each
//! offer (RFC 3264 section 6.1), and every offered codec that can be stored: the client may switch among them without asking.
//!
//! **Nothing reaps a call** while its dialog lives. Silence, hold for hours, a source that never starts: all of it is recorded as
//! what it is.
//!
//! **Segments.** A recording is one or more sealed files. The next one begins when the way samples are stored has to change (a track
//! switches between µ-law and A-law) or a file reaches its size. The manifest lists them, and their positions join without a gap.
//!
//! **The end.** After BYE packets already on their way are waited for (one horizon). Then the final frame is written and synced, then frame 0
//! with the WAV header, then block 0, then the file loses its `.part`. The background pool hashes each file, writes the
//! manifest, sealed like the audio, and moves the recording from `active/` to the folder of its day.
