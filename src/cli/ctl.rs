//! `tapehead ctl`: asks a running recorder, or tells it something, through its control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::exit::Exit;
use super::place;
use crate::admin::{DrainOrder, PauseOrder, Request};

/// How long the recorder may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer taken: a page of a list is far shorter.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Arguments of `ctl`.
#[derive(clap::Args)]
#[command(after_help = "\
Of `call`, names and numbers of the people who spoke are shown only with --show-parties; no other command shows any.
Exit code 4: no recorder answers on the socket; 5: it refuses, or has no such call.")]
pub struct Args {
    /// The recorder's control socket [default: TAPEHEAD_CONTROL_SOCKET, else control.sock in TAPEHEAD_RECORDINGS_DIR or ./recordings]
    #[arg(long, value_name = "FILE", global = true)]
    socket: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// How the recorder is: calls, what more it would take, shards, refusals
    Status,
    /// Its calls
    Calls,
    /// One call
    Call {
        /// Its number, as `calls` shows it, or its recording
        id: String,
        /// Show the names and numbers of the people who speak
        #[arg(long)]
        show_parties: bool,
    },
    /// Its SIP dialogs
    Dialogs,
    /// Keep no audio from now on, of one call or of all; the manifest says from when to when, and why
    Pause(PauseArgs),
    /// Keep audio again: ends a pause of the same extent
    Resume(PauseArgs),
    /// What bounds calls, as configured
    Limits,
    /// Every metric, in the text format of Prometheus
    Metrics,
    /// Take no new calls: they and OPTIONS get 503; running ones go on for a while, then they are ended with BYE
    Drain {
        /// How long running calls may go on [default: drain_seconds of the configuration]
        #[arg(long)]
        seconds: Option<u32>,
        /// End the process afterwards
        #[arg(long)]
        then_stop: bool,
    },
    /// Take calls again
    Undrain,
    /// End as on SIGTERM: drain, then stop
    Stop {
        /// Without waiting for running calls
        #[arg(long)]
        now: bool,
    },
}

#[derive(clap::Args)]
struct PauseArgs {
    /// The number of the call, as `calls` shows it, or its recording
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// All calls, and those to come
    #[arg(long)]
    all: bool,
    /// Why; goes into the manifest
    #[arg(long, default_value = "")]
    reason: String,
}

impl PauseArgs {
    fn order(&self) -> PauseOrder {
        PauseOrder { id: self.id.clone(), all: self.all, reason: self.reason.clone() }
    }
}

/// Asks, and prints what comes back.
pub fn run(args: Args) -> ExitCode {
    let path = args.socket.clone().unwrap_or_else(place::control_socket);
    let answered = match &args.what {
        What::Calls => all(&path, |after| Request::Calls { after }),
        What::Dialogs => all(&path, |after| Request::Dialogs { after }),
        what => ask(&path, &request(what)),
    };
    match answered {
        Ok(answer) => {
            let text = if args.json { format!("{answer:#}\n") } else { human(&args.what, &answer) };
            // A closed pipe is nobody's fault.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Exit::Ok.into()
        }
        Err((exit, why)) => {
            eprintln!("tapehead: {why}");
            exit.into()
        }
    }
}

type Failure = (Exit, String);

fn request(what: &What) -> Request {
    match what {
        What::Status => Request::Status {},
        What::Calls => Request::Calls { after: 0 },
        What::Dialogs => Request::Dialogs { after: 0 },
        What::Pause(args) => Request::Pause(args.order()),
        What::Resume(args) => Request::Resume(args.order()),
        What::Limits => Request::Limits {},
        What::Metrics => Request::Metrics {},
        What::Call { id, show_parties } => Request::Call { id: id.clone(), show_parties: *show_parties },
        What::Drain { seconds, then_stop } => {
            Request::Drain(DrainOrder { seconds: *seconds, then_stop: *then_stop })
        }
        What::Undrain => Request::Undrain {},
        What::Stop { now } => Request::Stop { now: *now },
    }
}

/// All pages of a list as one.
fn all(path: &PathBuf, request: impl Fn(u64) -> Request) -> Result<Value, Failure> {
    let (mut items, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let mut page = ask(path, &request(from))?;
        after = page["next"].as_u64();
        if let Some(more) = page["items"].as_array_mut() {
            items.append(more);
        }
    }
    Ok(Value::Array(items))
}

/// One request, one answer.
fn ask(path: &PathBuf, request: &Request) -> Result<Value, Failure> {
    let line = exchange(path, request).map_err(|why| {
        let what = format!("no recorder answers on {}: {why} (is it running? --socket names another)", path.display());
        (Exit::Unreachable, what)
    })?;
    let mut answer: Value =
        serde_json::from_str(&line).map_err(|why| (Exit::Failed, format!("the answer makes no sense: {why}")))?;
    if let Some(error) = answer.get("error") {
        let why = error["why"].as_str().unwrap_or_default().to_owned();
        return Err((if error["kind"] == "usage" { Exit::Usage } else { Exit::Refused }, why));
    }
    Ok(answer["ok"].take())
}

fn exchange(path: &PathBuf, request: &Request) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{}\n", json!(request)).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut line)?;
    if line.is_empty() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(line) }
}

/// For people.
fn human(what: &What, answer: &Value) -> String {
    match (what, answer) {
        (What::Calls, Value::Array(calls)) => table(&CALL_COLUMNS, calls),
        (What::Dialogs, Value::Array(dialogs)) => table(&DIALOG_COLUMNS, dialogs),
        (What::Metrics, Value::String(text)) => text.clone(),
        (_, Value::Null) => "done\n".to_owned(),
        (_, answer) => outline(answer, 0),
    }
}

const CALL_COLUMNS: [&str; 9] =
    ["id", "state", "paused", "age_s", "tracks", "shard", "peer", "recording", "started"];
const DIALOG_COLUMNS: [&str; 6] = ["id", "state", "age_s", "transport", "address", "call_id"];

fn table(columns: &[&str], items: &[Value]) -> String {
    let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let head: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    let row = |item: &Value| columns.iter().map(|column| cell(&item[column])).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(items.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// An object as indented lines.
fn outline(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let line = |name: &str, value: &Value| match value {
        Value::Object(_) | Value::Array(_) => format!("{indent}{name}\n{}", outline(value, depth + 1)),
        Value::String(text) => format!("{indent}{name:<16} {text}\n"),
        Value::Null => String::new(),
        other => format!("{indent}{name:<16} {other}\n"),
    };
    match value {
        Value::Object(members) => members.iter().map(|(name, value)| line(name, value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| line(&at.to_string(), item)).collect(),
        other => format!("{indent}{other}\n"),
    }
}
