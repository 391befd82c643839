//! Everything put together and running: shards on their threads, control on its own, files on the background pool.
//!
//! ```text
//!   serve, demo, tests ── start(Plan) ──▶ recover ─▶ shards ─▶ SIP sockets ─▶ Recorder
//!
//!   control thread:  SIP sockets ⇄ Endpoint ⇄ Control ⇄ links ⇄ shard threads
//!                                                └─▶ jobs ─▶ pool threads (manifests, finalising)
//! ```
//!
//! Leaves out decisions (`control`) and what the command line is told (`cli`).

mod door;
mod ending;
mod gate;
mod keyring;
mod nat;
mod pool;
mod run;
mod shards;
mod socket;
mod stage;
mod subject;

use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::base::RecordingId;
use crate::config::Plan;
use crate::keys::{KeyProvider, LocalKeys, MasterKeyError};
use crate::ring::RingError;
use crate::ring::choice::{TierError, TierKind};
use crate::sip::Transport;
use crate::sip_net::{Tls, TlsError};
use crate::store::{self, ActiveLock, LockError, OsDisk, StoreError};
use crate::sys::{self, OsEntropy};

/// A recording that has been finalised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    /// Which.
    pub recording: RecordingId,
    /// Where it is.
    pub folder: PathBuf,
}

/// Why a recorder did not start.
#[derive(Debug)]
pub enum StartError {
    /// The recordings' folder is in use, or can't be used.
    Lock(LockError),
    /// No master key.
    Key(MasterKeyError),
    /// A peer's password can't be read.
    Gate(gate::GateError),
    /// The recordings left by a crash can't be looked through.
    Recover(StoreError),
    /// A shard has no ring.
    Ring(RingError),
    /// The receive tier that was asked for can't be had.
    Receive(TierKind, TierError),
    /// The system says no to a thread, memory or the like.
    System(std::io::Error),
    /// Certificate, key or CA of TLS can't be used.
    Tls(TlsError),
    /// Media can't be received at that address.
    Media(IpAddr, std::io::Error),
    /// A SIP address can't be had.
    Bind(std::io::Error),
    /// The control socket can't be had.
    Control(PathBuf, std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Lock(why) => why.fmt(f),
            StartError::Key(why) => why.fmt(f),
            StartError::Gate(why) => why.fmt(f),
            StartError::Recover(why) => write!(f, "recovery of what a crash left: {why}"),
            StartError::Ring(why) => write!(f, "{why} (setting `ring`)"),
            StartError::Receive(tier, why) => write!(f, "receive tier {tier}: {why} (setting `receive`)"),
            StartError::System(why) => write!(f, "starting threads: {why}"),
            StartError::Tls(why) => write!(f, "TLS: {why}"),
            StartError::Media(address, why) => {
                write!(f, "media can't be received at {address} (setting `rtp.bind`): {why}")
            }
            StartError::Bind(why) => write!(f, "opening the SIP sockets (setting `sip.listen`): {why}"),
            StartError::Control(path, why) => {
                write!(f, "the control socket {} (setting `control.socket`): {why}", path.display())
            }
        }
    }
}

impl std::error::Error for StartError {}

impl From<std::io::Error> for StartError {
    fn from(why: std::io::Error) -> StartError {
        StartError::System(why)
    }
}

impl From<RingError> for StartError {
    fn from(why: RingError) -> StartError {
        StartError::Ring(why)
    }
}

/// Asks a recorder to stop; the second time, at once.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<watch::Sender<u32>>);

impl Stopper {
    /// The first time: no new calls, running ones may go on for [`Plan::drain`]. The second time: no waiting. Calls are closed
    /// properly either way.
    pub fn stop(&self) {
        self.0.send_modify(|times| *times += 1);
    }
}

/// A recorder that runs.
pub struct Recorder {
    /// Where SIP is taken over UDP.
    pub udp: Vec<SocketAddr>,
    /// Where SIP is taken over TCP.
    pub tcp: Vec<SocketAddr>,
    /// Where SIP is taken over TLS.
    pub tls: Vec<SocketAddr>,
    /// Which ring the shards run on, and under which receive tier: `io_uring`, `poll+steered`, ...
    pub ring: &'static str,
    stopper: Stopper,
    reload: Option<mpsc::Sender<()>>,
    ended: watch::Receiver<bool>,
    thread: JoinHandle<()>,
}

