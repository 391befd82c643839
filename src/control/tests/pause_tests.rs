//! Pause and resume by command.

use super::*;
use crate::control::{NoRecording, PauseScope};

impl World {
    fn pause(&mut self, scope: PauseScope) -> Result<usize, NoRecording> {
        let now = self.now();
        let done = self.control.pause(scope, "ctl", "card number", now);
        self.settle();
        done
    }

    fn resume(&mut self, scope: PauseScope) -> Result<usize, NoRecording> {
        let now = self.now();
        let done = self.control.resume(scope, "ctl", now);
        self.settle();
        done
    }

    fn recording(&self, call: u64) -> crate::base::RecordingId {
        let mut opens = self.commands.iter().filter_map(|(_, command)| match command {
            Command::Open(open) if open.call == CallId(call) => Some(open.recording),
            _ => None,
        });
        opens.next_back().expect("an Open")
    }

    /// What the shards were told about pauses, by call.
    fn pauses(&self) -> Vec<(u64, bool)> {
        let told = self.commands.iter().filter_map(|(_, command)| match command {
            Command::Pause { call, .. } => Some((call.0, true)),
            Command::Resume { call } => Some((call.0, false)),
            _ => None,
        });
        told.collect()
    }
}

fn asking() -> World {
    World::with_peer(PeerRules { reinvite: true, ..PeerRules::default() })
}

#[test]
fn one_recording_is_paused_and_the_manifest_says_by_whom_and_when() {
    let mut world = World::with(Rules { pause: link::PauseHow::Cut, ..rules() });
    world.live(1);
    world.live(2);
    world.pass(1000);
    let scope = PauseScope::Recording(world.recording(1));
    assert_eq!(world.pause(scope), Ok(1));
    assert_eq!(world.pause(scope), Ok(1), "again changes nothing");
    assert!(matches!(world.commands.last(), Some((_, Command::Pause { how: link::PauseHow::Cut, .. }))));
    world.pass(500);
    assert_eq!(world.resume(scope), Ok(1));
    assert_eq!(world.pauses(), [(1, true), (1, false)]);
    let manifest = world.last_manifest();
    let [pause] = &manifest.pauses[..] else { panic!("one pause: {:?}", manifest.pauses) };
    assert_eq!((pause.scope.as_str(), pause.policy.as_str()), ("recording", "cut"));
    assert_eq!((pause.start, pause.end), (8000, Some(12_000)));
    assert_eq!((pause.by.reveal().as_str(), pause.reason.reveal().as_str()), ("ctl", "card number"));
    assert!(pause.at < *pause.ended.as_ref().unwrap());
    assert!(world.asked.is_empty(), "nobody is sent what its rules do not allow");
}

#[test]
fn everything_paused_includes_calls_to_come_from_their_first_packet_on() {
    let mut world = World::new();
    world.live(1);
    assert_eq!(world.pause(PauseScope::All), Ok(1));
    assert!(world.control.is_paused());
    world.live(2);
    let open = world
        .commands
        .iter()
        .position(|(_, c)| matches!(c, Command::Open(o) if o.call == CallId(2)))
        .unwrap();
    assert!(
        matches!(world.commands[open + 1].1, Command::Pause { call: CallId(2), .. }),
        "right behind the order to open"
    );
    assert_eq!(world.last_manifest().pauses[0].scope, "all");
    assert_eq!(world.resume(PauseScope::All), Ok(2));
    world.live(3);
    assert_eq!(world.pauses(), [(1, true), (2, true), (1, false), (2, false)]);
}

#[test]
fn nobodys_pause_is_ended_by_somebody_elses_command() {
    let mut world = World::new();
    world.live(1);
    let scope = PauseScope::Recording(world.recording(1));
    world.pause(PauseScope::All).unwrap();
    world.pause(scope).unwrap();
    world.resume(PauseScope::All).unwrap();
    assert_eq!(world.pauses(), [(1, true)]);
    world.resume(scope).unwrap();
    assert_eq!(world.pauses(), [(1, true), (1, false)]);
    assert_eq!(world.last_manifest().pauses.iter().filter(|pause| pause.end.is_some()).count(), 2);
}

