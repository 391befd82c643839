//! What a stream sends and when: every packet, in the order sent, as a function of (seed, call, track, profile).
//!
//! ```text
//!   position (samples since the stream's start, by its own clock)  ─▶  skipped? (hold, DTX)  ─▶  number, timestamp, fate  ─▶  delay  ─▶  by time sent
//! ```
//!
//! The generator sends it, the verifier goes through it again. All tracks of a call share one start. Nothing is allocated per packet: what is kept back
//! (jitter, reorder, late) waits in a queue whose room is worked out from the profile. Leaves out the payload: that is [`crate::signal`].

use std::collections::VecDeque;
use std::time::Duration;

use tapehead::base::Prng;

use crate::profile::{Dtx, GilbertElliott, Profile};
use crate::signal::mix;

/// Payload type of comfort noise (RFC 3389; RFC 3551 section 6).
pub const COMFORT_NOISE: u8 = 13;
/// Comfort noise is sent anew this often in a silence, in samples: 400 ms.
const COMFORT_NOISE_EVERY: u64 = 3200;
/// Strangers hold their tongue until so many packets have been sent, so that the recorder knows by then whom to hear.
const STRANGER_AFTER: u64 = 8;
/// Nanoseconds of a sample at 8,000 Hz.
const SAMPLE_NS: f64 = 125_000.0;

/// What the sender does with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Sends it.
    Once,
    /// Does not send it: lost on purpose.
    Lost,
    /// Sends it, and once more at once.
    Twice,
    /// A stranger sends it, from another address, with a payload that is nobody's ([`crate::signal::STRANGER`]).
    WrongSource,
}

/// One packet of a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// When it is sent, after the start of the call's media.
    pub at: Duration,
    /// Whether it is, and by whom.
    pub fate: Sent,
    /// RTP header fields (RFC 3550 section 5.1).
    pub ssrc: u32,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Set on the first packet of a talk spurt and after every break of the stream (RFC 3551 section 4.1).
    pub marker: bool,
    /// 0, 8, or 13 for comfort noise.
    pub payload_type: u8,
    /// Position of its first sample since the start of the call's media, by the stream's own clock.
    pub position: u64,
    /// Samples it carries; 0 for comfort noise, whose payload is one byte, the level of the noise.
    pub samples: u16,
}

impl Packet {
    /// When it would be sent without delay, on a clock that runs `drift_ppm` fast.
    fn due(position: u64, sample_ns: f64) -> Duration {
        Duration::from_nanos((position as f64 * sample_ns) as u64)
    }
}

/// A chance, compared with 32 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Chance(u64);

impl Chance {
    fn new(share: f64) -> Chance {
        Chance((share.clamp(0.0, 1.0) * (1u64 << 32) as f64) as u64)
    }

    /// Draws only where there is something to draw.
    #[inline]
    fn hits(self, draw: &mut Prng) -> bool {
        self.0 > 0 && draw.u64() >> 32 < self.0
    }
}

/// Loss in bursts.
struct Burst {
    bad: bool,
    to_bad: Chance,
    to_good: Chance,
    loss_in_bad: Chance,
    loss_in_good: Chance,
}

impl Burst {
    fn new(of: GilbertElliott) -> Burst {
        Burst {
            bad: false,
            to_bad: Chance::new(of.to_bad),
            to_good: Chance::new(of.to_good),
            loss_in_bad: Chance::new(of.loss_in_bad),
            loss_in_good: Chance::new(of.loss_in_good),
        }
    }

    fn loses(&mut self, draw: &mut Prng) -> bool {
        let turns = if self.bad { self.to_good } else { self.to_bad }.hits(draw);
        self.bad ^= turns;
        if self.bad { self.loss_in_bad } else { self.loss_in_good }.hits(draw)
    }
}

/// Talk and silence.
struct Turns {
    of: Dtx,
    talking: bool,
    until: u64,
    noise_at: u64,
}

/// What is due at a position.
enum Due {
    Audio,
    ComfortNoise,
    Nothing,
}

impl Turns {
    fn at(&mut self, position: u64, draw: &mut Prng) -> Due {
        while position >= self.until {
            self.talking = !self.talking;
            let mean = if self.talking { self.of.talk_ms } else { self.of.silence_ms };
            self.noise_at = self.until;
            self.until += between_half_and_one_and_a_half(u64::from(mean) * 8, draw).max(1);
        }
        if self.talking {
            return Due::Audio;
        }
        if !self.of.comfort_noise || position < self.noise_at {
            return Due::Nothing;
        }
        self.noise_at = position + COMFORT_NOISE_EVERY;
        Due::ComfortNoise
    }
}

