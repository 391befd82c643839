//! Receive tiers: the ways in which media gets from the kernel to a shard, what each needs, and what it costs.
//!
//! | tier | how | needs | rules of the host that apply |
//! |---|---|---|---|
//! | `sockets` | a UDP socket per port, received by the ring ([`crate::ring::uring`]) | nothing | all |
//! | `steered` | one UDP socket per shard; a BPF program leads the shard's whole slice of ports to it ([`crate::ring::steered`]) | CAP_BPF, CAP_NET_ADMIN, Linux 5.9 | all: firewall, connection tracking, reassembly of fragments |
//! | `packet` | a tap per shard, its packets read in place; a BPF program drops them before UDP sees them ([`crate::ring::packet`]) | CAP_NET_RAW, CAP_BPF, CAP_NET_ADMIN, Linux 6.6, one address | none |
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
//! `packet` is never taken without being asked for, because firewall rules do not apply to it.
//!
//! `receive = "packet"`, `"steered"` or `"sockets"` takes that one; if it can't be had, `serve` does not start (exit code 2) and says what to do. What is told apart:
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
//!   AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE CAP_SYS_NICE CAP_IPC_LOCK
//!   CapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE CAP_SYS_NICE CAP_IPC_LOCK
//!   LimitMEMLOCK=infinity
//!   LimitNOFILE=1048576
//! ```
//!
//! This is what `tapehead tune --apply` sets (`tuning/capabilities.conf`). `steered` needs the first two and `packet` the third as well; the others are for
//! SIP below port 1024, for priorities and for locked memory. Kernels before 5.8 have no CAP_BPF and want CAP_SYS_ADMIN.
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
//!
//! # Rules of `packet`
//!
//! ```text
//!   interface ─┬─▶ tap ─▶ ring of blocks (memory shared with the kernel) ─▶ read in place, once per tick
//!              └─▶ tcx ingress ─ what the tap took ─▶ dropped, counted
//!                              └ everything else ───▶ IP stack, as ever
//! ```
//!
//! One tap (AF_PACKET, TPACKET_V3) per shard and interface. The kernel copies each packet for an open port into a block of 256 KiB, and hands a
//! block over when it is full or 10 ms old ([`crate::limits::PACKET_BLOCK_AGE_MAX`]); the shard reads it where it lies and gives it back. A
//! program at the interface's ingress drops the same packets, so that UDP does not look for a socket and answer that there is none. Both ask
//! one array which ports are open, and both are written from one description (`ring::packet::program`): what is dropped is what was taken.
//! Opening a port is a write to that array. With several shards the taps of an interface form a group in which each packet goes to its
//! port's shard.
//!
//! Needed: CAP_NET_RAW for the taps, CAP_BPF and CAP_NET_ADMIN for the programs, Linux 6.6 for tcx. All of it hangs on descriptors: when the
//! recorder ends, by SIGKILL too, the machine's traffic takes its old way within the time that the kernel takes to clean up.
//!
//! What is different from a socket:
//!
//! - **Firewall rules do not apply** to media: a tap comes before netfilter. The recorder checks the source of each packet as always.
//! - **Fragments are not put together.** A packet to an open port that came in fragments is counted once, as
//!   `tapehead_packets_unreadable_total{reason="fragment"}`, and left to the stack, which finds no socket for it. Media of 10 to 60 ms a packet
//!   are never fragmented on a path with an MTU above 600 bytes; if yours is below, use another tier. An IPv6 packet that is all of its
//!   fragments (RFC 6946) is whole.
//! - **We check what the stack would check**: lengths, the IPv4 header checksum, the UDP checksum unless the network card has done so or the
//!   packet never left the machine. What fails is counted under `checksum` or `malformed`. Extension headers of IPv6 are walked to the fourth
//!   ([`crate::limits::IPV6_EXTENSIONS_MAX`]); unknown options in them are not looked at.
//! - **The address decides the interface.** `rtp.bind` has to name one address. Packets for it are taken where it lives (and on the loopback, for
//!   senders on the same machine); a service address that lives on the loopback only does not say where that is, and is refused. Only interfaces with Ethernet
//!   headers can be tapped. On a VLAN that is its sub-interface (`eth0.100`); tag 0, which is only a priority, is taken on the interface
//!   itself, other tags are not. Offloads that join several datagrams into one frame (UDP GSO between namespaces of one machine) give frames
//!   that are too long, which are counted as truncated.
//! - **A full ring** drops packets, and the programs drop them from the stack as well: they are counted as kernel drops, ours, in the shard's
//!   ledger, for nobody can say whose they were. The ring holds half a second of 50 packets per second on every port pair
//!   ([`crate::limits::PACKET_STALL`]), at least 32 MiB.
//! - A port of the range that another process holds when the recorder starts is never opened while that lasts. One that somebody binds
//!   later gets nothing while a call of ours is on it: reserve the range (`net.ipv4.ip_local_reserved_ports`). Recorders on one machine
//!   need ranges that do not overlap: each holds the first port of each shard, so that the second one with the same range is refused.
//! - Other tcx programs and `tc` filters at the ingress see everything but what was taken: ours stands first and passes the rest on.
