//! What a run leaves behind for the verifier and for reports: a folder with the plan, one line for each call, and the result.
//!
//! Payload is never stored: it follows from the plan's seed. What does not follow from it stands here: how far each stream came.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The plan as it was carried out, with everything that was left to defaults.
pub const PLAN: &str = "plan.toml";
/// One [`CallRecord`] per line, in the order in which calls ended.
pub const CALLS: &str = "run.jsonl";
/// What the run came to.
pub const RESULT: &str = "result.json";

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// We hung up, and the recorder said 200.
    HungUp,
    /// We vanished, as planned: no BYE was sent.
    Vanished,
    /// The recorder refused it, with this answer to INVITE.
    Refused(u16),
    /// The recorder hung up.
    ByRecorder,
    /// The recorder answered our BYE with this instead of 200; 408 if it did not answer.
    ByeFailed(u16),
    /// The recorder's answer to INVITE could not be used.
    BadAnswer,
}

/// How far a stream came.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct TrackRecord {
    /// Packets taken from its [schedule](crate::schedule), those lost on purpose included: what was sent is this prefix of it.
    pub taken: u64,
    /// Datagrams that went out.
    pub datagrams: u64,
    /// Datagrams that the system refused. Not what the schedule says: unless this is 0 the call can't be verified.
    pub refused: u64,
    /// How long after its time the latest packet went out, in microseconds.
    pub late_us_max: u64,
}

/// One call.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CallRecord {
    /// Its number, from 0: with the seed and the track this says all that was sent.
    pub call: u64,
    /// The Call-ID of its recording session.
    pub call_id: String,
    /// The name of its profile.
    pub profile: String,
    /// When INVITE went out, as RFC 3339 has it.
    pub invited: String,
    /// From INVITE to the final answer, in milliseconds; `None` if there was none.
    pub answer_ms: Option<f64>,
    /// When its media started, in nanoseconds since 1970, by the generator's clock; `None` if it never did.
    pub media_ns: Option<u64>,
    /// Its streams, in the order of the offer.
    pub tracks: Vec<TrackRecord>,
    /// When it was over: the answer to BYE, the refusal, or when we vanished.
    pub ended: String,
    /// From BYE to its answer, in milliseconds.
    pub bye_ms: Option<f64>,
    /// How.
    pub end: End,
}

/// Writes the lines of calls as they end.
pub struct Recorder {
    out: BufWriter<File>,
}

impl Recorder {
    /// Creates the folder, if it is not there, and the file in it, which must not be there yet.
    pub fn create(folder: &Path) -> io::Result<Recorder> {
        std::fs::create_dir_all(folder)?;
        let out = File::options().write(true).create_new(true).open(folder.join(CALLS))?;
        Ok(Recorder { out: BufWriter::new(out) })
    }

    /// Adds a line.
    pub fn write(&mut self, call: &CallRecord) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, call)?;
        self.out.write_all(b"\n")
    }

    /// Brings all lines to the file.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads all calls of a run's folder.
pub fn read(folder: &Path) -> io::Result<Vec<CallRecord>> {
    let path = folder.join(CALLS);
    let wrong = |why: String| io::Error::other(format!("{}: {why}", path.display()));
    let file = File::open(&path).map_err(|why| wrong(why.to_string()))?;
    let lines = BufReader::new(file).lines().enumerate();
    lines
        .map(|(at, line)| {
            serde_json::from_str(&line?).map_err(|why| wrong(format!("line {}: {why}", at + 1)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: u64, end: End) -> CallRecord {
        CallRecord {
            call: number,
            call_id: format!("lt-7-{number}-1@127.0.0.1"),
            profile: "clean".to_owned(),
            invited: "2026-01-01T00:00:00Z".to_owned(),
            answer_ms: Some(1.25),
            media_ns: Some(1_800_000_000_000_000_000),
            tracks: vec![TrackRecord { taken: 9, datagrams: 8, refused: 0, late_us_max: 900 }],
            ended: "2026-01-01T00:00:09Z".to_owned(),
            bye_ms: None,
            end,
        }
    }

    #[test]
    fn calls_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let calls = [
            call(0, End::HungUp),
            call(1, End::Refused(503)),
            call(2, End::Vanished),
            call(3, End::ByRecorder),
        ];
        let mut recorder = Recorder::create(folder.path()).unwrap();
        calls.iter().for_each(|call| recorder.write(call).unwrap());
        recorder.finish().unwrap();
        assert_eq!(read(folder.path()).unwrap(), calls);
        assert!(Recorder::create(folder.path()).is_err(), "no run overwrites another");
    }

    #[test]
    fn a_torn_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CALLS), "{\"call\":").unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("run.jsonl: line 1"));
    }
}
