//! What one RTP stream sends and when, all of it drawn from a seed beforehand: order, duplicates, losses.
//!
//! Leaves out the sending, which is [`super::pace`].

use std::time::Duration;

use super::signal::{Law, Signal};
use crate::base::Prng;
use crate::rtp::{Header, write};

/// Samples of one packet: 20 ms.
pub const PACKET_SAMPLES: u32 = 160;
const PACKET_TIME: Duration = Duration::from_millis(20);
/// At both ends this many packets are left alone: a stream whose first packet is lost has no known start.
const SPARED: u32 = 10;

/// One stream.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StreamPlan {
    /// Its audio.
    pub signal: Signal,
    /// How it is coded.
    pub law: Law,
    /// Its source.
    pub ssrc: u32,
    /// Its first sequence number.
    pub sequence: u16,
    /// Its first timestamp.
    pub timestamp: u32,
    /// How many packets it has.
    pub packets: u32,
}

/// What the network does to it, per thousand packets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Impairment {
    /// A loss starts here; each goes on with an even chance.
    pub lost: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Held back, so that later ones overtake it.
    pub delayed: u64,
    /// For how long at most.
    pub delay_max: Duration,
}

/// A datagram to be sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Sending {
    /// When, after the start of the stream.
    pub at: Duration,
    /// Which packet, from 0.
    pub packet: u32,
}

/// The whole course of one stream.
#[derive(Clone, Debug)]
pub struct Script {
    /// What is sent.
    pub plan: StreamPlan,
    /// In the order of sending.
    pub sendings: Vec<Sending>,
    /// Packets that are never sent, in order.
    pub lost: Vec<u32>,
    /// Packets that are sent twice.
    pub duplicated: u32,
    /// Packets that others overtake.
    pub delayed: u32,
}

impl Script {
    /// Draws the course of `plan` under `impairment` from `seed`.
    pub fn new(plan: StreamPlan, impairment: Impairment, seed: u64) -> Script {
        let mut chance = Prng::new(seed);
        let mut script = Script { plan, sendings: Vec::new(), lost: Vec::new(), duplicated: 0, delayed: 0 };
        for packet in 0..plan.packets {
            let spared = packet < SPARED || packet + SPARED >= plan.packets;
            let burst = script.lost.last().is_some_and(|last| last + 1 == packet) && impairment.lost > 0;
            if !spared && chance.chance(if burst { 500 } else { impairment.lost }) {
                script.lost.push(packet);
                continue;
            }
            let mut at = PACKET_TIME * packet;
            if !spared && chance.chance(impairment.delayed) {
                script.delayed += 1;
                at += PACKET_TIME
                    + impairment.delay_max.saturating_sub(PACKET_TIME) * chance.below(100) as u32 / 100;
            }
            script.sendings.push(Sending { at, packet });
            if !spared && chance.chance(impairment.duplicated) {
                script.duplicated += 1;
                script.sendings.push(Sending { at: at + Duration::from_millis(chance.below(40)), packet });
            }
        }
        script.sendings.sort();
        script
    }

    /// Length of the stream.
    pub fn duration(&self) -> Duration {
        PACKET_TIME * self.plan.packets
    }

    /// Timestamp of a packet.
    pub fn timestamp(&self, packet: u32) -> u32 {
        self.plan.timestamp.wrapping_add(packet * PACKET_SAMPLES)
    }

    /// The codes that a packet carries, or would have carried.
    pub fn payload(&self, packet: u32) -> Vec<u8> {
        let first = u64::from(packet * PACKET_SAMPLES);
        self.plan.signal.codes(self.plan.law, first, first + u64::from(PACKET_SAMPLES))
    }

    /// How often the sequence number of a packet has rolled over since the stream's first.
    pub fn rollovers(&self, packet: u32) -> u32 {
        (u32::from(self.plan.sequence) + packet) >> 16
    }

    /// A packet as it goes over the wire in clear.
    pub fn datagram(&self, packet: u32) -> Vec<u8> {
        let header = Header {
            payload_type: self.plan.law.payload_type(),
            marker: packet == 0,
            sequence: self.plan.sequence.wrapping_add(packet as u16),
            timestamp: self.timestamp(packet),
            ssrc: self.plan.ssrc,
            ..Header::default()
        };
        let mut datagram = Vec::new();
        write(&header, &self.payload(packet), &mut datagram);
        datagram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Packet;

    fn plan() -> StreamPlan {
        let signal = Signal::tone(440.0, 1);
        StreamPlan {
            signal,
            law: Law::Alaw,
            ssrc: 7,
            sequence: 65_500,
            timestamp: u32::MAX - 400,
            packets: 500,
        }
    }

    const ROUGH: Impairment =
        Impairment { lost: 20, duplicated: 20, delayed: 50, delay_max: Duration::from_millis(150) };

    #[test]
    fn every_packet_is_sent_once_or_twice_or_lost() {
        let script = Script::new(plan(), ROUGH, 3);
        let times = |packet| script.sendings.iter().filter(|s| s.packet == packet).count();
        let lost = (0..500).filter(|&packet| times(packet) == 0).collect::<Vec<_>>();
        assert_eq!(lost, script.lost);
        assert_eq!((0..500).filter(|&packet| times(packet) == 2).count(), script.duplicated as usize);
        assert!(!lost.is_empty() && script.duplicated > 0 && script.delayed > 0);
        assert!(script.sendings.is_sorted());
        assert!(script.sendings.iter().all(|s| s.at <= PACKET_TIME * s.packet + Duration::from_millis(190)));
        assert_eq!(script.sendings, Script::new(plan(), ROUGH, 3).sendings);
    }

    #[test]
    fn without_impairment_packets_go_out_in_order() {
        let script = Script::new(plan(), Impairment::default(), 3);
        assert!(script.sendings.iter().enumerate().all(|(at, s)| s.packet as usize == at));
        assert_eq!((script.sendings.len(), script.duration()), (500, Duration::from_secs(10)));
    }

    #[test]
    fn numbers_wrap_on_the_wire() {
        let script = Script::new(plan(), Impairment::default(), 3);
        let datagram = script.datagram(100);
        let packet = Packet::parse(&datagram).unwrap();
        assert_eq!((packet.sequence, packet.timestamp), (64, 15_599));
        assert_eq!((packet.payload, packet.payload_type), (&script.payload(100)[..], 8));
    }
}
