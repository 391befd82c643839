//! A call for a bench's shard to record.

use std::net::Ipv4Addr;
use std::path::Path;

use tapehead::base::{RecordingId, Wall};
use tapehead::link::{CallId, Command, ControlEnd, OpenCall, Payload, SegmentPlan, TrackPlan};
use tapehead::media::SampleFormat;
use tapehead::seal::{AudioParams, Block0, DataKey, StreamSeed};

/// Has a shard open a call of two tracks, recorded into `folder`.
pub fn open(call: u16, folder: &Path, control: &mut ControlEnd) {
    let recording: RecordingId =
        format!("0123456789ab7000800000000000{call:04x}").parse().expect("32 digits");
    let audio = AudioParams { format: SampleFormat::Mulaw, rate: 8000, channels: 2, start: 0 };
    let segment = SegmentPlan {
        call: CallId(u64::from(call)),
        segment: 1,
        path: folder.join(format!("{call}.tape.part")),
        block0: Box::new(Block0::segment(recording, 1, "bench", Wall(0), audio, Vec::new())),
        key: DataKey::new([call as u8; 32]),
        seed: StreamSeed { salt: [1; 32], nonce_prefix: [2; 7] },
    };
    let track = TrackPlan { payloads: vec![(0, Payload::Pcmu)], ..TrackPlan::default() };
    let open = OpenCall {
        call: CallId(u64::from(call)),
        recording,
        bind: Ipv4Addr::LOCALHOST.into(),
        tracks: vec![track; 2],
        format: SampleFormat::Mulaw,
        ssrc: 1,
        segment,
    };
    control.commands.push(Command::Open(Box::new(open))).expect("room");
}
