//! SIP transports on the control core: UDP and TCP.
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
//! whose peer does not read is closed once its queue is full. Left out: TLS, WebSocket, DNS.

mod tcp;
mod udp;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::Listen;
use crate::limits::{SIP_CONNECTIONS_MAX, SIP_INBOUND_MAX};
use crate::sip::{Malformed, Message, Peer, Transport};

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
    Message(Box<Inbound>),
    Opened(tcp::Accepted),
    Closed(u64),
}

/// What went wrong without anybody being told.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Datagrams that the kernel did not take.
    pub datagrams_dropped: u64,
    /// Connections closed to make room for a newer one.
    pub evicted: u64,
    /// Connections closed because their peer did not read.
    pub stalled: u64,
    /// Messages for a link that is gone with no address to connect to.
    pub undeliverable: u64,
}

/// All SIP sockets. Dropping it closes them.
pub struct Transports {
    arrivals: mpsc::Receiver<Arrival>,
    arrived: mpsc::Sender<Arrival>,
    udp: HashMap<u64, udp::Link>,
    /// What is bound, ports filled in: a listener's number is its place.
    listeners: Vec<(Transport, SocketAddr)>,
    connections: tcp::Connections,
    tasks: Vec<JoinHandle<()>>,
    counters: Counters,
    next_link: u64,
}

/// Links of connections that we accept are numbered by their listeners' tasks, each in a range of its own.
const LINKS_PER_LISTENER: u64 = 1 << 48;

impl Transports {
    /// Opens a socket for each listening point, which get their numbers in this order. Call inside of a tokio runtime.
    pub fn bind(listen: &[Listen]) -> io::Result<Transports> {
        Transports::bind_bounded(listen, SIP_CONNECTIONS_MAX)
    }

    fn bind_bounded(listen: &[Listen], connections_max: usize) -> io::Result<Transports> {
        let (arrived, arrivals) = mpsc::channel(SIP_INBOUND_MAX);
        let mut transports = Transports {
            arrivals,
            arrived,
            udp: HashMap::new(),
            listeners: Vec::new(),
            connections: tcp::Connections::new(connections_max),
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
                let (socket, task) = udp::listen(point.address, link, number, self.arrived.clone())?;
                let local = socket.local;
                self.udp.insert(link, socket);
                (local, task)
            }
            Transport::Tcp => {
                let first_link = (u64::from(number) + 1) * LINKS_PER_LISTENER;
                tcp::listen(point.address, first_link, number, self.arrived.clone())?
            }
            Transport::Tls => return Err(io::ErrorKind::Unsupported.into()),
        };
        self.listeners.push((point.transport, local));
        self.tasks.push(task);
        Ok(())
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
        self.counters
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
                Some(Arrival::Message(inbound)) => {
                    self.connections.touch(inbound.peer.link);
                    return *inbound;
                }
                Some(Arrival::Opened(accepted)) => self.counters.evicted += self.connections.add(accepted),
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
            Transport::Tcp | Transport::Tls => self.send_stream(to, fallback, bytes),
        }
    }

    fn send_stream(&mut self, to: Peer, fallback: Option<SocketAddr>, bytes: Arc<[u8]>) {
        let address = if to.link == Peer::NEW_CONNECTION { to.remote } else { fallback.unwrap_or(to.remote) };
        let link = self.connections.find(to.link, [to.remote, address]).unwrap_or_else(|| {
            let link = self.new_link();
            let peer = Peer { link, remote: address, ..to };
            self.counters.evicted += self.connections.add(tcp::connect(peer, self.arrived.clone()));
            link
        });
        if !self.connections.send(link, bytes) {
            self.counters.stalled += 1;
        }
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
