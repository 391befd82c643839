//! The real binary: offers of its own, streams that come and go during a call, holds, pauses by command, all told by tones.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use common::audio::{read_wav, share_of};
use common::recordings::recording_of;
use common::{Recorder, export, said, tapehead, verify};
use tapehead::link::Payload;
use tapehead::media::{Cause, Fate};
use tapehead::recording::Manifest;
use tapehead::sdp::{self, Description, Direction, OfferedTrack};
use tapehead::sip::client::Invitation;
use tapehead::sip::event::{Answer, DialogId, Event};
use tapehead::sip::{Message, Transport};
use tapehead::src_client::pace::{self, Feed};
use tapehead::src_client::{Impairment, Law, Line, Script, Signal, StreamPlan};
use tapehead::sys::clock;

const PATIENCE: Duration = Duration::from_secs(10);
/// What each stream sends, in Hz.
const TONES: [f64; 3] = [440.0, 1000.0, 1700.0];
/// Length of one stretch of sound.
const PACKETS: u32 = 40;

/// A recording client with three streams at hand.
struct Client {
    line: Line,
    dialog: DialogId,
    sockets: Vec<UdpSocket>,
    call_id: String,
    /// The recorder's last description.
    recorder: Description,
    version: u64,
    sent: u32,
    /// Samples by which the streams' clocks have run on in silence.
    silent: u32,
}

