//! One stream on its way: the next packet of its schedule, and that packet as bytes.

use std::time::Duration;

use tapehead::base::Mono;
use tapehead::rtp::HEADER_BYTES;
use tapehead::srtp;

use crate::profile::Profile;
use crate::record::TrackRecord;
use crate::schedule::{COMFORT_NOISE, Packet, Schedule, Sent};
use crate::signal::{STRANGER, Signal};
use crate::sys::{Address, DATAGRAM_BYTES_MAX};

/// The level of comfort noise, in -dBov (RFC 3389 section 3.1).
const NOISE_LEVEL: u8 = 60;

/// What a stream is made of.
pub struct Start {
    /// The call's number.
    pub call: u64,
    /// The track's, from 0.
    pub track: u32,
    /// How it behaves.
    pub profile: Profile,
    /// Where its packets go.
    pub to: Address,
    /// Which of the sender's sockets they come from.
    pub socket: usize,
    /// What protects them, if anything.
    pub srtp: Option<srtp::Sender>,
    /// When the call's media starts.
    pub at: Mono,
    /// How long it lasts; `None`: until told to stop.
    pub lasts: Option<Duration>,
}

/// See the [module](self).
pub struct Stream {
    /// The call's number.
    pub call: u64,
    /// The track's.
    pub track: u32,
    /// Where its packets go.
    pub to: Address,
    /// Which socket they come from.
    pub socket: usize,
    /// How far it has come.
    pub record: TrackRecord,
    signal: Signal,
    stranger: Signal,
    schedule: Schedule,
    next: Option<Packet>,
    srtp: Option<(srtp::Sender, Rollovers)>,
    at: Mono,
    until: Option<Duration>,
}

/// What is due next of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// A packet.
    Packet(Mono),
    /// Its end.
    End(Mono),
}

impl Stream {
    /// A stream that has sent nothing yet.
    pub fn new(seed: u64, start: Start) -> Stream {
        let Start { call, track, profile, to, socket, srtp, at, lasts } = start;
        let mut schedule = Schedule::new(seed, call, track, &profile);
        Stream {
            call,
            track,
            to,
            socket,
            record: TrackRecord::default(),
            signal: Signal::new(seed, call, track),
            stranger: Signal::new(seed, call, track | STRANGER),
            next: schedule.next(),
            schedule,
            srtp: srtp.map(|sender| (sender, Rollovers::default())),
            at,
            until: lasts,
        }
    }

    /// What is due next, and when.
    pub fn next(&self) -> Next {
        match (self.next, self.until) {
            (Some(packet), until) if until.is_none_or(|until| packet.at < until) => {
                Next::Packet(self.at + packet.at)
            }
            // A client that vanishes does so when its last packet is out.
            (_, until) => Next::End(until.map_or(Mono(0), |until| self.at + until)),
        }
    }

    /// Whether its schedule holds nothing more.
    pub fn is_exhausted(&self) -> bool {
        self.next.is_none()
    }

    /// Takes the next packet. `None` at the end.
    pub fn take(&mut self) -> Option<Packet> {
        let packet = std::mem::replace(&mut self.next, self.schedule.next())?;
        self.record.taken += 1;
        Some(packet)
    }

