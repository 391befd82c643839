//! From offer to answer (RFC 3264 section 6) as a recording server gives it (RFC 7866 section 7.2).
//!
//! Two steps, because ports are known only after a shard has bound them: [`Agreement::of`] decides what can be recorded,
//! [`Answerer::answer`] writes it down with the ports.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use super::write::encoding;
use super::{Attribute, Connection, Crypto, Description, Direction, Keyring, Media, Origin, payload_type};
use crate::limits::{PAYLOAD_TYPES_MAX, TRACKS_MAX};
use crate::link::{Payload, TrackPlan};

/// Longest packet that a receive buffer holds, in milliseconds of G.711.
const PTIME_MS_MAX: u32 = 60;

/// What we make of an offer: one entry per m-line, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agreement {
    /// The m-lines.
    pub lines: Vec<Line>,
}

/// What we make of one m-line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// It is a track of the recording.
    Track(Box<TrackTerms>),
    /// Its port was 0: the client offers nothing here, or has ended it (RFC 3264 section 8.2).
    Ended,
    /// We can't record it.
    Declined(Why),
}

/// Why an m-line can't be recorded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Why {
    /// It is not audio.
    NotAudio,
    /// It is not RTP.
    NotRtp,
    /// It is secured, and no `a=crypto` line of it is one that we can do (RFC 4568).
    NoKeys,
    /// Its keys would come by DTLS (RFC 5764), not in the session description.
    Dtls,
    /// Its address is of the family that we do not answer with.
    Family,
    /// No codec of ours.
    NoCodec,
    /// One track too many.
    Tracks,
}

impl Why {
    /// What a reader of the manifest should know.
    pub const fn note(self) -> &'static str {
        match self {
            Why::NotAudio => "streams that are not audio were declined",
            Why::NotRtp => "an audio stream was declined: it is not RTP",
            Why::NoKeys => {
                "an audio stream was declined: it is secured, with no a=crypto line that can be done"
            }
            Why::Dtls => {
                "an audio stream was declined: its keys would come by DTLS-SRTP, only SDES can be done"
            }
            Why::Family => "an audio stream was declined: its address is not of the family that was answered",
            Why::NoCodec => "an audio stream was declined: none of its codecs can be stored",
            Why::Tracks => "an audio stream was declined: there is no room for another track",
        }
    }
}

/// The terms of one track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackTerms {
    /// The label (RFC 4574), if it has one.
    pub label: Option<String>,
    /// What the shard needs to know.
    pub plan: TrackPlan,
    /// What we answer: recvonly, or inactive.
    pub direction: Direction,
    /// Payload types answered, in the offered order. `plan.payloads` may know more than these.
    answered: Vec<(u8, Payload)>,
    /// The `a=crypto` line that we go by.
    crypto: Option<Crypto>,
}

impl TrackTerms {
    /// The codec the client prefers: the first one offered that we can store.
    pub fn preferred(&self) -> Payload {
        let mut answered = self.answered.iter().map(|(_, payload)| *payload);
        answered.find(|payload| is_audio(*payload)).unwrap_or(Payload::Pcmu)
    }
}

impl Agreement {
    /// What we make of `offer`. A secured track can't be answered before [`Agreement::secured`].
    pub fn of(offer: &Description) -> Agreement {
        let mut tracks = 0;
        let judge = Judge::of(offer);
        let lines = offer
            .media
            .iter()
            .map(|media| match judge.line(media) {
                Line::Track(_) if tracks == TRACKS_MAX => Line::Declined(Why::Tracks),
                Line::Track(terms) => {
                    tracks += 1;
                    Line::Track(terms)
                }
                other => other,
            })
            .collect();
        Agreement { lines }
    }

    /// The tracks with the index of their m-line.
    pub fn tracks(&self) -> impl Iterator<Item = (usize, &TrackTerms)> {
        self.lines.iter().enumerate().filter_map(|(index, line)| match line {
            Line::Track(terms) => Some((index, &**terms)),
            _ => None,
        })
    }

    /// The same with only these codecs answered, the most wanted first: some clients take the first one answered for the only one. Where none
    /// of them is offered all stay, for a recording counts for more than its codec. What is understood stays as it was.
    pub fn narrowed(mut self, wanted: &[Payload]) -> Agreement {
        let rank = |payload: Payload| wanted.iter().position(|one| *one == payload);
        for line in &mut self.lines {
            let Line::Track(terms) = line else { continue };
            if terms.answered.iter().any(|(_, payload)| rank(*payload).is_some()) {
                terms.answered.retain(|(_, payload)| !is_audio(*payload) || rank(*payload).is_some());
                terms.answered.sort_by_key(|(_, payload)| rank(*payload).unwrap_or(usize::MAX));
            }
        }
        self
    }

