//! What the peer protects under one set of master keys: its sources, each with a rollover counter and a replay window.
//!
//! State is made and moved by authentic packets alone. The rollover counter is not on the wire, and senders differ in when they reset it, so a
//! packet that does not fit the estimate is tried under the few others that are plausible; how few is bounded.

use std::time::Duration;

use super::index::{WINDOW, Window, index};
use super::transform::{Kind, Place, RTCP_HEAD_BYTES, Transform};
use super::{Failure, Keys, Plan};
use crate::base::Mono;
use crate::limits::{SOURCES_MAX, SRTP_ROLLOVER_UNHEARD, SRTP_SOURCE_IDLE};

/// See the [module](self).
pub(super) struct Context {
    plan: Plan,
    /// In the order of the plan's keys.
    masters: Vec<Master>,
    sources: Vec<Source>,
}

struct Master {
    rtp: Transform,
    rtcp: Transform,
}

struct Source {
    ssrc: u32,
    heard: Mono,
    rtp: Option<Stream>,
    rtcp: Option<Window>,
}

#[derive(Clone, Copy)]
struct Stream {
    now: Window,
    /// How it stood before it began anew, with the highest index of `now` when that was: one of both will go on.
    before: Option<(Window, u64)>,
    /// It was described anew and has not begun anew since.
    may_restart: bool,
}

/// The indices that a packet may have, the likeliest first.
#[derive(Default)]
struct Guesses {
    guesses: [u64; 8],
    len: usize,
}

impl Guesses {
    fn add(&mut self, index: u64) {
        if !self.guesses[..self.len].contains(&index) && self.len < self.guesses.len() {
            self.guesses[self.len] = index;
            self.len += 1;
        }
    }
}

impl Context {
    pub fn new(plan: Plan) -> Context {
        let master = |keys: &Keys| Master { rtp: keys.rtp(plan.suite), rtcp: keys.rtcp(plan.suite) };
        let masters = plan.peer.iter().map(master).collect();
        Context { plan, masters, sources: Vec::with_capacity(SOURCES_MAX) }
    }

    /// Whether `plan` means the same keys of the peer.
    pub fn is_for(&self, plan: &Plan) -> bool {
        let terms = |plan: &Plan| (plan.suite, plan.clear_rtp, plan.clear_rtcp);
        terms(&self.plan) == terms(plan) && self.plan.peer == plan.peer
    }

    /// The session was described anew: senders may begin anew, too.
    pub fn reopen(&mut self) {
        self.sources
            .iter_mut()
            .filter_map(|source| source.rtp.as_mut())
            .for_each(|stream| stream.may_restart = true);
    }

    /// The rollover counter of the source of an RTP packet, or of whoever was heard last.
    pub fn rollovers_of(&self, packet: &[u8]) -> Option<u32> {
        self.rollovers(rtp_head(packet)?.1)
    }

    fn rollovers(&self, ssrc: u32) -> Option<u32> {
        let heard = || self.sources.iter().filter(|source| source.rtp.is_some());
        let known = heard().find(|source| source.ssrc == ssrc).or_else(|| heard().max_by_key(|s| s.heard.0));
        known?.rtp.map(|stream| stream.now.rollovers())
    }

    /// Writes the plaintext of an SRTP packet to `out`; its length. `kept` is the rollover counter that a new source may have brought along, `restart`
    /// whether a known one may begin anew.
    pub fn rtp(
        &mut self,
        packet: &[u8],
        (kept, restart): (Option<u32>, bool),
        at: Mono,
        out: &mut [u8],
    ) -> Result<usize, Failure> {
        let (head, ssrc) = rtp_head(packet).ok_or(Failure::Malformed)?;
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let (master, parts) = self.split(packet, head, Kind::Rtp)?;
        let known = self.sources.iter().position(|source| source.ssrc == ssrc);
        let stream = known.and_then(|known| self.sources[known].rtp);
        let guesses = match stream {
            Some(stream) => stream.guess(sequence, (restart, self.silence(known, at))),
            None => first_guesses(kept.or(self.rollovers(ssrc)), sequence),
        };
        let encrypted = !self.plan.clear_rtp;
        let opens = |index: &&u64| {
            let place = Place { kind: Kind::Rtp, ssrc, index: **index, encrypted };
            parts.open(&self.masters[master].rtp, place, out)
        };
        let Some(&index) = guesses.guesses[..guesses.len].iter().find(opens) else {
            let replayed = stream.is_some_and(|stream| stream.now.is_replay(stream.now.estimate(sequence)));
            return Err(if replayed { Failure::Replay } else { Failure::Auth });
        };
        let mut stream = stream.unwrap_or(Stream::starting(index));
        stream.heard(index, sequence);
        self.source(ssrc, at)?.rtp = Some(stream);
        Ok(head + parts.sealed.len())
    }

