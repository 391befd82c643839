//! One recorded call as the recorder sees it: INVITE with session description and metadata, media addresses from the answer, BYE.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::line::Line;
use super::signal::Law;
use crate::base::Redacted;
use crate::link::Payload;
use crate::sdp::{self, Direction, OfferedTrack};
use crate::sip::client::Invitation;
use crate::sip::event::{Answer, DialogId, Event};
use crate::sip::multipart::Writer;
use crate::sip::{Message, Transport};
use crate::siprec::{self, CommunicationSession, Metadata, Name, Participant, Stream, StreamLink};
use crate::srtp::{Keys, Plan, Sender, Session, Suite};
use crate::sys::OsEntropy;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One party of the recorded call, and with it one stream.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its address of record.
    pub aor: &'a str,
    /// How its audio is coded.
    pub law: Law,
}

/// Why a call did not come about or end well.
#[derive(Debug)]
pub enum CallError {
    /// The system would not let us.
    Io(io::Error),
    /// Nothing came back in time.
    Silence,
    /// The recorder said no, with this code.
    Refused(u16),
    /// The recorder's answer makes no sense.
    Answer(String),
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> CallError {
        CallError::Io(error)
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::Io(error) => write!(f, "{error}"),
            CallError::Silence => write!(f, "the recorder did not answer"),
            CallError::Refused(code) => write!(f, "the recorder refused the call with {code}"),
            CallError::Answer(what) => write!(f, "the recorder's answer makes no sense: {what}"),
        }
    }
}

impl std::error::Error for CallError {}

/// A call being recorded.
pub struct Call {
    line: Line,
    dialog: DialogId,
    tracks: Vec<OfferedTrack>,
    sockets: Vec<UdpSocket>,
    version: u64,
    /// Call-ID of its recording session.
    pub call_id: String,
    /// The recorder's answer to the last offer.
    pub answer: sdp::Description,
}