    /// The same without the tracks that can't reach us at `ours`: whoever receives at an address of one family sends from it.
    pub fn reaching(mut self, ours: IpAddr) -> Agreement {
        for line in &mut self.lines {
            let theirs = match line {
                Line::Track(terms) => terms.plan.rtp_from,
                _ => None,
            };
            if theirs.is_some_and(|theirs| theirs.is_ipv4() != ours.is_ipv4()) {
                *line = Line::Declined(Why::Family);
            }
        }
        self
    }

    /// Whether the first track that says where it is says so in IPv6.
    pub fn is_ipv6(&self) -> Option<bool> {
        self.tracks().find_map(|(_, terms)| terms.plan.rtp_from).map(|from| from.is_ipv6())
    }

    /// The same with our keys for each secured track: those it had, if the client's are unchanged, or if ours `stand` because we have offered them.
    pub fn secured(mut self, keyring: &mut Keyring, stand: bool) -> Agreement {
        for (index, line) in self.lines.iter_mut().enumerate() {
            if let Line::Track(terms) = line {
                let plan = terms.crypto.as_ref().map(|crypto| keyring.plan(index, crypto, stand));
                terms.plan.srtp = plan.map(Box::new);
            }
        }
        self
    }

    /// Why the first stream that can't be recorded can't be; that of an audio stream before that of any other.
    pub fn declined(&self) -> Option<Why> {
        let whys = || {
            self.lines
                .iter()
                .filter_map(|line| if let Line::Declined(why) = line { Some(*why) } else { None })
        };
        whys().find(|why| *why != Why::NotAudio).or_else(|| whys().next())
    }

    /// Whether nothing of the offer can be recorded, which is answered 488 (RFC 3261 section 21.4.26). An offer that only ends streams is none of these.
    pub fn is_hopeless(&self) -> bool {
        self.tracks().next().is_none() && self.lines.iter().any(|line| matches!(line, Line::Declined(_)))
    }
}

fn is_audio(payload: Payload) -> bool {
    matches!(payload, Payload::Pcmu | Payload::Pcma)
}

/// Looks at the m-lines of one offer, each for itself. What the session says for all of them is looked up once.
pub(super) struct Judge<'a> {
    pub(super) offer: &'a Description,
    /// The session's direction, for lines that say none.
    pub(super) direction: Option<Direction>,
    /// The session has a fingerprint.
    dtls: bool,
}

