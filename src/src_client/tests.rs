//! The recording client against a recorder that is nothing but a SIP endpoint with an answer.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use super::{Call, CallError, Law, Party};
use crate::sdp::{self, Agreement, Answerer, Direction};
use crate::sip::event::{Action, Answer, Config, Event};
use crate::sip::{Endpoint, Message, Method, Peer, Transport};
use crate::siprec::Metadata;
use crate::sys::{OsEntropy, clock};

const PARTIES: [Party<'static>; 2] = [
    Party { name: "Ada", aor: "sip:ada@example.com", law: Law::Mulaw },
    Party { name: "Bob", aor: "tel:+15555550123", law: Law::Alaw },
];

/// Answers everything on a UDP socket with `code` until nothing comes for a while, and hands out the INVITEs.
fn recorder(code: u16) -> (SocketAddr, mpsc::Receiver<Message>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let local = socket.local_addr().unwrap();
    let (told, invites) = mpsc::channel();
    std::thread::spawn(move || {
        let mut endpoint = Endpoint::new(Config::recorder(), Box::new(OsEntropy));
        let mut bytes = [0; 65_535];
        while let Ok((len, remote)) = socket.recv_from(&mut bytes) {
            let peer = Peer { transport: Transport::Udp, link: 0, listener: 0, local, remote };
            endpoint.receive(clock::mono(), peer, Message::parse_datagram(&bytes[..len]));
            while let Some(action) = endpoint.poll(clock::mono()) {
                match action {
                    Action::Send { to, bytes, .. } => drop(socket.send_to(&bytes, to.remote)),
                    Action::Event(
                        Event::Invite { request, message, .. } | Event::Reinvite { request, message, .. },
                    ) => {
                        let answer = answer(code, &message);
                        endpoint.respond(clock::mono(), request, answer).unwrap();
                        told.send(*message).unwrap();
                    }
                    Action::Event(_) => (),
                }
            }
        }
    });
    (local, invites)
}

fn sdp_of(invite: &Message) -> Vec<u8> {
    let content_type = invite.content_type().unwrap();
    match crate::sip::multipart::split(&content_type, invite.body()) {
        Ok(parts) => parts[0].body.to_vec(),
        Err(_) => invite.body().to_vec(),
    }
}

fn answer(code: u16, invite: &Message) -> Answer {
    if code != 200 {
        return Answer::new(code, "No");
    }
    let offer = sdp::parse(&sdp_of(invite)).unwrap();
    let agreed = Agreement::of(&offer);
    let answer =
        Answerer::new(1).answer(&offer, &agreed, [127, 0, 0, 1].into(), |n| Some(10_000 + 2 * n as u16));
    Answer::ok().body("application/sdp", answer)
}

#[test]
fn a_call_offers_labelled_streams_with_metadata_and_learns_where_to_send() {
    let (at, invites) = recorder(200);
    let mut call = Call::place(Transport::Udp, at, &PARTIES).unwrap();
    let invite = invites.recv().unwrap();
    assert_eq!((invite.method(), invite.require()), (&Method::Invite, vec!["siprec".to_owned()]));
    assert!(invite.header("Contact").unwrap().contains("+sip.src"));
    let parts = invite.content_type().unwrap();
    let parts = crate::sip::multipart::split(&parts, invite.body()).unwrap();
    let metadata = Metadata::read(parts[1].body);
    assert!(metadata.flags.is_empty() && metadata.participants.len() == 2 && metadata.links.len() == 2);
    let ports: Vec<u16> = call.media().unwrap().iter().map(|(_, to)| to.port()).collect();
    assert_eq!(ports, [10_000, 10_002]);
    call.redirect(Direction::Inactive).unwrap();
    assert_eq!(call.answer.media[0].direction(), Some(Direction::Inactive));
    call.hang_up().unwrap();
}

#[test]
fn a_refusal_and_a_silent_recorder_are_told_apart() {
    let (at, _invites) = recorder(503);
    assert!(matches!(Call::place(Transport::Udp, at, &PARTIES), Err(CallError::Refused(503))));
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    assert!(matches!(Call::place(Transport::Tcp, nobody, &PARTIES), Err(CallError::Io(_))));
}