impl Recorder {
    /// Starts a recorder as planned; returns once it can be called. `finished` is told of each recording that has been finalised.
    pub fn start(plan: Plan, finished: Option<mpsc::Sender<Finished>>) -> Result<Recorder, StartError> {
        // Else every call would find out.
        UdpSocket::bind((plan.rtp_bind, 0)).map_err(|why| StartError::Media(plan.rtp_bind, why))?;
        let keys = LocalKeys::open_or_create(&plan.master_key).map_err(StartError::Key)?;
        Recorder::start_with(plan, Arc::new(keys), finished)
    }

    /// The same with a key provider of the caller's.
    fn start_with(
        plan: Plan,
        keys: Arc<dyn KeyProvider>,
        finished: Option<mpsc::Sender<Finished>>,
    ) -> Result<Recorder, StartError> {
        let files = sys::rlimit::raise_open_files()?;
        tracing::debug!(files, "open files allowed");
        let tls = plan.tls.as_ref().map(Tls::open).transpose().map_err(StartError::Tls)?;
        let gate = gate::gate(&plan).map_err(StartError::Gate)?;
        let lock = ActiveLock::take(&plan.recordings).map_err(StartError::Lock)?;
        recover(&plan, &*keys)?;
        let control_socket = plan.control_socket.as_deref().map(socket::Listener::open).transpose()?;
        let cores = if plan.pin { sys::affinity::allowed_cores()? } else { Vec::new() };
        let bell = Arc::new(tokio::sync::Notify::new());
        let shards = shards::start(&plan, &cores, &bell)?;
        let ring = shards.ring;
        let keys = keyring::Wrapping::start(keys, &bell)?;
        let pool = pool::Pool::start(&plan.recordings, finished)?;
        let (stop, stopped) = watch::channel(0);
        let (end, ended) = watch::channel(false);
        let (told, bound) = mpsc::sync_channel(1);
        let watched = tls.clone();
        let nat = plan.stun.clone().map(nat::Nat::start).transpose()?;
        let start = run::Start {
            plan,
            keys,
            tls,
            nat,
            shards,
            pool,
            bell,
            stopped,
            lock,
            end,
            told,
            core: cores.last().copied(),
            gate: Some(gate),
            control_socket,
        };
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || start.run())?;
        let bound = match bound.recv() {
            Ok(bound) => bound.map_err(StartError::Bind)?,
            Err(mpsc::RecvError) => return Err(std::io::Error::other("the control thread died").into()),
        };
        let of = |kind| bound.iter().filter(move |(k, _)| *k == kind).map(|(_, at)| *at).collect::<Vec<_>>();
        let [udp, tcp, tls] = [Transport::Udp, Transport::Tcp, Transport::Tls].map(of);
        tracing::info!(?udp, ?tcp, ?tls, ring, "listening");
        let reload = watched.map(watch).transpose()?;
        Ok(Recorder { udp, tcp, tls, ring, stopper: Stopper(Arc::new(stop)), reload, ended, thread })
    }

    /// Something to stop it with.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Reads certificates and keys again, in the background. A file that can't be used leaves the former in force.
    pub fn reload(&self) {
        match &self.reload {
            // Only a thread that has panicked does not listen, and that is in the log.
            Some(reload) => _ = reload.send(()),
            None => tracing::info!("nothing to read again: TLS is not in use"),
        }
    }

    /// Waits until it has ended, without blocking.
    pub async fn ended(&self) {
        // An error means that the control thread is gone, which is an end, too.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Waits until it has ended: every call closed, every file finalised. An error is a panic of the control thread.
    pub fn join(self) -> std::thread::Result<()> {
        self.thread.join()
    }
}

/// Looks after the files of TLS, for as long as the sender lives.
fn watch(tls: Arc<Tls>) -> std::io::Result<mpsc::Sender<()>> {
    let (ask, asked) = mpsc::channel();
    std::thread::Builder::new().name("tls-files".to_owned()).spawn(move || tls.watch(&asked))?;
    Ok(ask)
}

/// Mends what a crash has left, before anything new is written.
fn recover(plan: &Plan, keys: &dyn KeyProvider) -> Result<(), StartError> {
    let outcomes = store::recover(&OsDisk, &plan.recordings, keys, &mut OsEntropy, sys::wall())
        .map_err(StartError::Recover)?;
    for store::Found { recording, outcome } in outcomes {
        match outcome {
            Ok(done) => tracing::warn!(
                %recording,
                folder = ?done.folder,
                segments = done.mended,
                samples = done.samples,
                lost_ms_max = done.lost_ms_max,
                "recovered after a crash"
            ),
            // The others are no less worth recording for it; this one stays where it is, for the next attempt.
            Err(why) => tracing::error!(%recording, %why, "not recovered: left as it is"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