impl<'a> Judge<'a> {
    pub(super) fn of(offer: &'a Description) -> Judge<'a> {
        let dtls = offer.attributes.iter().any(|a| a.is("fingerprint"));
        Judge { offer, direction: Direction::of(&offer.attributes), dtls }
    }

    /// Whether an m-line can be recorded.
    pub(super) fn is_storable(&self, media: &Media) -> bool {
        matches!(self.line(media), Line::Track(_))
    }

    fn line(&self, media: &Media) -> Line {
        if media.port == 0 {
            return Line::Ended;
        }
        if !media.kind.eq_ignore_ascii_case("audio") {
            return Line::Declined(Why::NotAudio);
        }
        match self.crypto(media) {
            Ok(crypto) => self.track(media, crypto),
            Err(why) => Line::Declined(why),
        }
    }

    fn track(&self, media: &Media, crypto: Option<Crypto>) -> Line {
        let mut answered: Vec<(u8, Payload)> = Vec::new();
        let mut payloads = Vec::new();
        let maps = media.by_type("rtpmap");
        let carried = media.formats.iter().filter_map(|format| carried(&maps, format));
        for (pt, payload, answer) in carried.take(PAYLOAD_TYPES_MAX) {
            if payloads.iter().any(|(known, _)| *known == pt) {
                continue;
            }
            payloads.push((pt, payload));
            if answer {
                answered.push((pt, payload));
            }
        }
        if !answered.iter().any(|(_, payload)| is_audio(*payload)) {
            return Line::Declined(Why::NoCodec);
        }
        let (direction, held) = self.ours(media);
        let plan = TrackPlan {
            payloads,
            rtp_from: rtp_from(self.offer, media),
            rtcp_to: rtcp_to(self.offer, media),
            rtcp_mux: is_muxed(media),
            held,
            srtp: None,
        };
        let label = media.label().map(str::to_owned);
        Line::Track(Box::new(TrackTerms { label, plan, direction, answered, crypto }))
    }

    /// How the line is secured, if it is. Keys may be offered under the plain profiles, too: then SRTP is what is best, not what must be.
    fn crypto(&self, media: &Media) -> Result<Option<Crypto>, Why> {
        let is = |names: &[&str]| names.iter().any(|name| media.protocol.eq_ignore_ascii_case(name));
        let by_dtls = || self.dtls || media.has("fingerprint");
        match Crypto::of(media) {
            crypto if is(&["RTP/AVP", "RTP/AVPF"]) => Ok(crypto),
            Some(crypto) if is(&["RTP/SAVP", "RTP/SAVPF"]) => Ok(Some(crypto)),
            None if is(&["RTP/SAVP", "RTP/SAVPF"]) && !by_dtls() => Err(Why::NoKeys),
            None if is(&["RTP/SAVP", "RTP/SAVPF"]) => Err(Why::Dtls),
            _ if is(&["UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"]) => Err(Why::Dtls),
            _ => Err(Why::NotRtp),
        }
    }

    /// Our direction, anew from every offer (RFC 7866 section 7.2: a server never sends), and whether the client holds the stream. Its own
    /// direction counts, else the session's; with neither it is sendrecv (RFC 8866 section 6.7).
    fn ours(&self, media: &Media) -> (Direction, bool) {
        match media.direction().or(self.direction) {
            Some(Direction::Inactive | Direction::RecvOnly) => (Direction::Inactive, true),
            Some(Direction::SendOnly | Direction::SendRecv) => (Direction::RecvOnly, false),
            // The hold of RFC 2543: no direction and a null address (RFC 3264 section 8.4). What still arrives is recorded.
            None => (Direction::RecvOnly, address(self.offer, media).is_some_and(|ip| ip.is_unspecified())),
        }
    }
}

/// What a payload type carries, and whether we answer it. Without a mapping a static type means what RFC 3551 section 6 says,
/// a dynamic one nothing.
fn carried(maps: &[Option<&str>], format: &str) -> Option<(u8, Payload, bool)> {
    let pt = payload_type(format)?;
    let (map, pt) = (maps[pt], pt as u8);
    let Some(map) = map else {
        return match pt {
            0 => Some((pt, Payload::Pcmu, true)),
            8 => Some((pt, Payload::Pcma, true)),
            // 19 was comfort noise in drafts of RFC 3551, and still is in Cisco's gateways.
            13 | 19 => Some((pt, Payload::ComfortNoise, true)),
            _ => None,
        };
    };
    // `encoding/clock[/channels]` (RFC 8866 section 6.6).
    let mut parts = map.split('/').map(str::trim);
    let encoding = parts.next()?;
    let clock: Option<u32> = parts.next().and_then(|clock| clock.parse().ok());
    let channels = parts.next().and_then(|n| n.parse().ok()).unwrap_or(1u32);
    let named = |name: &str| encoding.eq_ignore_ascii_case(name);
    // `PCMU/16000` on type 0 is a slip of the pen: the static type rules. On a dynamic type it may be meant.
    let narrow = channels == 1 && (clock == Some(8000) || clock.is_none() || pt < 96);
    match () {
        () if named("PCMU") && narrow => Some((pt, Payload::Pcmu, true)),
        () if named("PCMA") && narrow => Some((pt, Payload::Pcma, true)),
        () if named("CN") && narrow => Some((pt, Payload::ComfortNoise, true)),
        // Of several clock rates that of our codecs is answered (RFC 4733 section 2.1), but all are recognised.
        () if named("telephone-event") => Some((pt, Payload::TelephoneEvent, clock.unwrap_or(8000) == 8000)),
        () => None,
    }
}

fn address(offer: &Description, media: &Media) -> Option<IpAddr> {
    offer.connection(media).and_then(Connection::ip)
}

fn is_muxed(media: &Media) -> bool {
    media.has("rtcp-mux") || media.has("rtcp-mux-only")
}

/// Where the client takes RTP, and so most likely sends it from.
fn rtp_from(offer: &Description, media: &Media) -> Option<SocketAddr> {
    let ip = address(offer, media)?;
    (media.port != 0 && !ip.is_unspecified()).then(|| SocketAddr::new(ip, media.port))
}

/// Where the client takes RTCP: `a=rtcp` (RFC 3605), the RTP port (RFC 5761), else the port after it (RFC 3550 section 11).
fn rtcp_to(offer: &Description, media: &Media) -> Option<SocketAddr> {
    let mut said = media.values("rtcp").next().unwrap_or("").split_ascii_whitespace();
    let port: Option<u16> = said.next().and_then(|port| port.parse().ok());
    let port = match port {
        _ if is_muxed(media) => media.port,
        Some(port) => port,
        None => media.port.checked_add(1)?,
    };
    let ip = said.nth(2).and_then(|ip| ip.parse().ok()).or_else(|| address(offer, media))?;
    (port != 0 && !ip.is_unspecified() && !ip.is_multicast()).then(|| SocketAddr::new(ip, port))
}

/// Writes the answers of one dialog: the same `o=` identifier throughout, its version raised only when something has changed
/// (RFC 3264 section 8).
#[derive(Clone, Debug)]
pub struct Answerer {
    id: u64,
    version: u64,
    /// Hash of what was written last, but for its `o=`: the text would be large, and may hold a key.
    last: Option<u64>,
}

impl Answerer {
    /// For a new dialog; `id` should be unlike that of others.
    pub fn new(id: u64) -> Answerer {
        // Numeric, and small enough for those who read it into 63 bits.
        Answerer { id: id >> 2, version: 1, last: None }
    }

