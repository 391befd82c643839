//! A pause as the manifest tells it: who asked, when, and what stands in the recording.

use serde::{Deserialize, Serialize};

use crate::base::Redacted;

/// A pause by command. The silent stretches it made are among the intervals, cause `pause`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Pause {
    /// What it was asked for: `recording` for this one, `all` for every one.
    pub scope: String,
    /// Who asked, as the command named itself.
    pub by: Redacted<String>,
    /// Why, in the words of who asked.
    pub reason: Redacted<String>,
    /// What stands in the recording: `silence`, or nothing: `cut`.
    pub policy: String,
    /// When it was asked for.
    pub at: String,
    /// The position at that time.
    pub start: u64,
    /// When its end was asked for; `None` if it lasted to the end of the recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// The position at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// Who asked for its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Redacted<String>>,
}