impl Client {
    fn call(recorder: &Recorder, directions: Option<&[Direction]>) -> Client {
        let mut line = Line::open(Transport::Udp, recorder.sip).expect("a socket");
        let sockets: Vec<UdpSocket> =
            TONES.iter().map(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket")).collect();
        let offer = directions.map(|directions| offer(&sockets, 1, directions));
        let invitation =
            Invitation::to(&format!("sip:recorder@{}", recorder.sip)).header("Require", "siprec");
        let dialog = line.invite(match &offer {
            Some(offer) => invitation.body("application/sdp", offer.as_str()),
            None => invitation,
        });
        let accepted = accepted(&mut line);
        let (call_id, recorder) = (accepted.call_id().to_owned(), sdp::parse(accepted.body()).expect("SDP"));
        Client { line, dialog, sockets, call_id, recorder, version: 1, sent: 0, silent: 0 }
    }

    /// Our side of so many streams.
    fn describe(&mut self, directions: &[Direction]) -> String {
        self.version += 1;
        offer(&self.sockets, self.version, directions)
    }

    fn reinvite(&mut self, directions: &[Direction]) {
        let offer = self.describe(directions);
        assert!(self.line.reinvite(self.dialog, Answer::ok().body("application/sdp", offer)));
        self.recorder = sdp::parse(accepted(&mut self.line).body()).expect("SDP");
    }

    fn ports(&self) -> Vec<u16> {
        self.recorder.media.iter().map(|media| media.port).collect()
    }

    /// Sends a stretch of sound on these streams.
    fn speak(&mut self, streams: &[usize]) {
        let feed = |&stream: &usize| {
            let plan = StreamPlan {
                signal: Signal::tone(TONES[stream], stream as u64),
                law: Law::Mulaw,
                ssrc: stream as u32 + 1,
                sequence: self.sent as u16,
                timestamp: self.sent * 160 + self.silent,
                packets: PACKETS,
            };
            let socket = self.sockets[stream].try_clone().expect("a socket can be shared");
            let to = SocketAddr::from(([127, 0, 0, 1], self.recorder.media[stream].port));
            Feed::new(Script::new(plan, Impairment::default(), 1), socket, to, Duration::ZERO)
        };
        let mut feeds: Vec<Feed> = streams.iter().map(feed).collect();
        pace::run(&mut feeds, clock::mono(), &AtomicBool::new(false), |_| ());
        self.sent += PACKETS;
    }

    fn hang_up(mut self) -> String {
        assert!(self.line.bye(self.dialog));
        while !matches!(self.line.wait(PATIENCE).expect("loopback"), Some(Event::Closed { .. })) {}
        self.call_id
    }
}

fn accepted(line: &mut Line) -> Message {
    loop {
        match line.wait(PATIENCE).expect("loopback").expect("an answer in time") {
            Event::Accepted { message, .. } => return *message,
            Event::Refused { code, .. } => panic!("refused with {code}"),
            _ => {}
        }
    }
}

fn offer(sockets: &[UdpSocket], version: u64, directions: &[Direction]) -> String {
    let track = |((socket, direction), label): ((&UdpSocket, &Direction), usize)| OfferedTrack {
        port: socket.local_addr().expect("it is bound").port(),
        label: label.to_string(),
        payloads: vec![(0, Payload::Pcmu)],
        direction: *direction,
        keys: None,
    };
    let tracks: Vec<OfferedTrack> = sockets.iter().zip(directions).zip(1..).map(track).collect();
    sdp::offer([127, 0, 0, 1].into(), 1, version, &tracks).to_string()
}

/// The recording as one WAV, and its manifest.
fn recorded(recorder: &Recorder, call_id: &str) -> (Vec<Vec<i16>>, Manifest) {
    let recording = recording_of(&recorder.home, call_id);
    let verified = verify(&recorder.home);
    assert!(verified.status.success(), "{}", said(&verified));
    let wav = recorder.home.join("out.wav");
    let exported = export(&recorder.home, &recording.folder, &wav);
    assert!(exported.status.success(), "{}", said(&exported));
    (read_wav(&std::fs::read(wav).expect("it was exported")).channels, recording.manifest)
}

/// The part of a channel that has sound.
fn sounding(channel: &[i16]) -> &[i16] {
    let loud = |sample: &i16| sample.unsigned_abs() > 1000;
    let (first, last) = (channel.iter().position(loud), channel.iter().rposition(loud));
    &channel[first.expect("some sound")..=last.expect("some sound")]
}

use Direction::{Inactive, SendOnly};

#[test]
fn a_client_that_leaves_the_offer_to_the_recorder_is_recorded() {
    let home = tempfile::tempdir().expect("a folder of our own");
    let recorder = Recorder::start(home.path(), "");
    let mut client = Client::call(&recorder, None);
    assert_eq!(client.recorder.media.len(), 2);
    assert!(client.recorder.media.iter().all(|media| media.direction() == Some(Direction::RecvOnly)));
    let answer = client.describe(&[SendOnly, SendOnly]);
    assert!(client.line.ack(client.dialog, &answer));
    client.speak(&[0, 1]);
    let (channels, manifest) = recorded(&recorder, &client.hang_up());
    let labels: Vec<_> = manifest.tracks.iter().map(|track| track.label.as_deref()).collect();
    assert_eq!(labels, [Some("1"), Some("2")], "as the answer named them");
    for (channel, tone) in channels.iter().zip(TONES) {
        assert!(share_of(tone, sounding(channel)) > 0.9, "{tone} Hz");
    }
    assert!(manifest.notes.is_empty(), "{:?}", manifest.notes);
}

#[test]
fn a_stream_added_during_the_call_is_a_third_track_and_can_be_held_and_removed() {
    let home = tempfile::tempdir().expect("a folder of our own");
    let recorder = Recorder::start(home.path(), "");
    let mut client = Client::call(&recorder, Some(&[SendOnly, SendOnly]));
    client.speak(&[0, 1]);
    let before = client.ports();
    client.reinvite(&[SendOnly, SendOnly, SendOnly]);
    assert_eq!((client.ports().len(), &client.ports()[..2]), (3, &before[..]));
    assert!(client.ports()[2] != 0);
    client.speak(&[0, 1, 2]);
    let three = client.ports();
    client.reinvite(&[SendOnly, SendOnly, Inactive]);
    assert_eq!(client.ports(), three);
    client.speak(&[0, 1]);
    client.reinvite(&[SendOnly, SendOnly, SendOnly]);
    client.speak(&[0, 1, 2]);
    let (channels, manifest) = recorded(&recorder, &client.hang_up());
    assert_eq!((channels.len(), manifest.tracks.len(), manifest.segments.len()), (3, 3, 2));
    for (number, (channel, tone)) in channels.iter().zip(TONES).enumerate() {
        let heard = sounding(channel);
        // The third is silent for a third of its time.
        assert!(share_of(tone, heard) > if number == 2 { 0.5 } else { 0.9 }, "{tone} Hz");
        assert!(TONES.iter().filter(|other| **other != tone).all(|other| share_of(*other, heard) < 0.01));
    }
    let stretch = 8000 * 20 * PACKETS as usize / 1000;
    let lengths: Vec<usize> = channels.iter().map(|channel| sounding(channel).len() * 10 / stretch).collect();
    assert!(lengths[0] > 38 && lengths[1] > 38 && (28..35).contains(&lengths[2]), "{lengths:?}");
    let held =
        manifest.intervals.iter().find(|interval| interval.cause == Cause::Hold && interval.track == 2);
    assert!(held.is_some_and(|held| held.samples() as usize > stretch / 2), "{:?}", manifest.intervals);
}

/// A call of three stretches of sound, paused by command during the second.
fn paused(policy: &str) -> (Vec<Vec<i16>>, Manifest) {
    let home = tempfile::tempdir().expect("a folder of our own");
    let recorder = Recorder::start_with(home.path(), "", &[("TAPEHEAD_RECORDINGS_PAUSE", policy)]);
    let mut client = Client::call(&recorder, Some(&[SendOnly, SendOnly]));
    // What is on its way when a pause begins or ends may fall on either side, so that is in a lull.
    let command = |client: &mut Client, arguments: &[&str]| {
        let lull = Instant::now();
        std::thread::sleep(Duration::from_millis(100));
        let run = tapehead(home.path(), [&["ctl"], arguments].concat());
        assert!(run.status.success(), "{arguments:?}: {}", said(&run));
        std::thread::sleep(Duration::from_millis(100));
        client.silent += lull.elapsed().as_millis() as u32 * 8;
    };
    client.speak(&[0, 1]);
    command(&mut client, &["pause", "--all", "--reason", "card number"]);
    client.speak(&[0, 1]);
    command(&mut client, &["resume", "--all"]);
    client.speak(&[0, 1]);
    recorded(&recorder, &client.hang_up())
}

fn samples_heard(channel: &[i16]) -> usize {
    channel.chunks(160).filter(|chunk| chunk.iter().any(|sample| sample.unsigned_abs() > 1000)).count() * 160
}

#[test]
fn a_pause_by_command_keeps_what_is_said_in_it_out_of_the_recording() {
    let stretch = 160 * PACKETS as usize;
    for (policy, segments) in [("silence", 1), ("cut", 2)] {
        let (channels, manifest) = paused(policy);
        assert_eq!(manifest.segments.len(), segments, "{policy}");
        assert_eq!(manifest.pauses.len(), 1);
        for (track, channel) in channels.iter().enumerate() {
            let heard = samples_heard(channel);
            assert!(heard.abs_diff(2 * stretch) <= 640, "{policy}: {heard} samples were heard");
            // Cut out, the pause takes no time.
            assert_eq!(sounding(channel).len() > 3 * stretch, segments == 1, "{policy}");
            let pause = manifest
                .intervals
                .iter()
                .find(|interval| interval.cause == Cause::Pause && usize::from(interval.track) == track);
            assert!(
                pause.is_some_and(|pause| pause.samples() as usize > stretch),
                "{:?}",
                manifest.intervals
            );
            assert_eq!(manifest.tracks[track].counters.of(Fate::Paused), u64::from(PACKETS));
        }
    }
}
