//! Who is at the other end of a message, as drivers and the endpoint name it.

use std::net::SocketAddr;

/// A transport. Nothing in the endpoint but [`Transport::is_reliable`] and the name asks which.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream inside of TLS.
    Tls,
}

impl Transport {
    /// Whether the transport itself delivers, so that the endpoint need not send again (RFC 3261 section 17).
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }

    /// The port where none is said (RFC 3261 section 19.1.2).
    pub fn default_port(self) -> u16 {
        if self == Transport::Tls { 5061 } else { 5060 }
    }

    /// Its name in a Via.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// The transport that a URI's `transport` parameter or a Via names.
    pub fn from_name(name: &str) -> Option<Transport> {
        [Transport::Udp, Transport::Tcp, Transport::Tls]
            .into_iter()
            .find(|t| t.as_str().eq_ignore_ascii_case(name))
    }
}

/// One end of a path: through which of our sockets, to which address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Peer {
    /// The transport.
    pub transport: Transport,
    /// The driver's name for the UDP socket or for the connection. A connection's is never used again.
    pub link: u64,
    /// The number of the listener that it belongs to, in the order of `sip.listen`: which of our addresses the peer is told.
    pub listener: u16,
    /// Our address on this path: what Via and Contact say unless its listener is advertised as something else.
    pub local: SocketAddr,
    /// The peer's address. For a link that is no more, or for [`Peer::NEW_CONNECTION`], the driver connects to it.
    pub remote: SocketAddr,
}

impl Peer {
    /// The link of a peer to whom there is no connection yet.
    pub const NEW_CONNECTION: u64 = u64::MAX;
}
