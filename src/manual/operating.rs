//! Operating: installing, configuring, watching, recovering.
//!
//! # Starting
//!
//! `tapehead serve` runs in the foreground and logs to standard error; give it to a supervisor. `tapehead serve --print-config` prints
//! every setting with its default and what it does; put what differs into a TOML file (`--config FILE`) or into environment
//! variables (`rtp.ports` is `TAPEHEAD_RTP_PORTS`). All of it is checked before the first socket or file is opened; an unknown key is
//! an error that names the nearest known one, exit code 2.
//!
//! # What the machine should give
//!
//! - **io_uring.** Linux 6.1 or later. Where it is refused (seccomp in containers, `kernel.io_uring_disabled`) the `poll` ring takes over with a
//!   warning and costs about half as much CPU again per packet; `ring = "io_uring"` makes that an error instead.
//! - **Locked memory.** Ring memory and registered blocks (34 KiB per call) count against RLIMIT_MEMLOCK. Where the limit is smaller, 8 MiB for
//!   an ordinary user, blocks are written without being registered, with a warning that names both figures: set
//!   `LimitMEMLOCK=infinity` in the unit.
//! - **Open files.** Four sockets and a file per two-track call: `LimitNOFILE=1048576`.
//! - **Ports.** Put the RTP range into `net.ipv4.ip_local_reserved_ports`, or an outgoing connection may sit on one of them.
//! - **A file system with O_DIRECT** (ext4, XFS) for the recordings. Elsewhere writes go through the page cache.
//! - **Cores.** One per shard, pinned, and one for signalling. Keep network interrupts on the shards' cores and RPS off.
//!
//! # Keys
//!
//! The master key (`keys.master_file`) wraps the data key of each recording. It is created with mode 0600 on first start. **Without it no recording
//! can be opened**: keep a copy, and keep it away from the recordings. If it can't be read, or others may read it,
//! `serve` does not start and says why.
//!
//! # Looking at recordings
//!
//! ```text
//!   recordings/2026/11/21/<recording>/manifest.tape     who, when, which packets, which hashes
//!   recordings/2026/11/21/<recording>/0001.tape         audio; head -c 4096 shows what it is
//!   recordings/active/<recording>/                      running, or left by a crash
//! ```
//!
//! - `tapehead verify PATH...`: names, sizes and block 0 without a key; with it every frame, hash and number. Exit code 1 if anything is wrong, named by file and frame.
//! - `tapehead export FILE -o out.wav`: opens one, given as its folder, manifest or segment. Exit code 3 if part of it was damaged: what was good is there.
//! - `tapehead keys export FILE`: a Tink keyset for this one recording; any Tink library opens the rest of the file from byte 4,096 on with it.
//! - `tapehead recover`: what a start does anyway, for a folder whose recorder is gone.
//!
//! Exit codes are the same for every command: [`crate::cli::exit`].
