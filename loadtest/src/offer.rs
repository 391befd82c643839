//! What a call of the generator offers: session description and metadata, by the library's writers (RFC 7866 section 7, RFC 7865).

use std::net::{IpAddr, SocketAddr};

use tapehead::base::Redacted;
use tapehead::link::Payload;
use tapehead::sdp::{self, Attribute, Description, Direction, OfferedTrack};
use tapehead::sip::client::Invitation;
use tapehead::sip::multipart::Writer;
use tapehead::siprec::{self, CommunicationSession, Metadata, Name, Participant, Stream, StreamLink};
use tapehead::srtp::{Keys, Suite};
use tapehead::sys::OsEntropy;

use crate::profile::{Codec, Profile};
use crate::schedule::COMFORT_NOISE;

/// The tracks of a call as they are offered.
pub struct Offer {
    ip: IpAddr,
    call: u64,
    version: u64,
    ptime_ms: u16,
    /// One for each stream, labelled from 1.
    pub tracks: Vec<OfferedTrack>,
}

impl Offer {
    /// An offer of streams from these ports.
    pub fn new(ip: IpAddr, call: u64, ports: &[u16], profile: &Profile, suite: Option<Suite>) -> Offer {
        let payload = match profile.codec {
            Codec::Pcmu => Payload::Pcmu,
            Codec::Pcma => Payload::Pcma,
        };
        let mut payloads = vec![(profile.codec.payload_type(), payload)];
        payloads.extend(profile.dtx.map(|_| (COMFORT_NOISE, Payload::ComfortNoise)));
        let track = |(port, label): (&u16, u32)| OfferedTrack {
            port: *port,
            label: label.to_string(),
            payloads: payloads.clone(),
            direction: Direction::SendOnly,
            keys: suite.map(|suite| (suite, Keys::fresh(suite, &mut OsEntropy))),
        };
        let tracks = ports.iter().zip(1..).map(track).collect();
        Offer { ip, call, version: 0, ptime_ms: profile.ptime_ms, tracks }
    }

    /// The next version of the session description, with every track in this direction.
    pub fn next(&mut self, direction: Direction) -> String {
        self.version += 1;
        self.tracks.iter_mut().for_each(|track| track.direction = direction);
        let mut description = sdp::offer(self.ip, self.call + 1, self.version, &self.tracks);
        for media in &mut description.media {
            media.attributes.push(Attribute::new("ptime", self.ptime_ms.to_string()));
        }
        description.to_string()
    }

    /// An INVITE as RFC 7866 section 6.1 wants it.
    pub fn invitation(&mut self, recorder: SocketAddr, call_id: &str) -> Invitation {
        let (content_type, body) = Writer::new("loadtest")
            .part("application/sdp", &[], self.next(Direction::SendOnly))
            .part(
                "application/rs-metadata+xml",
                &["Content-Disposition: recording-session"],
                siprec::write(&metadata(self.call, call_id, self.tracks.len())),
            )
            .finish();
        Invitation::to(&format!("sip:recorder@{recorder}"))
            .call_id(call_id)
            .header("Require", "siprec")
            .body(&content_type, body)
    }
}

/// Where the streams of an offer go, if the answer can be used; else what is wrong with it.
pub fn destinations(answer: &[u8], tracks: usize, suite: Option<Suite>) -> Result<Vec<SocketAddr>, String> {
    let answer = sdp::parse(answer).map_err(|why| format!("the session description: {why}"))?;
    if answer.media.len() != tracks {
        return Err(format!("{} m-lines for {tracks} of ours", answer.media.len()));
    }
    (0..tracks).map(|track| destination(&answer, track, suite)).collect()
}

fn destination(answer: &Description, track: usize, suite: Option<Suite>) -> Result<SocketAddr, String> {
    let media = &answer.media[track];
    let wrong = |what: &str| Err(format!("m-line {}: {what}", track + 1));
    if media.port == 0 {
        return wrong("declined");
    }
    if suite.is_some_and(|suite| sdp::Crypto::of(media).is_none_or(|crypto| crypto.suite != suite)) {
        return wrong("another crypto suite than offered, or none");
    }
    match answer.connection(media).and_then(|connection| connection.ip()) {
        Some(ip) => Ok(SocketAddr::new(ip, media.port)),
        None => wrong("no address"),
    }
}

