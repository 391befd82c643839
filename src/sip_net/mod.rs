//! SIP transports on the control core: UDP, TCP and TLS.
//!
//! Bytes in, messages out, and bytes back: what they mean is [`crate::sip`]'s. Every socket is read by a task of its own;
//! what they read meets in one bounded queue, so that the control core has one thing to wait for:
//!
//! ```no_run
//! # use tapehead::sip::{Action, Endpoint};
//! # use tapehead::sip_net::Transports;
//! # async fn run(mut transports: Transports, mut endpoint: Endpoint, now: fn() -> tapehead::base::Mono) {
//! loop {
//!     tokio::select! {
//!         inbound = transports.receive() => endpoint.receive(now(), inbound.peer, inbound.message),
//!         // ... the endpoint's deadline, events of the shards, signals
//!     }
//!     while let Some(action) = endpoint.poll(now()) {
//!         match action {
//!             Action::Send { to, fallback, bytes } => transports.send(to, fallback, bytes),
//!             Action::Event(event) => { /* ... */ }
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! No peer can hold up another: a datagram that the kernel does not take at once is dropped (SIP sends it again), and a stream
//! whose peer does not read is closed once its queue is full. TLS runs on a thread of its own, so that handshakes take no time from
//! the control core; what all streams hold is bounded together. Left out: WebSocket, DNS.

mod budget;
mod connections;
mod handshakes;
mod offload;
mod stream;
mod tcp;
mod tls;
mod udp;

pub use tls::{Tls, TlsError};

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use budget::{Budget, Count, Held, Said};
use connections::{Connections, Opened};
use handshakes::Handshakes;
use offload::Offload;

use crate::config::Listen;
use crate::limits::{SIP_BODY_BYTES_MAX, SIP_CONNECTIONS_MAX, SIP_INBOUND_MAX, SIP_STREAM_BYTES_MAX};
use crate::sip::{Allowed, Malformed, Message, Peer, Transport};

/// One message as it came, or what is wrong with it.
#[derive(Debug)]
pub struct Inbound {
    /// Who sent it, and through which link.
    pub peer: Peer,
    /// The message.
    pub message: Result<Message, Malformed>,
}

/// What socket tasks tell.
enum Arrival {
    Message(Box<Inbound>, Held),
    Opened(Opened),
    Closed(u64),
}

/// What all socket tasks share.
struct Shared {
    arrived: mpsc::Sender<Arrival>,
    budget: Budget,
    counted: Counted,
    body_bytes_max: usize,
    allowed: Allowed,
}

/// What they count.
#[derive(Default)]
struct Counted {
    bodies_refused: Count,
    not_accepted: Count,
    not_allowed: Count,
    unfinished: Count,
    out_of_memory: Count,
    handshakes_displaced: Count,
    handshakes: handshakes::Failures,
    undeliverable: Count,
    handshake_said: Said,
    undeliverable_said: Said,
}

/// What sockets are opened with, besides where.
#[derive(Clone)]
pub struct Options {
    /// There if anything listens for TLS.
    pub tls: Option<Arc<Tls>>,
    /// Longest body of a message on a stream.
    pub body_bytes_max: usize,
    /// Whose connections are accepted.
    pub allowed: Allowed,
    /// Connections held at once.
    pub connections_max: usize,
    /// Bytes that all of them may hold together, beyond what each has to itself.
    pub stream_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            tls: None,
            body_bytes_max: SIP_BODY_BYTES_MAX,
            allowed: Allowed::default(),
            connections_max: SIP_CONNECTIONS_MAX,
            stream_bytes_max: SIP_STREAM_BYTES_MAX,
        }
    }
}

crate::counters! {
    /// What went wrong without anybody being told.
    pub struct Counters {
        /// Datagrams that the kernel did not take.
        pub datagrams_dropped: u64,
        /// Connections that could not be accepted, for want of descriptors or memory.
        pub connections_not_accepted: u64,
        /// Connections closed at once because their address is not allowed.
        pub connections_not_allowed: u64,
        /// Connections closed to make room for a newer one.
        pub connections_evicted: u64,
        /// Connections closed because their peer did not read.
        pub connections_stalled: u64,
        /// Connections closed because a message begun on them was not complete in time.
        pub connections_unfinished: u64,
        /// Connections that could not be made for a message of ours.
        pub connections_not_made: u64,
        /// Connections closed because all of them together held too much.
        pub connections_out_of_memory: u64,
        /// Messages answered 413: their body was too long.
        pub bodies_refused: u64,
        /// TLS handshakes that took too long.
        pub tls_handshakes_slow: u64,
        /// TLS handshakes that their peer left: the connection was closed or reset.
        pub tls_handshakes_left: u64,
        /// TLS handshakes ended to make room for a newer one.
        pub tls_handshakes_displaced: u64,
        /// TLS handshakes in which the peer's certificate was missing, expired, of another name or of nobody we trust.
        pub tls_certificates_refused: u64,
        /// TLS handshakes that the peer ended with an alert: it refuses our certificate, for one.
        pub tls_refused_by_peer: u64,
        /// TLS handshakes without a version, cipher or extension that both know.
        pub tls_incompatible: u64,
        /// TLS handshakes of what is no TLS, or breaks its rules.
        pub tls_malformed: u64,
    }
}

