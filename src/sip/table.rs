//! The live dialogs as plain rows, for whoever wants to look at them. Leaves out how they are shown.

use std::time::Duration;

use super::dialog::Dialog;
use super::endpoint::Endpoint;
use super::event::DialogId;
use super::peer::Peer;
use super::session_timer::Refresher;
use crate::base::{Mono, Redacted};

/// One dialog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DialogRow {
    /// Our name for it.
    pub id: DialogId,
    /// Its Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag; empty if it has none (yet).
    pub remote_tag: String,
    /// Our end's address, tag included.
    pub local: Redacted<String>,
    /// The peer's, tag included.
    pub remote: Redacted<String>,
    /// Where the peer was heard last.
    pub peer: Peer,
    /// Time since its INVITE.
    pub age: Duration,
    /// Whether that has been accepted.
    pub confirmed: bool,
    /// A 2xx of ours waits for its ACK.
    pub unacknowledged: bool,
    /// Our BYE is under way.
    pub ending: bool,
    /// What keeps the session alive; `None` if nothing has to.
    pub session: Option<SessionRow>,
}

/// A session timer (RFC 4028).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionRow {
    /// How long a session lasts without a refresh.
    pub interval: Duration,
    /// Who refreshes.
    pub refresher: Refresher,
    /// What is left of it.
    pub left: Duration,
}

impl Endpoint {
    /// Every dialog alive, in no order.
    pub fn dialogs_table(&self, now: Mono) -> impl Iterator<Item = DialogRow> {
        self.dialogs.iter().map(move |(id, dialog)| row(id, dialog, now))
    }

    /// At most `count` dialogs from `first` on, in the order in which they began.
    pub fn dialogs_from(&self, first: DialogId, count: usize, now: Mono) -> Vec<DialogRow> {
        let mut later: Vec<_> = self.dialogs.iter().filter(|(id, _)| *id >= first).collect();
        if later.len() > count {
            later.select_nth_unstable_by_key(count, |(id, _)| *id);
            later.truncate(count);
        }
        later.sort_unstable_by_key(|(id, _)| *id);
        later.into_iter().map(|(id, dialog)| row(id, dialog, now)).collect()
    }
}

fn row(id: DialogId, dialog: &Dialog, now: Mono) -> DialogRow {
    let session = dialog.timer.map(|timer| SessionRow {
        interval: timer.interval(),
        refresher: timer.refresher,
        left: timer.expires.since(now),
    });
    DialogRow {
        id,
        call_id: dialog.call_id.clone(),
        local_tag: dialog.local_tag.clone(),
        remote_tag: dialog.remote_tag.clone(),
        local: Redacted::new(dialog.local.clone()),
        remote: Redacted::new(dialog.remote.clone()),
        peer: dialog.peer,
        age: now.since(dialog.since),
        confirmed: dialog.confirmed,
        unacknowledged: dialog.unacked.is_some(),
        ending: dialog.ending,
        session,
    }
}