    /// Writes the plaintext of an SRTCP packet to `out`; its length.
    pub fn rtcp(&mut self, packet: &[u8], at: Mono, out: &mut [u8]) -> Result<usize, Failure> {
        let ssrc = packet.get(4..RTCP_HEAD_BYTES).and_then(|bytes| bytes.try_into().ok());
        let ssrc = ssrc.map(u32::from_be_bytes).ok_or(Failure::Malformed)?;
        let (master, parts) = self.split(packet, RTCP_HEAD_BYTES, Kind::Rtcp)?;
        let (index, encrypted) = (u64::from(parts.word & 0x7fff_ffff), parts.word >> 31 == 1);
        // A peer that agreed to encrypt must not be talked out of it by the flag.
        if !encrypted && !self.plan.clear_rtcp {
            return Err(Failure::Auth);
        }
        let known = self.sources.iter().find(|source| source.ssrc == ssrc).and_then(|source| source.rtcp);
        if known.is_some_and(|window| window.is_replay(index)) {
            return Err(Failure::Replay);
        }
        if !parts.open(&self.masters[master].rtcp, Place { kind: Kind::Rtcp, ssrc, index, encrypted }, out) {
            return Err(Failure::Auth);
        }
        let mut window = known.unwrap_or(Window::starting(index));
        window.mark(index);
        self.source(ssrc, at)?.rtcp = Some(window);
        Ok(RTCP_HEAD_BYTES + parts.sealed.len())
    }

    fn silence(&self, known: Option<usize>, at: Mono) -> Duration {
        known.map_or(Duration::ZERO, |known| at.since(self.sources[known].heard))
    }

    /// The key and the parts of a packet, by its lengths.
    fn split<'p>(&self, packet: &'p [u8], head: usize, kind: Kind) -> Result<(usize, Parts<'p>), Failure> {
        let suite = self.plan.suite;
        let mki_bytes = self.plan.peer.first().map_or(0, |keys| keys.mki().len());
        let tag_bytes = if kind == Kind::Rtp { suite.rtp_tag_bytes() } else { suite.rtcp_tag_bytes() };
        let word_bytes = if kind == Kind::Rtp { 0 } else { 4 };
        // Counter mode: sealed ‖ word ‖ MKI ‖ tag (RFC 3711 section 3.1 and 3.4). GCM: sealed ‖ tag ‖ word ‖ MKI (RFC 7714 section 8 and 9).
        let after = if suite.is_aead() {
            [tag_bytes, word_bytes, mki_bytes]
        } else {
            [word_bytes, mki_bytes, tag_bytes]
        };
        let sealed_end = packet.len().checked_sub(after.iter().sum()).filter(|end| *end >= head);
        let (front, rest) = packet.split_at(sealed_end.ok_or(Failure::Auth)?);
        let (first, rest) = rest.split_at(after[0]);
        let (second, third) = rest.split_at(after[1]);
        let (word, mki, tag) = if suite.is_aead() { (second, third, first) } else { (first, second, third) };
        let master = self.plan.peer.iter().position(|keys| keys.mki() == mki).ok_or(Failure::Auth)?;
        let word = word.try_into().map_or(0, u32::from_be_bytes);
        let (head, sealed) = front.split_at(head);
        Ok((master, Parts { head, sealed, word, tag }))
    }

    /// The source of `ssrc`, heard now; a new one if need be and there is room: one that has been silent makes room.
    fn source(&mut self, ssrc: u32, at: Mono) -> Result<&mut Source, Failure> {
        let index = match self.sources.iter().position(|source| source.ssrc == ssrc) {
            Some(index) => index,
            None => {
                if self.sources.len() >= SOURCES_MAX {
                    let oldest = (0..self.sources.len()).min_by_key(|&index| self.sources[index].heard.0);
                    let oldest =
                        oldest.filter(|&index| at.since(self.sources[index].heard) > SRTP_SOURCE_IDLE);
                    self.sources.swap_remove(oldest.ok_or(Failure::Sources)?);
                }
                self.sources.push(Source { ssrc, heard: at, rtp: None, rtcp: None });
                self.sources.len() - 1
            }
        };
        let source = &mut self.sources[index];
        source.heard = at;
        Ok(source)
    }
}

