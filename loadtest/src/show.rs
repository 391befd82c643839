//! What people see of a run: a line that moves while it goes on, and the summary.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use crate::run::{RunResult, Shown};

/// The moving line, on standard error if that is a terminal.
pub struct Line {
    is_terminal: bool,
    wanted: usize,
    seconds: f64,
    last: Shown,
}

impl Line {
    /// For a run of so many calls and seconds.
    pub fn new(calls: usize, seconds: f64) -> Line {
        Line { is_terminal: std::io::stderr().is_terminal(), wanted: calls, seconds, last: Shown::default() }
    }

    /// Shows how things stand.
    pub fn show(&mut self, now: Shown) {
        let text = self.text(now);
        self.last = now;
        if self.is_terminal {
            eprint!("\r\x1b[K{text}");
            let _ = std::io::stderr().flush();
        }
    }

    fn text(&self, now: Shown) -> String {
        let seconds = (now.at_s - self.last.at_s).max(0.001);
        let packets = (now.datagrams - self.last.datagrams) as f64 / seconds;
        let core = (now.cpu_ns - self.last.cpu_ns) as f64 / seconds / 1e7;
        let left = match now.closing {
            true => "ending".to_owned(),
            false => format!("{:.0} s left", (self.seconds - now.at_s).max(0.0)),
        };
        format!(
            "{}/{} calls, {} refused | {packets:.0} packets/s, {core:.0} % of a core, late {:.1} ms | answers p99 {:.1} ms | {left}",
            now.calls, self.wanted, now.refused, now.late_ms, now.answer_ms_p99
        )
    }

    /// Leaves the terminal as it was.
    pub fn clear(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// The summary.
pub fn summary(of: &RunResult) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write_summary(of, &mut out);
    out
}

fn write_summary(of: &RunResult, out: &mut String) -> std::fmt::Result {
    let RunResult { calls, media, answer_ms, bye_ms, .. } = of;
    writeln!(
        out,
        "calls    {} begun, {} answered, {} hung up, {} vanished as planned",
        calls.begun, calls.answered, calls.hung_up, calls.vanished
    )?;
    let wrong = [
        (calls.by_recorder, "ended by the recorder"),
        (calls.bye_failed, "with a BYE that was not answered 200"),
        (calls.bad_answers, "with an answer that can't be used"),
        (calls.reinvites_failed, "hold or resume not taken"),
    ];
    for (number, what) in wrong.iter().filter(|(number, _)| *number > 0) {
        writeln!(out, "         {number} {what}")?;
    }
    for (code, number) in &calls.refused {
        writeln!(out, "         {number} refused with {code}")?;
    }
    if calls.retry_after > 0 {
        writeln!(
            out,
            "         {} refusals said when to try again: held off for {:.0} s",
            calls.retry_after, calls.held_off_s
        )?;
    }
    writeln!(
        out,
        "answers  p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms; BYE p99 {:.2} ms; {} sent again",
        answer_ms.p50, answer_ms.p99, answer_ms.max, bye_ms.p99, calls.resent
    )?;
    writeln!(
        out,
        "packets  {} sent, {:.0} per second at most, {:.0} ns of CPU each, {:.2} cores; late p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        media.datagrams,
        media.per_second_highest,
        media.cpu_ns_per_datagram,
        media.cores,
        media.late_ms.p50,
        media.late_ms.p99,
        media.late_ms.max
    )?;
    if media.refused > 0 {
        let why = media.why.as_deref().unwrap_or("unknown");
        writeln!(out, "         {} REFUSED by the system ({why}): this run proves nothing", media.refused)?;
    }
    if media.behind {
        writeln!(
            out,
            "         SENDING FELL BEHIND ITS SCHEDULE: this run proves nothing of the recorder. Fewer calls, more --threads, or a quieter machine"
        )?;
    }
    let own = &of.signalling;
    writeln!(
        out,
        "calling  {:.2} cores; calls begun late p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        own.cores, own.late_ms.p50, own.late_ms.p99, own.late_ms.max
    )?;
    if own.slipped_s >= 0.05 {
        writeln!(
            out,
            "         calls worth {:.1} s were never begun: the rate was lower than asked for",
            own.slipped_s
        )?;
    }
    if own.behind {
        writeln!(
            out,
            "         SIGNALLING FELL BEHIND ITS SCHEDULE: answer times are the generator's own. A lower --rate, or a quieter machine"
        )?;
    }
    for complaint in &of.complaints {
        writeln!(out, "note     {complaint}")?;
    }
    if of.interrupted {
        writeln!(out, "         interrupted")?;
    }
    writeln!(out, "{}", if of.clean { "all as planned" } else { "NOT all as planned" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_went_wrong_and_when_it_proves_nothing() {
        let mut result = RunResult { clean: true, ..RunResult::default() };
        assert!(summary(&result).ends_with("\nall as planned\n"));
        result.clean = false;
        result.calls.refused.insert(503, 4);
        result.calls.by_recorder = 2;
        result.media.behind = true;
        result.signalling.behind = true;
        result.signalling.slipped_s = 1.5;
        let text = summary(&result);
        for part in [
            "4 refused with 503",
            "2 ended by the recorder",
            "proves nothing",
            "worth 1.5 s",
            "SIGNALLING FELL",
            "NOT all as planned",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn the_line_tells_rates_since_it_was_last_shown() {
        let mut line = Line::new(100, 60.0);
        line.last = Shown { at_s: 1.0, datagrams: 1000, cpu_ns: 0, ..Shown::default() };
        let now = Shown { at_s: 2.0, calls: 50, datagrams: 6000, cpu_ns: 100_000_000, ..Shown::default() };
        let text = line.text(now);
        assert!(
            text.contains("50/100 calls")
                && text.contains("5000 packets/s, 10 % of a core")
                && text.ends_with("58 s left"),
            "{text}"
        );
    }
}
