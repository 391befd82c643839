//! What happened, as a digest (always) and as a trace (when asked for): the same seed must give the same digest.

use crate::base::Mono;

/// The record of one run.
#[derive(Debug, Default)]
pub struct Log {
    digest: u64,
    events: u64,
    trace: Option<Vec<String>>,
    violations: Vec<String>,
}

/// FNV-1a (Fowler, Noll, Vo), enough to tell two runs apart.
const FNV_PRIME: u64 = 0x0100_0000_01b3;

impl Log {
    /// A log that keeps every event as a line of text if `tracing`.
    pub fn new(tracing: bool) -> Log {
        Log { trace: tracing.then(Vec::new), digest: 0xcbf2_9ce4_8422_2325, ..Log::default() }
    }

    /// One event: a name and its numbers.
    pub fn note(&mut self, now: Mono, name: &'static str, numbers: &[u64]) {
        self.events += 1;
        self.feed(now.0);
        name.bytes().for_each(|byte| self.feed(u64::from(byte)));
        numbers.iter().for_each(|&number| self.feed(number));
        if let Some(trace) = &mut self.trace {
            let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
            trace.push(format!("{:>10.3} ms  {name} {}", now.0 as f64 / 1e6, numbers.join(" ")));
        }
    }

    /// Says in words what the code under test did wrong.
    pub fn violation(&mut self, now: Mono, text: String) {
        self.note(now, "violation", &[]);
        if let Some(trace) = &mut self.trace {
            trace.push(format!("            {text}"));
        }
        self.violations.push(text);
    }

    /// Everything that was wrong, in order.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// The digest so far.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The lines, if any were kept.
    pub fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    fn feed(&mut self, number: u64) {
        self.digest = (self.digest ^ number).wrapping_mul(FNV_PRIME);
        self.digest ^= self.digest >> 29;
    }
}
