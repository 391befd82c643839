//! Sizing: what so many calls need, and how far to believe it.
//!
//! ```text
//!   tapehead plan --calls 10000 --minutes 5 --codec pcmu --tracks 2 --retention 90d
//!   tapehead plan --calls 10000 --measured report.json --tier packet --html plan.html
//! ```
//!
//! # What a figure rests on
//!
//! Each figure bears one of three words, and of several the weakest counts:
//!
//! - **exact**: it follows from the sealed format, the protocols and `limits.rs`. A five-minute call of two tracks is 4,800,000 samples' bytes in frames
//!   of 4,080, so 1,177 frames of 4,096 bytes, block 0, frame 0 and a final tag: 4,829,200 bytes.
//! - **measured**: a coefficient comes from the report given with `--measured`, the JSON of a load run on the machine in question. Its member
//!   `coefficients` is [`crate::sizing::Coefficients`]; what is absent there is assumed.
//! - **assumed**: neither. The figure says from where. CPU per packet is then the README's, taken on a shared machine of two cores, which errs on the dear side.
//!
//! # How it is reckoned
//!
//! - **Packets**: streams times 1000 / ptime, and an RTCP report each way every 5 s. On the wire a packet of 20 ms has 238 bytes (Ethernet with preamble
//!   and gap, IPv4).
//! - **Cores**: packets times CPU per packet, planned 70 % busy, rounded up to whole shards. Interrupts and the pool share cores; control has one, and beyond
//!   that one recorder is not enough.
//! - **Ports**: a pair per stream, and those that rest for 2 s after each call. An address has 32,256 pairs from 1024 on.
//! - **Writes**: a block of four frames, or fewer, because a crash may cost at most a second: two tracks are written two frames at a time. Each segment is
//!   read once more for its hash.
//! - **Storage**: calls of a day times the bytes of one call and its manifest. Without `--calls-per-day` the busiest hour, with all calls at once throughout,
//!   has 12 % of the day's calls.
//! - **Requests**: a PUT per object and a GET that proves it; upload is not part of this version, so these are assumed.
//! - **Money**: amounts times prices, from `tuning/prices.toml` or `--prices FILE`. They are list prices of the date beside them: check yours.
//!
//! # What it leaves out
//!
//! The loss of a machine (plan one more), TLS and SRTP (an SRTP packet costs 150 to 620 ns more), several sites, people who listen, and whatever the
//! file system writes for itself.
