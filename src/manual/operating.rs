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
//! # Transports
//!
//! `sip.listen` names as many listeners as you like, each `udp:`, `tcp:` or `tls:` with an address and a port, IPv4 or IPv6 (`udp:[::]:5060` takes
//! IPv6 alone). Datagrams of up to 64 KB are taken, and over streams bodies of `sip.body_kb_max`; a longer one is answered 413 and the
//! connection goes on. A connection may be silent for ever, as long as its peer answers TCP's own keep-alives; CRLF CRLF gets its CRLF
//! (RFC 5626). There may be 4,096 of them; then those that never carried a message go first, after them the one idle longest.
//! All together hold at most 256 MiB of messages that are not complete or not yet taken. `tapehead ctl status` counts what was refused, under `sockets`.
//!
//! Answers go back over the connection, or to the address, that the request came from. If the connection is gone, a new one is made to the port in the
//! client's Via; our own requests (a BYE) go to its Record-Route or Contact. An answer to an ordinary offer has less than 1,300 bytes.
//!
//! # TLS
//!
//! ```toml
//! [sip]
//! listen = ["tls:0.0.0.0:5061"]
//! [tls]
//! certificate = "/etc/tapehead/fullchain.pem"     # ours first, then what leads to its root
//! key = "/etc/tapehead/key.pem"                   # mode 0600 or 0640; a warning if everybody can read it
//! client_certificates = "required"                # or "optional", or "none"
//! client_ca = "/etc/tapehead/clients-ca.pem"      # who signs those of clients
//! server_names = ["sbc.example.com"]              # of clients that we connect to
//! ```
//!
//! - **Versions**: TLS 1.2 and 1.3. A self-signed authority can't be used as our certificate: make an authority and a certificate.
//! - **Client certificates**: with `"optional"` a client without one is served, one with a bad one is not.
//! - **Renewal**: write the new files over the old. They are looked at every 3 seconds, and at once on SIGHUP. Connections that are up keep what they have; files that
//!   can't be used (a key that does not belong to its certificate, for the moment between two writes) change nothing, and the log says so.
//! - **Connections of ours**: when a client's connection is gone, we connect to its Contact. The certificate that it shows has to be signed by
//!   `server_ca` (or `client_ca`, if that is empty), and has to bear the address that we connect to or one of `server_names`. Nobody to trust: no connection,
//!   never one in the clear; the log and `connections_not_made` tell.
//! - **Handshakes** run on a thread of their own, have 5 seconds, and when 256 are under way the oldest makes room: who stalls keeps nobody out.
//!
//! # Behind a NAT
//!
//! Contact, Via and SDP have to give an address that clients reach. In this order: `;external=ADDRESS` (or `ADDRESS:PORT`) behind a listener in `sip.listen`;
//! `sip.external_address` for all listeners of its family; what a STUN server says, if `nat.stun_server` is set; the local address that the client reached.
//! The STUN server is asked at start (if it does not answer, the recorder starts and says so at level error) and every `nat.stun_seconds`. A new address is told
//! to new calls, logged, and counted as `external_address_changes`. The NAT has to forward SIP and RTP ports one to one.
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
