//! Streams are made here: listeners that accept, and connections of our own, over TCP and, through a handshake, over TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::handshakes::Handshakes;
use super::stream::{Inner, halves, run};
use super::tls::Tls;
use super::{Arrival, Shared};
use crate::limits::TLS_HANDSHAKE_MAX;
use crate::sip::{Peer, Transport};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// A connect is given this long.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// When accepting fails (no descriptors left), it is tried again after this long.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// A connection may be silent for ever, but its peer has to be there: the kernel asks after this much silence, ...
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// ... then this often, ...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// ... and so many times.
const KEEPALIVE_PROBES: u32 = 4;

/// Binds `address`.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// How a listener treats what it accepts.
pub(super) struct Door {
    /// Its number.
    pub(super) number: u16,
    /// Its connections are numbered from here on.
    pub(super) first_link: u64,
    /// There for TLS.
    pub(super) tls: Option<Arc<Tls>>,
    /// Those under way.
    pub(super) handshakes: Handshakes,
}

/// Accepts for ever.
pub(super) async fn accept(listener: TcpListener, door: Door, shared: Arc<Shared>) {
    let mut link = door.first_link;
    loop {
        let Ok((stream, remote)) = listener.accept().await else {
            shared.counted.not_accepted.up();
            sleep(ACCEPT_RETRY).await;
            continue;
        };
        // Before it takes anything from those who are: room, a handshake.
        if !shared.allowed.allows(remote.ip()) {
            shared.counted.not_allowed.up();
            continue;
        }
        link += 1;
        let Ok(local) = stream.local_addr() else { continue };
        prepare(&stream);
        let transport = if door.tls.is_some() { Transport::Tls } else { Transport::Tcp };
        let peer = Peer { transport, link, listener: door.number, local, remote };
        match door.tls.clone() {
            None => _ = tokio::spawn(serve_plain(stream, peer, shared.clone())),
            Some(tls) => {
                _ = tokio::spawn(serve_tls(stream, peer, tls, door.handshakes.clone(), shared.clone()))
            }
        }
    }
}

/// Small messages that somebody waits for, and a peer that may vanish. A refusal costs only delay.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

async fn serve_plain(stream: TcpStream, peer: Peer, shared: Arc<Shared>) {
    let (opened, inner) = halves(peer);
    // Known before its first message comes: both go the same way.
    if shared.arrived.send(Arrival::Opened(opened)).await.is_ok() {
        run_plain(stream, peer, inner, &shared).await;
        let _ = shared.arrived.send(Arrival::Closed(peer.link)).await;
    }
}

async fn run_plain(stream: TcpStream, peer: Peer, inner: Inner, shared: &Shared) {
    let (reading, writing) = stream.into_split();
    run(reading, writing, peer, inner, shared).await;
}

/// Nobody hears of a connection before its handshake is done.
async fn serve_tls(
    stream: TcpStream,
    peer: Peer,
    tls: Arc<Tls>,
    handshakes: Handshakes,
    shared: Arc<Shared>,
) {
    let mut slot = handshakes.begin(&shared.counted);
    let handshake = timeout(TLS_HANDSHAKE_MAX, tls.acceptor().accept(stream));
    let done = tokio::select! {
        done = handshake => done,
        () = slot.given_away() => return,
    };
    let stream = match shared.counted.handshakes.judge(done) {
        Ok(stream) => stream,
        Err(why) => {
            if shared.counted.handshake_said.may_be_again() {
                tracing::info!(peer = %peer.remote, %why, "TLS handshake failed");
            }
            return;
        }
    };
    drop(slot);
    let (opened, inner) = halves(peer);
    if shared.arrived.send(Arrival::Opened(opened)).await.is_ok() {
        let (reading, writing) = tokio::io::split(stream);
        run(reading, writing, peer, inner, &shared).await;
        let _ = shared.arrived.send(Arrival::Closed(peer.link)).await;
    }
}

/// Connects to `peer.remote`; messages may be queued at once. What comes back has `peer` as its sender: our address stays that
/// of the listener, where the peer can reach us.
pub(super) async fn connect(peer: Peer, tls: Option<Arc<Tls>>, inner: Inner, shared: Arc<Shared>) {
    if let Err(why) = connected(peer, tls, inner, &shared).await {
        shared.counted.undeliverable.up();
        if shared.counted.undeliverable_said.may_be_again() {
            tracing::info!(to = %peer.remote, transport = peer.transport.as_str(), %why, "no connection");
        }
    }
    // Nobody left to tell: then nobody needs to know.
    let _ = shared.arrived.send(Arrival::Closed(peer.link)).await;
}

async fn connected(peer: Peer, tls: Option<Arc<Tls>>, inner: Inner, shared: &Shared) -> io::Result<()> {
    let stream = timeout(CONNECT_MAX, TcpStream::connect(peer.remote)).await??;
    prepare(&stream);
    match tls {
        None => run_plain(stream, peer, inner, shared).await,
        Some(tls) => {
            let connector = tls.connector().ok_or_else(|| io::Error::other("tls.server_ca is not set"))?;
            let name = peer.remote.ip().into();
            let done = timeout(TLS_HANDSHAKE_MAX, connector.connect(name, stream)).await;
            let stream = shared.counted.handshakes.judge(done)?;
            let (reading, writing) = tokio::io::split(stream);
            run(reading, writing, peer, inner, shared).await;
        }
    }
    Ok(())
}
