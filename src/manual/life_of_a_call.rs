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
//!    │ re-INVITE ───────▶ ── Update ────────────────────▶ hold, resume, codecs, ports; new streams: ports bound, next segment
//!    │                    ◀──────────────────── Updated ──
//!    │ ◀─────────── 200   at once, or after Updated if streams are new
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
//! (INVITE, re-INVITE, UPDATE, BYE) is kept with its time in the manifest. What they come to is a history: groups, communication
//! sessions, participants, streams and who sends which, each with the time it was first told and, once it has ended, the time of
//! that. While metadata change, the manifest is written every five seconds at most: so much of them may a crash cost. A complete document replaces what is current and never what was. Tracks name their speakers with the time; caller and
//! callee are told with the evidence for it. See [`crate::siprec::History`], and [`super::interop`] for what clients make of all this.
//!
//! **The answer** repeats the offer's m-lines in order, with their labels, `recvonly` or `inactive` computed anew from each
//! offer (RFC 3264 section 6.1), and every offered codec that can be stored: the client may switch among them without asking. A peer's `codecs`
//! setting narrows and orders that list, unless the peer offers none of them. What is not audio, came in no codec that can be stored, or is one
//! stream too many gets port 0, and a note in the manifest. `inactive` is answered to a client's hold alone; an active stream is never
//! answered `inactive`.
//!
//! **Late offers.** An INVITE without an offer gets ours in the 200: `recvonly` audio in every codec that can be stored, one line per stream of its
//! metadata, under its label; without metadata one line if the client forks one leg of a call at a time (CUCM), else two: a line too many the
//! client declines, a stream too few would be lost. The answer comes in the ACK. If it does not, or can't be used, what comes is recorded as it
//! comes, and the manifest says so. A re-INVITE without an offer gets the session as it is, `recvonly` even where the client holds, for
//! otherwise such a client could never resume.
//!
//! **One call in place of another.** An INVITE with `Replaces` (RFC 3891) is a call of its own; when it is answered 200, the one that it names gets our BYE. One that
//! names none of ours is recorded all the same, where the RFC asks for 481: a client that takes over from one that died must not lose the call.
//!
//! **Streams that come and go.** A track is an m-line. A later offer finds its tracks by position, unless labels say that lines have changed
//! places; a new label in an old place is the same stream under another name. A line that ends (port 0), is missing, or
//! comes in a codec that can't be stored is held; back in its place or under its label, it goes on as the same track. A new line is the next track, as the
//! next channel of the next segment: its ports are bound before it is answered, and if there are none it alone gets port 0. Once there are as many
//! channels as there may be, a new line goes on in that of one that has ended. Tracks are never taken away, so that channels keep their meaning, and a track
//! keeps the labels it had, with times: each speaker is told for the time of his. An answer gives an address of the family that the media asks for; where
//! the recorder has none of it, the line gets port 0, and a call of such lines alone 488. An offer that can't be read, or has nothing to store, is answered 400 or
//! 488, and the call goes on as before (RFC 3261 section 14.2).
//!
//! **Holds and pauses.** A client holds by `inactive`, `recvonly`, a null address or port 0: intervals of cause `hold`. What arrives on a held
//! stream is recorded all the same. A pause is the recorder's own, by command, for one recording or for all of them, those to
//! come included: from then on audio is thrown away before it reaches anything that is sealed, and either silence stands for it or nothing does
//! (`recordings.pause`). The manifest says who asked, why, and when, and has the stretches as intervals of cause `pause`. A pause of one and a pause of
//! all are lifted each by its own command. A peer with `reinvite` set is also asked to stop sending (RFC 7866 section 7.2); others are left in peace,
//! for some clients end the call over it.
//!
//! **Nothing reaps a call** while its dialog lives. Silence, hold for hours, a source that never starts: all of it is recorded as
//! what it is.
//!
//! **Segments.** A recording is one or more sealed files. The next one begins when the way samples are stored has to change (a track
//! switches between µ-law and A-law), a stream is added, a pause cuts, or a file reaches its size. The manifest lists them, and their positions join without a gap.
//!
//! **The end.** After BYE packets already on their way are waited for (one horizon). Then the final frame is written and synced, then frame 0
//! with the WAV header, then block 0, then the file loses its `.part`. The background pool hashes each file, writes the
//! manifest, sealed like the audio, and moves the recording from `active/` to the folder of its day.
