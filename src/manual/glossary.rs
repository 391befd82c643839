//! Glossary. The standards' words first, ours after them.
//!
//! | word | meaning |
//! |---|---|
//! | SRC | session recording client (RFC 7866): the border controller or exchange that sends us a copy of its calls |
//! | SRS | session recording server: Tapehead |
//! | recording session (RS) | the SIP dialog between SRC and SRS, with the media it sets up |
//! | communication session (CS) | the call that is being recorded; one recording session may carry several in turn |
//! | participant | someone taking part in a communication session (RFC 7865 section 6.5) |
//! | current state, history | what the metadata says now, and all it ever said: a record without an end is current |
//! | event | one change that the metadata told, with the time it came |
//! | extension data | what a vendor adds to the metadata; kept raw, listed, and named where its meaning is known |
//! | stand-in | a made-up participant that a client tells of until it knows the real one |
//! | media stream, label | an m-line, and the name by which metadata refers to it (RFC 4574) |
//! | dialog, transaction | as in RFC 3261 sections 12 and 17 |
//! | source, SSRC | who sends RTP, by the number it gave itself (RFC 3550 section 5.1) |
//! | extended sequence | the 16-bit sequence number with its wraps counted |
//! | recording | what we keep of one recording session: segments and a manifest |
//! | track | one media stream of a recording; one channel of its audio |
//! | timeline, position | samples at 8,000 Hz since the recording session started |
//! | anchor | the tie between an RTP timestamp of a source and a position |
//! | interval | a silent stretch of a track, with its cause |
//! | horizon | how long a missing packet is waited for before its place is sealed |
//! | ledger, fate | the counters of a track; the one counter a packet ends in |
//! | window | the stretch of the timeline that is not sealed yet |
//! | frame | the unit of sealing: 4,096 bytes, of which 16 are the tag |
//! | block | the unit of writing: two frames |
//! | block 0 | the clear first 4,096 bytes of a sealed file |
//! | segment | one sealed file of audio |
//! | manifest | the sealed JSON that describes a recording |
//! | sealed | encrypted and authenticated |
//! | durable | sealed, written, synced and renamed |
//! | data key, master key | the key of one recording; the key that wraps it |
//! | shard | a pinned thread with its own ring, ports and calls |
//! | ring | the boundary between a shard and the kernel: io_uring, poll, or simulated |
//! | control core | the thread that does signalling and decides once per call |