    /// Writes `packet` as it goes over the wire and says how long it is.
    pub fn write(
        &mut self,
        packet: &Packet,
        scratch: &mut Vec<u8>,
        out: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> usize {
        let payload = match packet.payload_type {
            COMFORT_NOISE => 1,
            _ => usize::from(packet.samples),
        };
        let bytes = HEADER_BYTES + payload;
        out[0] = 2 << 6;
        out[1] = packet.payload_type | u8::from(packet.marker) << 7;
        out[2..4].copy_from_slice(&packet.sequence.to_be_bytes());
        out[4..8].copy_from_slice(&packet.timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&packet.ssrc.to_be_bytes());
        let body = &mut out[HEADER_BYTES..bytes];
        match (packet.payload_type, packet.fate) {
            (COMFORT_NOISE, _) => body.fill(NOISE_LEVEL),
            (_, Sent::WrongSource) => self.stranger.fill(packet.position, body),
            _ => self.signal.fill(packet.position, body),
        }
        match &mut self.srtp {
            // A stranger has no key: his packets are as he likes them.
            Some((sender, rollovers)) if packet.fate != Sent::WrongSource => {
                scratch.clear();
                scratch.extend_from_slice(&out[..bytes]);
                sender.rtp(rollovers.of(packet.ssrc, packet.sequence), scratch);
                out[..scratch.len()].copy_from_slice(scratch);
                scratch.len()
            }
            _ => bytes,
        }
    }
}

/// How often the sequence numbers of a source have rolled over (RFC 3711 section 3.3.1), of the two sources that packets may still come from
/// while one takes over from the other.
#[derive(Default)]
struct Rollovers {
    now: Option<Source>,
    before: Option<Source>,
}

#[derive(Clone, Copy)]
struct Source {
    ssrc: u32,
    /// The highest so far, rollovers above 16 bits of number.
    highest: u64,
}

impl Rollovers {
    fn of(&mut self, ssrc: u32, sequence: u16) -> u32 {
        let known =
            [&mut self.now, &mut self.before].into_iter().flatten().find(|source| source.ssrc == ssrc);
        let Some(source) = known else {
            self.before = self.now.replace(Source { ssrc, highest: u64::from(sequence) });
            return 0;
        };
        let ahead = sequence.wrapping_sub(source.highest as u16) as i16;
        let extended = source.highest.saturating_add_signed(i64::from(ahead));
        source.highest = source.highest.max(extended);
        (extended >> 16) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::profile::{Codec, Dtx};

    fn start(profile: Profile, lasts: Option<u64>) -> Start {
        Start {
            call: 3,
            track: 1,
            profile,
            to: Address::from(SocketAddr::from(([127, 0, 0, 1], 9))),
            socket: 0,
            srtp: None,
            at: Mono(1_000_000_000),
            lasts: lasts.map(Duration::from_millis),
        }
    }

    fn datagrams(stream: &mut Stream) -> Vec<(Packet, Vec<u8>)> {
        let mut all = Vec::new();
        let (mut scratch, mut out) = (Vec::new(), [0; DATAGRAM_BYTES_MAX]);
        while let Next::Packet(_) = stream.next() {
            let packet = stream.take().unwrap();
            let bytes = stream.write(&packet, &mut scratch, &mut out);
            all.push((packet, out[..bytes].to_vec()));
        }
        all
    }

    #[test]
    fn a_stream_sends_its_schedule_with_its_signal_until_its_time_is_over() {
        let profile = Profile { codec: Codec::Pcma, ptime_ms: 30, ..Profile::default() };
        let mut stream = Stream::new(7, start(profile.clone(), Some(3000)));
        let sent = datagrams(&mut stream);
        assert_eq!((sent.len(), stream.record.taken), (100, 100));
        assert_eq!(stream.next(), Next::End(Mono(4_000_000_000)));
        let expected: Vec<Packet> = Schedule::new(7, 3, 1, &profile).take(100).collect();
        for ((packet, bytes), expected) in sent.iter().zip(expected) {
            assert_eq!(*packet, expected);
            let read = tapehead::rtp::Packet::parse(bytes).unwrap();
            assert_eq!(
                (read.sequence, read.timestamp, read.ssrc),
                (packet.sequence, packet.timestamp, packet.ssrc)
            );
            assert_eq!((read.payload_type, read.marker), (8, packet.marker));
            let mut codes = [0; 240];
            crate::signal::fill(7, 3, 1, packet.position, &mut codes);
            assert_eq!(read.payload, codes);
        }
    }

    #[test]
    fn a_stream_of_a_client_that_vanishes_ends_by_itself() {
        let mut stream =
            Stream::new(7, start(Profile { vanish_after_ms: Some(1000), ..Profile::default() }, None));
        assert_eq!(datagrams(&mut stream).len(), 50);
        assert_eq!(stream.next(), Next::End(Mono(0)));
    }

    #[test]
    fn comfort_noise_is_one_byte_and_strangers_say_other_things() {
        let dtx = Some(Dtx { talk_ms: 300, silence_ms: 300, comfort_noise: true });
        let profile = Profile { dtx, wrong_source: 0.2, ..Profile::default() };
        let sent = datagrams(&mut Stream::new(7, start(profile, Some(20_000))));
        let noise = sent.iter().filter(|(packet, _)| packet.payload_type == COMFORT_NOISE);
        assert!(noise.clone().count() > 10 && noise.clone().all(|(_, bytes)| bytes[12..] == [NOISE_LEVEL]));
        let strangers = sent.iter().filter(|(packet, _)| packet.fate == Sent::WrongSource);
        for (packet, bytes) in strangers.clone() {
            let mut codes = [0; 160];
            crate::signal::fill(7, 3, 1, packet.position, &mut codes);
            assert_ne!(bytes[12..], codes);
        }
        assert!(strangers.count() > 10);
    }

    #[test]
    fn a_secured_stream_is_opened_by_the_receiver_across_rollovers_reordering_and_changes_of_source() {
        use tapehead::srtp::{Keys, Plan, Session, Suite};
        let keys = Keys::fresh(Suite::AeadAes128Gcm, &mut tapehead::sys::OsEntropy);
        let plan = Plan {
            suite: Suite::AeadAes128Gcm,
            peer: vec![keys.clone()],
            ours: keys.clone(),
            clear_rtp: false,
            clear_rtcp: false,
        };
        let mut session = Session::new(&plan);
        let reorder = Some(crate::profile::Reorder { share: 0.1, packets: 2 });
        let profile = Profile { reorder, ssrc_change_s: Some(5.0), ..Profile::default() };
        let mut start = start(profile, Some(1_400_000));
        start.srtp = Some(srtp::Sender::new(Suite::AeadAes128Gcm, &keys, false));
        let mut rolled = 0;
        let mut room = [0; DATAGRAM_BYTES_MAX];
        let mut highest = None;
        for (packet, bytes) in datagrams(&mut Stream::new(11, start)) {
            rolled +=
                u32::from(highest.is_some_and(|highest: u16| highest > 65_000 && packet.sequence < 500));
            highest = Some(packet.sequence);
            let at = Mono(0) + packet.at;
            let opened = session.open(false, &bytes, at, &mut room);
            assert!(opened.is_ok(), "{packet:?}: {opened:?}");
        }
        assert!(rolled > 0, "a number rolled over");
    }
}
