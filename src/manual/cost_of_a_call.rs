//! Cost of a call: where each microsecond of the control thread goes between INVITE and the last manifest.
//!
//! ```text
//!   cargo bench --bench calls -- --only udp        the real binary, and how long the control thread needs per call
//!   cargo bench --bench control                    the same decisions without sockets and threads, step by step
//!   valgrind --tool=callgrind target/release/deps/control-* --smoke        the same in instructions, which no other work on the machine changes
//! ```
//!
//! The shares below are of a call without media, INVITE with a body of 2 KB, 200, ACK, BYE and 200 over UDP at 1,000 calls per second, taken with `perf`
//! from the control thread of the first bench:
//!
//! | share | what | how it is kept small |
//! |---|---|---|
//! | 19 % | metadata: its XML, the model with its history, whose client it is | read once for each document, names compared in place |
//! | 17 % | SIP: the three requests read, transactions, dialogs, timers, the three responses written | a head has its room at once; what a response repeats is shared |
//! | 16 % | sending them: on loopback the kernel does the receiver's work, too | |
//! | 11 % | admission, books and manifest | an INVITE's bodies are taken apart once; the books are moved into the last manifest, not copied |
//! | 9 % | waiting for datagrams and receiving them | what has come is read before anything is waited for |
//! | 8 % | waking others: the shard for Open and Close, the pool for the manifest | a shard that is awake is not woken, nor twice |
//! | 8 % | the session description: the offer read, the answer agreed and written | |
//! | 5 % | tokio: tasks, the queue between socket and core | |
//! | 3 % | two lines of the log | |
//! | 1 % | keys and other randomness | entropy comes in stocks ([`crate::sys::OsEntropy`]) |
//! | 3 % | the rest: clocks, queues, looking whether calls may come | |
//!
//! Across all of these, asking for memory and giving it back is 22 %.
//!
//! **One manifest for a short call.** The manifest of a call is first written 200 ms after it began ([`crate::limits::CHECKPOINT_FIRST`]). A shard closes a
//! call for longer than that, because it waits for late packets, so each short call had two manifests at once. Now the first waits for the second
//! ([`crate::limits::CHECKPOINT_CLOSING`]).
//!
//! **What did not help.** Another allocator (mimalloc): what one thread makes and another frees is dearer with glibc, but after the books were moved instead of
//! copied there is too little of it.
//!
//! **What is left.** A 100 goes out with each INVITE, though a 200 follows within milliseconds: RFC 3261 section 17.2.1 would let it wait for 200 ms. Half
//! of what metadata costs is its XML, and most of the other half short strings.