fn between_half_and_one_and_a_half(mean: u64, draw: &mut Prng) -> u64 {
    mean / 2 + draw.below(mean + 1)
}

/// A change of the source that comes again and again: mean samples between two, and where the next is.
#[derive(Clone, Copy)]
struct Change {
    mean: u64,
    next: u64,
}

impl Change {
    fn every(seconds: Option<f64>, draw: &mut Prng) -> Option<Change> {
        let mean = (seconds? * 8000.0) as u64;
        Some(Change { mean, next: between_half_and_one_and_a_half(mean, draw) })
    }

    fn comes(change: &mut Option<Change>, position: u64, draw: &mut Prng) -> bool {
        let Some(change) = change.as_mut().filter(|change| position >= change.next) else { return false };
        change.next = position + between_half_and_one_and_a_half(change.mean, draw);
        true
    }
}

/// The packets of one stream, in the order sent. Ends only where a client vanishes.
pub struct Schedule {
    draw: Prng,
    /// Nanoseconds of one sample on the stream's clock.
    sample_ns: f64,
    packet_samples: u16,
    payload_type: u8,
    loss: Chance,
    duplicate: Chance,
    stranger: Chance,
    reorder: (Chance, u64),
    late: (Chance, u64),
    jitter_ns: u64,
    burst: Option<Burst>,
    turns: Option<Turns>,
    ssrc_change: Option<Change>,
    timestamp_jump: Option<Change>,
    /// Samples that are not sent.
    hold: std::ops::Range<u64>,
    end: u64,
    ssrc: u32,
    sequence: u16,
    timestamp_base: u32,
    position: u64,
    packets: u64,
    broken: bool,
    /// By time sent.
    waiting: VecDeque<Packet>,
}

impl Schedule {
    /// The stream of `track` (from 0) of `call`. The profile has been checked ([`Profile::check`]).
    pub fn new(seed: u64, call: u64, track: u32, profile: &Profile) -> Schedule {
        let mut draw = Prng::new(mix(mix(mix(seed ^ 0x7363_6865_6475_6c65) ^ call) ^ u64::from(track)));
        let packet_samples = profile.packet_samples().max(1);
        let ptime_ms = u64::from(packet_samples) / 8;
        let late_start = draw.below(u64::from(profile.late_start_ms) + 1) * 8;
        let waiting = (profile.delay_ms_max() / ptime_ms.max(1) + 4) as usize * 2;
        let turns = |of| Turns { of, talking: false, until: 0, noise_at: 0 };
        let hold = profile.hold.map_or(0..0, |hold| {
            let from = u64::from(hold.after_ms) * 8;
            from..from + u64::from(hold.for_ms) * 8
        });
        Schedule {
            sample_ns: SAMPLE_NS * 1e6 / (1e6 + profile.drift_ppm),
            packet_samples,
            payload_type: profile.codec.payload_type(),
            loss: Chance::new(profile.loss),
            duplicate: Chance::new(profile.duplicate),
            stranger: Chance::new(profile.wrong_source),
            reorder: profile
                .reorder
                .map_or((Chance(0), 0), |one| (Chance::new(one.share), u64::from(one.packets))),
            late: profile.late.map_or((Chance(0), 0), |one| (Chance::new(one.share), u64::from(one.by_ms))),
            jitter_ns: u64::from(profile.jitter_ms) * 1_000_000,
            burst: profile.gilbert_elliott.map(Burst::new),
            turns: profile.dtx.map(turns),
            ssrc_change: Change::every(profile.ssrc_change_s, &mut draw),
            timestamp_jump: Change::every(profile.timestamp_jump_s, &mut draw),
            hold,
            end: profile.vanish_after_ms.map_or(u64::MAX, |ms| u64::from(ms) * 8),
            ssrc: draw.u64() as u32,
            sequence: draw.u64() as u16,
            timestamp_base: draw.u64() as u32,
            // On the grid of packets, so that a late start shifts nothing but the start.
            position: late_start - late_start % u64::from(packet_samples),
            packets: 0,
            broken: true,
            waiting: VecDeque::with_capacity(waiting),
            draw,
        }
    }

