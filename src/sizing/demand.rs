//! What is asked for, checked.

use std::fmt;

use serde::Serialize;

use crate::limits::TRACKS_MAX;

/// How audio comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// G.711 µ-law: 8,000 bytes per second.
    Pcmu,
    /// G.711 A-law: the same.
    Pcma,
}

/// Calls at once: more than all the world's phones is a slip of the finger.
const CALLS_MAX: u64 = 10_000_000;
/// Calls per day: the same.
const CALLS_PER_DAY_MAX: u64 = 10_000_000_000;
/// A call's mean length: a day.
const MINUTES_MAX: f64 = 24.0 * 60.0;
/// A second.
const MINUTES_MIN: f64 = 1.0 / 60.0;
/// A hundred years.
const RETENTION_DAYS_MAX: u32 = 36_525;
/// Of a day's calls, so much falls into the busiest hour, unless the calls per day are given.
pub(super) const BUSY_HOUR_SHARE: f64 = 0.12;

/// Why a demand makes no sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DemandError(String);

impl fmt::Display for DemandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DemandError {}

/// What is asked for. Only [`Demand::check`] makes one.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct Demand {
    /// Calls at once, in the busiest hour.
    pub calls: u64,
    /// A call's mean length.
    pub minutes: f64,
    /// How audio comes in.
    pub codec: Codec,
    /// Streams per call.
    pub tracks: u32,
    /// Audio per packet.
    pub ptime_ms: u32,
    /// How long recordings are kept.
    pub retention_days: u32,
    /// Calls of a day, if they are known.
    pub calls_per_day: Option<u64>,
}

/// A demand as it was given.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "as in Demand")]
pub struct Asked<'a> {
    pub calls: u64,
    pub minutes: f64,
    pub codec: &'a str,
    pub tracks: u32,
    pub ptime_ms: u32,
    pub retention: &'a str,
    pub calls_per_day: Option<u64>,
}

impl Demand {
    /// What was asked for, or what is wrong with it.
    pub fn check(asked: &Asked<'_>) -> Result<Demand, DemandError> {
        let wrong = |what: String| Err(DemandError(what));
        if asked.calls == 0 || asked.calls > CALLS_MAX {
            return wrong(format!("--calls must be between 1 and {CALLS_MAX}, not {}", asked.calls));
        }
        if !(MINUTES_MIN..=MINUTES_MAX).contains(&asked.minutes) {
            return wrong(format!(
                "--minutes must be between 1/60 (a second) and {MINUTES_MAX} (a day), not {}",
                asked.minutes
            ));
        }
        if asked.tracks == 0 || asked.tracks as usize > TRACKS_MAX {
            return wrong(format!("--tracks must be between 1 and {TRACKS_MAX}, not {}", asked.tracks));
        }
        if ![10, 20, 30, 40, 60].contains(&asked.ptime_ms) {
            return wrong(format!("--ptime must be 10, 20, 30, 40 or 60 (ms), not {}", asked.ptime_ms));
        }
        let codec = match asked.codec.to_ascii_lowercase().as_str() {
            "pcmu" => Codec::Pcmu,
            "pcma" => Codec::Pcma,
            other => {
                return wrong(format!(
                    "--codec must be pcmu or pcma, not {other:?}: others are not recorded yet"
                ));
            }
        };
        if let Some(per_day) = asked.calls_per_day.filter(|&calls| calls == 0 || calls > CALLS_PER_DAY_MAX) {
            return wrong(format!(
                "--calls-per-day must be between 1 and {CALLS_PER_DAY_MAX}, not {per_day}"
            ));
        }
        let retention_days = retention_days(asked.retention)?;
        let Asked { calls, minutes, tracks, ptime_ms, calls_per_day, .. } = *asked;
        let demand = Demand { calls, minutes, codec, tracks, ptime_ms, retention_days, calls_per_day };
        let most = calls as f64 * 1440.0 / minutes;
        if calls_per_day.is_some_and(|per_day| per_day as f64 > most) {
            return wrong(format!(
                "--calls-per-day is more than {calls} calls at once of {minutes} minutes can be in 24 hours, which is {most:.0}"
            ));
        }
        Ok(demand)
    }

    /// New calls per second in the busiest hour (Little's law).
    pub fn calls_per_second(&self) -> f64 {
        self.calls as f64 / (self.minutes * 60.0)
    }

    /// Calls of a day, given or guessed.
    pub fn calls_of_a_day(&self) -> f64 {
        // A short burst of guessed calls can't be more than a day has room for.
        let guessed = self.calls_per_second() * 3600.0 / BUSY_HOUR_SHARE;
        self.calls_per_day.map_or(guessed, |calls| calls as f64)
    }

    /// Streams at once.
    pub fn streams(&self) -> f64 {
        self.calls as f64 * f64::from(self.tracks)
    }
}

/// For people.
impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codec = if self.codec == Codec::Pcmu { "PCMU" } else { "PCMA" };
        write!(
            f,
            "{} calls at once of {} minutes, {} tracks of {codec} at {} ms, kept for {} days",
            super::figures::number(self.calls as f64),
            self.minutes,
            self.tracks,
            self.ptime_ms,
            self.retention_days
        )
    }
}

/// `90d`, `12w` or `7y` in days.
pub fn retention_days(text: &str) -> Result<u32, DemandError> {
    let wrong = || DemandError(format!("--retention must be like 90d, 12w or 7y, not {text:?}"));
    let text = text.trim();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let days = match unit {
        'd' => 1,
        'w' => 7,
        'y' => 365,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    match count.checked_mul(days) {
        Some(days) if (1..=RETENTION_DAYS_MAX).contains(&days) => Ok(days),
        _ => Err(DemandError(format!("--retention must be between a day and 100 years, not {text}"))),
    }
}
