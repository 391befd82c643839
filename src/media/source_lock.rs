//! Whom a track listens to: the address in the session description is a hint, so the source is learned, then kept.
//!
//! ```text
//!   learning ── SOURCE_LOCK_PACKETS from one address, or one from the announced ──▶ locked ── silent for SOURCE_GONE, or an Update ──▶ learning
//!                                                                                    └── silent for SOURCE_HOLD while another sends
//!                                                                                        SOURCE_LOCK_PACKETS in a row ──▶ locked to that one
//! ```
//!
//! Clients send from other ports than they announce, from behind NAT, and move without a word (interop 14 and 34), so any address may be right, but
//! only one at a time; the announced one always is. While the one it is locked to talks, nobody else is heard, however much they send. One that has
//! moved is heard again [`SOURCE_HOLD`] and [`SOURCE_LOCK_PACKETS`] packets later at the latest. Leaves out SSRCs, which may change at one address at
//! any time (the track follows them), and streams that authenticate themselves: those prove who they are, see [`SourceLock::trust`].

use std::net::SocketAddr;

use crate::base::Mono;
use crate::limits::{SOURCE_GONE, SOURCE_HOLD, SOURCE_LEARN, SOURCE_LOCK_PACKETS};

/// Somebody who sends, and how many packets without a break by the other.
#[derive(Clone, Copy, Debug)]
struct Talker {
    from: SocketAddr,
    packets: u32,
    heard: Mono,
}

/// The lock of one track.
#[derive(Clone, Debug, Default)]
pub struct SourceLock {
    announced: Option<SocketAddr>,
    /// Who is listened to.
    talker: Option<Talker>,
    locked: bool,
    /// Who else has sent since the talker was heard.
    rival: Option<Talker>,
}

impl SourceLock {
    /// The session description is new: `announced` is where it says that packets come from. Learns anew, beginning with who talks now.
    pub fn announce(&mut self, announced: Option<SocketAddr>) {
        self.announced = announced;
        self.relearn();
    }

    /// Whether a packet from `from` is to be listened to.
    pub fn hears(&mut self, from: SocketAddr, at: Mono) -> bool {
        let Some(talker) = &mut self.talker else {
            self.take(Talker { from, packets: 1, heard: at });
            return true;
        };
        if talker.from == from {
            talker.packets = talker.packets.saturating_add(1);
            talker.heard = talker.heard.max(at);
            self.locked |= talker.packets >= SOURCE_LOCK_PACKETS;
            self.rival = None;
            return true;
        }
        let silent = at.since(talker.heard);
        let packets = self.rival.filter(|rival| rival.from == from).map_or(0, |rival| rival.packets) + 1;
        let rival = Talker { from, packets, heard: at };
        let better = if self.locked {
            silent >= SOURCE_HOLD && packets >= SOURCE_LOCK_PACKETS
        } else {
            // Still learning: two in a row are better than none, but no burst drowns one that talks.
            silent >= SOURCE_LEARN && packets > self.talker.map_or(0, |talker| talker.packets).max(1)
        };
        if better || silent >= SOURCE_GONE || self.announced == Some(from) {
            self.take(rival);
            return true;
        }
        self.rival = Some(rival);
        false
    }

    /// `from` has proved to be the peer.
    pub fn trust(&mut self, from: SocketAddr, at: Mono) {
        self.take(Talker { from, packets: SOURCE_LOCK_PACKETS, heard: at });
    }

    /// Who is listened to, if anybody has spoken.
    pub fn talker(&self) -> Option<SocketAddr> {
        self.talker.map(|talker| talker.from)
    }

    fn take(&mut self, talker: Talker) {
        self.locked = talker.packets >= SOURCE_LOCK_PACKETS || self.announced == Some(talker.from);
        self.talker = Some(talker);
        self.rival = None;
    }

