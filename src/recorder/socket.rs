//! The control socket: a Unix socket on the control thread's runtime, for the recorder's own user and root.
//!
//! A task per client reads lines and hands them to the control loop one at a time; what they mean is [`crate::admin`]'s.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::StartError;
use crate::limits::{ADMIN_CLIENTS_MAX, ADMIN_IDLE_MAX, ADMIN_LINE_BYTES_MAX};

/// A line, and where its answer goes.
pub(super) struct Request {
    pub line: Vec<u8>,
    /// The user who asks.
    pub uid: u32,
    pub reply: oneshot::Sender<String>,
}

/// The socket, not yet served. Its file goes when this does.
pub(super) struct Listener {
    socket: std::os::unix::net::UnixListener,
    path: PathBuf,
    /// Who owns the file: our own user.
    owner: u32,
}

impl Listener {
    /// Opens the socket, in place of one that a dead recorder has left.
    pub fn open(path: &Path) -> Result<Listener, StartError> {
        Listener::try_open(path).map_err(|why| StartError::Control(path.to_owned(), why))
    }

    fn try_open(path: &Path) -> io::Result<Listener> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::other("something that is no socket is in its place"));
            }
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                return Err(io::Error::other("another recorder answers on it"));
            }
            Ok(_) => std::fs::remove_file(path)?,
            Err(_) => {}
        }
        let socket = std::os::unix::net::UnixListener::bind(path)?;
        // Until this is done it is the peer's credentials that keep others out.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        socket.set_nonblocking(true)?;
        let owner = std::fs::symlink_metadata(path)?.uid();
        Ok(Listener { socket, path: path.to_owned(), owner })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Requests of all clients.
pub(super) struct Requests {
    queue: mpsc::Receiver<Request>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Requests {
    /// The next request. Never ends; safe to cancel.
    pub async fn next(&mut self) -> Request {
        match self.queue.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.task.iter().for_each(|task| task.abort());
    }
}

/// Serves the socket, if there is one. Call inside of a tokio runtime.
pub(super) fn serve(listener: Option<Listener>) -> Requests {
    let (requests, queue) = mpsc::channel(1);
    Requests { queue, task: listener.map(|listener| tokio::spawn(accept(listener, requests))) }
}

async fn accept(listener: Listener, requests: mpsc::Sender<Request>) {
    let socket = match listener.socket.try_clone().and_then(UnixListener::from_std) {
        Ok(socket) => socket,
        Err(why) => return tracing::error!(%why, "the control socket is not served"),
    };
    let room = Arc::new(Semaphore::new(ADMIN_CLIENTS_MAX));
    loop {
        // More clients than there is room for wait in the socket's backlog.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let client = match socket.accept().await {
            Ok((client, _)) => client,
            Err(why) => {
                tracing::warn!(%why, "a client of the control socket was not taken");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let uid = client.peer_cred().map(|peer| peer.uid());
        let Some(uid) = uid.ok().filter(|uid| *uid == 0 || *uid == listener.owner) else {
            tracing::warn!("another user was turned away from the control socket");
            continue;
        };
        let requests = requests.clone();
        tokio::spawn(async move {
            // What ends a client is its own affair.
            let _ = talk(client, uid, &requests).await;
            drop(place);
        });
    }
}

async fn talk(client: UnixStream, uid: u32, requests: &mpsc::Sender<Request>) -> io::Result<()> {
    let (read, mut write) = client.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        // One byte more than allowed, to tell a long line from one that just fits.
        let mut bounded = (&mut read).take(ADMIN_LINE_BYTES_MAX as u64 + 1);
        if timeout(ADMIN_IDLE_MAX, bounded.read_until(b'\n', &mut line)).await?? == 0
            || line.len() > ADMIN_LINE_BYTES_MAX
        {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        let sent = requests.send(Request { line, uid, reply }).await;
        let (Ok(()), Ok(mut answer)) = (sent, answer.await) else { return Ok(()) };
        answer.push('\n');
        timeout(ADMIN_IDLE_MAX, write.write_all(answer.as_bytes())).await??;
    }
}
