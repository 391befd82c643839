//! SIP over UDP: one socket, one reading task.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::{Arrival, Inbound, Shared, local_ip};
use crate::limits::SIP_DATAGRAM_BYTES_MAX;
use crate::sip::{Message, Peer, Transport};

/// Asked of the kernel for each socket; it may grant less.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Peers whose route is remembered; then it is asked for again.
const ROUTES_MAX: usize = 4096;

pub(super) struct Link {
    pub(super) local: SocketAddr,
    pub(super) number: u16,
    socket: Arc<UdpSocket>,
}

impl Link {
    /// False if the kernel did not take the datagram at once: SIP will send it again.
    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8]) -> bool {
        self.socket.try_send_to(bytes, to).is_ok()
    }
}

/// Binds `address` and starts reading.
pub(super) fn listen(
    address: SocketAddr,
    link: u64,
    number: u16,
    shared: Arc<Shared>,
) -> io::Result<(Link, JoinHandle<()>)> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A refusal leaves the default, which only means less room for a burst.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    let socket = Arc::new(UdpSocket::from_std(socket.into())?);
    let local = socket.local_addr()?;
    let task = tokio::spawn(read(socket.clone(), local, link, number, shared));
    Ok((Link { local, number, socket }, task))
}

async fn read(socket: Arc<UdpSocket>, bound: SocketAddr, link: u64, number: u16, shared: Arc<Shared>) {
    let mut buffer = vec![0; SIP_DATAGRAM_BYTES_MAX];
    let mut routes: HashMap<IpAddr, IpAddr> = HashMap::new();
    loop {
        // An error here is an ICMP message about an earlier datagram of ours: the socket is still good.
        let Ok((length, remote)) = socket.recv_from(&mut buffer).await else { continue };
        let datagram = &buffer[..length];
        // Keep-alives of a NAT or of a proxy: empty, line ends, zeros.
        if datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            continue;
        }
        if routes.len() >= ROUTES_MAX {
            routes.clear();
        }
        let ip = *routes.entry(remote.ip()).or_insert_with(|| local_ip(bound.ip(), remote));
        let local = SocketAddr::new(ip, bound.port());
        let peer = Peer { transport: Transport::Udp, link, listener: number, local, remote };
        let inbound = Inbound { peer, message: Message::parse_datagram(datagram) };
        // A queue full of datagrams is bounded by their number.
        let held = shared.budget.nothing();
        if shared.arrived.send(Arrival::Message(Box::new(inbound), held)).await.is_err() {
            return;
        }
    }
}
