//! SIP over TCP: listeners, connections, each with a reading and a writing task.
//!
//! ```text
//!  peer ──▶ reader: Framer ──▶ arrivals ──▶ control core
//!              │ pong                           │ send
//!              ▼                                ▼
//!  peer ◀── writer ◀── bounded queue ◀──────────┘
//! ```

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Sleep, sleep, timeout};

use super::{Arrival, Inbound};
use crate::limits::{SIP_STREAM_MESSAGE_MAX, SIP_WRITES_MAX};
use crate::sip::{Frame, Framer, Peer, Transport};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// A connect is given this long.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// One message is given this long to go out.
const WRITE_MAX: Duration = Duration::from_secs(32);
/// After a stream has broken, our answer has this long to be written.
const LINGER: Duration = Duration::from_secs(1);
/// When accepting fails (no descriptors left), it is tried again after this long.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Read from a stream at once.
const READ_BYTES: usize = 16 * 1024;

/// A connection with its tasks running.
pub(super) struct Accepted {
    link: u64,
    remote: SocketAddr,
    writes: mpsc::Sender<Arc<[u8]>>,
    reader: AbortHandle,
}

struct Connection {
    remote: SocketAddr,
    writes: mpsc::Sender<Arc<[u8]>>,
    reader: AbortHandle,
    /// When it was last used, counted in uses of any.
    used: u64,
}

impl Drop for Connection {
    /// The writer ends by itself when its queue is empty.
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// All connections, bounded.
pub(super) struct Connections {
    by_link: HashMap<u64, Connection>,
    by_remote: HashMap<SocketAddr, u64>,
    uses: u64,
    limit: usize,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Connections {
        Connections { by_link: HashMap::new(), by_remote: HashMap::new(), uses: 0, limit }
    }

    pub(super) fn len(&self) -> usize {
        self.by_link.len()
    }

    /// Adds one; returns how many had to go for it: the one idle longest.
    pub(super) fn add(&mut self, accepted: Accepted) -> u64 {
        let idlest = self
            .by_link
            .iter()
            .min_by_key(|(link, connection)| (connection.used, **link))
            .map(|(link, _)| *link);
        let evicted = idlest.filter(|_| self.by_link.len() >= self.limit);
        evicted.into_iter().for_each(|link| self.remove(link));
        let Accepted { link, remote, writes, reader } = accepted;
        self.by_remote.insert(remote, link);
        self.by_link.insert(link, Connection { remote, writes, reader, used: 0 });
        self.touch(link);
        u64::from(evicted.is_some())
    }

    pub(super) fn remove(&mut self, link: u64) {
        if let Some(connection) = self.by_link.remove(&link)
            && self.by_remote.get(&connection.remote) == Some(&link)
        {
            self.by_remote.remove(&connection.remote);
        }
    }

    /// Notes that a connection has been used.
    pub(super) fn touch(&mut self, link: u64) {
        if let Some(connection) = self.by_link.get_mut(&link) {
            self.uses += 1;
            connection.used = self.uses;
        }
    }

    /// The connection of this link, else one to any of these addresses.
    pub(super) fn find(&self, link: u64, remotes: [SocketAddr; 2]) -> Option<u64> {
        let open = self.by_link.contains_key(&link).then_some(link);
        open.or_else(|| remotes.iter().find_map(|remote| self.by_remote.get(remote).copied()))
    }

