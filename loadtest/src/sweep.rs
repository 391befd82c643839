//! Finding the knee: the load is raised step by step until something gives; then between the last step that held and the first that did not.
//!
//! Every step is a whole [run](crate::run) with a folder of its own. Leaves out how a step looks in a report: that is [`crate::report`].

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::run::RunResult;

/// The result of a sweep, in its folder.
pub const SWEEP: &str = "sweep.json";

/// What is raised.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Calls at once; they are begun within `ramp_s`.
    #[default]
    Calls,
    /// New calls per second; `calls` has to leave room for them.
    Rate,
}

/// What must not happen. A member left out is not looked at.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// One answer in a hundred takes longer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_ms_p99: Option<f64>,
    /// More calls are refused, share of those begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<f64>,
    /// More datagrams are dropped by the recorder's kernel, as its metrics tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_drops: Option<u64>,
    /// A thread of the recorder uses more of its core, as its metrics tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy: Option<f64>,
    /// More samples are lost that nobody lost on purpose, as the verifier tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples_lost: Option<u64>,
}

impl Default for Stop {
    fn default() -> Stop {
        Stop {
            answer_ms_p99: Some(100.0),
            refused: Some(0.0),
            kernel_drops: Some(0),
            busy: None,
            samples_lost: Some(0),
        }
    }
}

/// A sweep as its file has it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sweep {
    /// What reports call it.
    pub name: String,
    /// What is raised.
    pub axis: Axis,
    /// The first step.
    pub from: f64,
    /// Each step is so many times the one before.
    pub times: f64,
    /// No step is higher.
    pub to: f64,
    /// So many more steps between the last that held and the first that gave.
    pub refine: u32,
    /// How long calls take to begin, in seconds, when calls are raised.
    pub ramp_s: f64,
    /// What ends it.
    pub stop: Stop,
    /// What all steps have in common.
    pub run: Plan,
}

impl Default for Sweep {
    fn default() -> Sweep {
        Sweep {
            name: "capacity".to_owned(),
            axis: Axis::Calls,
            from: 100.0,
            times: 2.0,
            to: 100_000.0,
            refine: 3,
            ramp_s: 10.0,
            stop: Stop::default(),
            run: Plan::default(),
        }
    }
}

impl Sweep {
    /// Reads a sweep's file.
    pub fn read(path: &Path) -> Result<Sweep, String> {
        let text = std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
        let sweep = Sweep::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
        sweep.check().map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(sweep)
    }

    /// Reads a sweep.
    pub fn parse(text: &str) -> Result<Sweep, String> {
        toml::from_str(text).map_err(|why| why.to_string())
    }

    /// The sweep as a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a sweep holds nothing that TOML has not")
    }

    /// Whether it can be carried out; if not, what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let within = |what: &str, value: f64, low: f64, high: f64| match (low..=high).contains(&value) {
            true => Ok(()),
            false => Err(format!("{what} must be from {low} to {high}, not {value}")),
        };
        within("from", self.from, 1.0, 1e6)?;
        within("to", self.to, self.from, 1e6)?;
        within("times", self.times, 1.01, 100.0)?;
        within("ramp_s", self.ramp_s, 0.1, 3600.0)?;
        within("refine", f64::from(self.refine), 0.0, 20.0)?;
        self.at(self.from).check()
    }

    /// The run of a step. Each has a seed of its own: their recordings lie in one folder.
    pub fn at(&self, value: f64) -> Plan {
        let mut plan = self.run.clone();
        plan.seed = plan.seed.wrapping_add(value as u64);
        match self.axis {
            Axis::Calls => {
                plan.calls = value as usize;
                plan.rate = value / self.ramp_s;
                plan.for_s += self.ramp_s;
            }
            Axis::Rate => plan.rate = value,
        }
        plan
    }

    /// What gave in a step, if anything did. The generator comes first: a run in which it fell behind says nothing of the recorder.
    pub fn gave(&self, step: &Step) -> Option<Gave> {
        let result = &step.result;
        let recorder = |what: String| Some(Gave { generator: false, what });
        if result.media.behind || result.media.refused > 0 {
            let late = result.media.late_ms.p99;
            return Some(Gave {
                generator: true,
                what: format!("sending fell behind: one packet in a hundred {late:.1} ms late"),
            });
        }
        if result.signalling.behind {
            let late = result.signalling.late_ms.p99;
            return Some(Gave {
                generator: true,
                what: format!("signalling fell behind: one call in a hundred began {late:.1} ms late"),
            });
        }
        let stop = &self.stop;
        if let (Some(most), Some(lost)) = (stop.samples_lost, step.samples_lost)
            && lost > most
        {
            return recorder(format!("{lost} samples lost that nobody lost on purpose"));
        }
        let drops = sum(result, "tapehead_packets_kernel_drops_total");
        if stop.kernel_drops.is_some_and(|most| drops > most as f64) {
            return recorder(format!("{drops} datagrams dropped by the recorder's kernel"));
        }
        let refused: u64 = result.calls.refused.values().sum();
        if stop.refused.is_some_and(|share| refused as f64 > share * result.calls.begun as f64) {
            return recorder(format!("{refused} of {} calls refused", result.calls.begun));
        }
        let broken = result.calls.by_recorder + result.calls.bye_failed + result.calls.bad_answers;
        if broken > 0 {
            return recorder(format!("{broken} calls broken off or not ended"));
        }
        if step.findings > 0 {
            return recorder(format!("{} findings of the verifier", step.findings));
        }
        if stop.answer_ms_p99.is_some_and(|most| result.answer_ms.p99 > most) {
            return recorder(format!("one answer in a hundred took {:.1} ms and more", result.answer_ms.p99));
        }
        let busy = busiest(result);
        stop.busy
            .filter(|most| busy > *most)
            .and_then(|_| recorder(format!("{:.0} % of a core used", busy * 100.0)))
    }
}

