//! Crashes, recovery, and the verdict: what is on the disk held against what was sent and what was promised.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::call::{HOST, Progress, ROOT, SimCall, SimEntropy, wall};
use super::check;
use super::reading::Reading;
use super::store::{SimKeys, Store};
use super::world::World;
use crate::base::Mono;
use crate::limits::{LOSS_AT_CRASH_MAX, TICK};
use crate::recording::wav;
use crate::ring::sim::disk::Crash;
use crate::store::{Finding, Found, MANIFEST, Problem, owed_max, recover, segment_number, verify};

/// Times that recovery itself is killed before it is let through.
const RECOVERY_DEATHS_MAX: u64 = 3;
/// The horizon at which the loss at a crash is promised; a longer one adds to it.
const HORIZON_OF_PROMISE: Duration = Duration::from_millis(200);
/// What may be lost, in samples.
const LOSS_SAMPLES_MAX: i64 = LOSS_AT_CRASH_MAX.as_millis() as i64 * 8;

impl World {
    /// The process dies, perhaps with the machine; what comes up again is recovered first.
    pub(super) fn crash(&mut self) {
        self.crashes += 1;
        let now = self.now();
        let how = self.how_to_die();
        self.processes.clear();
        self.die(how);
        self.later.clear();
        let healthy = how == Crash::Kill && self.faults.disk_is_healthy() && self.faults.machine_is_healthy();
        for call in &mut self.calls {
            match call.progress {
                Progress::Live | Progress::Closing => {
                    let promised = call.progress == Progress::Live && healthy;
                    call.progress = Progress::Crashed { at: now, promised };
                    call.stop(now);
                }
                // Until then nothing of the old calls is on its way any more.
                Progress::Planned(at) => {
                    call.progress = Progress::Planned(at.max(now + Duration::from_secs(2)))
                }
                Progress::Opening => call.progress = Progress::Refused,
                _ => {}
            }
        }
        self.check_acknowledged();
        self.recover();
        let more = self.prng.below(3);
        (0..more).for_each(|_| self.plan_call(Duration::from_secs(2)));
        self.boot();
    }

    fn die(&mut self, how: Crash) {
        self.machine.borrow_mut().crash(how);
        self.power_cuts += u32::from(how == Crash::Power);
    }

    fn how_to_die(&mut self) -> Crash {
        let rate = self.faults.power;
        if self.prng.chance(rate) { Crash::Power } else { Crash::Kill }
    }

    /// Runs the product's recovery on the disk, and kills it a few times on the way.
    fn recover(&mut self) {
        let keys = self.keys();
        let deaths = if self.wild { self.prng.below(RECOVERY_DEATHS_MAX + 1) } else { 0 };
        for death in 0..=deaths {
            let changes = (death < deaths).then(|| self.prng.below(60));
            let disk = std::mem::take(&mut self.machine.borrow_mut().disk);
            let store = Store::new(disk, changes);
            let at = wall(self.now());
            let found = recover(&store, Path::new(ROOT), &keys, &mut SimEntropy(&mut self.prng), at);
            self.machine.borrow_mut().disk = store.into_disk();
            self.look_at_writes();
            if changes.is_some() {
                let how = self.how_to_die();
                self.die(how);
                continue;
            }
            match found {
                Ok(found) => found.iter().for_each(|found| self.recovered(found)),
                Err(why) => self.violation(format!("recovery fails on a healthy disk: {why}")),
            }
        }
        self.check_acknowledged();
        self.check_crashed();
        self.check_verifies(&keys);
    }

    fn keys(&self) -> SimKeys {
        SimKeys(self.calls.iter().map(|call| (call.number.to_string(), call.key.clone())).collect())
    }

    fn recovered(&mut self, found: &Found) {
        match &found.outcome {
            Ok(outcome) => {
                let numbers = [u64::from(outcome.mended), outcome.samples, outcome.lost_ms_max];
                self.note("recovered", &numbers);
                self.note_folders();
            }
            Err(why) => {
                self.violation(format!("{}: recovery fails on a healthy disk: {why}", found.recording))
            }
        }
    }

    /// Finds out where each recording lies now: a recovery that died may have moved it already.
    fn note_folders(&mut self) {
        let machine = self.machine.borrow();
        for call in &mut self.calls {
            let name = call.recording.to_string();
            let mut folders = machine.disk.names().filter_map(|(path, _)| path.parent());
            call.found_in = folders.find(|folder| folder.ends_with(&name)).map(Path::to_owned);
        }
    }

    /// What was told to be durable is there, byte for byte.
    fn check_acknowledged(&mut self) {
        self.note_folders();
        for call in &self.calls {
            for (report, content) in &call.segments {
                let Some(content) = content else { continue };
                let name = report.path.file_name().unwrap_or_default();
                let path =
                    call.found_in.as_ref().map_or_else(|| report.path.clone(), |folder| folder.join(name));
                let machine = self.machine.borrow();
                let same =
                    machine.disk.find(&path).is_some_and(|inode| machine.disk.content(inode) == content);
                drop(machine);
                if !same {
                    self.violation(format!("{} was durable and is not as it was", path.display()));
                }
            }
        }
    }

    fn check_crashed(&self) {
        for call in &self.calls {
            if let Progress::Crashed { at, promised } = call.progress
                && let Err(what) = self.judge_crashed(call, at, promised)
            {
                self.violation(what);
            }
        }
    }

