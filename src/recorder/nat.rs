//! Which address clients reach us at from outside of a NAT, as a STUN server sees it: asked at start, then again and again.
//!
//! Blocks, and so has a thread of its own. Leaves out ports: the NAT is expected to keep those of SIP and media.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::watch;

use crate::config::StunPlan;
use crate::limits::{STUN_FIRST_WAIT, STUN_TRIES};
use crate::stun::{NoAddress, Request};
use crate::sys::{self, OsEntropy};

/// What is known, and the thread that asks, for as long as this lives.
pub(super) struct Nat {
    /// The address, once known, and again when it changes.
    pub external: watch::Receiver<Option<IpAddr>>,
    _running: mpsc::Sender<()>,
}

impl Nat {
    /// Asks once, then in the background.
    pub fn start(plan: StunPlan) -> io::Result<Nat> {
        let first = ask(&plan.server);
        match &first {
            Ok(address) => {
                tracing::info!(%address, server = plan.server, "the external address, as STUN tells it")
            }
            Err(why) => {
                tracing::error!(server = plan.server, %why, "NO EXTERNAL ADDRESS: the STUN server does not tell it; clients are given local addresses");
            }
        }
        let (told, external) = watch::channel(first.ok());
        let (running, stopped) = mpsc::channel();
        std::thread::Builder::new().name("stun".to_owned()).spawn(move || repeat(&plan, &stopped, &told))?;
        Ok(Nat { external, _running: running })
    }
}

/// The address, the next time that it changes; of nobody never.
pub(super) async fn change(external: &mut Option<watch::Receiver<Option<IpAddr>>>) -> IpAddr {
    loop {
        let Some(receiver) = external else { return std::future::pending().await };
        if receiver.changed().await.is_err() {
            // The thread is gone, which is in the log.
            *external = None;
        } else if let Some(address) = *receiver.borrow_and_update() {
            return address;
        }
    }
}

fn repeat(plan: &StunPlan, running: &Receiver<()>, told: &watch::Sender<Option<IpAddr>>) {
    // Said once, not every few minutes.
    let mut failing = told.borrow().is_none();
    while running.recv_timeout(plan.every) == Err(RecvTimeoutError::Timeout) {
        match ask(&plan.server) {
            Ok(address) => {
                failing = false;
                let before = *told.borrow();
                if before != Some(address) {
                    told.send_replace(Some(address));
                    tracing::warn!(?before, now = %address, "the external address has changed: new calls are told the new one");
                }
            }
            Err(why) if !failing => {
                failing = true;
                tracing::warn!(server = plan.server, %why, "the STUN server does not answer: the external address is taken to be the same");
            }
            Err(_) => {}
        }
    }
}

/// One question, asked so often as RFC 8489 section 6.2.1 says, though not as long.
fn ask(server: &str) -> io::Result<IpAddr> {
    let nobody = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let server: SocketAddr = server.to_socket_addrs()?.next().ok_or_else(nobody)?;
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    let request = Request::new(&mut OsEntropy);
    let mut wait = STUN_FIRST_WAIT;
    for _ in 0..STUN_TRIES {
        socket.send(&request.bytes())?;
        if let Some(told) = answer(&socket, &request, wait)? {
            return Ok(told.ip());
        }
        wait *= 2;
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
}

/// The answer, if it comes in time. What is none is passed over.
fn answer(socket: &UdpSocket, request: &Request, wait: Duration) -> io::Result<Option<SocketAddr>> {
    let until = sys::mono() + wait;
    let mut bytes = [0; 1500];
    loop {
        let left = until.since(sys::mono());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut bytes) {
            Ok(length) => length,
            Err(why) if matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(why) => return Err(why),
        };
        match request.read(&bytes[..length]) {
            Err(NoAddress::Foreign) => {}
            told => return told.map(Some).map_err(io::Error::other),
        }
    }
}
