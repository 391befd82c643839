//! What becomes of a datagram: every one is counted under one fate.

use std::net::SocketAddr;

use super::Call;
use crate::base::Mono;
use crate::base::planted::{Bug, planted};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::media::{Fate, Payload, SampleFormat, Verdict};
use crate::rtp::{Packet, rtcp};
use crate::shard::Io;
use crate::shard::window::Outcome;
use crate::srtp::Failure;

/// A datagram as the ring handed it over.
pub struct Datagram<'a> {
    /// Whether it came to the RTCP port.
    pub on_rtcp_port: bool,
    /// Its source.
    pub from: SocketAddr,
    /// When it came.
    pub arrival: Mono,
    /// Its bytes.
    pub payload: &'a [u8],
    /// Whether it was cut.
    pub truncated: bool,
}

impl Call {
    /// Takes one datagram and counts it under one fate.
    pub fn received(&mut self, track: usize, datagram: &Datagram<'_>, io: &mut Io<'_>) {
        // A track that is being added takes nothing before it is there.
        if track >= self.media.len() {
            io.stats.stray += 1;
            return;
        }
        let fate = if datagram.truncated { Fate::Truncated } else { self.opened(track, datagram, io) };
        if !(planted(Bug::CounterMissed) && fate == Fate::Duplicate) {
            self.media[track].counters.count(fate);
        }
    }

    /// On a secured track a datagram has to be authentic before anything of it counts, even who sent it.
    fn opened(&mut self, track: usize, datagram: &Datagram<'_>, io: &mut Io<'_>) -> Fate {
        let leg = &mut self.legs[track];
        let is_rtcp = datagram.on_rtcp_port || (leg.rtcp_mux && rtcp::is_rtcp(datagram.payload));
        let Some(session) = &mut leg.srtp else { return self.sorted(track, is_rtcp, datagram, io) };
        let mut room = [0; DATAGRAM_BYTES_MAX];
        match session.open(is_rtcp, datagram.payload, datagram.arrival, &mut room) {
            Ok(payload) => {
                // Whoever has the key is the peer, wherever it sends from.
                if !is_rtcp {
                    leg.lock.trust(datagram.from, datagram.arrival);
                }
                self.sorted(track, is_rtcp, &Datagram { payload, ..*datagram }, io)
            }
            Err(Failure::Malformed) => Fate::Malformed,
            Err(Failure::Auth) => Fate::SrtpAuth,
            Err(Failure::Replay) => Fate::SrtpReplay,
            Err(Failure::Sources) => Fate::SourceBudget,
        }
    }

    fn sorted(&mut self, track: usize, is_rtcp: bool, datagram: &Datagram<'_>, io: &mut Io<'_>) -> Fate {
        if is_rtcp { self.rtcp(track, datagram) } else { self.rtp(track, datagram, io) }
    }

    fn rtp(&mut self, track: usize, datagram: &Datagram<'_>, io: &mut Io<'_>) -> Fate {
        let Ok(packet) = Packet::parse(datagram.payload) else { return Fate::Malformed };
        let Some(payload) = self.legs[track].payloads[usize::from(packet.payload_type & 0x7f)] else {
            return Fate::WrongPayloadType;
        };
        if !self.legs[track].lock.hears(datagram.from, datagram.arrival) {
            return Fate::WrongSource;
        }
        if self.flow.packet(datagram.arrival) {
            *io.look = io.now;
        }
        self.catch_up(io);
        let arrival = self.position(datagram.arrival);
        let verdict = self.media[track].receive(&packet, payload, (datagram.arrival, arrival));
        let position = match verdict {
            Verdict::Audio { position } if planted(Bug::OffByOne) && packet.sequence % 64 == 0 => {
                position + 1
            }
            Verdict::Audio { position } => position,
            Verdict::Done(fate) => return fate,
        };
        let law = if payload == Payload::Pcma { SampleFormat::Alaw } else { SampleFormat::Mulaw };
        self.place(track, position, (law, packet.payload), io)
    }

    /// Copies what of a packet's samples lies in no pause to its place.
    fn place(
        &mut self,
        track: usize,
        position: i64,
        (law, payload): (SampleFormat, &[u8]),
        io: &mut Io<'_>,
    ) -> Fate {
        let mut fate = Fate::Paused;
        for (from, to, paused) in self.media[track].parts(position, position + payload.len() as i64) {
            if paused && !planted(Bug::PauseLeaks) {
                continue;
            }
            let samples = &payload[(from - position) as usize..(to - position) as usize];
            let part = self.place_part(track, from, (law, samples), io);
            if fate == Fate::Paused || part == Fate::Placed {
                fate = part;
            }
        }
        fate
    }

    /// Copies samples to their place in the segment's window. Between a cut and what comes after it there is none; where the segment can't go on in
    /// a format that holds them, what it holds already comes first.
    fn place_part(
        &mut self,
        track: usize,
        from: i64,
        (law, samples): (SampleFormat, &[u8]),
        io: &mut Io<'_>,
    ) -> Fate {
        let span = (from, samples.len() as i64);
        if !self.segment.is_ended() && !self.suit(law, io) {
            let outcome = Outcome { overflow: samples.len() as u64, ..Outcome::default() };
            return self.account(track, span, outcome);
        }
        let Some(window) = self.segment.window() else { return Fate::Late };
        if window.is_empty() {
            // What the file is owed goes first.
            *io.look = io.now;
        }
        let outcome = window.place((io.blocks, io.coverage), track, from, law, samples);
        self.account(track, span, outcome)
    }

    /// Tells the track what did not find its place, and names the packet's fate.
    fn account(&mut self, track: usize, (position, length): (i64, i64), outcome: Outcome) -> Fate {
        let media = &mut self.media[track];
        let end = position + length;
        if outcome.late > 0 && position + outcome.late as i64 > 0 {
            media.late(position.max(0) as u64, (position + outcome.late as i64) as u64);
        }
        if outcome.overflow > 0 {
            media.overflow((end - outcome.overflow as i64).max(0) as u64, end as u64);
        }
        match outcome {
            Outcome { placed: 1.., .. } => Fate::Placed,
            Outcome { overflow: 1.., .. } => Fate::Overflow,
            Outcome { late: 1.., .. } => Fate::Late,
            _ => Fate::Overlap,
        }
    }

    fn rtcp(&mut self, track: usize, datagram: &Datagram<'_>) -> Fate {
        let mut fate = Fate::Malformed;
        for packet in rtcp::compound(datagram.payload) {
            match packet {
                Ok(rtcp::Rtcp::SenderReport { ssrc, ntp, .. }) => {
                    self.media[track].sender_report(ssrc, ntp, datagram.arrival);
                    fate = Fate::Rtcp;
                }
                Ok(_) => fate = Fate::Rtcp,
                Err(_) => break,
            }
        }
        if fate == Fate::Rtcp {
            self.legs[track].heard_rtcp(datagram.from);
        }
        fate
    }
}