    /// The answer to `offer` as agreed: `port_of` gives the local port of the track at an m-line, `None` declines it after all.
    pub fn answer(
        &mut self,
        offer: &Description,
        agreed: &Agreement,
        address: IpAddr,
        port_of: impl Fn(usize) -> Option<u16>,
    ) -> String {
        let line = |media: &Media, terms: &TrackTerms, port| accepted(media, terms, terms.direction, port);
        self.describe(offer, agreed, address, port_of, line)
    }

    /// The same session as an offer of ours (RFC 3264 section 8), all tracks in one direction. The client's last word on its own does not count
    /// here: an offer that repeats its hold could never be resumed.
    pub fn offer(
        &mut self,
        last: &Description,
        agreed: &Agreement,
        address: IpAddr,
        port_of: impl Fn(usize) -> Option<u16>,
        direction: Direction,
    ) -> String {
        let line = |media: &Media, terms: &TrackTerms, port| accepted(media, terms, direction, port);
        self.describe(last, agreed, address, port_of, line)
    }

    fn describe(
        &mut self,
        theirs: &Description,
        agreed: &Agreement,
        address: IpAddr,
        port_of: impl Fn(usize) -> Option<u16>,
        track: impl Fn(&Media, &TrackTerms, u16) -> Media,
    ) -> String {
        let one = |(index, (media, line)): (usize, (&Media, &Line))| match line {
            // Without our keys there is no answer to theirs.
            Line::Track(terms) if terms.crypto.is_some() != terms.plan.srtp.is_some() => declined(media),
            Line::Track(terms) => {
                port_of(index).map_or_else(|| declined(media), |port| track(media, terms, port))
            }
            _ => declined(media),
        };
        let media = theirs.media.iter().zip(&agreed.lines).enumerate().map(one);
        let mut answer = Description {
            origin: Origin::default(),
            name: "Tapehead".to_owned(),
            connection: Some(Connection(address.to_string())),
            attributes: Vec::new(),
            media: media.collect(),
        };
        let mut hasher = DefaultHasher::new();
        answer.to_string().hash(&mut hasher);
        let now = hasher.finish();
        if self.last.is_some_and(|last| last != now) {
            self.version += 1;
        }
        self.last = Some(now);
        answer.origin = Origin {
            username: "tapehead".to_owned(),
            id: self.id.to_string(),
            version: self.version.to_string(),
            address: address.to_string(),
        };
        answer.to_string()
    }
}

fn accepted(media: &Media, terms: &TrackTerms, direction: Direction, port: u16) -> Media {
    let mut attributes = Vec::new();
    let formats = media.by_type("fmtp");
    for (pt, payload) in &terms.answered {
        attributes.push(Attribute::new("rtpmap", format!("{pt} {}", encoding(*payload))));
        if *payload == Payload::TelephoneEvent {
            let events = formats[usize::from(*pt)].unwrap_or("0-15");
            attributes.push(Attribute::new("fmtp", format!("{pt} {events}")));
        }
    }
    // RFC 8866 section 6.4: said only to those who would send longer packets than a receive buffer holds.
    let longest =
        ["ptime", "maxptime"].iter().flat_map(|name| media.values(name)).filter_map(|ms| ms.parse().ok());
    if longest.max().is_some_and(|ms: u32| ms > PTIME_MS_MAX) {
        attributes.push(Attribute::new("ptime", "20"));
        attributes.push(Attribute::new("maxptime", PTIME_MS_MAX.to_string()));
    }
    if terms.plan.rtcp_mux {
        attributes.push(Attribute::flag("rtcp-mux"));
    }
    let keys = terms.crypto.as_ref().zip(terms.plan.srtp.as_ref());
    attributes.extend(keys.map(|(crypto, plan)| crypto.answer(&plan.ours)));
    attributes.extend(terms.label.as_deref().map(|label| Attribute::new("label", label)));
    attributes.push(Attribute::flag(direction.name()));
    Media {
        port,
        formats: terms.answered.iter().map(|(pt, _)| pt.to_string()).collect(),
        connection: None,
        attributes,
        ..media.clone()
    }
}

/// Port 0 with the format list as offered (RFC 3264 section 6); the label stays, for some count them.
fn declined(media: &Media) -> Media {
    let attributes = media.label().map(|label| Attribute::new("label", label)).into_iter().collect();
    Media { port: 0, connection: None, attributes, ..media.clone() }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
