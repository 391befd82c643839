//! Cost of a packet: where each nanosecond of the shard's thread goes, on the tier `sockets`.
//!
//! ```text
//!   cargo bench --no-run --bench plane && benches/profile.py "shard, sockets" 1
//! ```
//!
//! runs the shard under 50,000 packets/s over 1,000 streams (load 0 is 200,000 over 4,000), profiles its thread while it is measured, and sorts the samples
//! into the groups below. The machine on which these were taken was busy with other work and its nanoseconds are too many: read the shares.
//!
//! | share | what | how it is kept small |
//! |---|---|---|
//! | 55 % | the kernel's receive: out of the socket's queue, payload, address and stamps copied into a buffer | few buffers, used over and over, so that they stay in the cache ([`crate::limits::RECEIVE_STOCK_MIN`]) |
//! | 14 % | the kernel's work per packet before and after: the socket is readable, run what was queued for it, post the completion | run once per tick, in batches ([`crate::ring`]) |
//! | 11 % | the shard: whose packet it is, its counters, looking at calls | fetched ahead, see below; a call is looked at when something of it is due |
//! | 8 % | writing, in the kernel: ext4 and the block layer, 8 KiB at a time | past the page cache, into space allocated beforehand, from registered memory |
//! | 4 % | the track: order, place, statistics, gaps | fetched ahead |
//! | 3 % | filling with silence, coverage, the one copy | vectors |
//! | 2 % | sealing | AES in vectors (aws-lc-rs) |
//! | 3 % | the ring on our side, sleeping, other system calls | |
//!
//! **What the kernel's share is made of.** A bare loop that receives and throws away pays the first two rows without source address, arrival time and drop
//! counter, which cost it a seventh more. The shard needs them: to know whom it listens to, where audio belongs, and what was lost.
//!
//! **Fetching ahead.** With thousands of streams nothing that a packet touches is in the first cache: some thirty lines of the call, the track, the
//! source, the window and the frame, one found by way of the other. So the ring, on every tier, says whose datagrams come next, up to 64
//! at a time ([`crate::ring::Completion::Ahead`]), and the shard goes along those pointers for all of them at once, asking for the lines and waiting once per
//! step. Before, [`crate::media::Track::receive`] alone took 7 % of the thread, waiting; now it takes 2 %, and the walk itself about 5 %. The calls that a tick
//! looks at are fetched in the same way. Of 2,000 calls on a ring that does nothing else (`benches/place` has 200) a packet took 382 ns in groups of sixteen
//! without large pages under the block pool, 347 with them and with the calls that are due fetched, 318 in groups of 32, 302 in groups of 64 (medians of six
//! interleaved rounds, busy machine).
//!
//! **The tier `packet`.** Receiving costs about 40 ns there; of the rest, at 200,000 packets/s over 4,000 streams, four fifths were the shard's own code, nearly
//! all of it waiting for memory, and one sixth writing: 8 to 12 µs per write of 8 KiB, of which a third is ext4 splitting the extents that were allocated
//! beforehand and finding where they are, a sixth the file's time stamps, another sixth waiting for room in the device's queue.
//!
//! **Looking at calls.** Each call has an instant at which it is looked at next: when its next frame is due, as a rule four times a second, and at once
//! when something happens to it. The instants are one plain list that is run through every tick.
//!
//! **What did not help.** Laying out call, track, leg and source so that what a packet touches lies together, and fetching only that: 25 lines instead of 42,
//! and no gain that could be told from the noise (305 ns against 302, same rounds).
//!
//! Waiting for more than 8 KiB before a write would save half of the fourth row; a crash would then cost more than a second of a
//! two-track call ([`crate::limits::LOSS_AT_CRASH_MAX`]), for a frame is sealed only when the horizon has passed.
//!
//! **Silence.** A frame for which nothing came is only counted; so many ([`crate::limits::SILENCE_FRAMES`]) are sealed and written together, in 128 KiB.
//! Of what is left for silent calls a third is AES, a third the kernel's part of the writes, and the rest wakes, looks and reports.
