//! Any bytes as a datagram and as a stream: a message or a reason, never a panic; our answer to what we take reads back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapehead::base::{Entropy, Mono};
use tapehead::sip::{Action, Answer, Config, Endpoint, Event, Frame, Framer, Message, Peer, Transport};

struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

/// Every frame, read in pieces of `size` bytes: the message's bytes, or what else it was.
fn frames(stream: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut framer = Framer::new();
    let mut out = Vec::new();
    for piece in stream.chunks(size) {
        framer.push(piece);
        while let Some(frame) = framer.next_frame() {
            out.push(match frame {
                Frame::Message(message) => message.bytes().to_vec(),
                Frame::Malformed(malformed) | Frame::Broken(malformed) => malformed.to_string().into_bytes(),
                Frame::Ping => b"ping".to_vec(),
            });
        }
    }
    out
}

fuzz_target!(|input: &[u8]| {
    assert_eq!(frames(input, 5), frames(input, 4096));
    let local = "127.0.0.1:5060".parse().expect("an address");
    let remote = "127.0.0.1:5070".parse().expect("an address");
    let peer = Peer { transport: Transport::Udp, link: 1, listener: 0, local, remote };
    let mut endpoint = Endpoint::new(Config::recorder(), Box::new(Zeros));
    let parsed = Message::parse_datagram(input);
    if let Ok(message) = &parsed {
        message.contact();
        message.addresses("Record-Route");
        message.supported();
    }
    let sound = parsed.is_ok();
    endpoint.receive(Mono(0), peer, parsed);
    while let Some(action) = endpoint.poll(Mono(0)) {
        match action {
            Action::Send { bytes, .. } if sound => {
                drop(Message::parse_datagram(&bytes).expect("our answer reads"))
            }
            Action::Send { .. } => {}
            Action::Event(Event::Invite { request, .. }) => {
                endpoint.respond(Mono(0), request, Answer::ok()).expect("open")
            }
            Action::Event(_) => {}
        }
    }
});