    /// When the sample at `position` is due by the stream's clock, if nothing delays it.
    pub fn due(&self, position: u64) -> Duration {
        Packet::due(position, self.sample_ns)
    }

    /// Makes the packet at `position`, if one is due there, and moves on.
    fn step(&mut self) {
        let position = self.position;
        self.position += u64::from(self.packet_samples);
        if self.hold.contains(&position) {
            self.broken = true;
            return;
        }
        let due = self.turns.as_mut().map_or(Due::Audio, |turns| turns.at(position, &mut self.draw));
        let (payload_type, samples) = match due {
            Due::Audio => (self.payload_type, self.packet_samples),
            Due::ComfortNoise => (COMFORT_NOISE, 0),
            Due::Nothing => {
                self.broken = true;
                return;
            }
        };
        self.change(position);
        let packet = Packet {
            at: self.due(position) + self.delay(),
            fate: self.fate(),
            ssrc: self.ssrc,
            sequence: self.sequence,
            timestamp: self.timestamp_base.wrapping_add(position as u32),
            marker: self.broken && samples > 0,
            payload_type,
            position,
            samples,
        };
        self.broken = samples == 0;
        self.sequence = self.sequence.wrapping_add(1);
        self.packets += 1;
        self.put(packet);
        self.stray(packet);
    }

    /// The source may be another from here on, or its timestamps elsewhere.
    fn change(&mut self, position: u64) {
        if Change::comes(&mut self.ssrc_change, position, &mut self.draw) {
            let numbers = self.draw.u64();
            // Another than before, whatever is drawn.
            self.ssrc ^= (numbers as u32).max(1);
            self.sequence = (numbers >> 32) as u16;
            self.timestamp_base = self.draw.u64() as u32;
            self.broken = true;
        }
        if Change::comes(&mut self.timestamp_jump, position, &mut self.draw) {
            // At least two seconds, so that nobody takes it for a pause; up to half the circle.
            let by = 16_000 + self.draw.below((1 << 31) - 32_000) as u32;
            self.timestamp_base = self.timestamp_base.wrapping_add(by);
            self.broken = true;
        }
    }

    fn fate(&mut self) -> Sent {
        let burst = self.burst.as_mut().is_some_and(|burst| burst.loses(&mut self.draw));
        if self.loss.hits(&mut self.draw) || burst {
            Sent::Lost
        } else if self.duplicate.hits(&mut self.draw) {
            Sent::Twice
        } else {
            Sent::Once
        }
    }

    fn delay(&mut self) -> Duration {
        let mut ns = if self.jitter_ns > 0 { self.draw.below(self.jitter_ns + 1) } else { 0 };
        if self.reorder.0.hits(&mut self.draw) {
            // In the middle between two others.
            let halves = 1 + 2 * (1 + self.draw.below(self.reorder.1));
            ns += halves * u64::from(self.packet_samples) * SAMPLE_NS as u64 / 2;
        }
        if self.late.0.hits(&mut self.draw) {
            ns += self.late.1 * 1_000_000;
        }
        Duration::from_nanos(ns)
    }

    /// A stranger may send what looks like the next packet.
    fn stray(&mut self, after: Packet) {
        if after.fate == Sent::Lost || after.samples == 0 || self.packets < STRANGER_AFTER {
            return;
        }
        if self.stranger.hits(&mut self.draw) {
            self.put(Packet {
                fate: Sent::WrongSource,
                sequence: after.sequence.wrapping_add(1),
                timestamp: after.timestamp.wrapping_add(u32::from(self.packet_samples)),
                marker: false,
                position: after.position + u64::from(self.packet_samples),
                ..after
            });
        }
    }

    /// Queues a packet by the time it is sent; mostly it is the last.
    fn put(&mut self, packet: Packet) {
        let behind = self.waiting.iter().rev().take_while(|other| other.at > packet.at).count();
        self.waiting.insert(self.waiting.len() - behind, packet);
    }
}

impl Iterator for Schedule {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        loop {
            // No later packet can be sent before its own position is due.
            let due = self.due(self.position);
            match self.waiting.front() {
                Some(first) if first.at < due || self.position >= self.end => {
                    return self.waiting.pop_front();
                }
                None if self.position >= self.end => return None,
                _ => self.step(),
            }
        }
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
