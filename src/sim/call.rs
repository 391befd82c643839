//! What the world knows of a call: what it told the shard, what the shard said, what its streams do.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::peer::{Diary, Habits, PAYLOADS};
use crate::base::{Mono, Prng, RecordingId, SegmentNumber, Wall};
use crate::link::{CallId, OpenCall, SegmentPlan, SegmentReport, TrackPlan, TrackReport};
use crate::media::{Interval, SAMPLE_RATE, SampleFormat};
use crate::recording::layout;
use crate::seal::{AudioParams, Block0, DataKey, StreamSeed, WrappedKey};

/// Where simulated recordings lie.
pub const ROOT: &str = "/recordings";
/// The recorder's address.
pub const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// Whose recordings they are.
pub const TENANT: &str = "sim";

/// How far a call has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// To be opened at this instant.
    Planned(Mono),
    /// Asked for.
    Opening,
    /// Its streams run.
    Live,
    /// To be closed, has been told so.
    Closing,
    /// Closed.
    Closed,
    /// The shard did not take it.
    Refused,
    /// The process died while it was live.
    Crashed {
        /// When.
        at: Mono,
        /// Nothing else was wrong, so that no more may be lost than is promised.
        promised: bool,
    },
}

/// One of its tracks.
pub struct SimTrack {
    /// How its stream behaves.
    pub habits: Habits,
    /// Whether it starts with A-law.
    pub alaw: bool,
    /// Milliseconds after the call is open at which it starts to send.
    pub start_ms: u64,
    /// RTP and RTCP share the port.
    pub rtcp_mux: bool,
    /// Its RTP port, once open.
    pub port: u16,
    /// On hold.
    pub held: bool,
    /// What its stream has done, once it runs.
    pub diary: Option<Rc<RefCell<Diary>>>,
}

/// A stretch in which the recording is paused, as the control core asked for it.
#[derive(Clone, Copy, Debug)]
pub struct SimPause {
    /// When it was asked for.
    pub from: Mono,
    /// When its end was asked for.
    pub until: Option<Mono>,
}

/// A call.
pub struct SimCall {
    /// Its number in the world, which its samples carry.
    pub number: u16,
    /// On which shard.
    pub shard: usize,
    /// Its recording.
    pub recording: RecordingId,
    /// The data key.
    pub key: DataKey,
    seeds: u64,
    /// Its tracks.
    pub tracks: Vec<SimTrack>,
    /// Tracks on their way into the call, and the number of the update that adds them.
    pub growing: Option<(u32, Vec<SimTrack>)>,
    /// Whether there were any.
    pub grew: bool,
    /// Updates so far.
    pub revisions: u32,
    /// Its pauses.
    pub pauses: Vec<SimPause>,
    /// Whether any of them was to be cut out.
    pub cut: bool,
    /// Whether RTP flows, as was told last.
    pub flowing: bool,
    /// Nobody says anything from then until then, in milliseconds since it was opened.
    pub quiet_ms: Option<(u64, u64)>,
    /// How long its streams run, in milliseconds.
    pub talk_ms: u64,
    /// It is closed while packets are still coming, this long after it was opened.
    pub hang_up_early_ms: Option<u64>,
    /// How far it has come.
    pub progress: Progress,
    /// The zero of its timeline.
    pub started: Option<Mono>,
    /// Segments asked for.
    pub segments_wanted: SegmentNumber,
    /// Intervals told.
    pub intervals: Vec<Interval>,
    /// Segments closed, and the content of those that are durable.
    pub segments: Vec<(SegmentReport, Option<Vec<u8>>)>,
    /// Its end.
    pub end: Option<(Vec<TrackReport>, u64)>,
    /// It was closed when nothing more was to come, so that the ledger must agree to the last packet.
    pub clean: bool,
    /// The folder it was found in, wherever recovery has moved it.
    pub found_in: Option<PathBuf>,
}

impl SimTrack {
    /// A track drawn from `prng`.
    pub fn drawn(habits: fn(&mut Prng) -> Habits, alaw: bool, prng: &mut Prng) -> SimTrack {
        SimTrack {
            habits: habits(prng),
            alaw,
            start_ms: prng.below(600),
            rtcp_mux: prng.chance(300),
            port: 0,
            held: false,
            diary: None,
        }
    }

    /// As the session description has it now.
    fn plan(&self) -> TrackPlan {
        TrackPlan {
            payloads: PAYLOADS.to_vec(),
            rtcp_to: Some((Ipv4Addr::new(10, 0, 0, 2), 7001).into()),
            rtcp_mux: self.rtcp_mux,
            held: self.held,
            ..TrackPlan::default()
        }
    }
}

impl SimCall {
    /// A call drawn from `prng`, to be opened at `at`.
    pub fn drawn(
        number: u16,
        shard: usize,
        at: Mono,
        habits: fn(&mut Prng) -> Habits,
        prng: &mut Prng,
    ) -> SimCall {
        let mut key = [0; 32];
        prng.fill(&mut key);
        let tracks = [1, 2, 2, 2, 2, 2, 3, 7][prng.below(8) as usize];
        let tracks = if prng.chance(300) { tracks } else { 2 };
        let alaw = prng.chance(400);
        let mixed = prng.chance(100);
        let mut track = || {
            let alaw = alaw ^ (mixed && prng.chance(500));
            SimTrack::drawn(habits, alaw, prng)
        };
        let tracks = (0..tracks).map(|_| track()).collect();
        let long = prng.chance(100);
        let mut talk_ms = 300 + prng.below(if long { 20_000 } else { 5_000 });
        let quiet_ms = quiet(prng);
        // Some streams end within it.
        talk_ms += quiet_ms.map_or(0, |(from, until)| prng.below((until - from) * 3 / 2));
        SimCall {
            number,
            shard,
            recording: RecordingId::new(wall(at), &mut SimEntropy(prng)),
            key: DataKey::new(key),
            seeds: prng.u64(),
            tracks,
            growing: None,
            grew: false,
            revisions: 0,
            pauses: Vec::new(),
            cut: false,
            flowing: false,
            quiet_ms,
            talk_ms,
            hang_up_early_ms: prng.chance(250).then(|| prng.below(4000)),
            progress: Progress::Planned(at),
            started: None,
            segments_wanted: 1,
            intervals: Vec::new(),
            segments: Vec::new(),
            end: None,
            clean: false,
            found_in: None,
        }
    }

