//! Whether RTP flows for a call: told to the control core when it changes, and once per long silence. Ends no call (interop 15).

use std::time::Duration;

use super::Call;
use crate::base::Mono;
use crate::limits::MEDIA_GAP_MAX;
use crate::link::Event;
use crate::shard::{Io, NEVER};

/// What was heard of a call's media, and what was said about it.
#[derive(Default)]
pub(super) struct Flow {
    heard: Option<Mono>,
    flowing: bool,
    /// Since when a packet could have been expected that has not come.
    expected: Option<Mono>,
    alarmed: bool,
}

impl Flow {
    /// A packet of one of its sources came. Whether that is news.
    pub(super) fn packet(&mut self, at: Mono) -> bool {
        self.heard = self.heard.max(Some(at));
        !self.flowing || self.alarmed
    }

    /// When there will be something to tell if nothing more comes: that media have stopped, or have been silent for `limit`.
    pub(super) fn look_at(&self, limit: Duration) -> Mono {
        let heard = self.heard.unwrap_or(Mono(0));
        let stops = if self.flowing { heard + MEDIA_GAP_MAX } else { NEVER };
        match self.expected.filter(|_| !self.alarmed && !limit.is_zero()) {
            Some(expected) => stops.min(expected.max(heard) + limit),
            None => stops,
        }
    }

    /// Whether RTP flows, if that is not what was said last.
    fn changed(&self, now: Mono) -> Option<bool> {
        let flowing = self.heard.is_some_and(|heard| now.since(heard) < MEDIA_GAP_MAX);
        (flowing != self.flowing).then_some(flowing)
    }

    /// Since when nothing has come though it should have, if that is as long as `limit` and has not been said. A stretch in which every track was
    /// on hold does not count.
    fn silent(&mut self, now: Mono, limit: Duration, held: bool) -> Option<Mono> {
        if held {
            self.expected = None;
            return None;
        }
        let since = (*self.expected.get_or_insert(now)).max(self.heard.unwrap_or(Mono(0)));
        let silent = now.since(since) >= limit && !limit.is_zero();
        self.alarmed &= silent;
        (silent && !self.alarmed).then_some(since)
    }
}

impl Call {
    /// Tells what has changed. What finds no room on the link is told at the next look.
    pub(super) fn tell_flow(&mut self, io: &mut Io<'_>) {
        let call = self.id;
        if let Some(flowing) = self.flow.changed(io.now)
            && io.events.offer(Event::Media { call, flowing })
        {
            self.flow.flowing = flowing;
        }
        let held = self.media.iter().all(|track| track.is_held());
        if let Some(since) = self.flow.silent(io.now, io.silence_alarm, held) {
            self.flow.alarmed = io.events.offer(Event::Silence { call, since });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn a_long_silence_is_told_once_and_again_only_after_media_were_back() {
        let mut flow = Flow::default();
        let mut told = Vec::new();
        for second in 1..200 {
            let now = Mono::from_ms(second * 1000);
            if (50..60).contains(&second) {
                flow.packet(now);
            }
            if let Some(since) = flow.silent(now, LIMIT, (100..110).contains(&second)) {
                flow.alarmed = true;
                told.push((second, since));
            }
        }
        // From the first look on; from the last packet on; and from the end of the hold on, which says that packets will come.
        let told_at = [(31, 1), (89, 59), (140, 110)];
        assert_eq!(told, told_at.map(|(second, since)| (second, Mono::from_ms(since * 1000))));
        assert_eq!(flow.silent(Mono::from_ms(900_000), Duration::ZERO, false), None, "0 switches it off");
    }

    #[test]
    fn that_media_flow_is_told_when_it_changes() {
        let mut flow = Flow::default();
        let start = Mono::from_ms(1000);
        assert_eq!(flow.changed(start), None);
        flow.packet(start);
        assert_eq!(flow.changed(start), Some(true));
        flow.flowing = true;
        assert_eq!(flow.changed(start + MEDIA_GAP_MAX / 2), None);
        assert_eq!(flow.changed(start + MEDIA_GAP_MAX), Some(false));
    }
}