/// All SIP sockets. Dropping it closes them.
pub struct Transports {
    arrivals: mpsc::Receiver<Arrival>,
    shared: Arc<Shared>,
    tls: Option<(Arc<Tls>, Offload)>,
    udp: HashMap<u64, udp::Link>,
    /// What is bound, ports filled in: a listener's number is its place.
    listeners: Vec<(Transport, SocketAddr)>,
    connections: Connections,
    tasks: Vec<JoinHandle<()>>,
    counters: Counters,
    next_link: u64,
}

/// Links of connections that we accept are numbered by their listeners' tasks, each in a range of its own.
const LINKS_PER_LISTENER: u64 = 1 << 48;

impl Transports {
    /// Opens a socket for each listening point, which get their numbers in this order. Call inside of a tokio runtime.
    pub fn bind(listen: &[Listen], options: Options) -> io::Result<Transports> {
        let (arrived, arrivals) = mpsc::channel(SIP_INBOUND_MAX);
        let shared = Shared {
            arrived,
            budget: Budget::new(options.stream_bytes_max),
            counted: Counted::default(),
            body_bytes_max: options.body_bytes_max,
            allowed: options.allowed,
        };
        let tls = match options.tls {
            None => None,
            Some(tls) => Some((tls, Offload::start("sip-tls")?)),
        };
        let mut transports = Transports {
            arrivals,
            shared: Arc::new(shared),
            tls,
            udp: HashMap::new(),
            listeners: Vec::new(),
            connections: Connections::new(options.connections_max),
            tasks: Vec::new(),
            counters: Counters::default(),
            next_link: 0,
        };
        listen.iter().try_for_each(|point| transports.listen(point))?;
        Ok(transports)
    }

    fn listen(&mut self, point: &Listen) -> io::Result<()> {
        let number = self.listeners.len() as u16;
        let (local, task) = match point.transport {
            Transport::Udp => {
                let link = self.new_link();
                let (socket, task) = udp::listen(point.address, link, number, self.shared.clone())?;
                let local = socket.local;
                self.udp.insert(link, socket);
                (local, task)
            }
            Transport::Tcp | Transport::Tls => self.listen_stream(point, number)?,
        };
        self.listeners.push((point.transport, local));
        self.tasks.push(task);
        Ok(())
    }

    fn listen_stream(&self, point: &Listen, number: u16) -> io::Result<(SocketAddr, JoinHandle<()>)> {
        let first_link = (u64::from(number) + 1) * LINKS_PER_LISTENER;
        let tls = (point.transport == Transport::Tls).then_some(self.tls.as_ref());
        let tls = tls.map(|tls| tls.ok_or(io::ErrorKind::Unsupported)).transpose()?;
        let _here = tls.map(|(_, offload)| offload.enter());
        let listener = tcp::bind(point.address)?;
        let local = listener.local_addr()?;
        let tls = tls.map(|(tls, _)| tls.clone());
        let door = tcp::Door { number, first_link, tls, handshakes: Handshakes::default() };
        // Spawned where we have entered: on the thread for TLS, or on ours.
        Ok((local, tokio::spawn(tcp::accept(listener, door, self.shared.clone()))))
    }

    fn new_link(&mut self) -> u64 {
        self.next_link += 1;
        self.next_link
    }

    /// What is listened to, ports filled in, by the number of the listener.
    pub fn listeners(&self) -> &[(Transport, SocketAddr)] {
        &self.listeners
    }