    /// Its name on the link.
    pub fn id(&self) -> CallId {
        CallId(u64::from(self.number))
    }

    /// Our SSRC in its receiver reports.
    pub fn ssrc(&self) -> u32 {
        0x5eed_0000 | u32::from(self.number)
    }

    /// The folder it is recorded in.
    pub fn folder(&self) -> PathBuf {
        layout::active_folder(Path::new(ROOT), self.recording)
    }

    /// Salt and nonce prefix of one of its segments.
    pub fn seed(&self, segment: SegmentNumber) -> StreamSeed {
        let mut prng = Prng::new(self.seeds ^ u64::from(segment));
        StreamSeed::new(&mut SimEntropy(&mut prng))
    }

    /// Its data key, as `wrapped` holds it: the simulated provider looks it up.
    pub fn wrapped(&self) -> WrappedKey {
        WrappedKey {
            provider: "sim".to_owned(),
            key_id: self.number.to_string(),
            wrapped: String::new(),
            created: Wall(0).to_rfc3339(),
        }
    }

    /// Block 0 of one of its segments as the control core knows it.
    pub fn block0(&self, segment: SegmentNumber) -> Block0 {
        let audio = AudioParams {
            format: SampleFormat::Mulaw,
            rate: SAMPLE_RATE,
            channels: self.tracks.len() as u16,
            start: 0,
        };
        Block0::segment(self.recording, segment, TENANT, Wall(0), audio, vec![self.wrapped()])
    }

    /// What the shard gets to write a segment.
    pub fn segment_plan(&self, segment: SegmentNumber) -> SegmentPlan {
        SegmentPlan {
            call: self.id(),
            segment,
            path: layout::part_path(Path::new(ROOT), self.recording, segment),
            block0: Box::new(self.block0(segment)),
            key: self.key.clone(),
            seed: self.seed(segment),
        }
    }

    /// Its tracks as the session description has them now.
    pub fn track_plans(&self) -> Vec<TrackPlan> {
        self.tracks.iter().map(SimTrack::plan).collect()
    }

    /// The same with those that are on their way in.
    pub fn growing_plans(&self) -> Vec<TrackPlan> {
        let growing = self.growing.iter().flat_map(|(_, tracks)| tracks);
        self.tracks.iter().chain(growing).map(SimTrack::plan).collect()
    }

    /// What the shard gets to open it.
    pub fn open(&self) -> OpenCall {
        OpenCall {
            call: self.id(),
            recording: self.recording,
            bind: HOST,
            tracks: self.track_plans(),
            format: SampleFormat::Mulaw,
            ssrc: self.ssrc(),
            segment: self.segment_plan(1),
        }
    }

    /// Whether all its streams have ended.
    pub fn is_silent(&self) -> bool {
        self.tracks.iter().all(|track| track.diary.as_ref().is_some_and(|diary| diary.borrow().ended))
    }

    /// Its clients stop sending at `at` at the latest.
    pub fn stop(&self, at: Mono) {
        let diaries = self.tracks.iter().filter_map(|track| track.diary.as_ref());
        diaries.for_each(|diary| diary.borrow_mut().stopped = Some(at));
    }

    /// Whether its streams ran without jumps, new sources and changes of law.
    pub fn is_plain(&self) -> bool {
        self.tracks.iter().all(|track| {
            track.diary.as_ref().is_some_and(|diary| {
                let diary = diary.borrow();
                !diary.jumped && !diary.changed_law && diary.epochs.len() <= 1
            }) && track.habits.slow_ppm == 0
                && track.habits.burst == 0
        })
    }

    /// Whether its segments were changed on the way: other laws, more tracks, cuts.
    pub fn has_changed_layout(&self) -> bool {
        let mut diaries = self.tracks.iter().filter_map(|track| track.diary.as_ref());
        self.grew
            || self.cut
            || diaries.any(|diary| diary.borrow().changed_law)
            || self.tracks.iter().any(|track| track.alaw != self.tracks[0].alaw)
    }

    /// An instant on its timeline, in samples.
    pub fn position(&self, at: Mono) -> i64 {
        let started = self.started.map_or(0, |started| started.0) as i64;
        (at.0 as i64 - started) / 125_000
    }
}

/// A stretch in which nobody talks, in some calls: often short, so that silence is owed when there is audio again, else long enough for it to be
/// owed in full, and once more.
fn quiet(prng: &mut Prng) -> Option<(u64, u64)> {
    prng.chance(400).then(|| {
        let from = 200 + prng.below(2000);
        let longest = if prng.chance(600) { 2500 } else { 18_000 };
        (from, from + 400 + prng.below(longest))
    })
}

/// The wall clock of the simulated machine.
pub fn wall(at: Mono) -> Wall {
    Wall(1_800_000_000_000_000_000 + at.0)
}

/// Seeded bytes where the product takes the operating system's: for simulated keys and salts alone.
pub struct SimEntropy<'a>(pub &'a mut Prng);

impl crate::base::Entropy for SimEntropy<'_> {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}
