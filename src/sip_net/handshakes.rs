//! Handshakes under way: so many at once, and the newest has precedence. Who stalls is the first to go, so that stalling keeps
//! nobody out who is quicker than the table fills.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::time::error::Elapsed;
use tokio_rustls::rustls::Error;

use super::Counted;
use super::budget::Count;
use crate::limits::TLS_HANDSHAKES_MAX;

/// Why handshakes failed, of both directions.
#[derive(Default)]
pub(super) struct Failures {
    pub(super) slow: Count,
    pub(super) left: Count,
    pub(super) certificate: Count,
    pub(super) alert: Count,
    pub(super) incompatible: Count,
    pub(super) malformed: Count,
}

impl Failures {
    /// Takes what came of a handshake that may have taken too long.
    pub(super) fn judge<S>(&self, done: Result<io::Result<S>, Elapsed>) -> io::Result<S> {
        let Ok(done) = done else {
            self.slow.up();
            return Err(io::ErrorKind::TimedOut.into());
        };
        done.inspect_err(|why| match why.get_ref().and_then(|why| why.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => self.certificate.up(),
            Some(Error::AlertReceived(_)) => self.alert.up(),
            Some(Error::PeerIncompatible(_)) => self.incompatible.up(),
            Some(_) => self.malformed.up(),
            None => self.left.up(),
        })
    }
}

/// All of them.
#[derive(Clone, Default)]
pub(super) struct Handshakes(Arc<Mutex<Slots>>);

#[derive(Default)]
struct Slots {
    /// In the order in which they began. Dropping the sender gives the slot away.
    open: BTreeMap<u64, oneshot::Sender<()>>,
    next: u64,
}

/// The right to be under way.
pub(super) struct Slot {
    all: Handshakes,
    number: u64,
    taken: oneshot::Receiver<()>,
}

impl Handshakes {
    /// Begins one. The oldest goes if there are too many.
    pub(super) fn begin(&self, counted: &Counted) -> Slot {
        let (slot, taken) = oneshot::channel();
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.next += 1;
        let number = slots.next;
        slots.open.insert(number, slot);
        if slots.open.len() > TLS_HANDSHAKES_MAX {
            slots.open.pop_first();
            counted.handshakes_displaced.up();
        }
        Slot { all: self.clone(), number, taken }
    }
}

impl Slot {
    /// Resolves when another handshake has taken the place of this one.
    pub(super) async fn given_away(&mut self) {
        let _ = (&mut self.taken).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&self.number);
    }
}
