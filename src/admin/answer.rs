//! From a line to a line.

use serde::Serialize;
use serde_json::{Value, json};

use super::metrics::{self, Sample};
use super::request::{CallName, DrainOrder, PauseOrder, Request};
use super::status::{DialogStatus, Limits, Status};
use crate::control::{CallDetail, CallSummary};
use crate::limits::ADMIN_PAGE;
use crate::link::CallId;

/// Why something asked for was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The request makes no sense.
    Usage(String),
    /// What it names is not there.
    Unknown(String),
    /// It can't be done now.
    Refused(String),
}

impl Refused {
    /// The word for it on the wire.
    fn kind(&self) -> &'static str {
        match self {
            Refused::Usage(_) => "usage",
            Refused::Unknown(_) => "unknown",
            Refused::Refused(_) => "refused",
        }
    }

    fn why(&self) -> &str {
        let (Refused::Usage(why) | Refused::Unknown(why) | Refused::Refused(why)) = self;
        why
    }
}

/// A recorder as an administrator sees it.
pub trait Subject {
    /// How it is.
    fn status(&self) -> Status;
    /// At most [`ADMIN_PAGE`] calls that came after this one.
    fn calls(&self, after: CallId) -> Vec<CallSummary>;
    /// One call, with names and numbers if asked for.
    fn call(&self, name: CallName, show_parties: bool) -> Option<CallDetail>;
    /// At most [`ADMIN_PAGE`] dialogs that began after this one, in their order.
    fn dialogs(&self, after: u64) -> Vec<DialogStatus>;
    /// What bounds calls.
    fn limits(&self) -> Limits;
    /// What metrics are made of.
    fn sample(&self) -> Sample;
    /// Pauses one call or all; how many calls it touched.
    fn pause(&mut self, which: Option<CallName>, reason: &str) -> Result<usize, Refused>;
    /// Ends a pause of the same extent; how many calls it touched.
    fn resume(&mut self, which: Option<CallName>) -> Result<usize, Refused>;
    /// Takes no new calls from now on.
    fn drain(&mut self, order: DrainOrder) -> Result<(), Refused>;
    /// Takes calls again.
    fn undrain(&mut self) -> Result<(), Refused>;
    /// Ends, after draining or now.
    fn stop(&mut self, now: bool);
}

/// Answers one line; the answer is one line, too, without its end.
pub fn answer(line: &[u8], subject: &mut impl Subject) -> String {
    let request = serde_json::from_slice(line).map_err(|why| Refused::Usage(format!("not a request: {why}")));
    match request.and_then(|request| carry_out(request, subject)) {
        Ok(answer) => json!({ "ok": answer }),
        Err(refused) => json!({ "error": { "kind": refused.kind(), "why": refused.why() } }),
    }
    .to_string()
}

fn carry_out(request: Request, subject: &mut impl Subject) -> Result<Value, Refused> {
    match request {
        Request::Status {} => Ok(value(subject.status())),
        Request::Calls { after } => Ok(page(subject.calls(CallId(after)), |call| call.id)),
        Request::Call { id, show_parties } => {
            let name = name(&id)?;
            let call = subject.call(name, show_parties);
            call.map(value).ok_or_else(|| Refused::Unknown(format!("there is no call {id}")))
        }
        Request::Dialogs { after } => Ok(page(subject.dialogs(after), |dialog| dialog.id)),
        Request::Limits {} => Ok(value(subject.limits())),
        Request::Metrics {} => Ok(Value::String(metrics::text(&subject.sample()))),
        Request::Pause(order) => subject.pause(which(&order)?, &order.reason).map(touched),
        Request::Resume(order) => subject.resume(which(&order)?).map(touched),
        Request::Drain(order) => subject.drain(order).map(|()| Value::Null),
        Request::Undrain {} => subject.undrain().map(|()| Value::Null),
        Request::Stop { now } => {
            subject.stop(now);
            Ok(Value::Null)
        }
    }
}

fn name(id: &str) -> Result<CallName, Refused> {
    CallName::parse(id)
        .ok_or_else(|| Refused::Usage("a call is named by its number or its recording".to_owned()))
}

fn which(order: &PauseOrder) -> Result<Option<CallName>, Refused> {
    let what = "say one call, by its number or its recording, or all";
    order.which().ok_or_else(|| Refused::Usage(what.to_owned()))
}

fn touched(calls: usize) -> Value {
    json!({ "calls": calls })
}

/// A page of a list, with where the next one begins if there may be one.
fn page<T: Serialize>(items: Vec<T>, id: impl Fn(&T) -> u64) -> Value {
    let next = items.last().filter(|_| items.len() >= ADMIN_PAGE).map(id);
    json!({ "items": items, "next": next })
}

/// Our own types have string keys and nothing else that JSON can't say.
fn value(of: impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or(Value::Null)
}
