//! Receive tiers: the ways in which media gets from the kernel to a shard, what each needs, and what it costs.
//!
//! | tier | how | needs | rules of the host that apply |
//! |---|---|---|---|
//! | `sockets` | a UDP socket per port, received by the ring ([`crate::ring::uring`]) | nothing | all |
//! | `steered` | one UDP socket per shard; a BPF program leads the shard's whole slice of ports to it ([`crate::ring::steered`]) | CAP_BPF, CAP_NET_ADMIN, Linux 5.9 | all: firewall, connection tracking, reassembly of fragments |
//!
//! All wake by time, every 20 ms ([`crate::limits::TICK`]), and pass the same script ([`crate::ring`]). A tier lies over either ring: `io_uring+steered` in
//! the log is io_uring for files and `steered` for datagrams. On `steered` opening a call's ports is a write to a table and takes no
//! descriptor; on `sockets` it is four sockets per call of two tracks.
//!
//! # Which one it is
//!
//! `receive = "auto"` takes the best that can be had when the recorder starts: it is opened, and is only taken if a datagram to
//! ourselves comes through. The log says which it is (`receive tier tier=steered`) and why not a better one:
//!
//! ```text
//!   INFO a better receive tier can't be had better=steered why=CAP_BPF CAP_NET_ADMIN missing: start as root or grant them (systemd: ...
//!   INFO receive tier tier=sockets
//! ```
//!
//! `receive = "steered"` or `"sockets"` takes that one; if it can't be had, `serve` does not start (exit code 2) and says what to do. What is told apart:
//! missing capabilities, a seccomp filter (containers), a user namespace (rootless containers), a security module or lockdown, a kernel without
//! bpf(2), one that is too old, ports that another recorder has.
//!
//! A shard's one socket is of one family. With `rtp.bind = "0.0.0.0"` and IPv6 addresses in `sip.listen` media are received at whichever address a
//! client has called, and so by `sockets`: for a better tier set `rtp.bind` to the one address of media.
//!
//! # Privileges
//!
//! As root nothing is to be done. As another user, with systemd:
//!
//! ```text
//!   [Service]
//!   User=tapehead
//!   AmbientCapabilities=CAP_BPF CAP_NET_ADMIN
//!   CapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN
//!   LimitMEMLOCK=infinity
//!   LimitNOFILE=1048576
//! ```
//!
//! Add CAP_NET_BIND_SERVICE to both lines if SIP listens below port 1024. Kernels before 5.8 have no CAP_BPF and want CAP_SYS_ADMIN.
//!
//! Once sockets and programs are open no privilege is needed, so every thread gives them up ([`crate::sys::capability::give_up`]), whatever the tier: CAP_BPF,
//! CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN and all others leave the effective, permitted, inheritable and ambient sets, and, where
//! CAP_SETPCAP allows it, the bounding set, from where exec could bring them back. What stays, if it was there, is what a running recorder may
//! come to need: the ownership and override of files (CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID: root goes on reading and writing recordings
//! and keys of other users), NET_BIND_SERVICE, IPC_LOCK (locked memory), SYS_NICE and SYS_RESOURCE. The user ID does not change.
//!
//! # Rules of `steered`
//!
//! - The program is attached to the network namespace by a link. Nothing is pinned: when the process ends, by SIGKILL too, the kernel takes it off.
//!   `bpftool net`, `bpftool link` show it as `tapehead_rtp`.
//! - It claims UDP to `rtp.bind` and `rtp.ports` and nothing else: SIP, TCP, other addresses and other ports find their sockets as if it were not
//!   there, and so do connected sockets on those ports. With `rtp.bind = "::"` it takes IPv4 as well, unless `net.ipv6.bindv6only` is set.
//! - Within the range the recorder hears everything. A datagram to a port without a call is counted (`tapehead_packets_stray_total`) and dropped
//!   without an ICMP answer. A datagram that came before its port was opened is one of these: a call gets nothing of the last call on its
//!   ports, which besides rest for two seconds ([`crate::limits::PORT_REST`]).
//! - Ports that somebody else holds when the recorder starts stay unused until they are free; the log counts them. A program that binds one
//!   later hears nothing on it: put the range into `net.ipv4.ip_local_reserved_ports`.
//! - Two recorders may run beside each other with ranges that have no port in common. Where they overlap, the second notices and does not take the tier:
//!   the first holds the first port of each shard's slice, and what the second sends to its own ports does not come.
//! - Each socket has room for 32 MiB of datagrams ([`crate::limits::STEERED_SOCKET_BYTES`], beyond `net.core.rmem_max`): twice that as the kernel counts, 0.4 s
//!   at 200,000 packets per second. `net.ipv4.udp_mem` bounds all sockets together. What is dropped for want of room can't be told by call: it is in
//!   `tapehead_packets_kernel_drops_total` and in the ledger of no track.
//! - Receiver reports go out through a socket that is bound to their port for as long as one datagram takes.
//! - recvmmsg(2) takes 64 datagrams at a time into memory that stays in the core's caches. io_uring's multishot receive into a ring of buffers was tried for
//!   the one socket: 910 to 1,040 ns per datagram against 1,020 to 1,120 (150,000 packets/s, busy machine): a tenth less, for a second layout of buffers that
//!   the `poll` ring can't have.
//!
//! # What it costs
//!
//! `cargo bench --bench receive`, CPU time of the receiving thread per packet at 100,000 packets/s over 2,000 streams; medians of three interleaved rounds on two
//! cores that were busy with other work, so the ratios count:
//!
//! | | `sockets` | `steered` | ratio |
//! |---|---|---|---|
//! | receive and throw away | 1,790 ns | 1,030 ns | 0.58 |
//! | a whole shard: placed, sealed, written | 3,110 ns | 2,360 ns | 0.76 |
//!
//! What the shard adds is the same for both: the less that is, the nearer the lower ratio comes to the upper one. In the kernel's part of `steered`
//! no single thing stands out (perf, of the thread's time): the copy of the payload, which another core wrote, 5 %; freeing it 3; three control
//! messages and the address 5; locks 3; looking the socket up costs the sender's side, not the shard.
