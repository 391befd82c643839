//! Where data keys are wrapped: on the control thread if the provider answers from memory, else on threads of their own.
//!
//! A provider may hang, not only fail. Then its threads are stuck and the questions behind them wait; each call has its answer from control's
//! deadline ([`crate::limits::KEY_WAIT_MAX`]), and signalling never waits. What is asked is bounded, what comes too late is dropped.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::sync::Notify;

use crate::base::{Mono, RecordingId, Wall};
use crate::control::Now;
use crate::keys::{KeyContext, KeyProvider};
use crate::limits::{KEY_QUESTIONS_MAX, KEY_THREADS, KEY_WAIT_MAX, TENANT};
use crate::link::CallId;
use crate::seal::{DataKey, WrappedKey};
use crate::sys;

/// A wrapped key, or why there is none.
type Wrapped = Result<WrappedKey, String>;

/// See the module. Its threads end when it is dropped and the provider lets go of them.
pub(super) struct Wrapping {
    keys: Arc<dyn KeyProvider>,
    /// To its threads, if it has any.
    questions: Option<mpsc::SyncSender<Question>>,
    answers: mpsc::Receiver<(CallId, Wrapped)>,
}

struct Question {
    call: CallId,
    recording: RecordingId,
    key: DataKey,
    /// Nobody waits for the answer any more.
    until: Mono,
    wall: Wall,
}

impl Wrapping {
    /// With this provider. `bell` is rung when an answer has come.
    pub fn start(keys: Arc<dyn KeyProvider>, bell: &Arc<Notify>) -> io::Result<Wrapping> {
        let (told, answers) = mpsc::channel();
        if !keys.may_block() {
            return Ok(Wrapping { keys, questions: None, answers });
        }
        let (questions, asked) = mpsc::sync_channel(KEY_QUESTIONS_MAX);
        let asked = Arc::new(Mutex::new(asked));
        for number in 0..KEY_THREADS {
            let (keys, asked, told, bell) = (keys.clone(), asked.clone(), told.clone(), bell.clone());
            let thread = std::thread::Builder::new().name(format!("keys-{number}"));
            thread.spawn(move || serve(&*keys, &asked, &told, &bell))?;
        }
        Ok(Wrapping { keys, questions: Some(questions), answers })
    }

    /// Has a key wrapped. The answer, if it is there already; else it comes by [`Wrapping::answer`], or never.
    pub fn ask(&self, call: CallId, recording: RecordingId, key: DataKey, now: Now) -> Option<Wrapped> {
        let until = now.mono + KEY_WAIT_MAX;
        let question = Question { call, recording, key, until, wall: now.wall };
        match &self.questions {
            None => Some(question.put(&*self.keys)),
            Some(questions) => questions
                .try_send(question)
                .err()
                .map(|_| Err("too many calls wait for the key provider already".to_owned())),
        }
    }

    /// The next answer that has come.
    pub fn answer(&self) -> Option<(CallId, Wrapped)> {
        self.answers.try_recv().ok()
    }
}

impl Question {
    fn put(&self, keys: &dyn KeyProvider) -> Wrapped {
        let context = KeyContext { recording: self.recording, tenant: TENANT };
        keys.wrap(&self.key, context, self.wall).map_err(|why| why.to_string())
    }
}

/// Puts one question after the other, until no more can come.
fn serve(
    keys: &dyn KeyProvider,
    asked: &Mutex<mpsc::Receiver<Question>>,
    told: &mpsc::Sender<(CallId, Wrapped)>,
    bell: &Notify,
) {
    loop {
        // One waits with the lock held, the others for the lock.
        let next = asked.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(question) = next else { return };
        if question.until <= sys::mono() {
            continue;
        }
        let wrapped = question.put(keys);
        if told.send((question.call, wrapped)).is_err() {
            return;
        }
        bell.notify_one();
    }
}
