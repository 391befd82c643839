//! Any bytes as a run of messages, as datagrams or as a stream, through everything that signalling is made of: parser, gate, endpoint,
//! control, and a shard that says yes. Whatever we send reads back, nothing grows beyond its bounds, and in the end nothing is left.
//!
//! The first byte says how: bit 0 a stream, bit 1 a rate for the peer, bit 2 a password. Messages are divided by a line of four `=`.
#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tapehead::base::{Entropy, Mono, Wall, network};
use tapehead::control::{self, Control, Now, Peers, Rules};
use tapehead::limits::{SIP_BODY_BYTES_MAX, SIP_HEADER_BYTES_MAX};
use tapehead::link::{Command, Event as ShardEvent, PauseHow};
use tapehead::seal::WrappedKey;
use tapehead::sip::{
    Action, Config, Credentials, Endpoint, Frame, Framer, Gate, Malformed, Message, Peer, Rule, Transport,
};

const DIALOGS_MAX: usize = 8;
const TRANSACTIONS_MAX: usize = 32;
const CALLS_MAX: u32 = 4;

/// Tags that a seed can know: the n-th is n.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        self.0 = self.0.wrapping_add(1);
        out.fill(self.0);
    }
}

struct World {
    now: Mono,
    peer: Peer,
    endpoint: Endpoint,
    control: Control<Counting>,
    /// What came was well-formed: then so is what we say.
    sound: bool,
}

impl World {
    fn new(how: u8) -> World {
        let transport = if how & 1 == 0 { Transport::Udp } else { Transport::Tcp };
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let (local, remote) = (address("192.0.2.9:5060"), address("192.0.2.1:5060"));
        let config =
            Config { dialogs_max: DIALOGS_MAX, transactions_max: TRANSACTIONS_MAX, ..Config::recorder() };
        let mut endpoint = Endpoint::new(config, Box::new(Counting(0)));
        let credentials = (how & 4 != 0).then(|| Credentials::new("sbc", "secret"));
        let rule = Rule {
            networks: vec![network("192.0.2.0/24").expect("a network")],
            rate_per_second: (how & 2 != 0).then_some(2),
            challenge: credentials.clone(),
            answer: credentials,
        };
        endpoint.set_gate(Gate::new(&[], vec![rule], "tapehead", &mut Counting(0)));
        let rules = Rules {
            calls_max: CALLS_MAX,
            calls_per_second_max: 0,
            shard_busy_max_percent: 100,
            shard_calls_max: CALLS_MAX,
            shard_pairs: 16,
            rtp_bind: local.ip(),
            addresses: Vec::new(),
            recordings: "rec".into(),
            tenant: "default".to_owned(),
            any_call: how & 8 != 0,
            pause: PauseHow::Silence,
            peers: Peers::default(),
        };
        let control = Control::new(rules, 1, Counting(0));
        World {
            now: Mono(0),
            peer: Peer { transport, link: 1, listener: 0, local, remote },
            endpoint,
            control,
            sound: true,
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.now, wall: Wall(1_795_269_802_000_000_000 + self.now.0) }
    }

    fn receive(&mut self, parsed: Result<Message, Malformed>) {
        self.sound = parsed.is_ok();
        self.endpoint.receive(self.now, self.peer, parsed);
        self.settle();
        self.sound = true;
        self.now = self.now + Duration::from_millis(50);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(action) = self.endpoint.poll(self.now) {
                quiet = false;
                match action {
                    Action::Send { bytes, .. } if self.sound => {
                        drop(Message::parse_datagram(&bytes).expect("what we say reads"));
                    }
                    Action::Send { .. } => {}
                    Action::Event(event) => self.control.sip(event, self.now()),
                }
            }
            self.control.tick(self.now());
            while let Some(action) = self.control.poll() {
                quiet = false;
                self.act(action);
            }
            assert!(
                self.endpoint.dialogs() <= DIALOGS_MAX
                    && self.endpoint.transactions() <= 8 * TRANSACTIONS_MAX
            );
            assert!(self.control.calls() <= CALLS_MAX as usize);
            if quiet {
                return;
            }
        }
    }

    fn act(&mut self, action: control::Action) {
        match action {
            control::Action::Answer { request, answer } => {
                let _ = self.endpoint.respond(self.now, request, answer);
            }
            control::Action::Bye { dialog } => {
                let _ = self.endpoint.bye(self.now, dialog);
            }
            control::Action::Wrap { call, .. } => {
                let word = || "local".to_owned();
                let key = WrappedKey { provider: word(), key_id: word(), wrapped: word(), created: word() };
                self.control.wrapped(call, Ok(key), self.now());
            }
            control::Action::Command { shard, command } => {
                if let Some(event) = self.shard(command) {
                    self.control.shard(shard, event, self.now());
                }
            }
            _ => {}
        }
    }

    /// A shard that can do everything at once.
    fn shard(&self, command: Command) -> Option<ShardEvent> {
        let ports = |tracks: usize| (0..tracks as u16).map(|track| 10_000 + 2 * track).collect();
        match command {
            Command::Open(open) => {
                let ports = ports(open.tracks.len());
                Some(ShardEvent::Opened { call: open.call, ports, started: self.now })
            }
            Command::Update { call, revision, tracks } => {
                Some(ShardEvent::Updated { call, revision, result: Ok(ports(tracks.len())) })
            }
            Command::Close { call } => Some(ShardEvent::Closed { call, tracks: Vec::new(), samples: 0 }),
            _ => None,
        }
    }

    /// Everybody hangs up, and all time passes.
    fn end(&mut self) {
        self.control.close_all(self.now());
        self.settle();
        for _ in 0..100_000 {
            let Some(at) = [self.endpoint.deadline(), self.control.deadline()].into_iter().flatten().min()
            else {
                break;
            };
            assert!(at > self.now, "what is due is done");
            self.now = at;
            self.settle();
        }
        assert_eq!((self.endpoint.dialogs(), self.endpoint.transactions(), self.control.calls()), (0, 0, 0));
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((how, input)) = input.split_first() else { return };
    let mut world = World::new(*how);
    let mut framer = Framer::new();
    let mut rest = input;
    while !rest.is_empty() {
        let at = rest.windows(6).position(|six| six == b"\n====\n");
        let (message, after) = at.map_or((rest, &[][..]), |at| (&rest[..=at], &rest[at + 6..]));
        rest = after;
        if how & 1 == 0 {
            world.receive(Message::parse_datagram(message));
            continue;
        }
        framer.push(message);
        while let Some(frame) = framer.next_frame() {
            match frame {
                Frame::Message(message) => world.receive(Ok(*message)),
                Frame::Malformed(malformed) | Frame::Broken(malformed) => world.receive(Err(malformed)),
                Frame::Ping => {}
            }
        }
        assert!(framer.pending_bytes() <= SIP_HEADER_BYTES_MAX + SIP_BODY_BYTES_MAX);
    }
    world.end();
});