    /// Queues a message. False if the queue is full or the connection gone; it is closed then.
    pub(super) fn send(&mut self, link: u64, bytes: Arc<[u8]>) -> bool {
        self.touch(link);
        let sent =
            self.by_link.get(&link).is_some_and(|connection| connection.writes.try_send(bytes).is_ok());
        if !sent {
            self.remove(link);
        }
        sent
    }
}

/// Binds `address` and starts accepting; connections are numbered from `first_link`.
pub(super) fn listen(
    address: SocketAddr,
    first_link: u64,
    number: u16,
    arrived: mpsc::Sender<Arrival>,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let local = listener.local_addr()?;
    Ok((local, tokio::spawn(accept(listener, first_link, number, arrived))))
}

async fn accept(listener: TcpListener, first_link: u64, number: u16, arrived: mpsc::Sender<Arrival>) {
    let mut link = first_link;
    loop {
        let Ok((stream, remote)) = listener.accept().await else {
            sleep(ACCEPT_RETRY).await;
            continue;
        };
        let (writes, queue) = mpsc::channel(SIP_WRITES_MAX);
        // The reader waits for its connection to be known, so that no message comes in front of it.
        let (known, wait) = tokio::sync::oneshot::channel::<()>();
        let (to, pong) = (arrived.clone(), writes.clone());
        let reader = tokio::spawn(async move {
            if wait.await.is_ok()
                && let Ok(local) = stream.local_addr()
            {
                let peer = Peer { transport: Transport::Tcp, link, listener: number, local, remote };
                run(stream, peer, pong, queue, &to).await;
            }
            let _ = to.send(Arrival::Closed(link)).await;
        });
        let accepted = Accepted { link, remote, writes, reader: reader.abort_handle() };
        if arrived.send(Arrival::Opened(accepted)).await.is_err() {
            return;
        }
        // The reader is gone only if the connection was closed again already.
        let _ = known.send(());
        link += 1;
    }
}

/// Starts connecting to `peer.remote`; messages may be queued at once. What comes back has `peer` as its sender: our address
/// stays that of the listener, where the peer can reach us.
pub(super) fn connect(peer: Peer, arrived: mpsc::Sender<Arrival>) -> Accepted {
    let Peer { link, remote, .. } = peer;
    let (writes, queue) = mpsc::channel(SIP_WRITES_MAX);
    let pong = writes.clone();
    let reader = tokio::spawn(async move {
        if let Ok(Ok(stream)) = timeout(CONNECT_MAX, TcpStream::connect(remote)).await {
            run(stream, peer, pong, queue, &arrived).await;
        }
        // Nobody left to tell: then nobody needs to know.
        let _ = arrived.send(Arrival::Closed(link)).await;
    });
    Accepted { link, remote, writes, reader: reader.abort_handle() }
}

/// Reads a connection to its end, while a task beside it writes.
async fn run(
    stream: TcpStream,
    peer: Peer,
    pong: mpsc::Sender<Arc<[u8]>>,
    queue: mpsc::Receiver<Arc<[u8]>>,
    arrived: &mpsc::Sender<Arrival>,
) {
    // Small messages that somebody waits for; a refusal costs only delay.
    let _ = stream.set_nodelay(true);
    let (reading, writing) = stream.into_split();
    tokio::spawn(write(writing, queue));
    read(reading, peer, pong, arrived).await;
}

/// Writes what is queued until the queue ends, the peer goes or does not read.
async fn write(mut stream: OwnedWriteHalf, mut queue: mpsc::Receiver<Arc<[u8]>>) {
    while let Some(bytes) = queue.recv().await {
        if !matches!(timeout(WRITE_MAX, stream.write_all(&bytes)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn read(
    mut stream: OwnedReadHalf,
    peer: Peer,
    pong: mpsc::Sender<Arc<[u8]>>,
    arrived: &mpsc::Sender<Arrival>,
) {
    let mut framer = Framer::new();
    let mut buffer = vec![0; READ_BYTES];
    // Between messages a connection may be silent for ever; inside of one it may not.
    let mut patience: Option<Pin<Box<Sleep>>> = None;
    loop {
        let more = stream.read(&mut buffer);
        let length = match patience.as_mut() {
            None => more.await,
            Some(patience) => tokio::select! { length = more => length, () = patience => Ok(0) },
        };
        let Ok(length @ 1..) = length else { return };
        framer.push(&buffer[..length]);
        while let Some(frame) = framer.next_frame() {
            patience = None;
            if !deliver(frame, peer, &pong, arrived).await {
                return;
            }
        }
        match framer.pending_bytes() {
            0 => patience = None,
            _ => _ = patience.get_or_insert_with(|| Box::pin(sleep(SIP_STREAM_MESSAGE_MAX))),
        }
    }
}

/// Hands one frame on. False if the connection is to be closed.
async fn deliver(
    frame: Frame,
    peer: Peer,
    pong: &mpsc::Sender<Arc<[u8]>>,
    arrived: &mpsc::Sender<Arrival>,
) -> bool {
    let (message, broken) = match frame {
        Frame::Message(message) => (Ok(*message), false),
        Frame::Malformed(malformed) => (Err(malformed), false),
        Frame::Broken(malformed) => (Err(malformed), true),
        // RFC 5626 section 4.4.1. A full queue means that the peer does not read: no pong then.
        Frame::Ping => {
            let _ = pong.try_send(Arc::from(&b"\r\n"[..]));
            return true;
        }
    };
    let known = arrived.send(Arrival::Message(Box::new(Inbound { peer, message }))).await.is_ok();
    if broken {
        sleep(LINGER).await;
    }
    known && !broken
}
