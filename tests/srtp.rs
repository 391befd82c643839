//! SRTP against libsrtp2 (Debian's `libsrtp2-dev`, through a helper in C): each suite, each direction, SRTP and SRTCP, with and without
//! a master key identifier, across the wrap of the sequence number, in any order.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tapehead::base::{Mono, Prng};
use tapehead::rtp::{self, Header, rtcp};
use tapehead::srtp::{Failure, Keys, Plan, Sender, Session, Suite};

const MKI: &[u8] = &[0xca, 0xfe, 0, 1];
const AT: Mono = Mono::from_ms(5000);

/// The helper, built once per run of this test.
fn helper() -> &'static PathBuf {
    static HELPER: OnceLock<PathBuf> = OnceLock::new();
    HELPER.get_or_init(|| {
        let helper =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("libsrtp-{}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libsrtp.c");
        let mut cc = Command::new("cc");
        let status = cc.args(["-Wall", "-Werror", "-O1", source, "-lsrtp2", "-o"]).arg(&helper).status();
        assert!(status.expect("there is a C compiler").success(), "libsrtp2-dev is needed");
        helper
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("the helper writes hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// What libsrtp2 makes of `packets`; `None` where it fails.
fn libsrtp(action: [&str; 2], suite: Suite, keys: &Keys, packets: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
    let number = Suite::ALL.iter().position(|one| *one == suite).expect("it is one of them").to_string();
    let mki = if keys.mki().is_empty() { "-".to_owned() } else { hex(keys.mki()) };
    let mut child = Command::new(helper())
        .args(action)
        .args([number, hex(keys.expose()), mki])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it was built");
    let mut stdin = child.stdin.take().expect("it is piped");
    let lines: Vec<String> = packets.iter().map(|packet| hex(packet) + "\n").collect();
    let writer =
        std::thread::spawn(move || lines.iter().try_for_each(|line| stdin.write_all(line.as_bytes())));
    let answers: Vec<String> =
        BufReader::new(child.stdout.take().expect("it is piped")).lines().collect::<Result<_, _>>().unwrap();
    writer.join().unwrap().expect("it reads to the end");
    assert!(child.wait().unwrap().success() && answers.len() == packets.len(), "{action:?} {suite:?}");
    answers.iter().map(|line| (!line.starts_with("error")).then(|| unhex(line))).collect()
}

fn keys(suite: Suite, seed: u64, mki: &[u8]) -> Keys {
    let mut prng = Prng::new(seed);
    let bytes: Vec<u8> = (0..suite.key_bytes() + suite.salt_bytes()).map(|_| prng.u64() as u8).collect();
    Keys::new(suite, &bytes).unwrap().with_mki(mki).unwrap()
}

fn session(suite: Suite, peer: &Keys, ours: &Keys) -> Session {
    let (peer, ours) = (vec![peer.clone()], ours.clone());
    Session::new(&Plan { suite, peer, ours, clear_rtp: false, clear_rtcp: false })
}

/// So many packets of every shape, two sources in turn, from just before the wrap of the sequence number.
fn rtp_packets(count: u64) -> Vec<Vec<u8>> {
    let packet = |number: u64| {
        let header = Header {
            payload_type: 8,
            marker: number == 0,
            sequence: (65_400 + number / 2) as u16,
            timestamp: number as u32 * 160,
            ssrc: 0xdead_0000 + (number % 2) as u32,
            csrc: if number.is_multiple_of(7) { &[1, 2, 3] } else { &[] },
            extension: number.is_multiple_of(5).then_some((0xbede, &[0x10, 0xff, 0, 0][..])),
            padding: if number.is_multiple_of(11) { 4 } else { 0 },
        };
        let mut bytes = Vec::new();
        rtp::write(&header, &vec![number as u8; (number % 200) as usize], &mut bytes);
        bytes
    };
    (0..count).map(packet).collect()
}

fn rtcp_packets(count: u32) -> Vec<Vec<u8>> {
    let packet = |number: u32| {
        let mut bytes = Vec::new();
        rtcp::write_sr(7, u64::from(number) << 32, number, (number, 160), "src@192.0.2.1", &mut bytes);
        bytes
    };
    (0..count).map(packet).collect()
}

/// Numbers from 0 to `count`, each moved by less than `by`.
fn shuffled(count: usize, by: u64) -> Vec<usize> {
    let mut prng = Prng::new(3);
    let mut order: Vec<(u64, usize)> = (0..count).map(|n| (n as u64 + prng.below(by), n)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, number)| number).collect()
}

fn open(session: &mut Session, is_rtcp: bool, packet: &[u8]) -> Result<Vec<u8>, Failure> {
    session.open(is_rtcp, packet, AT, &mut [0; 600]).map(<[u8]>::to_vec)
}

fn every_suite() -> impl Iterator<Item = (Suite, Keys)> {
    let both = |suite| [(suite, keys(suite, 1, &[])), (suite, keys(suite, 1, MKI))];
    Suite::ALL.into_iter().flat_map(both)
}

#[test]
fn what_libsrtp_protects_opens_here_in_any_order_and_once() {
    for (suite, keys) in every_suite() {
        for (kind, clear) in [("rtp", rtp_packets(600)), ("rtcp", rtcp_packets(100))] {
            let sealed = libsrtp(["protect", kind], suite, &keys, &clear);
            let mut session = session(suite, &keys, &keys);
            for number in shuffled(clear.len(), 50) {
                let packet = sealed[number].as_ref().expect("libsrtp protects it");
                let opened = open(&mut session, kind == "rtcp", packet);
                assert_eq!(opened.as_ref(), Ok(&clear[number]), "{suite:?} {kind} {number}");
                let again = open(&mut session, kind == "rtcp", packet);
                assert_eq!(again, Err(Failure::Replay), "{suite:?} {kind} {number}");
            }
        }
    }
}

#[test]
fn what_is_protected_here_libsrtp_opens_once() {
    for (suite, keys) in every_suite() {
        let clear = rtp_packets(600);
        let sender = Sender::new(suite, &keys, false);
        let protect = |(number, packet): (usize, &Vec<u8>)| {
            let mut packet = packet.clone();
            sender.rtp((65_400 + number as u32 / 2) >> 16, &mut packet);
            packet
        };
        let sealed: Vec<Vec<u8>> = clear.iter().enumerate().map(protect).collect();
        let (mut sent, mut expected) = (sealed.clone(), clear.iter().cloned().map(Some).collect::<Vec<_>>());
        sent.extend(sealed[590..].iter().cloned());
        expected.extend([const { None }; 10]);
        assert!(libsrtp(["unprotect", "rtp"], suite, &keys, &sent) == expected, "{suite:?}");
    }
}

#[test]
fn our_reports_are_srtcp_that_libsrtp_opens() {
    for (suite, keys) in every_suite() {
        let clear = rtcp_packets(100);
        let mut session = session(suite, &keys, &keys);
        let mut sealed = clear.clone();
        sealed.iter_mut().for_each(|packet| session.protect_rtcp(packet));
        // Our first index is 0 (RFC 3711 section 3.2.1), theirs 1; from there on both write the same bytes.
        let theirs = libsrtp(["protect", "rtcp"], suite, &keys, &clear[1..]);
        assert!(theirs.into_iter().flatten().eq(sealed[1..].iter().cloned()), "{suite:?}");
        // libsrtp 2.5 looks for the identifier in front of an SRTP tag, and does not open its own reports where that is shorter.
        if suite.rtp_tag_bytes() != suite.rtcp_tag_bytes() && !keys.mki().is_empty() {
            continue;
        }
        sealed.push(sealed[99].clone());
        let mut expected: Vec<Option<Vec<u8>>> = clear.into_iter().map(Some).collect();
        expected.push(None);
        assert!(libsrtp(["unprotect", "rtcp"], suite, &keys, &sealed) == expected, "{suite:?}");
    }
}

#[test]
fn another_key_a_cut_and_a_changed_packet_are_refused_on_both_sides() {
    for (suite, right) in every_suite() {
        let wrong = keys(suite, 2, right.mki());
        let clear = rtp_packets(20);
        let sealed = libsrtp(["protect", "rtp"], suite, &right, &clear);
        let sealed: Vec<Vec<u8>> = sealed.into_iter().flatten().collect();
        let mut stranger = session(suite, &wrong, &wrong);
        let mut session = session(suite, &right, &right);
        for packet in &sealed {
            assert_eq!(open(&mut stranger, false, packet), Err(Failure::Auth), "{suite:?}");
            assert!(open(&mut session, false, &packet[..packet.len() - 1]).is_err(), "{suite:?}");
            let mut changed = packet.clone();
            changed[1] ^= 1;
            assert_eq!(open(&mut session, false, &changed), Err(Failure::Auth), "{suite:?}");
        }
        assert!(
            sealed.iter().all(|packet| open(&mut session, false, packet).is_ok()),
            "none of it left a trace"
        );
        assert_eq!(libsrtp(["unprotect", "rtp"], suite, &wrong, &sealed), vec![None; 20], "{suite:?}");
    }
}

#[test]
fn a_rollover_counter_of_many_wraps_agrees_with_libsrtp() {
    let suite = Suite::AesCm128HmacSha1_32;
    let keys = keys(suite, 1, &[]);
    // Each jump is as far as a receiver can follow: 30,000 packets lost.
    let clear: Vec<Vec<u8>> = (0..40u32)
        .map(|number| {
            let header = Header { sequence: (number * 30_000) as u16, ssrc: 5, ..Header::default() };
            let mut bytes = Vec::new();
            rtp::write(&header, &[1; 160], &mut bytes);
            bytes
        })
        .collect();
    let sealed = libsrtp(["protect", "rtp"], suite, &keys, &clear);
    let mut session = session(suite, &keys, &keys);
    for (number, (sealed, clear)) in sealed.iter().zip(&clear).enumerate() {
        let opened = open(&mut session, false, sealed.as_ref().expect("libsrtp protects it"));
        assert_eq!(opened.as_ref(), Ok(clear), "{number}");
    }
}
