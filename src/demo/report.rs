//! What the demonstration has to say: one object, and the same in plain words.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::compare::Verdict;
use crate::base::RecordingId;
use crate::src_client::Script;

/// The whole outcome.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Every sample was right or accounted for.
    pub ok: bool,
    /// What the network's faults were drawn from.
    pub seed: u64,
    /// Which ring the shards ran on.
    pub ring: String,
    /// Where everything is.
    pub folder: PathBuf,
    /// How this program was called.
    pub program: String,
    /// The calls.
    pub calls: Vec<CallReport>,
    /// The first call, opened.
    pub wav: PathBuf,
    /// Its waveform.
    pub picture: PathBuf,
    /// The key that opens the recordings.
    pub key: PathBuf,
}

/// One call.
#[derive(Clone, Debug, Serialize)]
pub struct CallReport {
    /// What SIP ran over.
    pub transport: &'static str,
    /// The codec of both sides.
    pub codec: &'static str,
    /// Call-ID of the recording session.
    pub call_id: String,
    /// Its recording.
    pub recording: RecordingId,
    /// The recording's folder.
    pub folder: PathBuf,
    /// Its tracks.
    pub tracks: Vec<TrackReport>,
}

/// One track.
#[derive(Clone, Debug, Serialize)]
pub struct TrackReport {
    /// Who is heard.
    pub name: &'static str,
    /// Datagrams sent.
    pub datagrams: usize,
    /// Of these, second copies.
    pub duplicated: u32,
    /// Of these, overtaken by others.
    pub overtaken: u32,
    /// What came of the comparison.
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl TrackReport {
    /// The report of a track that `script` was sent to.
    pub fn new(name: &'static str, script: &Script, verdict: Verdict) -> TrackReport {
        let (duplicated, overtaken) = (script.duplicated, script.delayed);
        TrackReport { name, datagrams: script.sendings.len(), duplicated, overtaken, verdict }
    }
}

impl Report {
    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.calls.iter().flat_map(|call| &call.tracks).map(|track| &track.verdict)
    }

    fn sum(&self, of: impl Fn(&Verdict) -> u64) -> String {
        grouped(self.verdicts().map(of).sum())
    }
}

/// In plain words.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.outcome(f)?;
        for (call, number) in self.calls.iter().zip(1..) {
            writeln!(f, "\n  call {number}: SIP over {}, {}", call.transport, call.codec)?;
            call.tracks.iter().try_for_each(|track| track.fmt(f))?;
        }
        self.files(f)?;
        self.next(f)
    }
}

impl Report {
    fn outcome(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.sum(|v| v.samples);
        if !self.ok {
            writeln!(f, "Something is wrong with {} of {all} samples:", self.sum(|v| v.wrong))?;
            return self.verdicts().flat_map(|v| &v.complaints).try_for_each(|what| writeln!(f, "  {what}"));
        }
        writeln!(
            f,
            "Two calls were recorded, and every one of their {all} samples is right or accounted for:"
        )?;
        writeln!(f, "  {:>9}  equal what was sent, bit by bit", self.sum(|v| v.right))?;
        writeln!(
            f,
            "  {:>9}  silent: their packets were lost on the way ({} packets of 160 samples)",
            self.sum(|v| v.lost),
            self.sum(|v| v.packets_lost)
        )?;
        if self.verdicts().any(|v| v.late > 0) {
            writeln!(f, "  {:>9}  silent: they came later than the horizon", self.sum(|v| v.late))?;
        }
        writeln!(f, "  {:>9}  silent: before the first packet and after the last", self.sum(|v| v.idle))?;
        writeln!(f, "Each silent stretch is written down in the recording, with its cause.")
    }

    fn files(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nWhat there is now, in {}:", self.folder.display())?;
        let mut file =
            |path: &Path, what: &str| writeln!(f, "  {}\n      {what}", self.within(path).display());
        file(&self.wav, "call 1, opened: one voice on each channel; play it")?;
        file(&self.picture, "its waveform, what was lost in red; open it in a browser")?;
        for (call, number) in self.calls.iter().zip(1..) {
            let what = format!(
                "call {number}, sealed: 0001.tape is the audio, manifest.tape is all that is known of it"
            );
            file(&call.folder, &what)?;
        }
        file(&self.key, "the master key: without it nobody opens them")
    }

    fn next(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (program, folder, key) = (&self.program, self.folder.display(), self.key.display());
        let call = self.calls.first().map_or(self.folder.display(), |call| call.folder.display());
        writeln!(f, "\nTry next:")?;
        writeln!(f, "  {program} verify --key {key} {folder}/recordings")?;
        writeln!(f, "  {program} export --key {key} {call} -o call.wav")?;
        writeln!(f, "  head -c 4096 {call}/0001.tape     # what anyone may know of it")?;
        write!(f, "  {program} serve --print-config     # then point a border controller here")
    }

    /// `path` as seen from the folder.
    fn within<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.folder).unwrap_or(path)
    }
}

impl fmt::Display for TrackReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, datagrams, lost) = (self.name, self.datagrams, self.verdict.packets_lost);
        let (overtaken, duplicated) = (self.overtaken, self.duplicated);
        writeln!(
            f,
            "    {name:<5} {datagrams:>4} packets sent, {overtaken:>3} overtaken, {duplicated:>2} twice, {lost:>2} lost"
        )
    }
}

/// `318400` as `318,400`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits are ASCII"))
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict) -> Report {
        let track = TrackReport { name: "Ada", datagrams: 501, duplicated: 7, overtaken: 20, verdict };
        let call = CallReport {
            transport: "UDP",
            codec: "PCMU",
            call_id: "c".to_owned(),
            recording: "0123456789ab70008000000000000000".parse().unwrap(),
            folder: "d/recordings/2026/11/21/0123".into(),
            tracks: vec![track],
        };
        Report {
            ok: call.tracks[0].verdict.good(),
            seed: 1,
            ring: "poll".to_owned(),
            folder: "d".into(),
            program: "target/release/tapehead".to_owned(),
            calls: vec![call],
            wav: "d/call-1.wav".into(),
            picture: "d/call-1.svg".into(),
            key: "d/master.key".into(),
        }
    }

    #[test]
    fn a_good_outcome_says_so_with_its_numbers_and_a_bad_one_with_its_reasons() {
        let good =
            Verdict { samples: 82_400, right: 78_720, lost: 1280, packets_lost: 8, ..Verdict::default() };
        let text = report(good).to_string();
        for said in [
            "82,400 samples",
            "78,720",
            "8 packets",
            "20 overtaken",
            "verify --key d/master.key d/recordings",
        ] {
            assert!(text.contains(said), "{said}:\n{text}");
        }
        let bad = Verdict {
            samples: 10,
            wrong: 1,
            complaints: vec!["sample 3: differs".to_owned()],
            ..Verdict::default()
        };
        let text = report(bad).to_string();
        assert!(text.contains("wrong with 1 of 10") && text.contains("sample 3: differs"), "{text}");
    }

    #[test]
    fn the_object_says_the_same() {
        let object = serde_json::to_value(report(Verdict { right: 5, ..Verdict::default() })).unwrap();
        assert_eq!((&object["ok"], &object["calls"][0]["tracks"][0]["right"]), (&true.into(), &5.into()));
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
