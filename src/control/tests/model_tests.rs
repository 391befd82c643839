//! Any sequence of offers and answers from both sides against a model of what has to hold of every session description of ours.

use super::*;
use crate::control::PauseScope;
use crate::sdp::{Description, Direction};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// An m-line that a client may send.
#[derive(Clone, Debug)]
struct Line {
    kind: &'static str,
    label: Option<u8>,
    ended: bool,
    format: &'static str,
    direction: &'static str,
    null_address: bool,
}

#[derive(Clone, Debug)]
enum Op {
    Offer {
        lines: Vec<Line>,
        update: bool,
    },
    Repeat,
    Nonsense,
    /// A re-INVITE that leaves the offer to us.
    Late,
    Ack(Option<Vec<Line>>),
    /// The shard answers what was added.
    Shard(bool),
    Cancel,
    Pause,
    Resume,
    /// The client answers our re-INVITE.
    Answer(Option<Vec<Line>>),
    Pass(u64),
}

fn line() -> impl Strategy<Value = Line> {
    let kind = prop_oneof![8 => Just("audio"), 1 => Just("video"), 1 => Just("image")];
    let format = prop_oneof![4 => Just("0"), 3 => Just("8 0"), 1 => Just("18")];
    let direction = prop_oneof![4 => Just("sendonly"), 1 => Just("sendrecv"), 1 => Just("recvonly"), 2 => Just("inactive"), 2 => Just("ptime:20")];
    (
        kind,
        proptest::option::of(0..5u8),
        proptest::bool::weighted(0.15),
        format,
        direction,
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(kind, label, ended, format, direction, null_address)| Line {
            kind,
            label,
            ended,
            format,
            direction,
            null_address,
        })
}

fn op() -> impl Strategy<Value = Op> {
    let lines = || proptest::collection::vec(line(), 0..5);
    prop_oneof![
        6 => (lines(), any::<bool>()).prop_map(|(lines, update)| Op::Offer { lines, update }),
        2 => Just(Op::Repeat),
        1 => Just(Op::Nonsense),
        1 => Just(Op::Late),
        2 => proptest::option::of(lines()).prop_map(Op::Ack),
        4 => proptest::bool::weighted(0.8).prop_map(Op::Shard),
        1 => Just(Op::Cancel),
        1 => Just(Op::Pause),
        1 => Just(Op::Resume),
        1 => proptest::option::of(lines()).prop_map(Op::Answer),
        1 => (0..2500u64).prop_map(Op::Pass),
    ]
}

fn text(lines: &[Line]) -> String {
    let one = |(index, line): (usize, &Line)| {
        let port = if line.ended { 0 } else { 4000 + 2 * index };
        let label = line.label.map(|label| format!("a=label:{label}\r\n")).unwrap_or_default();
        let null = if line.null_address { "c=IN IP4 0.0.0.0\r\n" } else { "" };
        format!("m={} {port} RTP/AVP {}\r\n{null}{label}a={}\r\n", line.kind, line.format, line.direction)
    };
    format!("v=0\r\nc=IN IP4 10.0.0.1\r\n{}", lines.iter().enumerate().map(one).collect::<String>())
}

impl Line {
    fn can_be_recorded(&self) -> bool {
        self.kind == "audio" && !self.ended && self.format != "18"
    }
}

/// What the test knows of the call.
struct Model {
    world: World,
    /// Ports that the shard has bound: the n-th track's is 10,000 + 2n.
    bound: usize,
    /// The update that adds tracks: its number and how many there will be.
    growing: Option<(u32, usize)>,
    /// Updates that add none.
    plain: Vec<u32>,
    commands_seen: usize,
    answers_seen: usize,
    /// Requests with an offer that have no answer yet.
    open: BTreeMap<u64, Vec<Line>>,
    /// The last answered offer and the ports it got.
    last: Option<(Vec<Line>, Vec<u16>)>,
    /// Our last description, and its origin.
    said: Option<Description>,
    /// Requests that wait for a description of ours as an offer.
    late: Vec<u64>,
    /// A line may have been declined for want of room.
    short: bool,
}