#[test]
fn what_is_not_there_cant_be_paused_and_all_of_nothing_can() {
    let mut world = World::new();
    world.live(1);
    let scope = PauseScope::Recording(world.recording(1));
    world.bye(1, None);
    assert_eq!((world.pause(scope), world.resume(scope)), (Err(NoRecording), Err(NoRecording)));
    assert_eq!(world.pause(PauseScope::All), Ok(0));
}

#[test]
fn a_pause_that_comes_while_a_call_is_opening_counts_from_its_start() {
    let mut world = World::new();
    world.invite(1);
    world.pause(PauseScope::Recording(world.recording(1))).unwrap();
    assert_eq!(world.pauses(), [(1, true)]);
    world.opened(1);
    world.pass(200);
    assert_eq!(world.last_manifest().pauses[0].start, 0);
}

#[test]
fn pauses_beyond_the_limit_keep_the_newest() {
    let mut world = World::new();
    world.live(1);
    for _ in 0..crate::limits::PAUSES_MAX + 5 {
        world.pause(PauseScope::All).unwrap();
        world.pass(100);
        world.resume(PauseScope::All).unwrap();
    }
    let pauses = &world.last_manifest().pauses;
    assert_eq!(pauses.len(), crate::limits::PAUSES_MAX);
    assert!(pauses.iter().all(|pause| pause.end == Some(pause.start + 800)));
}

#[test]
fn a_client_that_takes_requests_is_asked_to_stop_and_to_go_on() {
    let mut world = asking();
    world.live(1);
    world.pause(PauseScope::All).unwrap();
    let (dialog, offer) = &world.asked[0];
    assert_eq!((*dialog, offer.matches("a=inactive").count()), (DialogId(1), 2));
    let early = world.request();
    let update = Box::new(message("UPDATE", OFFER, None));
    world.sip(SipEvent::InDialog { dialog: DialogId(1), request: early, message: update });
    assert_eq!(world.answered(early.0), Some(491));
    assert!(world.control.refusals().eq([("offers_met", 1)]));
    // Changed again before the client has answered: asked for when it has.
    world.resume(PauseScope::All).unwrap();
    assert_eq!(world.asked.len(), 1);
    let ok = Box::new(message("INVITE", &OFFER.replace("sendonly", "inactive"), None));
    world.sip(SipEvent::Accepted { dialog: DialogId(1), message: ok });
    assert!(world.asked[1].1.contains("a=recvonly") && !world.asked[1].1.contains("a=inactive"));
    let held = |world: &World| match world.commands.last() {
        Some((_, Command::Update { tracks, .. })) => {
            tracks.iter().map(|track| track.held).collect::<Vec<_>>()
        }
        _ => panic!("an Update"),
    };
    assert_eq!(held(&world), [true, true]);
    world.sip(SipEvent::Accepted { dialog: DialogId(1), message: Box::new(message("INVITE", OFFER, None)) });
    assert_eq!((held(&world), world.asked.len()), (vec![false, false], 2));
}

#[test]
fn a_client_that_refuses_is_left_in_peace_and_paused_all_the_same() {
    let mut world = asking();
    world.live(1);
    world.pause(PauseScope::All).unwrap();
    world.sip(SipEvent::Refused { dialog: DialogId(1), code: 488, message: None });
    assert_eq!((world.asked.len(), world.pauses()), (1, vec![(1, true)]));
    let refresh = world.reinvite(1, OFFER);
    assert_eq!(world.answered(refresh), Some(200));
}

#[test]
fn a_request_of_ours_that_met_the_clients_is_made_again_after_it() {
    let mut world = asking();
    world.live(1);
    world.pause(PauseScope::All).unwrap();
    world.sip(SipEvent::Refused { dialog: DialogId(1), code: 491, message: None });
    assert_eq!(world.asked.len(), 1);
    world.reinvite(1, OFFER);
    world.sip(SipEvent::Ack { dialog: DialogId(1), message: Box::new(message("ACK", "", None)) });
    assert_eq!(world.asked.len(), 2);
}
