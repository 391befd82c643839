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
//! - **A receive tier.** With CAP_BPF and CAP_NET_ADMIN each shard receives all its ports through one socket, for less
//!   ([`super::receive_tiers`] has the unit's lines). Without, a socket per port.
//! - **Open files.** Without that tier four sockets and a file per two-track call: `LimitNOFILE=1048576`.
//! - **Ports.** Put the RTP range into `net.ipv4.ip_local_reserved_ports`, or an outgoing connection may sit on one of them.
//! - **A file system with O_DIRECT** (ext4, XFS) for the recordings. Elsewhere writes go through the page cache.
//! - **Cores.** One per shard, pinned, and one for signalling. Keep network interrupts on the shards' cores and RPS off.
//!
//! `tapehead doctor` looks at all of this and says in one screen what lacks, what it costs and how to mend it (exit code 1 if anything does);
//! `--config FILE` has it look with the recorder's own ports, shards and folder.
//!
//! # Setting the machine up
//!
//! `tapehead tune` shows the list of settings (`tuning/settings.toml`) one by one, each with its reason, its cost and how we know. `--dry-run` says what
//! `--apply` would change. `--apply` sets it, as root, at once and for after a restart: sysctls in `/etc/sysctl.d/90-tapehead-*.conf`, the unit's limits and
//! capabilities in `/etc/systemd/system/tapehead.service.d/`, the firewall's table in `/etc/tapehead/notrack.nft`, and what the kernel forgets by
//! `tapehead-tune.service`, which applies the list again before the recorder starts. `--only ID` picks settings.
//!
//! What was there before is written down first, in `/var/lib/tapehead-tune/state.json`; `--undo` puts exactly that back, but for what somebody else has
//! changed since (`--force` for that, too) and for interrupts of an earlier boot, whose numbers mean others now. Nothing outside of the list is touched. In
//! containers much is read-only: it is named, the rest is done, and the exit code is 3.
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
//! Contact, Via and SDP have to give an address that clients reach. In this order: the peer's own `external_address`, with our own port; `;external=ADDRESS` (or `ADDRESS:PORT`) behind a listener in `sip.listen`;
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
//!
//! # Asking and telling a running recorder
//!
//! `tapehead ctl` talks to it through a Unix socket (`control.socket`; `control.sock` in the folder of the recordings) that takes the recorder's own
//! user and root alone. `--json` gives what a script wants.
//!
//! | command | what it does |
//! |---|---|
//! | `ctl status` | calls, how many more would be taken and what bounds them, shards, SIP, and every refusal so far: of calls, of requests, of connections and handshakes, of what metadata had too much of |
//! | `ctl calls`, `ctl call ID` | calls; one of them, by its number or its recording. Names and numbers only with `--show-parties` |
//! | `ctl dialogs` | SIP dialogs with their state and what is left of their session timers |
//! | `ctl pause ID`, `ctl resume ID` | keep no audio of this call for a while; `--all` of all, and of those to come. `--reason` goes into the manifest |
//! | `ctl drain`, `ctl undrain` | take no new calls, and take them again |
//! | `ctl stop` | end as on SIGTERM; `--now` without waiting for running calls |
//! | `ctl limits`, `ctl metrics` | what is configured to bound calls; every metric, in the text format of Prometheus |
//!
//! On the wire a request is a line of JSON, `{"command":"status"}`, and so is its answer, `{"ok":...}` or
//! `{"error":{"kind":"refused","why":...}}`. A node exporter's text collector takes `tapehead ctl metrics` from a timer.
//!
//! # What is refused, and how
//!
//! A call that can't be recorded is not accepted. What is refused for want of capacity gets 503 with Retry-After, never 486 or 6xx, so that
//! the client asks another recorder; it is answered before anything is kept of it, and counted by reason. The bounds:
//!
//! - `calls_max`, and `calls_max` of a peer;
//! - ports and call slots of the shards (`rtp.ports`). A port pair rests two seconds after its call (`ports_rest`); a shard that finds other processes on
//!   its ports is left alone as long (`ports_held`);
//! - `calls_per_second_max`: a second's worth at once, then one at a time;
//! - `shard_busy_max_percent`: shards tell once a second how much of their core they use; calls go to the least busy one, those of the last
//!   second are reckoned with at what a call costs on average, and a shard that was too busy takes calls again 5 points below the bound;
//! - blocks: a shard with less than a twentieth of its pool free has a disk that does not keep up;
//! - `recordings.free_mb_min`, and 10,000 recordings that wait to be finalised;
//! - the key provider: it has a second for each key, and one that hangs holds up nobody else. After three failures in a row it is left alone for two
//!   seconds; then one call at a time finds out whether it is back.
//!
//! OPTIONS outside of a call says the same: 503 while no call at all would be taken, 200 otherwise. The rate and the bounds of single peers do
//! not count there: a recorder that is only approached too fast, or by one client too often, is not out of order.
//!
//! # Draining
//!
//! SIGTERM and SIGINT drain and stop: new calls and OPTIONS get 503, running calls go on for `drain_seconds`, then they are closed and get BYE. The second
//! signal ends the waiting. `ctl drain` does the same without ending the process, for as long as `--seconds` says, and `ctl undrain` takes it
//! back; with `--then-stop` it can't be taken back.
//!
//! # Peers
//!
//! What is particular to one client stands in a table of its own, found by the address that SIP comes from; the smallest network that holds it counts.
//!
//! ```text
//!   [sip]
//!   allow = ["10.0.0.0/8"]                 # others are not answered at all; peers need no naming here
//!
//!   [peers.sbc-east]
//!   networks = ["10.1.0.0/24"]
//!   calls_max = 400
//!   rate_per_second = 50                   # INVITE, OPTIONS and so on outside of calls
//!   codecs = ["PCMA"]
//!   reinvite = true                        # it may be asked to pause and resume
//!   digest_user = "sbc-east"
//!   digest_secret_file = "/etc/tapehead/sbc-east.secret"
//! ```
//!
//! Each can be set by a variable, too: `TAPEHEAD_PEERS_SBC_EAST_CALLS_MAX`. Passwords stand in files alone, in the first line, readable for their
//! owner only.
//!
//! # Metrics
//!
//! | name | kind | meaning |
//! |---|---|---|
//! | `tapehead_build_info` | gauge | 1; its labels say which version this is, of which commit. |
//! | `tapehead_shard_info` | gauge | 1; its labels say on which ring each shard runs and under which receive tier. |
//! | `tapehead_uptime_seconds` | gauge | Time since the recorder began. |
//! | `tapehead_stage` | gauge | 1 for the stage it is in: open, draining, drained or stopping. |
//! | `tapehead_calls` | gauge | Calls that are not yet over. |
//! | `tapehead_calls_taken_total` | counter | Calls taken, whether they came to be answered or not. |
//! | `tapehead_calls_paused` | gauge | Calls whose recording is paused. |
//! | `tapehead_capacity_calls` | gauge | Calls of two tracks that would still be taken, by the bound that is reached first. |
//! | `tapehead_refusals_total` | counter | Calls, and changes to calls, refused, by reason. |
//! | `tapehead_sip_dialogs` | gauge | SIP dialogs. |
//! | `tapehead_sip_transactions` | gauge | SIP transactions, those of both directions. |
//! | `tapehead_sip_connections` | gauge | SIP connections over TCP and TLS. |
//! | `tapehead_sip_events_total` | counter | What SIP counts, by what it was. |
//! | `tapehead_sip_socket_events_total` | counter | What the SIP sockets count, by what it was. |
//! | `tapehead_metadata_cuts_total` | counter | Limits that bodies and metadata have met, by which; what was beyond is only in the raw revision. |
//! | `tapehead_packets_received_total` | counter | Datagrams received on media ports. |
//! | `tapehead_packets_total` | counter | The same by what became of them; the sum is that of all received. |
//! | `tapehead_packets_lost_total` | counter | Sequence numbers that never came. |
//! | `tapehead_packets_kernel_drops_total` | counter | Datagrams that the kernel dropped for want of room. |
//! | `tapehead_packets_stray_total` | counter | Datagrams on ports that belong to no call (any more). |
//! | `tapehead_packets_unreadable_total` | counter | Packets to media ports that are no datagrams, where we read them and not the kernel (receive tier packet), by reason. |
//! | `tapehead_anchors_total` | counter | Times that a track's timeline was anchored anew. |
//! | `tapehead_shard_calls` | gauge | Calls on each shard, as it told last. |
//! | `tapehead_shard_busy_ratio` | gauge | Share of its core that each shard uses. |
//! | `tapehead_shard_cpu_seconds_total` | counter | Processor time that each shard has used, as it told last. |
//! | `tapehead_shard_tick_seconds_max` | gauge | Longest time between two ticks of each shard in its last second. |
//! | `tapehead_shard_blocks` | gauge | Blocks of each shard's pool. |
//! | `tapehead_shard_blocks_free` | gauge | Those of them that are free. |
//! | `tapehead_shard_receives_ended_total` | counter | Receives that ended for want of buffers. |
//! | `tapehead_shard_receives_rearmed_total` | counter | Receives that ended for other reasons. |
//! | `tapehead_shard_completion_overflows_total` | counter | Overflows of the ring's completion queue. |
//! | `tapehead_shard_send_failures_total` | counter | RTCP receiver reports that could not be sent. |
//! | `tapehead_written_bytes_total` | counter | Bytes written to recordings. |
//! | `tapehead_write_errors_total` | counter | Writes that failed and were tried again. |
//! | `tapehead_write_seconds` | histogram | How long the shards' writes took, from the tick that submits one to the tick that sees its end: 20 ms are a disk that keeps up. |
//! | `tapehead_control_busy_ratio` | gauge | Share of its core that signalling uses. |
//! | `tapehead_control_cpu_seconds_total` | counter | Processor time that signalling has used. |
//! | `process_cpu_seconds_total` | counter | Processor time that the whole process has used, background work included. |
//! | `process_resident_memory_bytes` | gauge | Memory of the process that is resident. |
//! | `tapehead_jobs_pending` | gauge | Manifests and recordings that wait for the background pool. |
//! | `tapehead_disk_free_bytes` | gauge | Room on the file system of the recordings. |