    fn relearn(&mut self) {
        self.locked = self.talker.is_some_and(|talker| self.announced == Some(talker.from));
        self.talker.iter_mut().for_each(|talker| talker.packets = 0);
        self.rival = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const PTIME: Duration = Duration::from_millis(20);

    fn address(number: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 4000 + number))
    }

    fn locked_to(number: u16, lock: &mut SourceLock, mut at: Mono) -> Mono {
        for _ in 0..SOURCE_LOCK_PACKETS {
            assert!(lock.hears(address(number), at));
            at = at + PTIME;
        }
        at
    }

    #[test]
    fn the_announced_source_is_heard_at_once_and_keeps_others_out() {
        let mut lock = SourceLock::default();
        lock.announce(Some(address(1)));
        let at = locked_to(9, &mut lock, Mono::from_ms(1000));
        assert!(lock.hears(address(1), at));
        assert!(!lock.hears(address(9), at), "who talked before it is a stranger now");
    }

    #[test]
    fn a_source_that_moves_without_a_word_is_heard_again_within_the_time_stated() {
        let mut lock = SourceLock::default();
        let moved = locked_to(1, &mut lock, Mono::from_ms(1000));
        let mut at = moved;
        while !lock.hears(address(2), at) {
            at = at + PTIME;
        }
        let lost = at.since(moved) + PTIME;
        assert!(lost <= SOURCE_HOLD + PTIME * SOURCE_LOCK_PACKETS, "{lost:?}");
        assert!(lock.hears(address(2), at + PTIME));
    }

    #[test]
    fn a_packet_gone_astray_costs_the_real_source_a_moment() {
        let mut lock = SourceLock::default();
        let at = Mono::from_ms(1000);
        assert!(lock.hears(address(9), at));
        assert!(!lock.hears(address(1), at + PTIME));
        assert!(lock.hears(address(1), at + SOURCE_LEARN));
    }

    #[test]
    fn an_update_opens_the_lock_for_whoever_has_moved() {
        let mut lock = SourceLock::default();
        let at = locked_to(1, &mut lock, Mono::from_ms(1000));
        lock.announce(Some(address(7)));
        assert!(lock.hears(address(1), at), "who talks may go on");
        lock.announce(Some(address(7)));
        assert!(!lock.hears(address(2), at + PTIME));
        assert!(lock.hears(address(2), at + SOURCE_LEARN));
    }

    #[test]
    fn a_burst_right_after_an_update_takes_nothing_over() {
        let mut lock = SourceLock::default();
        let at = locked_to(1, &mut lock, Mono::from_ms(1000));
        lock.announce(None);
        assert!((0..100).all(|_| !lock.hears(address(2), at)));
        assert!(lock.hears(address(1), at + PTIME));
    }

    #[test]
    fn after_a_long_silence_even_of_the_announced_source_the_first_who_speaks_is_heard() {
        let mut lock = SourceLock::default();
        lock.announce(Some(address(1)));
        let at = locked_to(1, &mut lock, Mono::from_ms(1000));
        assert!(!lock.hears(address(2), at + SOURCE_HOLD));
        assert!(lock.hears(address(2), at + SOURCE_GONE));
    }

    #[test]
    fn who_proves_to_be_the_peer_is_the_source() {
        let mut lock = SourceLock::default();
        let at = locked_to(1, &mut lock, Mono::from_ms(1000));
        lock.trust(address(3), at);
        assert!(lock.hears(address(3), at) && !lock.hears(address(1), at));
    }

    /// What must hold of any history, told from the history alone.
    struct Model {
        announced: Option<u16>,
        heard: Vec<(u16, Mono)>,
        all: Vec<(u16, Mono)>,
    }

    impl Model {
        /// The address that the last packets heard came from, how many in a row, and when the last.
        fn talker(&self) -> Option<(u16, usize, Mono)> {
            let (last, at) = *self.heard.last()?;
            Some((last, self.heard.iter().rev().take_while(|(from, _)| *from == last).count(), at))
        }

        fn check(&self, from: u16, at: Mono, heard: bool) {
            let Some((talker, packets, last)) = self.talker() else { return assert!(heard, "the first is") };
            if from == talker || self.announced == Some(from) {
                return assert!(heard, "who talks, and who was announced, always is");
            }
            let silent = at.since(last);
            let run = self.all.iter().rev().take_while(|(other, _)| *other == from).count() + 1;
            let n = SOURCE_LOCK_PACKETS as usize;
            let learned = packets >= n || self.announced == Some(talker);
            if learned && silent < SOURCE_HOLD {
                assert!(!heard, "nobody takes over from one who talks");
            }
            if learned && silent < SOURCE_GONE && run < n {
                assert!(!heard, "a few packets are not enough");
            }
            if silent >= SOURCE_GONE || silent >= SOURCE_HOLD && run >= n {
                assert!(heard, "one who has moved is found again");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_the_rules_hold(
            announced in proptest::option::of(0u16..3),
            steps in proptest::collection::vec((0u16..4, 0u64..400, 1usize..9), 1..80),
        ) {
            let mut lock = SourceLock::default();
            lock.announce(announced.map(address));
            let mut model = Model { announced, heard: Vec::new(), all: Vec::new() };
            let mut at = Mono::from_ms(1);
            for (from, pause_ms, packets) in steps {
                at = at + Duration::from_millis(pause_ms * u64::from(pause_ms > 300) * 8);
                for _ in 0..packets {
                    at = at + PTIME;
                    let heard = lock.hears(address(from), at);
                    model.check(from, at, heard);
                    model.all.push((from, at));
                    if heard {
                        model.heard.push((from, at));
                        prop_assert_eq!(lock.talker(), Some(address(from)));
                    }
                }
            }
        }
    }
}
