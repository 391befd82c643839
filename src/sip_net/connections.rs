//! The table of live streams: by link, by address, bounded.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::budget::{Budget, Held};
use crate::sip::{Peer, Transport};

/// A message on its way out, and the memory that it holds while it waits.
pub(super) type Write = (Arc<[u8]>, Held);

/// A connection with its tasks running.
pub(super) struct Opened {
    pub(super) peer: Peer,
    pub(super) writes: mpsc::Sender<Write>,
    /// Dropped, it ends the reading. The writer ends by itself when its queue is empty.
    pub(super) open: oneshot::Sender<()>,
}

struct Connection {
    peer: Peer,
    writes: mpsc::Sender<Write>,
    _open: oneshot::Sender<()>,
    /// When it last carried a message, counted in messages of any; 0: never.
    used: u64,
}

/// See the module.
pub(super) struct Connections {
    by_link: HashMap<u64, Connection>,
    by_remote: HashMap<(Transport, SocketAddr), u64>,
    /// Who has to go first: those that never carried a message, then those that did so longest ago.
    by_use: BTreeSet<(u64, u64)>,
    uses: u64,
    limit: usize,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Connections {
        Connections {
            by_link: HashMap::new(),
            by_remote: HashMap::new(),
            by_use: BTreeSet::new(),
            uses: 0,
            limit,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_link.len()
    }

    /// Adds one; returns how many had to go for it.
    pub(super) fn add(&mut self, opened: Opened) -> u64 {
        let idlest = self.by_use.first().map(|(_, link)| *link);
        let evicted = idlest.filter(|_| self.by_link.len() >= self.limit);
        evicted.into_iter().for_each(|link| self.remove(link));
        let Opened { peer, writes, open } = opened;
        self.by_remote.insert((peer.transport, peer.remote), peer.link);
        self.by_use.insert((0, peer.link));
        self.by_link.insert(peer.link, Connection { peer, writes, _open: open, used: 0 });
        u64::from(evicted.is_some())
    }

    pub(super) fn remove(&mut self, link: u64) {
        let Some(Connection { peer, used, .. }) = self.by_link.remove(&link) else { return };
        self.by_use.remove(&(used, link));
        let remote = (peer.transport, peer.remote);
        if self.by_remote.get(&remote) == Some(&link) {
            self.by_remote.remove(&remote);
        }
    }

    /// Notes that a connection has carried a message.
    pub(super) fn touch(&mut self, link: u64) {
        if let Some(connection) = self.by_link.get_mut(&link) {
            self.uses += 1;
            self.by_use.remove(&(connection.used, link));
            connection.used = self.uses;
            self.by_use.insert((connection.used, link));
        }
    }

    /// The connection of this link, else one of that transport to any of these addresses.
    pub(super) fn find(&self, to: Peer, remotes: [SocketAddr; 2]) -> Option<u64> {
        let open = self.by_link.contains_key(&to.link).then_some(to.link);
        open.or_else(|| {
            remotes.iter().find_map(|remote| self.by_remote.get(&(to.transport, *remote)).copied())
        })
    }

    /// Queues a message. False if the queue is full, memory is short or the connection gone; it is closed then.
    pub(super) fn send(&mut self, link: u64, bytes: Arc<[u8]>, budget: &Budget) -> bool {
        self.touch(link);
        let sent = self.by_link.get(&link).is_some_and(|connection| connection.send(bytes, budget));
        if !sent {
            self.remove(link);
        }
        sent
    }
}

impl Connection {
    fn send(&self, bytes: Arc<[u8]>, budget: &Budget) -> bool {
        // Whoever reads what we send is never refused, however much the others hold.
        let idle = self.writes.capacity() == self.writes.max_capacity();
        let held = budget.hold(if idle { 0 } else { bytes.len() });
        held.is_some_and(|held| self.writes.try_send((bytes, held)).is_ok())
    }
}