/// How much a counter has grown, over all of its labels.
fn sum(result: &RunResult, name: &str) -> f64 {
    let ours = |full: &str| full.split('{').next() == Some(name);
    result
        .recorder
        .iter()
        .filter(|(full, _)| ours(full))
        .map(|(_, change)| change.after - change.before)
        .sum()
}

/// The share of its core that the busiest thread of the recorder has used, as its metrics told during the run.
fn busiest(result: &RunResult) -> f64 {
    let ratios = result.recorder.iter().filter(|(name, _)| name.contains("_busy_ratio"));
    ratios.map(|(_, change)| change.highest).fold(0.0, f64::max)
}

/// What gave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Gave {
    /// It was the generator, not the recorder.
    pub generator: bool,
    /// In words.
    pub what: String,
}

/// One step.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Step {
    /// How high the load was.
    pub value: f64,
    /// What the run came to.
    pub result: RunResult,
    /// Samples that the verifier misses, if it has looked.
    pub samples_lost: Option<u64>,
    /// Other things that it has found wrong.
    pub findings: u64,
    /// The mean size of a sealed manifest, in bytes, if the verifier has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_bytes: Option<f64>,
    /// What gave.
    pub gave: Option<Gave>,
}

/// What a sweep came to: the content of `sweep.json`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SweepResult {
    /// What was done.
    pub sweep: Sweep,
    /// In the order in which they were made.
    pub steps: Vec<Step>,
    /// The highest step that held.
    pub held: Option<f64>,
    /// What gave above it.
    pub gave: Option<Gave>,
}

/// Which step comes next. A pure function of how the others went.
#[derive(Clone, Debug)]
pub struct Search {
    next: Option<f64>,
    times: f64,
    to: f64,
    refine: u32,
    held: Option<f64>,
    gave: Option<f64>,
}

impl Search {
    /// Begins at the first step.
    pub fn new(sweep: &Sweep) -> Search {
        Search {
            next: Some(sweep.from),
            times: sweep.times,
            to: sweep.to,
            refine: sweep.refine,
            held: None,
            gave: None,
        }
    }

    /// The next step, if there is one.
    pub fn next(&self) -> Option<f64> {
        self.next
    }

    /// The highest that held.
    pub fn held(&self) -> Option<f64> {
        self.held
    }