    /// Everything that can be verified verifies.
    fn check_verifies(&mut self, keys: &SimKeys) {
        let disk = std::mem::take(&mut self.machine.borrow_mut().disk);
        // A power cut may have left files in which nothing can be opened; they are set aside.
        let has_segments = |folder: &&PathBuf| disk.names().any(|(path, _)| is_segment(path, folder));
        let folders = self.calls.iter().filter_map(|call| call.found_in.as_ref()).filter(has_segments);
        let folders: Vec<PathBuf> = folders.cloned().collect();
        let store = Store::new(disk, None);
        let report = verify(&store, &folders, Some(keys), &|_| {});
        self.machine.borrow_mut().disk = store.into_disk();
        self.note("verified", &[report.files, report.frames]);
        let holes = self.power_cuts > 0;
        let excused = |finding: &&Finding| holes && matches!(finding.problem, Problem::Frames { .. });
        if let Some(finding) = report.findings.iter().find(|finding| !excused(finding)) {
            self.violation(format!("{}: {}", finding.path.display(), finding.problem));
        }
    }

    /// The segments of a recording as they lie on the disk.
    fn segments(&self, call: &SimCall) -> Result<Vec<Reading>, String> {
        let Some(folder) = &call.found_in else { return Ok(Vec::new()) };
        let machine = self.machine.borrow();
        let mut files: Vec<(u32, &[u8])> = Vec::new();
        for (path, inode) in machine.disk.names().filter(|(path, _)| is_segment(path, folder)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(number) = segment_number(&name) {
                files.push((number, machine.disk.content(inode)));
            }
        }
        files.sort_unstable();
        let read = |(number, content): (u32, &[u8])| {
            Reading::complete(content, &call.key, self.power_cuts > 0)
                .map_err(|what| format!("call {} segment {number}: {what}", call.number))
        };
        files.into_iter().map(read).collect()
    }

    /// A call that a crash cut off, after recovery.
    fn judge_crashed(&self, call: &SimCall, at: Mono, promised: bool) -> Result<(), String> {
        let segments = self.segments(call)?;
        let machine = self.machine.borrow();
        let book = machine.net.book();
        let found = check::cut_off(call, &segments, book, self.slack())?;
        let promised = promised
            && self.power_cuts == 0
            && !call.has_changed_layout()
            && self.plans[call.shard].horizon <= HORIZON_OF_PROMISE;
        if !promised {
            return Ok(());
        }
        let kept = segments.last().map_or(0, |last| last.audio.start + last.samples) as i64;
        let lost = call.position(at) - kept;
        let silence = segments.last().map_or(i64::MAX, |last| owed_max(&last.audio) as i64);
        if lost > LOSS_SAMPLES_MAX.saturating_add(silence) {
            return Err(format!("call {}: more is gone than recovery says: {} ms", call.number, lost / 8));
        }
        // What lies behind is silence, unless it came within the last second. How it was laid may differ from when it came by the horizon and
        // by the frame that was being filled.
        let frame = segments.last().map_or(0, |last| wav::samples(&last.audio, 1)) as i64;
        let horizon = self.plans[call.shard].horizon + TICK * 2;
        let range = kept + frame + horizon.as_millis() as i64 * 8..call.position(at) - LOSS_SAMPLES_MAX;
        if let Some(came) = check::talk_within(call, book, range) {
            return Err(format!(
                "call {}: the crash cost the audio of {} ms before it",
                call.number,
                (call.position(at) - came) / 8
            ));
        }
        if !self.wild && call.is_plain() {
            let before = at - LOSS_AT_CRASH_MAX;
            check::nothing_missing(call, &found, book, before)?;
        }
        Ok(())
    }

    /// The end of the run.
    pub(super) fn verdict(&mut self) {
        self.check_acknowledged();
        for call in &self.calls {
            if let Err(what) = self.judge_closed(call) {
                self.violation(what);
            }
        }
        let machine = self.machine.borrow();
        let quiet = machine.net.is_quiet(HOST);
        let lost_count = machine.net.book().iter().find(|sent| quiet && !sent.adds_up()).cloned();
        drop(machine);
        if let Some(sent) = lost_count {
            self.violation(format!("the network lost count of {sent:?}"));
        }
        // What could not be closed durably is left to recovery; after it everything must be in order.
        if self.is_sound() {
            self.recover();
        }
    }

    fn judge_closed(&self, call: &SimCall) -> Result<(), String> {
        if call.progress != Progress::Closed || call.segments.iter().any(|(_, content)| content.is_none()) {
            return Ok(());
        }
        let mut segments = Vec::new();
        for (report, content) in &call.segments {
            let content = content.as_deref().unwrap_or_default();
            let reading = Reading::complete(content, &call.key, false)
                .map_err(|what| format!("{}: {what}", report.path.display()))?;
            segments.push(reading);
        }
        let machine = self.machine.borrow();
        let found = check::closed(call, &segments, machine.net.book(), self.slack())?;
        if !self.wild && call.is_plain() && call.clean {
            check::nothing_missing(call, &found, machine.net.book(), machine.now())?;
        }
        Ok(())
    }

    /// How far audio may lie from its arrival because of what the machine did, in samples.
    fn slack(&self) -> i64 {
        8 * self.stall_ms_max as i64 + 8 * 1000
    }
}

fn is_segment(path: &Path, folder: &Path) -> bool {
    path.parent() == Some(folder)
        && path.extension().is_some_and(|end| end == "tape")
        && path.file_name().is_some_and(|name| name != MANIFEST)
}
