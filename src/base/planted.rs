//! Faults that are built into the product on purpose, one at a time, to see that the simulator catches them.
//!
//! Only tests and the feature `planted-bugs` can switch one on; anywhere else [`planted`] is `false` at compile time.

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Bug {
    /// A packet that came twice passes for one that was overtaken.
    DuplicateNotSeen,
    /// The extended sequence number loses its wraps.
    WrapForgotten,
    /// One packet in 64 lies one sample too far.
    OffByOne,
    /// A late packet is copied over the frame that was sealed last.
    LateOverSealed,
    /// Lost packets leave silence without an interval.
    IntervalForgotten,
    /// Now and then a packet lands in the other channel.
    ChannelSwapped,
    /// Audio that comes during a pause is recorded.
    PauseLeaks,
    /// What moves along into a segment with more channels lands in the wrong ones.
    LayoutShifted,
    /// A datagram is dropped that no counter sees.
    CounterMissed,
    /// A block is given back when its write is submitted, not when it is done.
    BlockReleasedEarly,
    /// A block stays with a closed segment.
    BlockLeaked,
    /// A failed write is sealed again before it is tried again.
    SealedAgainOnRetry,
    /// Frame 0 is sealed at the start already, with sizes that are not known yet.
    HeadSealedEarly,
    /// A segment is renamed without having been synced.
    RenamedBeforeSync,
    /// Sealed frames wait for a full block, however long that takes.
    WrittenTooLate,
    /// Silence that is owed when audio comes behind it is taken for written.
    SilenceForgotten,
    /// Silence that is owed is written in its own time, with audio behind it.
    AudioBehindSilence,
    /// Recovery fills the torn frame up and seals it anew.
    RecoverySealsTornFrame,
    /// A 2xx that comes again is not acknowledged again.
    AckNotRepeated,
    /// A SIP transaction that has ended stays.
    TransactionKept,
    /// A retransmitted SIP request is served like a new one.
    RetransmissionServed,
    /// A session that was refreshed runs out all the same.
    RefreshForgotten,
}

impl Bug {
    /// Faults in signalling, for the worlds of `sip::endpoint`.
    pub const SIP: [Bug; 4] =
        [Bug::AckNotRepeated, Bug::TransactionKept, Bug::RetransmissionServed, Bug::RefreshForgotten];

    /// Every fault on the way of a packet.
    pub const ALL: [Bug; 18] = [
        Bug::DuplicateNotSeen,
        Bug::WrapForgotten,
        Bug::OffByOne,
        Bug::LateOverSealed,
        Bug::IntervalForgotten,
        Bug::ChannelSwapped,
        Bug::PauseLeaks,
        Bug::LayoutShifted,
        Bug::CounterMissed,
        Bug::BlockReleasedEarly,
        Bug::BlockLeaked,
        Bug::SealedAgainOnRetry,
        Bug::HeadSealedEarly,
        Bug::RenamedBeforeSync,
        Bug::WrittenTooLate,
        Bug::SilenceForgotten,
        Bug::AudioBehindSilence,
        Bug::RecoverySealsTornFrame,
    ];
}

#[cfg(any(test, feature = "planted-bugs"))]
mod switch {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether `bug` is switched on in this thread.
    pub fn planted(bug: Bug) -> bool {
        ACTIVE.get() == Some(bug)
    }

    /// Switches one fault on in this thread, or all off.
    pub fn plant(bug: Option<Bug>) {
        ACTIVE.set(bug);
    }
}

#[cfg(any(test, feature = "planted-bugs"))]
pub use switch::{plant, planted};

/// Whether `bug` is switched on: never, in this build.
#[cfg(not(any(test, feature = "planted-bugs")))]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}