    /// Says whether the step at hand held.
    pub fn tell(&mut self, held: bool) {
        let Some(at) = self.next.take() else { return };
        if held {
            self.held = Some(at)
        } else {
            self.gave = Some(at)
        }
        self.next = match (self.held, self.gave) {
            (Some(held), None) if held < self.to => Some((held * self.times).ceil().min(self.to)),
            (Some(held), Some(gave)) if self.refine > 0 => {
                self.refine -= 1;
                let between = ((held + gave) / 2.0).round();
                (between > held && between < gave).then_some(between)
            }
            // Nothing held, or nothing gave up to the end: there is nothing to look for.
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Change;

    /// The steps of a search for a knee at `knee`, and what was found.
    fn search(sweep: &Sweep, knee: f64) -> (Vec<f64>, Option<f64>) {
        let mut search = Search::new(sweep);
        let mut steps = Vec::new();
        while let Some(at) = search.next() {
            steps.push(at);
            search.tell(at <= knee);
        }
        (steps, search.held())
    }

    #[test]
    fn the_load_is_raised_until_it_gives_and_then_the_knee_is_closed_in() {
        let sweep = Sweep { from: 100.0, times: 2.0, to: 1500.0, refine: 3, ..Sweep::default() };
        assert_eq!(
            search(&sweep, 650.0),
            (vec![100.0, 200.0, 400.0, 800.0, 600.0, 700.0, 650.0], Some(650.0))
        );
        assert_eq!(search(&sweep, 50.0), (vec![100.0], None));
        assert_eq!(search(&sweep, 9999.0), (vec![100.0, 200.0, 400.0, 800.0, 1500.0], Some(1500.0)));
        let fine = Sweep { from: 1.0, times: 2.0, to: 4.0, refine: 20, ..Sweep::default() };
        assert_eq!(
            search(&fine, 3.0),
            (vec![1.0, 2.0, 4.0, 3.0], Some(3.0)),
            "there is nothing between two neighbours"
        );
    }

    fn step(change: impl FnOnce(&mut Step)) -> Step {
        let mut step = Step {
            value: 1.0,
            result: RunResult::default(),
            samples_lost: Some(0),
            findings: 0,
            manifest_bytes: None,
            gave: None,
        };
        step.result.calls.begun = 100;
        change(&mut step);
        step
    }

    fn put(step: &mut Step, name: &str, after: f64) {
        step.result.recorder.insert(name.to_owned(), Change { before: 0.0, after, highest: after });
    }

    #[test]
    fn what_gave_is_said_and_the_generator_first() {
        let sweep = Sweep { stop: Stop { busy: Some(0.8), ..Stop::default() }, ..Sweep::default() };
        let gave = |change: fn(&mut Step)| sweep.gave(&step(change)).map(|gave| gave.what);
        assert_eq!(gave(|_| ()), None);
        assert_eq!(
            gave(|step| _ = step.result.calls.refused.insert(503, 2)).unwrap(),
            "2 of 100 calls refused"
        );
        assert!(gave(|step| step.result.calls.by_recorder = 1).unwrap().contains("broken off"));
        assert!(gave(|step| step.samples_lost = Some(1)).unwrap().starts_with("1 samples lost"));
        assert!(gave(|step| step.findings = 2).unwrap().starts_with("2 findings"));
        assert!(gave(|step| step.result.answer_ms.p99 = 101.0).unwrap().contains("101.0 ms"));
        assert!(
            gave(|step| put(step, "tapehead_packets_kernel_drops_total{shard=\"1\"}", 3.0))
                .unwrap()
                .starts_with("3 datagrams")
        );
        assert!(
            gave(|step| put(step, "tapehead_shard_busy_ratio{shard=\"1\"}", 0.9))
                .unwrap()
                .starts_with("90 %")
        );
        let behind = step(|step| {
            step.result.media.behind = true;
            step.samples_lost = Some(7);
        });
        assert!(sweep.gave(&behind).unwrap().generator);
        let behind = step(|step| {
            step.result.signalling.behind = true;
            step.result.answer_ms.p99 = 1000.0;
        });
        assert!(sweep.gave(&behind).unwrap().generator, "what it measured of answers was itself");
    }

    #[test]
    fn a_step_is_the_run_with_its_load() {
        let sweep = Sweep { ramp_s: 5.0, run: Plan { for_s: 20.0, ..Plan::default() }, ..Sweep::default() };
        let plan = sweep.at(1000.0);
        assert_eq!((plan.calls, plan.rate, plan.for_s), (1000, 200.0, 25.0));
        assert_ne!(plan.seed, sweep.at(1001.0).seed);
        let plan = Sweep { axis: Axis::Rate, ..sweep }.at(300.0);
        assert_eq!((plan.calls, plan.rate, plan.for_s), (10, 300.0, 20.0));
    }

    #[test]
    fn a_sweep_that_makes_no_sense_is_refused_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.toml");
        for (text, named) in
            [("times = 1.0", "times"), ("[run]\ntracks = 99", "tracks"), ("axes = 'calls'", "axes")]
        {
            std::fs::write(&path, text).unwrap();
            let why = Sweep::read(&path).unwrap_err();
            assert!(why.contains("s.toml") && why.contains(named), "{why}");
        }
        std::fs::write(&path, "axis = 'rate'\n[stop]\nanswer_ms_p99 = 5.0\n[[run.profile]]\nloss = 0.1\n")
            .unwrap();
        let sweep = Sweep::read(&path).unwrap();
        assert_eq!(
            (sweep.axis, sweep.stop.answer_ms_p99, sweep.run.profiles[0].loss),
            (Axis::Rate, Some(5.0), 0.1)
        );
    }
}
