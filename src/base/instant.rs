//! Instants as plain numbers, so that cores can be driven by a simulated clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the monotonic clock, in nanoseconds from an arbitrary zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Mono(pub u64);

impl Mono {
    /// The instant `ms` milliseconds after the zero.
    pub const fn from_ms(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    /// Time since `earlier`, zero if `earlier` is in the future.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, by: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, by: Duration) -> Mono {
        Mono(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A point on the wall clock, in nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Wall(pub u64);

impl Wall {
    fn utc(self) -> time::OffsetDateTime {
        // A u64 of nanoseconds ends in the year 2554, well inside what the type holds.
        time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0))
            .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    }

    /// RFC 3339 in UTC, to the millisecond: `2026-11-21T14:03:22.512Z`. A call's books need it several times: without `format!`.
    pub fn to_rfc3339(self) -> String {
        let at = self.utc();
        let ((year, month, day), (hour, minute, second, millisecond)) =
            (at.to_calendar_date(), at.to_hms_milli());
        let mut text = String::with_capacity("2026-11-21T14:03:22.512Z".len());
        let parts = [
            (year as u16, 4, '-'),
            (u8::from(month).into(), 2, '-'),
            (day.into(), 2, 'T'),
            (hour.into(), 2, ':'),
            (minute.into(), 2, ':'),
            (second.into(), 2, '.'),
            (millisecond, 3, 'Z'),
        ];
        for (number, digits, end) in parts {
            (0..digits)
                .rev()
                .for_each(|place| text.push((b'0' + (number / 10u16.pow(place) % 10) as u8).into()));
            text.push(end);
        }
        text
    }

    /// Reads RFC 3339; `None` for another format or a year outside 1970 to 2553.
    pub fn from_rfc3339(text: &str) -> Option<Wall> {
        let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
        u64::try_from(at.unix_timestamp_nanos()).ok().map(Wall)
    }

    /// The UTC date as path components: `2026/11/21`.
    pub fn date_path(self) -> String {
        let at = self.utc();
        format!("{:04}/{:02}/{:02}", at.year(), u8::from(at.month()), at.day())
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;
    fn add(self, by: Duration) -> Wall {
        Wall(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// What `part` is of `whole`, in millionths; at most all of it.
pub fn ppm(part: Duration, whole: Duration) -> u32 {
    (part.as_nanos() * 1_000_000 / whole.as_nanos().max(1)).min(1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_is_written_as_rfc3339_and_as_a_date_path() {
        let at = Wall(1_795_269_802_512_000_000);
        assert_eq!(at.to_rfc3339(), "2026-11-21T14:03:22.512Z");
        assert_eq!(at.date_path(), "2026/11/21");
        assert_eq!(Wall::from_rfc3339(&at.to_rfc3339()), Some(at));
        assert_eq!(Wall::from_rfc3339("yesterday"), None);
    }

    #[test]
    fn mono_never_underflows() {
        assert_eq!(Mono(5) - Duration::from_secs(1), Mono(0));
        assert_eq!(Mono(5).since(Mono(9)), Duration::ZERO);
    }
}