impl Model {
    fn new() -> Model {
        let mut world = World::with_peer(PeerRules { reinvite: true, ..PeerRules::default() });
        world.live(1);
        let mut model = Model {
            world,
            bound: 2,
            growing: None,
            plain: Vec::new(),
            commands_seen: 0,
            answers_seen: 0,
            open: BTreeMap::new(),
            last: None,
            said: None,
            late: Vec::new(),
            short: false,
        };
        model.look();
        model
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Offer { lines, update } => self.offer(lines, update),
            Op::Repeat => {
                if let Some((lines, ports)) = self.last.clone() {
                    self.offer(lines.clone(), false);
                    // What was declined for want of room may have found it since.
                    let whole =
                        lines.iter().zip(&ports).all(|(line, port)| !line.can_be_recorded() || *port != 0);
                    if let Some((again, same)) = &self.last
                        && text(again) == text(&lines)
                        && whole
                        && !self.short
                    {
                        assert_eq!(*same, ports, "the same offer again has the same answer");
                    }
                }
            }
            Op::Nonsense => {
                let request = self.world.reinvite(1, "m=audio what");
                let code = self.world.answered(request);
                assert!(matches!(code, Some(400 | 491 | 500)), "{code:?}");
            }
            Op::Late => {
                let request = self.world.reinvite(1, "");
                self.late.push(request);
            }
            Op::Ack(answer) => {
                let body = answer.map(|lines| text(&lines)).unwrap_or_default();
                let message = Box::new(message("ACK", &body, None));
                self.world.sip(SipEvent::Ack { dialog: DialogId(1), message });
                self.last = None;
            }
            Op::Shard(takes) => self.shard_answers(takes),
            Op::Cancel => {
                // The endpoint has answered the re-INVITE.
                self.open.clear();
                self.world.sip(SipEvent::Cancel { dialog: DialogId(1), ended: false });
                (self.last, self.short) = (None, true);
            }
            Op::Pause => {
                let now = self.world.now();
                self.world.control.pause(PauseScope::All, "t", "t", now).unwrap();
            }
            Op::Resume => {
                let now = self.world.now();
                self.world.control.resume(PauseScope::All, "t", now).unwrap();
            }
            Op::Answer(answer) => {
                let dialog = DialogId(1);
                self.last = None;
                self.world.sip(match answer {
                    Some(lines) => SipEvent::Accepted {
                        dialog,
                        message: Box::new(message("INVITE", &text(&lines), None)),
                    },
                    None => SipEvent::Refused { dialog, code: 488, message: None },
                });
            }
            Op::Pass(ms) => self.world.pass(ms),
        }
        self.world.settle();
        self.look();
        self.take_updates();
    }

    /// The shard takes updates that add nothing as they come.
    fn take_updates(&mut self) {
        while let Some(revision) = self.plain.pop() {
            let ports = (0..self.bound as u16).map(|track| 10_000 + 2 * track).collect();
            self.world.shard(ShardEvent::Updated { call: CallId(1), revision, result: Ok(ports) });
            self.look();
        }
    }

    fn offer(&mut self, lines: Vec<Line>, update: bool) {
        let request = self.world.request();
        let message = Box::new(message(if update { "UPDATE" } else { "INVITE" }, &text(&lines), None));
        self.open.insert(request.0, lines);
        self.world.sip(match update {
            true => SipEvent::InDialog { dialog: DialogId(1), request, message },
            false => SipEvent::Reinvite { dialog: DialogId(1), request, message },
        });
        self.look();
        self.take_updates();
    }

    fn shard_answers(&mut self, takes: bool) {
        let Some((revision, tracks)) = self.growing.take() else { return };
        let result = if takes {
            self.bound = tracks;
            Ok((0..tracks as u16).map(|track| 10_000 + 2 * track).collect())
        } else {
            self.short = true;
            Err(link::Refusal::Full)
        };
        self.world.shard(ShardEvent::Updated { call: CallId(1), revision, result });
    }

    /// Looks at what control has said since.
    fn look(&mut self) {
        for (_, command) in &self.world.commands[self.commands_seen..] {
            if let Command::Update { revision, tracks, .. } = command {
                assert!(tracks.len() >= self.bound, "no track goes away");
                assert!(tracks.len() <= crate::limits::TRACKS_MAX);
                if tracks.len() > self.bound {
                    assert!(self.growing.is_none(), "one addition at a time");
                    self.growing = Some((*revision, tracks.len()));
                } else {
                    self.plain.push(*revision);
                }
            }
        }
        self.commands_seen = self.world.commands.len();
        let answers: Vec<_> = self.world.answers[self.answers_seen..].to_vec();
        self.answers_seen = self.world.answers.len();
        for (request, code, body) in answers {
            let Some(lines) = self.open.remove(&request) else {
                if code == 200 && !body.is_empty() {
                    let ours = self.description(&body);
                    assert!(
                        !self.late.contains(&request)
                            || !ours
                                .media
                                .iter()
                                .any(|m| m.port != 0 && m.direction() != Some(Direction::RecvOnly))
                    );
                }
                continue;
            };
            match code {
                200 => self.check(&lines, &body),
                488 => assert!(!lines.iter().any(Line::can_be_recorded)),
                _ => assert!(matches!(code, 491 | 500), "{code}"),
            }
        }
        for (_, body) in std::mem::take(&mut self.world.asked) {
            self.description(&body);
        }
    }

    /// What holds of every description of ours.
    fn description(&mut self, body: &str) -> Description {
        let ours = sdp::parse(body.as_bytes()).unwrap();
        let mut ports: Vec<u16> =
            ours.media.iter().map(|media| media.port).filter(|port| *port != 0).collect();
        assert!(
            ports.iter().all(|port| usize::from(port - 10_000) / 2 < self.bound),
            "only ports that are bound"
        );
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0] != pair[1]), "no port twice: {ports:?}");
        for media in ours.media.iter().filter(|media| media.port != 0) {
            assert!(matches!(media.direction(), Some(Direction::RecvOnly | Direction::Inactive)));
            assert_eq!(media.kind, "audio");
        }
        if let Some(before) = &self.said {
            let number = |said: &Description| said.origin.version.parse::<u64>().unwrap();
            assert_eq!(before.origin.id, ours.origin.id);
            let changed = (before.media != ours.media) || (before.connection != ours.connection);
            assert_eq!(number(&ours), number(before) + u64::from(changed), "RFC 3264 section 8");
        }
        self.said = Some(ours.clone());
        ours
    }

    fn check(&mut self, lines: &[Line], body: &str) {
        let ours = self.description(body);
        let ports: Vec<u16> = ours.media.iter().map(|media| media.port).collect();
        assert_eq!(ports.len(), lines.len());
        for (line, media) in lines.iter().zip(&ours.media) {
            assert_eq!(media.label(), line.label.map(|label| label.to_string()).as_deref());
            assert!(line.can_be_recorded() || media.port == 0, "{line:?}");
            assert!(
                !line.can_be_recorded()
                    || media.port != 0
                    || self.short
                    || self.growing.is_some()
                    || self.bound == crate::limits::TRACKS_MAX,
                "{line:?}"
            );
            let stopped = matches!(line.direction, "inactive" | "recvonly");
            assert!(media.port == 0 || (media.direction() == Some(Direction::Inactive)) == stopped);
        }
        if let Some((before, was)) = &self.last {
            for (label, port) in named(before, was) {
                let now = named(lines, &ports);
                assert!(now.get(&label).is_none_or(|now| *now == port), "label {label} stays on its track");
            }
        }
        self.last = Some((lines.to_vec(), ports));
    }
}

/// The port of each label that stands on one line only, and that can be recorded.
fn named(lines: &[Line], ports: &[u16]) -> BTreeMap<u8, u16> {
    let alone = |label| lines.iter().filter(|line| line.label == Some(label)).count() == 1;
    let recorded = lines.iter().zip(ports).filter(|(line, port)| line.can_be_recorded() && **port != 0);
    recorded.filter_map(|(line, port)| Some((line.label.filter(|label| alone(*label))?, *port))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_offered_our_descriptions_hold_together(ops in proptest::collection::vec(op(), 1..25)) {
        let mut model = Model::new();
        ops.into_iter().for_each(|op| model.apply(op));
        model.apply(Op::Pass(3000));
        prop_assert!(model.open.is_empty(), "every offer has its answer: {:?}", model.open);
        model.world.bye(1, None);
        model.world.shard_closes(1, Ok(()));
        prop_assert_eq!((model.world.control.calls(), model.world.byes.len()), (0, 0));
    }
}
