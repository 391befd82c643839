//! What a call costs in memory: the resident size of a recorder built for many two-track calls and carrying them, less that of
//! one built for a single call and idle, over the number of calls. Pools and tables are in it, and so are control and shard.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use common::{PARTIES, Recorder};
use tapehead::rtp;
use tapehead::sip::Transport;
use tapehead::src_client::Call;
use tapehead::sys::clock;

/// Bound of the resident size per two-track call.
const CALL_KIB_MAX: u64 = 64;
const CALLS: u64 = 250;
const SECONDS: u64 = 3;

/// A recorder for this many calls, on ports of this test alone.
fn recorder(home: &std::path::Path, calls: u64) -> Recorder {
    let ports = format!("29000-{}", 29_000 + calls * 4 - 1);
    let variables = [("TAPEHEAD_RTP_PORTS", ports.as_str()), ("TAPEHEAD_SHARDS", "1")];
    Recorder::start_with(home, &format!("calls_max = {calls}"), &variables)
}

fn resident_kib(recorder: &Recorder) -> u64 {
    // Counted page by page; the figure in `status` may lag behind.
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", recorder.pid())).expect("it runs");
    let line = rollup.lines().find(|line| line.starts_with("Rss:")).expect("Linux says so");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB")
}

/// Sends a packet every 20 ms on every stream.
fn talk(streams: &[(UdpSocket, SocketAddr)]) {
    let started = clock::mono();
    for sequence in 0..SECONDS * 50 {
        let header = rtp::Header {
            sequence: sequence as u16,
            timestamp: (sequence * 160) as u32,
            ssrc: 7,
            ..rtp::Header::default()
        };
        let mut packet = Vec::new();
        rtp::write(&header, &[sequence as u8; 160], &mut packet);
        for (socket, to) in streams {
            socket.send_to(&packet, to).expect("loopback takes it");
        }
        clock::sleep_until(started + Duration::from_millis(20 * (sequence + 1)));
    }
}

#[test]
fn a_two_track_call_costs_less_than_its_bound() {
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on the disk");
    let one = recorder(home.path(), 1);
    let empty = resident_kib(&one);
    one.kill();
    let many = recorder(home.path(), CALLS);
    let placed: Vec<Call> = (0..CALLS)
        .map(|_| Call::place(Transport::Udp, many.sip, &PARTIES).expect("the recorder takes it"))
        .collect();
    let streams: Vec<_> = placed.iter().flat_map(|call| call.media().expect("two streams")).collect();
    talk(&streams);
    let full = resident_kib(&many);
    let each = (full - empty) / CALLS;
    println!("{CALLS} calls: {full} KiB resident, {empty} KiB without; {each} KiB per call");
    assert!(each <= CALL_KIB_MAX, "{each} KiB per two-track call, {CALL_KIB_MAX} allowed");
    placed.into_iter().for_each(|call| call.hang_up().expect("the recorder hangs up"));
}