/// Everyone sends one stream, labelled from 1, and hears all the others (RFC 7865 section 6). Names are of no one.
fn metadata(call: u64, call_id: &str, tracks: usize) -> Metadata {
    // Unlike any other call's, for a recorder may join the recordings of one communication session.
    let session = format!("cs-{call_id}");
    let mut metadata = Metadata::default();
    for number in 1..=tracks {
        let (participant, stream) = (format!("p{number}-{call_id}"), format!("s{number}-{call_id}"));
        let name = Name {
            aor: Some(Redacted::new(format!(
                "sip:+1555{:07}@loadtest.invalid",
                (call * 10 + number as u64) % 10_000_000
            ))),
            name: Some(Redacted::new(format!("Party {number}"))),
            lang: None,
        };
        metadata.participants.push(Participant { id: participant.clone(), names: vec![name] });
        metadata.streams.push(Stream {
            id: stream.clone(),
            session: Some(session.clone()),
            label: Some(number.to_string()),
            ..Stream::default()
        });
        let others = (1..=tracks).filter(|other| *other != number);
        metadata.links.push(StreamLink {
            participant,
            sends: vec![stream],
            receives: others.map(|other| format!("s{other}-{call_id}")).collect(),
            ..StreamLink::default()
        });
    }
    metadata.sessions.push(CommunicationSession { id: session, ..CommunicationSession::default() });
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Dtx;

    fn offer(profile: &Profile, suite: Option<Suite>) -> Offer {
        Offer::new([192, 0, 2, 1].into(), 7, &[4000, 4002], profile, suite)
    }

    #[test]
    fn an_offer_says_all_that_streams_are() {
        let dtx = Some(Dtx { talk_ms: 500, silence_ms: 500, comfort_noise: true });
        let profile = Profile { codec: Codec::Pcma, ptime_ms: 30, dtx, ..Profile::default() };
        let mut offer = offer(&profile, Some(Suite::AeadAes256Gcm));
        let text = offer.next(Direction::SendOnly);
        let read = sdp::parse(text.as_bytes()).unwrap();
        assert_eq!((read.media[0].port, read.media[1].port), (4000, 4002));
        assert_eq!(read.media[0].formats, ["8", "13"]);
        for line in [
            "a=ptime:30",
            "a=label:2",
            "a=sendonly",
            "m=audio 4002 RTP/SAVP 8 13",
            "o=- 8 1 IN IP4 192.0.2.1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let held = offer.next(Direction::Inactive);
        assert!(held.contains("a=inactive") && held.contains("o=- 8 2 "), "{held}");
        // The keys stay: nothing was said of new ones.
        let crypto = |text: &str| {
            text.lines().filter(|line| line.starts_with("a=crypto")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!((crypto(&text), crypto(&text).len()), (crypto(&held), 2));
    }

    #[test]
    fn an_answer_tells_where_each_stream_goes_or_what_is_wrong_with_it() {
        let answer = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
                      m=audio 5000 RTP/AVP 0\r\na=recvonly\r\nm=audio 5002 RTP/AVP 0\r\nc=IN IP4 192.0.2.8\r\n";
        let there = destinations(answer.as_bytes(), 2, None).unwrap();
        assert_eq!(there, ["192.0.2.9:5000".parse().unwrap(), "192.0.2.8:5002".parse().unwrap()]);
        let wrong = |answer: &str, suite| destinations(answer.as_bytes(), 2, suite).unwrap_err();
        assert_eq!(wrong(&answer.replace("5002", "0"), None), "m-line 2: declined");
        assert!(wrong(answer, Some(Suite::AeadAes128Gcm)).contains("crypto"));
        assert!(destinations(answer.as_bytes(), 3, None).unwrap_err().starts_with("2 m-lines"));
        assert!(wrong("nothing", None).starts_with("the session description"));
    }

    #[test]
    fn metadata_names_every_stream_once_and_no_two_calls_alike() {
        let text = siprec::write(&metadata(7, "lt-1-7@h", 3));
        for label in 1..=3 {
            assert_eq!(text.matches(&format!("<label>{label}</label>")).count(), 1);
        }
        let other = siprec::write(&metadata(8, "lt-1-8@h", 3));
        let id = |text: &str| {
            text.split("session_id=\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned)
        };
        assert!(id(&text).is_some() && id(&text) != id(&other));
    }
}
