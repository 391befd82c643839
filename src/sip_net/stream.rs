//! One connection, over TCP or TLS: a reading task, and a writing one beside it.
//!
//! ```text
//!  peer ──▶ reader: Framer ──▶ arrivals ──▶ control core
//!              │ pong                           │ send
//!              ▼                                ▼
//!  peer ◀── writer ◀── bounded queue ◀──────────┘
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Sleep, sleep, timeout};

use super::budget::Held;
use super::connections::{Opened, Write};
use super::{Arrival, Inbound, Shared};
use crate::limits::{SIP_STREAM_FREE_BYTES, SIP_STREAM_MESSAGE_MAX, SIP_WRITES_MAX};
use crate::sip::{Frame, Framer, Peer, Why};

/// One message is given this long to go out.
const WRITE_MAX: Duration = Duration::from_secs(32);
/// After a stream has broken, our answer has this long to be written.
const LINGER: Duration = Duration::from_secs(1);
/// Read from a stream at once.
const READ_BYTES: usize = 16 * 1024;

/// The inner ends of a connection's queue and of its life.
pub(super) struct Inner {
    pub(super) pong: mpsc::Sender<Write>,
    pub(super) queue: mpsc::Receiver<Write>,
    pub(super) closed: oneshot::Receiver<()>,
}

/// A connection to be made known, and what its tasks need.
pub(super) fn halves(peer: Peer) -> (Opened, Inner) {
    let (writes, queue) = mpsc::channel(SIP_WRITES_MAX);
    let (open, closed) = oneshot::channel();
    let pong = writes.clone();
    (Opened { peer, writes, open }, Inner { pong, queue, closed })
}

/// Reads a connection to its end or until it is closed, while a task beside it writes.
pub(super) async fn run<R, W>(reading: R, writing: W, peer: Peer, inner: Inner, shared: &Shared)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let Inner { pong, queue, closed } = inner;
    tokio::spawn(write(writing, queue));
    let reader = Reader { peer, pong, shared, held: shared.budget.nothing() };
    tokio::select! {
        () = reader.read(reading) => {}
        _ = closed => {}
    }
}

/// Writes what is queued until the queue ends, the peer goes or does not read.
async fn write<W: AsyncWrite + Unpin>(mut stream: W, mut queue: mpsc::Receiver<Write>) {
    while let Some((bytes, _held)) = queue.recv().await {
        let written = async {
            stream.write_all(&bytes).await?;
            // TLS keeps what the socket did not take at once.
            stream.flush().await
        };
        if !matches!(timeout(WRITE_MAX, written).await, Ok(Ok(()))) {
            return;
        }
    }
    // Says goodbye in TLS. A peer that is gone does not hear it.
    let _ = timeout(LINGER, stream.shutdown()).await;
}

struct Reader<'a> {
    peer: Peer,
    pong: mpsc::Sender<Write>,
    shared: &'a Shared,
    /// For what has come of a message so far.
    held: Held,
}

impl Reader<'_> {
    async fn read<R: AsyncRead + Unpin>(mut self, mut stream: R) {
        let mut framer = Framer::with_body_max(self.shared.body_bytes_max);
        let mut buffer = vec![0; READ_BYTES];
        // Between messages a connection may be silent for ever; inside of one it may not.
        let mut patience: Option<Pin<Box<Sleep>>> = None;
        loop {
            let more = stream.read(&mut buffer);
            let length = match patience.as_mut() {
                None => more.await,
                Some(patience) => tokio::select! {
                    length = more => length,
                    () = patience => {
                        self.shared.counted.unfinished.up();
                        return;
                    }
                },
            };
            let Ok(length @ 1..) = length else { return };
            framer.push(&buffer[..length]);
            while let Some(frame) = framer.next_frame() {
                patience = None;
                if !self.deliver(frame).await {
                    return;
                }
            }
            if !self.keep(framer.pending_bytes()) {
                return;
            }
            match framer.is_inside() {
                false => patience = None,
                true => _ = patience.get_or_insert_with(|| Box::pin(sleep(SIP_STREAM_MESSAGE_MAX))),
            }
        }
    }

    /// Accounts for what waits for the rest of its message. False if there is no memory for it. What an ordinary message takes is
    /// always to be had: each connection has that much to itself.
    fn keep(&mut self, pending: usize) -> bool {
        let kept = self.held.resize(pending.saturating_sub(SIP_STREAM_FREE_BYTES));
        if !kept {
            self.shared.counted.out_of_memory.up();
        }
        kept
    }

    /// Hands one frame on. False if the connection is to be closed.
    async fn deliver(&mut self, frame: Frame) -> bool {
        let (message, broken) = match frame {
            Frame::Message(message) => (Ok(*message), false),
            Frame::Malformed(malformed) => (Err(malformed), false),
            Frame::Broken(malformed) => (Err(malformed), true),
            // RFC 5626 section 4.4.1. A full queue means that the peer does not read: no pong then.
            Frame::Ping => {
                let _ = self.pong.try_send((Arc::from(&b"\r\n"[..]), self.shared.budget.nothing()));
                return true;
            }
        };
        if matches!(&message, Err(malformed) if malformed.why == Why::BodyTooLong) {
            self.shared.counted.bodies_refused.up();
        }
        let bytes = message.as_ref().map_or(0, |message| message.bytes().len());
        // From here on the message is held by itself.
        if !self.keep(0) {
            return false;
        }
        let Some(held) = self.shared.budget.hold(bytes.saturating_sub(SIP_STREAM_FREE_BYTES)) else {
            self.shared.counted.out_of_memory.up();
            return false;
        };
        let inbound = Inbound { peer: self.peer, message };
        let known = self.shared.arrived.send(Arrival::Message(Box::new(inbound), held)).await.is_ok();
        if broken {
            sleep(LINGER).await;
        }
        known && !broken
    }
}
