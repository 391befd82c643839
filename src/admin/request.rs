//! Requests as they come over the control socket.

use serde::{Deserialize, Serialize};

use crate::base::RecordingId;
use crate::link::CallId;

/// What can be asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// How the recorder is.
    Status {},
    /// A page of its calls, in the order in which they came.
    Calls {
        /// Those that came after this one; 0 for the first page.
        #[serde(default)]
        after: u64,
    },
    /// One call.
    Call {
        /// Which.
        id: String,
        /// Names and numbers too; they are left out otherwise.
        #[serde(default)]
        show_parties: bool,
    },
    /// A page of the SIP dialogs.
    Dialogs {
        /// Those that began after this one; 0 for the first page.
        #[serde(default)]
        after: u64,
    },
    /// Keep no audio from now on, of one call or of all and those to come.
    Pause(PauseOrder),
    /// End a pause of the same extent.
    Resume(PauseOrder),
    /// What bounds calls, as configured.
    Limits {},
    /// Every metric, in the text format of Prometheus.
    Metrics {},
    /// Take no new calls.
    Drain(DrainOrder),
    /// Take calls again.
    Undrain {},
    /// End as on SIGTERM.
    Stop {
        /// Without waiting for running calls.
        #[serde(default)]
        now: bool,
    },
}

impl PauseOrder {
    /// What it means: `Some(None)` is all, `None` makes no sense.
    pub(super) fn which(&self) -> Option<Option<CallName>> {
        match (&self.id, self.all) {
            (Some(id), false) => CallName::parse(id).map(Some),
            (None, true) => Some(None),
            _ => None,
        }
    }
}

/// How to drain.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainOrder {
    /// How long running calls may go on, in seconds; `drain_seconds` of the configuration if not given.
    #[serde(default)]
    pub seconds: Option<u32>,
    /// End the process once the calls have ended.
    #[serde(default)]
    pub then_stop: bool,
}

/// What to pause or resume: one call, or all.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseOrder {
    /// One call.
    #[serde(default)]
    pub id: Option<String>,
    /// All of them.
    #[serde(default)]
    pub all: bool,
    /// Why; it goes into the manifest.
    #[serde(default)]
    pub reason: String,
}

/// How an administrator names a call: by its number or by its recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallName {
    /// By the number that `calls` shows.
    Call(CallId),
    /// By its recording.
    Recording(RecordingId),
}

impl CallName {
    /// Reads either.
    pub fn parse(text: &str) -> Option<CallName> {
        match text.parse() {
            Ok(number) => Some(CallName::Call(CallId(number))),
            Err(_) => text.parse().ok().map(CallName::Recording),
        }
    }
}
