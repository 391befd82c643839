//! What a scenario expects: `NAME.toml`, and how a recording is held against it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tapehead::media::Fate;
use tapehead::recording::Manifest;
use tapehead::recording::manifest::{RecordingState, Track};

use super::found::Sound;

/// Fates that are nothing to wonder at. Any other has to be expected by name.
const ORDINARY: [Fate; 4] = [Fate::Placed, Fate::ComfortNoise, Fate::TelephoneEvent, Fate::Rtcp];

/// From, to, both allowed.
type Range = [f64; 2];

/// One scenario.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its file's name without extension.
    #[serde(skip)]
    pub name: String,
    /// Who does this: a vendor, a flow of RFC 8068, a defect.
    pub imitates: String,
    /// What it does, in a line.
    pub shows: String,
    /// Which items of the interoperability table it proves.
    #[serde(default)]
    pub interop: Vec<u8>,
    /// Played by `raw.rs` instead of SIPp, which can't: why.
    #[serde(default)]
    pub raw: Option<String>,
    /// A recorder of its own.
    #[serde(default)]
    pub recorder: Option<Own>,
    /// What must have been recorded under its Call-ID; nothing else.
    #[serde(default)]
    pub recording: Vec<Expected>,
}

/// A recorder for one scenario alone.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// Further lines of its configuration.
    #[serde(default)]
    pub settings: String,
    /// Further environment variables.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Files beside its configuration, for its eyes alone.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// When it is sent SIGTERM, from the scenario's start.
    #[serde(default)]
    pub terminate_after_ms: Option<u64>,
}

/// One recording.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The client's tag, where several recordings share a Call-ID.
    #[serde(default)]
    pub remote_tag: Option<String>,
    /// How it ended.
    #[serde(default = "bye")]
    end: String,
    /// Its length.
    seconds: Range,
    /// Segments.
    #[serde(default = "one")]
    segments: usize,
    /// What brought each revision of the metadata.
    #[serde(default = "invite")]
    revisions: Vec<String>,
    /// All that was odd about the metadata.
    #[serde(default)]
    flags: Vec<String>,
    /// Who took part: `aor name`.
    participants: Vec<String>,
    /// Whose client it was taken for.
    #[serde(default)]
    vendor: Option<String>,
    /// `caller` or `callee` per participant, or nothing; checked if given.
    #[serde(default)]
    roles: Option<Vec<String>>,
    /// What happened after the first document, by the history; checked if given.
    #[serde(default)]
    events: Option<Vec<String>>,
    /// Communication sessions; checked if given.
    #[serde(default)]
    sessions: Option<Vec<String>>,
    /// Header fields that must have been kept.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Members of the manifest, by JSON pointer.
    #[serde(default)]
    says: BTreeMap<String, toml::Value>,
    track: Vec<ExpectedTrack>,
}

/// One track.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct ExpectedTrack {
    #[serde(default)]
    label: Option<String>,
    /// Addresses of those who speak on it.
    speakers: Vec<String>,
    /// Seconds of each tone, by its frequency; nothing else may be heard.
    heard: BTreeMap<String, Range>,
    /// Seconds of silence by cause. `no_media` needs no mention.
    #[serde(default)]
    intervals: BTreeMap<String, Range>,
    /// Counters beyond those of ordinary packets.
    #[serde(default)]
    counters: BTreeMap<String, u64>,
}

fn bye() -> String {
    "bye".to_owned()
}

fn one() -> usize {
    1
}

fn invite() -> Vec<String> {
    vec!["INVITE".to_owned()]
}

impl Scenario {
    /// Every one in the folder, by name.
    pub fn all(folder: &Path) -> Vec<Scenario> {
        let entries = std::fs::read_dir(folder).expect("the folder is there");
        let paths = entries.map(|entry| entry.expect("it can be listed").path());
        let mut all: Vec<Scenario> =
            paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).map(|p| read(&p)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

fn read(path: &Path) -> Scenario {
    let text = std::fs::read_to_string(path).expect("it can be read");
    let read: Scenario = toml::from_str(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    Scenario { name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), ..read }
}

/// Collects what is wrong, in words.
#[derive(Default)]
struct Complaints(Vec<String>);

impl Complaints {
    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, is: T, expected: T) {
        if is != expected {
            self.0.push(format!("{what}: {is:?}, expected {expected:?}"));
        }
    }

    fn within(&mut self, what: &str, is: f64, [from, to]: Range) {
        if !(from..=to).contains(&is) {
            self.0.push(format!("{what}: {is:.3}, expected {from} to {to}"));
        }
    }
}

impl Expected {
    /// Everything in which the recording is not as expected.
    pub fn complaints(&self, manifest: &Manifest, sound: &[Sound]) -> Vec<String> {
        let mut wrong = Complaints::default();
        self.check_session(manifest, &mut wrong);
        self.check_metadata(manifest, &mut wrong);
        wrong.equal("tracks", manifest.tracks.len(), self.track.len());
        wrong.equal("channels", sound.len(), self.track.len());
        for (number, ((is, expected), sound)) in
            manifest.tracks.iter().zip(&self.track).zip(sound).enumerate()
        {
            expected.check(number, is, manifest, sound, &mut wrong);
        }
        wrong.0
    }

