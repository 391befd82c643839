//! What a stream has sent, from its schedule and how far it came: audio in the order of its positions, and what a recorder must have counted.

use crate::profile::Profile;
use crate::schedule::{Packet, Schedule, Sent};
use crate::signal::Signal;

/// One packet of the stream itself, sent or lost on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// First sample, by the stream's clock.
    pub position: u64,
    /// Samples; 0 for comfort noise.
    pub samples: u16,
    /// Whether it was sent.
    pub delivered: bool,
    /// Counts the sources and timestamp bases before it: within one all positions shift alike.
    pub epoch: u32,
    /// Its source.
    pub ssrc: u32,
    /// Its number.
    pub sequence: u16,
    /// Its timestamp.
    pub timestamp: u32,
    /// When it was to be sent, in nanoseconds after the start of the call's media.
    pub at_ns: u64,
    /// How long it was kept back, in nanoseconds.
    pub delay_ns: u64,
}

impl Piece {
    /// First position after it.
    pub fn end(&self) -> u64 {
        self.position + u64::from(self.samples)
    }

    /// Samples by which it is behind an ideal clock that started with the media.
    pub fn behind(&self) -> i64 {
        (self.at_ns / 125_000) as i64 - self.position as i64
    }
}

/// What a recorder that got everything has counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// RTP datagrams, the stranger's too.
    pub received: u64,
    /// Audio packets, each once.
    pub audio: u64,
    /// Packets that came a second time.
    pub duplicate: u64,
    /// The stranger's.
    pub wrong_source: u64,
    /// Comfort noise.
    pub comfort_noise: u64,
    /// Sequence numbers that never came, between the first and the last that did.
    pub lost: u64,
}

/// One stream.
pub struct Expected {
    /// Its signal.
    pub signal: Signal,
    /// Its packets, by position.
    pub pieces: Vec<Piece>,
    /// The first audio packet sent: what a recorder anchors the stream by.
    pub first: Option<Piece>,
    /// What must have been counted.
    pub counts: Counts,
}

impl Expected {
    /// The first `taken` packets of the stream's schedule.
    pub fn new(seed: u64, call: u64, track: u32, profile: &Profile, taken: u64) -> Expected {
        let mut schedule = Schedule::new(seed, call, track, profile);
        let mut expected = Expected {
            signal: Signal::new(seed, call, track),
            pieces: Vec::with_capacity(taken.min(1 << 20) as usize),
            first: None,
            counts: Counts::default(),
        };
        let mut sources = Sources::default();
        for _ in 0..taken {
            let Some(packet) = schedule.next() else { break };
            expected.count(&packet, &mut sources);
            if packet.fate != Sent::WrongSource {
                let due = schedule.due(packet.position);
                expected.add(&packet, packet.at.saturating_sub(due).as_nanos() as u64);
            }
        }
        expected.counts.lost = sources.lost();
        expected.pieces.sort_by_key(|piece| piece.position);
        let mut epoch = 0;
        for at in 1..expected.pieces.len() {
            let base = |piece: &Piece| (piece.ssrc, piece.timestamp.wrapping_sub(piece.position as u32));
            epoch += u32::from(base(&expected.pieces[at - 1]) != base(&expected.pieces[at]));
            expected.pieces[at].epoch = epoch;
        }
        expected
    }

    fn add(&mut self, packet: &Packet, delay_ns: u64) {
        let piece = Piece {
            position: packet.position,
            samples: packet.samples,
            delivered: packet.fate != Sent::Lost,
            epoch: 0,
            ssrc: packet.ssrc,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            at_ns: packet.at.as_nanos() as u64,
            delay_ns,
        };
        if piece.delivered && piece.samples > 0 {
            self.first.get_or_insert(piece);
        }
        self.pieces.push(piece);
    }

    fn count(&mut self, packet: &Packet, sources: &mut Sources) {
        let counts = &mut self.counts;
        match packet.fate {
            Sent::Lost => return,
            Sent::WrongSource => {
                counts.received += 1;
                counts.wrong_source += 1;
                return;
            }
            Sent::Twice => {
                counts.received += 2;
                counts.duplicate += 1;
            }
            Sent::Once => counts.received += 1,
        }
        sources.sent(packet);
        if packet.samples > 0 {
            counts.audio += 1;
        } else {
            counts.comfort_noise += 1;
        }
    }

    /// Samples that were sent.
    pub fn samples_sent(&self) -> u64 {
        self.pieces.iter().filter(|piece| piece.delivered).map(|piece| u64::from(piece.samples)).sum()
    }
}

/// The sequence numbers of one source.
struct Source {
    ssrc: u32,
    first: i64,
    highest: i64,
    after_first: i64,
}

/// All sources of a stream.
#[derive(Default)]
struct Sources(Vec<Source>);

impl Sources {
    fn sent(&mut self, packet: &Packet) {
        let sequence = i64::from(packet.sequence);
        let Some(source) = self.0.iter_mut().rev().find(|source| source.ssrc == packet.ssrc) else {
            return self.0.push(Source {
                ssrc: packet.ssrc,
                first: sequence,
                highest: sequence,
                after_first: 0,
            });
        };
        // Extended across the wrap (RFC 3550 appendix A.1).
        let number = source.highest + i64::from(packet.sequence.wrapping_sub(source.highest as u16) as i16);
        source.highest = source.highest.max(number);
        source.after_first += i64::from(number > source.first);
    }

    fn lost(&self) -> u64 {
        self.0.iter().map(|source| (source.highest - source.first - source.after_first).max(0) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Dtx, Reorder};

    #[test]
    fn every_datagram_of_a_stream_is_counted_once() {
        let profile = Profile {
            loss: 0.05,
            duplicate: 0.05,
            wrong_source: 0.05,
            jitter_ms: 30,
            reorder: Some(Reorder { share: 0.1, packets: 3 }),
            ssrc_change_s: Some(3.0),
            dtx: Some(Dtx { talk_ms: 900, silence_ms: 500, comfort_noise: true }),
            ..Profile::default()
        };
        let Expected { pieces, counts, first, .. } = Expected::new(5, 1, 0, &profile, 2000);
        assert_eq!(
            counts.received,
            counts.audio + counts.duplicate + counts.wrong_source + counts.comfort_noise
        );
        let delivered = pieces.iter().filter(|piece| piece.delivered).count() as u64;
        assert_eq!(delivered, counts.audio + counts.comfort_noise);
        // Lost before a source's first or after its last packet is missed by nobody.
        let missing = pieces.len() as u64 - delivered;
        assert!(counts.lost <= missing && counts.lost + 20 > missing, "{} of {missing}", counts.lost);
        assert!(pieces.is_sorted_by_key(|piece| piece.position));
        assert!(pieces.last().unwrap().epoch >= 5);
        assert!(first.unwrap().behind() >= 0);
    }

    #[test]
    fn numbers_that_wrap_are_no_loss() {
        let Expected { counts, .. } = Expected::new(6, 1, 0, &Profile::default(), 70_000);
        assert_eq!((counts.lost, counts.audio), (0, 70_000));
    }
}
