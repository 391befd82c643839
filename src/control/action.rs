//! What control wants done: the one output of the core.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use super::Refusal;
use crate::base::{Mono, RecordingId, Wall};
use crate::link::{CallId, Command};
use crate::recording::Manifest;
use crate::seal::{DataKey, WrappedKey};
use crate::sip::{Answer, DialogId, RequestId};
use crate::siprec::Cuts;

/// The two clocks at one instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// For deadlines and positions.
    pub mono: Mono,
    /// For what people read.
    pub wall: Wall,
}

/// Something for the driver to do. In order.
pub enum Action {
    /// Answer a SIP request.
    Answer {
        /// Which.
        request: RequestId,
        /// With what.
        answer: Answer,
    },
    /// End a dialog.
    Bye {
        /// Which.
        dialog: DialogId,
    },
    /// Send a re-INVITE of ours. Should it not even go out, the core is told by the event for one that was refused.
    Reinvite {
        /// In which dialog.
        dialog: DialogId,
        /// Its body.
        offer: Answer,
    },
    /// Tell a shard.
    Command {
        /// Which, from 0.
        shard: usize,
        /// What.
        command: Command,
    },
    /// Have a key provider wrap a recording's data key. Answered by [`super::Control::wrapped`].
    Wrap {
        /// Whose.
        call: CallId,
        /// Of which recording.
        recording: RecordingId,
        /// What.
        key: DataKey,
    },
    /// Work on files, for the background pool; jobs of one call in order.
    Job(Job),
    /// A line for the log. Holds no personal data.
    Log(Log),
}

/// Work on files.
pub enum Job {
    /// Write the manifest as it is known now.
    Checkpoint(Box<Paper>),
    /// Hash the segments, write the last manifest, and move the folder to its place among the finished ones.
    Finalise(Box<Paper>),
    /// Delete the folder of a call that was never answered.
    Discard {
        /// Whose.
        call: CallId,
        /// The folder, which may be missing.
        dir: PathBuf,
    },
}

impl Job {
    /// Whose job it is.
    pub fn call(&self) -> CallId {
        match self {
            Job::Checkpoint(paper) | Job::Finalise(paper) => paper.call,
            Job::Discard { call, .. } => *call,
        }
    }
}

/// A manifest and what is needed to seal it.
pub struct Paper {
    /// Whose.
    pub call: CallId,
    /// The manifest.
    pub manifest: Manifest,
    /// The data key.
    pub key: DataKey,
    /// The data key, wrapped.
    pub wrapped: Vec<WrappedKey>,
}

/// How much a line of the log matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The normal course.
    Info,
    /// Somebody should look at it some time.
    Warn,
    /// Audio is or may be lost.
    Error,
}

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// How much it matters.
    pub severity: Severity,
    /// The recording it is about.
    pub recording: Option<RecordingId>,
    /// What happened.
    pub text: String,
}

/// The actions not yet carried out, and how often it was no.
#[derive(Default)]
pub(super) struct Outbox {
    actions: VecDeque<Action>,
    refusals: BTreeMap<&'static str, Refused>,
    /// What metadata had too much of.
    pub cuts: Cuts,
}

/// How often it was no for one reason.
#[derive(Default)]
struct Refused {
    count: u64,
    /// The last time, in words.
    why: String,
}

impl Outbox {
    pub fn pop(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub fn answer(&mut self, request: RequestId, answer: Answer) {
        self.actions.push_back(Action::Answer { request, answer });
    }

    pub fn bye(&mut self, dialog: DialogId) {
        self.actions.push_back(Action::Bye { dialog });
    }

    pub fn reinvite(&mut self, dialog: DialogId, offer: Answer) {
        self.actions.push_back(Action::Reinvite { dialog, offer });
    }

    pub fn command(&mut self, shard: usize, command: Command) {
        self.actions.push_back(Action::Command { shard, command });
    }

    pub fn wrap(&mut self, call: CallId, recording: RecordingId, key: DataKey) {
        self.actions.push_back(Action::Wrap { call, recording, key });
    }

    pub fn job(&mut self, job: Job) {
        self.actions.push_back(Action::Job(job));
    }

    pub fn log(&mut self, severity: Severity, recording: Option<RecordingId>, text: impl Into<String>) {
        self.actions.push_back(Action::Log(Log { severity, recording, text: text.into() }));
    }

    /// Answers with a refusal, counts it, and says so in the log unless it is of the kind that comes in masses.
    pub fn refuse(&mut self, request: RequestId, recording: Option<RecordingId>, refusal: &Refusal) {
        self.count(refusal, 1);
        if !refusal.is_for_capacity() {
            self.log(refusal.severity(), recording, format!("refused: {refusal}"));
        }
        self.answer(request, refusal.answer());
    }

    /// Counts refusals.
    pub fn count(&mut self, refusal: &Refusal, calls: u64) {
        let refused = self.refusals.entry(refusal.reason()).or_default();
        refused.count += calls;
        // The words of most are always the same.
        if refused.why.is_empty() || matches!(refusal, Refusal::Shard(_) | Refusal::Keys(_)) {
            refused.why = refusal.to_string();
        }
    }

    /// What was counted, and the last of each in words.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64, &str)> {
        self.refusals.iter().map(|(reason, refused)| (*reason, refused.count, refused.why.as_str()))
    }
}