    fn check_session(&self, manifest: &Manifest, wrong: &mut Complaints) {
        wrong.equal("state", manifest.state, RecordingState::Complete);
        wrong.equal("end", manifest.end_cause.as_deref(), Some(self.end.as_str()));
        wrong.within("seconds", manifest.samples as f64 / f64::from(manifest.rate), self.seconds);
        wrong.equal("segments", manifest.segments.len(), self.segments);
        for (name, value) in &self.headers {
            let kept = manifest.sip.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            wrong.equal(name, kept.map(|header| header.value.reveal().as_str()), Some(value.as_str()));
        }
        let json = serde_json::to_value(manifest).expect("a manifest is JSON");
        for (pointer, expected) in &self.says {
            let expected = serde_json::to_value(expected).expect("TOML without dates is JSON");
            wrong.equal(pointer, json.pointer(pointer), Some(&expected));
        }
    }

    fn check_metadata(&self, manifest: &Manifest, wrong: &mut Complaints) {
        let methods: Vec<&str> = manifest.metadata.iter().map(|revision| revision.method.as_str()).collect();
        wrong.equal("revisions", methods, self.revisions.iter().map(String::as_str).collect());
        let flags: Vec<&String> = manifest.metadata.iter().flat_map(|revision| &revision.flags).collect();
        wrong.equal("flags", flags, self.flags.iter().collect());
        let who = manifest.participants.iter().map(|one| {
            let words = one.aors.iter().chain(&one.names).map(|word| word.reveal().as_str());
            words.collect::<Vec<&str>>().join(" ")
        });
        wrong.equal("participants", who.collect(), self.participants.clone());
        self.check_history(manifest, wrong);
    }

    fn check_history(&self, manifest: &Manifest, wrong: &mut Complaints) {
        let json = serde_json::to_value(manifest).expect("a manifest is JSON");
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let list = |pointer| json.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        let vendor = json.pointer("/siprec/vendor").and_then(Value::as_str);
        wrong.equal("vendor", vendor, self.vendor.as_deref());
        if let Some(roles) = &self.roles {
            let is = list("/participants").iter().map(|one| text(one.pointer("/role/role"))).collect();
            wrong.equal("roles", is, roles.clone());
        }
        if let Some(events) = &self.events {
            let all = list("/siprec/events");
            let begun = all.first().map(|event| event["at"].clone());
            let later = all.iter().filter(|event| Some(&event["at"]) != begun.as_ref());
            wrong.equal("events", later.map(|event| text(event.get("what"))).collect(), events.clone());
        }
        if let Some(sessions) = &self.sessions {
            let is = list("/siprec/communication_sessions").iter().map(|one| text(one.get("id"))).collect();
            wrong.equal("sessions", is, sessions.clone());
        }
    }
}

impl ExpectedTrack {
    fn check(&self, number: usize, is: &Track, manifest: &Manifest, sound: &Sound, wrong: &mut Complaints) {
        let what = |of: &str| format!("track {number}: {of}");
        // RFC 3550 section 11, and some clients insist on it.
        wrong.equal(&what("an even port"), is.port > 0 && is.port.is_multiple_of(2), true);
        wrong.equal(&what("label"), is.label.as_deref(), self.label.as_deref());
        wrong.equal(&what("speakers"), speakers(is, manifest), self.speakers.clone());
        for (hz, range) in &self.heard {
            wrong.within(&what(&format!("seconds of {hz} Hz")), sound.seconds_of(hz), *range);
        }
        let others: Vec<&String> = sound.tones().filter(|hz| !self.heard.contains_key(*hz)).collect();
        wrong.equal(&what("other tones"), others, Vec::new());
        self.check_intervals(number, manifest, wrong);
        self.check_counters(number, is, wrong);
    }

    fn check_intervals(&self, number: usize, manifest: &Manifest, wrong: &mut Complaints) {
        let mut seconds: BTreeMap<String, f64> = BTreeMap::new();
        for interval in manifest.intervals.iter().filter(|one| usize::from(one.track) == number) {
            let cause = serde_json::to_value(interval.cause).expect("a cause has a name");
            let cause = cause.as_str().expect("a cause has a name").to_owned();
            *seconds.entry(cause).or_default() += interval.samples() as f64 / f64::from(manifest.rate);
        }
        for (cause, range) in &self.intervals {
            wrong.within(
                &format!("track {number}: seconds of {cause}"),
                seconds.get(cause).copied().unwrap_or(0.0),
                *range,
            );
        }
        seconds.retain(|cause, _| cause != "no_media" && !self.intervals.contains_key(cause));
        wrong.equal(&format!("track {number}: other intervals"), seconds, BTreeMap::new());
    }

    fn check_counters(&self, number: usize, is: &Track, wrong: &mut Complaints) {
        let what = |of: &str| format!("track {number}: {of}");
        let expected = |name: &str| self.counters.get(name).copied().unwrap_or(0);
        let counters = &is.counters;
        wrong.equal(&what("the ledger adds up"), counters.adds_up(), true);
        wrong.equal(&what("lost"), counters.lost, expected("lost"));
        wrong.equal(&what("kernel drops"), counters.kernel_drops, 0);
        for fate in Fate::ALL {
            if !ORDINARY.contains(&fate) || self.counters.contains_key(fate.name()) {
                wrong.equal(&what(fate.name()), counters.of(fate), expected(fate.name()));
            }
        }
    }
}

/// The first address, or else the id, of each who speaks on a track.
fn speakers(track: &Track, manifest: &Manifest) -> Vec<String> {
    let name_of = |id: &String| {
        let who = manifest.participants.iter().find(|who| who.id == *id);
        let aor = who.and_then(|who| who.aors.first()).map(|aor| aor.reveal().clone());
        aor.unwrap_or_else(|| id.clone())
    };
    track.participants.iter().map(name_of).collect()
}
