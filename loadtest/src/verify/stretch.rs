//! Silent stretches of a track, and what may be the reason for them.

use tapehead::media::Cause;

/// A set of reasons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reasons(u16);

impl Reasons {
    /// Nothing that we know of.
    pub const NONE: Reasons = Reasons(0);
    /// Nothing was sent yet.
    pub const BEFORE: Reasons = Reasons(1);
    /// Nothing is sent any more.
    pub const AFTER: Reasons = Reasons(2);
    /// Packets were lost on purpose.
    pub const LOST: Reasons = Reasons(4);
    /// Packets were sent and are not there: late, dropped, or lost by the recorder.
    pub const MISSING: Reasons = Reasons(8);
    /// The source was silent.
    pub const DTX: Reasons = Reasons(16);
    /// The stream was on hold.
    pub const HOLD: Reasons = Reasons(32);
    /// The source changed, or its timestamps jumped.
    pub const SOURCE: Reasons = Reasons(64);
    /// The recorder moved the stream.
    pub const SHIFT: Reasons = Reasons(128);

    /// Whether the recorder may say this of a stretch with these reasons.
    pub fn allow(self, cause: Cause) -> bool {
        let any = |reasons: Reasons| self.0 & reasons.0 != 0;
        let or = |a: Reasons, b: Reasons| Reasons(a.0 | b.0);
        match cause {
            Cause::NoMedia => any(or(Reasons::BEFORE, Reasons::AFTER)),
            Cause::Loss => any(or(Reasons::LOST, Reasons::MISSING)),
            Cause::Late => any(Reasons::MISSING),
            Cause::Silence => any(or(or(Reasons::DTX, Reasons::HOLD), Reasons::MISSING)),
            Cause::ComfortNoise => any(Reasons::DTX),
            Cause::Hold => any(or(Reasons::HOLD, Reasons::AFTER)),
            Cause::SourceChange => any(Reasons::SOURCE),
            Cause::Drift => any(Reasons::SHIFT),
            // Ours: what it is said of is silent for no good reason.
            Cause::Overflow | Cause::Crash => any(Reasons::MISSING),
            Cause::TelephoneEvent | Cause::Pause => false,
        }
    }
}

impl std::ops::BitOrAssign for Reasons {
    fn bitor_assign(&mut self, other: Reasons) {
        self.0 |= other.0;
    }
}

/// A silent stretch of the recording's timeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// First silent sample.
    pub from: u64,
    /// First sample after it.
    pub to: u64,
    /// What may be the reason.
    pub reasons: Reasons,
}