    /// How to reach `remote` without having heard from it; `None` if no socket of ours speaks its address family.
    pub fn towards(&self, transport: Transport, remote: SocketAddr) -> Option<Peer> {
        let fits = |(kind, local): &(Transport, SocketAddr)| {
            *kind == transport && local.is_ipv4() == remote.is_ipv4()
        };
        let number = self.listeners.iter().position(fits);
        let (link, bound) = match transport {
            Transport::Udp => {
                let number = number? as u16;
                self.udp
                    .iter()
                    .find(|(_, socket)| socket.number == number)
                    .map(|(link, socket)| (*link, socket.local))?
            }
            // Our own listener, if any, is where the peer can reach us later.
            Transport::Tcp | Transport::Tls => {
                let any =
                    SocketAddr::new(if remote.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 5060);
                (Peer::NEW_CONNECTION, number.map_or(any, |number| self.listeners[number].1))
            }
        };
        let local = SocketAddr::new(local_ip(bound.ip(), remote), bound.port());
        Some(Peer { transport, link, listener: number.unwrap_or(0) as u16, local, remote })
    }

    /// What has been counted.
    pub fn counters(&self) -> Counters {
        let counted = &self.shared.counted;
        let handshakes = &counted.handshakes;
        Counters {
            connections_not_accepted: counted.not_accepted.now(),
            connections_not_allowed: counted.not_allowed.now(),
            connections_unfinished: counted.unfinished.now(),
            connections_not_made: counted.undeliverable.now(),
            connections_out_of_memory: counted.out_of_memory.now(),
            bodies_refused: counted.bodies_refused.now(),
            tls_handshakes_slow: handshakes.slow.now(),
            tls_handshakes_left: handshakes.left.now(),
            tls_handshakes_displaced: counted.handshakes_displaced.now(),
            tls_certificates_refused: handshakes.certificate.now(),
            tls_refused_by_peer: handshakes.alert.now(),
            tls_incompatible: handshakes.incompatible.now(),
            tls_malformed: handshakes.malformed.now(),
            ..self.counters
        }
    }

    /// Connections alive.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The next message. Safe to cancel: nothing is lost.
    pub async fn receive(&mut self) -> Inbound {
        loop {
            // We hold a sender ourselves, so the queue never ends.
            match self.arrivals.recv().await {
                Some(Arrival::Message(inbound, _held)) => {
                    self.connections.touch(inbound.peer.link);
                    return *inbound;
                }
                Some(Arrival::Opened(accepted)) => {
                    self.counters.connections_evicted += self.connections.add(accepted)
                }
                Some(Arrival::Closed(link)) => self.connections.remove(link),
                None => std::future::pending().await,
            }
        }
    }

    /// Sends without waiting. A stream whose link is gone is reached over another connection to the same address, or a new
    /// one to `fallback`, else to the peer's address (RFC 3261 section 18.2.2).
    pub fn send(&mut self, to: Peer, fallback: Option<SocketAddr>, bytes: Arc<[u8]>) {
        match to.transport {
            Transport::Udp => {
                let sent = self.udp.get(&to.link).is_some_and(|link| link.send(to.remote, &bytes));
                self.counters.datagrams_dropped += u64::from(!sent);
            }
            // Never in the clear instead.
            Transport::Tls if self.tls.is_none() => self.shared.counted.undeliverable.up(),
            Transport::Tcp | Transport::Tls => self.send_stream(to, fallback, bytes),
        }
    }

    fn send_stream(&mut self, to: Peer, fallback: Option<SocketAddr>, bytes: Arc<[u8]>) {
        let address = if to.link == Peer::NEW_CONNECTION { to.remote } else { fallback.unwrap_or(to.remote) };
        let link =
            self.connections.find(to, [to.remote, address]).unwrap_or_else(|| self.connect(to, address));
        if !self.connections.send(link, bytes, &self.shared.budget) {
            self.counters.connections_stalled += 1;
        }
    }

    /// Starts connecting; messages may be queued at once.
    fn connect(&mut self, to: Peer, address: SocketAddr) -> u64 {
        let peer = Peer { link: self.new_link(), remote: address, ..to };
        let (opened, inner) = stream::halves(peer);
        self.counters.connections_evicted += self.connections.add(opened);
        match self.tls.as_ref().filter(|_| to.transport == Transport::Tls) {
            Some((tls, offload)) => {
                offload.spawn(tcp::connect(peer, Some(tls.clone()), inner, self.shared.clone()));
            }
            None => _ = tokio::spawn(tcp::connect(peer, None, inner, self.shared.clone())),
        }
        peer.link
    }
}

impl Drop for Transports {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Our address as `remote` sees it, for a socket bound to `bound`: of a wildcard the one that the routing table would choose.
/// Connecting a datagram socket asks it without sending anything.
fn local_ip(bound: IpAddr, remote: SocketAddr) -> IpAddr {
    if !bound.is_unspecified() {
        return bound;
    }
    let ask = || {
        let socket = UdpSocket::bind(SocketAddr::new(bound, 0))?;
        socket.connect(remote)?;
        socket.local_addr()
    };
    ask().map_or(bound, |local| local.ip())
}