impl Stream {
    fn starting(index: u64) -> Stream {
        Stream { now: Window::starting(index), before: None, may_restart: false }
    }

    /// What the next packet may have for an index, if it is no replay.
    fn guess(&self, sequence: u16, (restart, silence): (bool, Duration)) -> Guesses {
        let mut guesses = Guesses::default();
        let before = self.before.map(|(before, _)| before);
        for window in [Some(self.now), before].into_iter().flatten() {
            let estimate = window.estimate(sequence);
            if !window.is_replay(estimate) {
                guesses.add(estimate);
            }
        }
        // Once per description: what went on before must not be ended by a replay.
        let estimate = self.now.estimate(sequence);
        let anew = index(0, sequence);
        if restart && self.may_restart && estimate > 0xffff {
            guesses.add(anew);
        }
        // More packets may have been lost than the estimate can bridge.
        if silence > SRTP_ROLLOVER_UNHEARD {
            (1..=4).for_each(|rollovers| guesses.add(estimate + (rollovers << 16)));
        }
        guesses
    }

    /// Notes an authentic packet.
    fn heard(&mut self, at: u64, sequence: u16) {
        let of_before = |(before, _): &(Window, u64)| before.estimate(sequence) == at;
        if self.now.estimate(sequence) == at || (at > self.now.highest() && self.before.is_none()) {
            self.now.mark(at);
            // The one that goes on has won.
            self.before = self.before.filter(|(_, since)| self.now.highest() < since + WINDOW);
        } else if let Some((before, _)) = self.before.filter(of_before) {
            self.before = Some((self.now, before.highest()));
            self.now = before;
            self.now.mark(at);
        } else {
            self.may_restart = false;
            self.before = Some((self.now, at));
            self.now = Window::starting(at);
        }
    }
}

/// A source never heard before starts at 0 (RFC 3711 section 3.3.1), or went past its first rollover before a packet of it
/// came through. Some senders keep the counter when they change their key or their SSRC.
fn first_guesses(kept: Option<u32>, sequence: u16) -> Guesses {
    let mut guesses = Guesses::default();
    guesses.add(index(0, sequence));
    if let Some(kept) = kept {
        guesses.add(index(kept, sequence));
        guesses.add(index(kept.wrapping_add(1), sequence));
        guesses.add(index(kept.saturating_sub(1), sequence));
    }
    guesses.add(index(1, sequence));
    guesses
}

/// A packet in its parts.
struct Parts<'p> {
    head: &'p [u8],
    sealed: &'p [u8],
    /// SRTCP: flag and index.
    word: u32,
    tag: &'p [u8],
}

impl Parts<'_> {
    fn open(&self, transform: &Transform, place: Place, out: &mut [u8]) -> bool {
        let Some(out) = out.get_mut(..self.head.len() + self.sealed.len()) else { return false };
        let (head, plain) = out.split_at_mut(self.head.len());
        head.copy_from_slice(self.head);
        transform.open(place, (self.head, self.sealed, self.tag), plain)
    }
}

/// Bytes of the RTP header that stay in clear (RFC 3711 section 3.1), and the SSRC in it.
pub(super) fn rtp_head(packet: &[u8]) -> Option<(usize, u32)> {
    let head = packet.first_chunk::<12>().filter(|head| head[0] >> 6 == 2)?;
    let fixed = 12 + 4 * usize::from(head[0] & 0x0f);
    let bytes = if head[0] & 0x10 == 0 {
        fixed
    } else {
        let words = packet.get(fixed + 2..fixed + 4)?;
        fixed + 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]))
    };
    let ssrc = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    (bytes <= packet.len()).then_some((bytes, ssrc))
}
