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
//! source, the window and the frame, one found by way of the other. So the ring says whose datagrams come next, sixteen at a time
//! ([`crate::ring::Completion::Ahead`]), and the shard goes along those pointers for all sixteen at once, asking for the lines and waiting for none. Before,
//! [`crate::media::Track::receive`] alone took 7 % of the thread, waiting; now it takes 2 %, and the walk itself about 5 %.
//!
//! **Looking at calls.** Each call has an instant at which it is looked at next: when its next frame is due, as a rule four times a second, and at once
//! when something happens to it. The instants are one plain list that is run through every tick.
//!
//! **What did not help.** Waiting for more than 8 KiB before a write would save half of the fourth row; a crash would then cost more than a second of a
//! two-track call ([`crate::limits::LOSS_AT_CRASH_MAX`]), for a frame is sealed only when the horizon has passed. Silence is written like speech: a thousand
//! silent calls cost a few per cent of a core, nearly all of it these writes and their sealing.