impl Call {
    /// Places a call between `parties` at the recorder, its audio in clear.
    pub fn place(
        transport: Transport,
        recorder: SocketAddr,
        parties: &[Party<'_>],
    ) -> Result<Call, CallError> {
        Call::place_secured(transport, recorder, parties, None)
    }

    /// Places a call between `parties` at the recorder, its audio secured by `suite` with a fresh key for each track.
    pub fn place_secured(
        transport: Transport,
        recorder: SocketAddr,
        parties: &[Party<'_>],
        suite: Option<Suite>,
    ) -> Result<Call, CallError> {
        let mut line = Line::open(transport, recorder)?;
        let here = line.local().ip();
        let sockets: io::Result<Vec<UdpSocket>> =
            parties.iter().map(|_| UdpSocket::bind((here, 0))).collect();
        let sockets = sockets?;
        let tracks = offered(parties, &sockets, suite)?;
        let offer = sdp::offer(here, 1, 1, &tracks).to_string();
        let dialog = line.invite(invitation(recorder, &offer, parties));
        let accepted = accepted(&mut line)?;
        let call_id = accepted.call_id().to_owned();
        let answer = answer_in(&accepted)?;
        Ok(Call { line, dialog, tracks, sockets, version: 1, call_id, answer })
    }

    /// For each track the socket to send from and the address to send to.
    pub fn media(&self) -> Result<Vec<(UdpSocket, SocketAddr)>, CallError> {
        let wrong = |what: &str| CallError::Answer(what.to_owned());
        if self.answer.media.len() != self.sockets.len() {
            return Err(wrong("it has not as many m-lines as the offer"));
        }
        let lines = self.sockets.iter().zip(&self.answer.media);
        lines
            .map(|(socket, media)| {
                let connection = self.answer.connection(media).ok_or_else(|| wrong("no c= line"))?;
                let address: IpAddr = connection.ip().ok_or_else(|| wrong("c= holds no address"))?;
                if media.port == 0 {
                    return Err(wrong("a track is declined"));
                }
                Ok((socket.try_clone()?, SocketAddr::new(address, media.port)))
            })
            .collect()
    }

    /// For each track what protects its packets, if it is secured.
    pub fn senders(&self) -> Vec<Option<Sender>> {
        let sender = |(suite, keys): &(Suite, Keys)| Sender::new(*suite, keys, false);
        self.tracks.iter().map(|track| track.keys.as_ref().map(sender)).collect()
    }

    /// For each track, if it is secured, the other end of its security: it opens what the recorder sends.
    pub fn sessions(&self) -> Vec<Option<Session>> {
        let session = |(track, media): (&OfferedTrack, &sdp::Media)| {
            let ((suite, ours), theirs) = (track.keys.clone()?, sdp::Crypto::of(media)?);
            let plan = Plan { suite, peer: theirs.keys, ours, clear_rtp: false, clear_rtcp: false };
            (theirs.suite == suite).then(|| Session::new(&plan))
        };
        self.tracks.iter().zip(&self.answer.media).map(session).collect()
    }

    /// Offers every secured track again with a fresh key.
    pub fn rekey(&mut self) -> Result<(), CallError> {
        for (suite, keys) in self.tracks.iter_mut().filter_map(|track| track.keys.as_mut()) {
            *keys = Keys::fresh(*suite, &mut OsEntropy);
        }
        self.reoffer()
    }

    /// Offers every track again with `direction`: hold ([`Direction::Inactive`]) and resume ([`Direction::SendOnly`]).
    pub fn redirect(&mut self, direction: Direction) -> Result<(), CallError> {
        self.tracks.iter_mut().for_each(|track| track.direction = direction);
        self.reoffer()
    }

    fn reoffer(&mut self) -> Result<(), CallError> {
        self.version += 1;
        let offer = sdp::offer(self.line.local().ip(), 1, self.version, &self.tracks).to_string();
        if !self.line.reinvite(self.dialog, Answer::ok().body("application/sdp", offer)) {
            return Err(CallError::Answer("the dialog is gone".to_owned()));
        }
        self.answer = answer_in(&accepted(&mut self.line)?)?;
        Ok(())
    }

    /// Hangs up.
    pub fn hang_up(mut self) -> Result<(), CallError> {
        self.line.bye(self.dialog);
        match self.wait_for(|event| matches!(event, Event::Closed { .. }), PATIENCE)? {
            Some(Event::Closed { code: 200, .. }) => Ok(()),
            Some(Event::Closed { code, .. }) => Err(CallError::Refused(code)),
            _ => Err(CallError::Silence),
        }
    }

    /// Waits for the recorder to hang up. False if it does not within `patience`.
    pub fn ended_by_recorder(&mut self, patience: Duration) -> Result<bool, CallError> {
        Ok(self.wait_for(|event| matches!(event, Event::Bye { .. }), patience)?.is_some())
    }

    fn wait_for(
        &mut self,
        wanted: impl Fn(&Event) -> bool,
        patience: Duration,
    ) -> Result<Option<Event>, CallError> {
        loop {
            match self.line.wait(patience)? {
                Some(event) if wanted(&event) => return Ok(Some(event)),
                Some(_) => continue,
                None => return Ok(None),
            }
        }
    }
}

fn accepted(line: &mut Line) -> Result<Message, CallError> {
    loop {
        match line.wait(PATIENCE)? {
            Some(Event::Accepted { message, .. }) => return Ok(*message),
            Some(Event::Refused { code, .. }) => return Err(CallError::Refused(code)),
            Some(_) => continue,
            None => return Err(CallError::Silence),
        }
    }
}

fn answer_in(accepted: &Message) -> Result<sdp::Description, CallError> {
    sdp::parse(accepted.body()).map_err(|why| CallError::Answer(why.to_string()))
}

fn offered(
    parties: &[Party<'_>],
    sockets: &[UdpSocket],
    suite: Option<Suite>,
) -> io::Result<Vec<OfferedTrack>> {
    let numbered = parties.iter().zip(sockets).zip(1..);
    numbered
        .map(|((party, socket), label)| {
            let payload = match party.law {
                Law::Mulaw => Payload::Pcmu,
                Law::Alaw => Payload::Pcma,
            };
            Ok(OfferedTrack {
                port: socket.local_addr()?.port(),
                label: label.to_string(),
                payloads: vec![(party.law.payload_type(), payload)],
                direction: Direction::SendOnly,
                keys: suite.map(|suite| (suite, Keys::fresh(suite, &mut OsEntropy))),
            })
        })
        .collect()
}

/// An INVITE as RFC 7866 section 6.1 wants it: option tag, feature tag (in Contact, by the endpoint), two parts.
pub fn invitation(recorder: SocketAddr, offer: &str, parties: &[Party<'_>]) -> Invitation {
    let (content_type, body) = Writer::new("tapehead-src")
        .part("application/sdp", &[], offer)
        .part(
            "application/rs-metadata+xml",
            &["Content-Disposition: recording-session"],
            siprec::write(&metadata(parties)),
        )
        .finish();
    Invitation::to(&format!("sip:recorder@{recorder}")).header("Require", "siprec").body(&content_type, body)
}

/// Everyone sends one stream, labelled from 1, and hears all the others (RFC 7865 section 6).
fn metadata(parties: &[Party<'_>]) -> Metadata {
    let session = "c2Vzc2lvbi0xAAAAAAAAAAA=".to_owned();
    let mut metadata = Metadata::default();
    for (party, number) in parties.iter().zip(1..) {
        metadata.participants.push(Participant {
            id: format!("participant-{number}"),
            names: vec![Name {
                aor: Some(Redacted::new(party.aor.to_owned())),
                name: Some(Redacted::new(party.name.to_owned())),
                lang: None,
            }],
        });
        metadata.streams.push(Stream {
            id: format!("stream-{number}"),
            session: Some(session.clone()),
            label: Some(number.to_string()),
            ..Stream::default()
        });
        let others = (1..=parties.len()).filter(|other| *other != number);
        metadata.links.push(StreamLink {
            participant: format!("participant-{number}"),
            sends: vec![format!("stream-{number}")],
            receives: others.map(|other| format!("stream-{other}")).collect(),
            ..StreamLink::default()
        });
    }
    metadata.sessions.push(CommunicationSession { id: session, ..CommunicationSession::default() });
    metadata
}
