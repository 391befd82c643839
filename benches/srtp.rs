//! Opening SRTP: nanoseconds of one thread's CPU time per packet of 172 bytes (20 ms of G.711 with its header), for each suite, in one run:
//!
//! - `copy`: the packet is copied, the baseline of everything that is not cryptography;
//! - `open`: authenticated, checked for replay, decrypted into another buffer, as the shard does;
//! - `refuse`: under another key, what a stranger's packet costs;
//! - `libsrtp2`: the same packets through Debian's libsrtp2 (`tests/libsrtp.c`), where it and a C compiler are installed.
//!
//! `cargo bench --bench srtp`; with `-- --smoke` a short run, without libsrtp2. Either way a hash of what was opened is checked.

use std::hint::black_box;
use std::io::Write;
use std::process::{Command, Stdio};

use tapehead::base::Mono;
use tapehead::rtp::{Header, write};
use tapehead::srtp::{Keys, Plan, Sender, Session, Suite};
use tapehead::sys::clock::thread_cpu;

/// Packets of the set: the sequence number wraps within.
const PACKETS: u32 = 2048;
/// The hash of all that is opened in one pass.
const HASH: u64 = 0x30ea_656f_5ce5_7ebe;

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--smoke");
    let passes = if smoke { 3 } else { 200 };
    let helper = if smoke { None } else { helper() };
    let clear: Vec<Vec<u8>> = (0..PACKETS).map(packet).collect();
    let copy = measure(passes, || copies(&clear));
    println!("{:<25}{:>8}{:>8}{:>8}{:>10}", "ns/packet", "copy", "open", "refuse", "libsrtp2");
    for suite in Suite::ALL {
        let sealed = sealed(suite, &clear);
        let (right, wrong) = (plan(suite, 7), plan(suite, 8));
        let open = measure(passes, || opened(&right, &sealed));
        let refuse = measure(passes.min(50), || opened(&wrong, &sealed));
        let theirs = helper.as_deref().and_then(|helper| libsrtp(helper, suite, &sealed));
        let theirs = theirs.unwrap_or_else(|| "-".to_owned());
        println!("{:<25}{:8.1}{:8.1}{:8.1}{theirs:>10}", suite.name(), copy.0, open.0, refuse.0);
        assert_eq!((open.1, refuse.1), (copy.1, 0), "{suite:?} opens what was sealed");
    }
    println!("smoke    {:016x}", copy.1);
    assert_eq!(copy.1, HASH, "other packets than before");
}

/// Nanoseconds per packet over all passes, and the hash of one.
fn measure(passes: u32, pass: impl Fn() -> u64) -> (f64, u64) {
    let hash = pass();
    let start = thread_cpu();
    (0..passes).for_each(|_| assert_eq!(black_box(pass()), hash));
    ((thread_cpu() - start).as_nanos() as f64 / f64::from(passes * PACKETS), hash)
}

fn mix(hash: u64, packet: &[u8]) -> u64 {
    let word = packet[packet.len() - 8..].try_into().map_or(0, u64::from_be_bytes);
    (hash ^ word ^ u64::from(packet[3])).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
}

fn packet(number: u32) -> Vec<u8> {
    let header =
        Header { sequence: (65_000 + number) as u16, timestamp: number * 160, ssrc: 7, ..Header::default() };
    let mut bytes = Vec::new();
    write(&header, &number.to_be_bytes().repeat(40), &mut bytes);
    bytes
}

fn keys(suite: Suite, seed: u8) -> Keys {
    Keys::new(suite, &[seed; 46][..suite.key_bytes() + suite.salt_bytes()]).expect("as long as it has to be")
}

fn plan(suite: Suite, seed: u8) -> Plan {
    let (peer, ours) = (vec![keys(suite, seed)], keys(suite, 9));
    Plan { suite, peer, ours, clear_rtp: false, clear_rtcp: false }
}

fn sealed(suite: Suite, clear: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let sender = Sender::new(suite, &keys(suite, 7), false);
    let seal = |(number, packet): (u32, &Vec<u8>)| {
        let mut packet = packet.clone();
        sender.rtp((65_000 + number) >> 16, &mut packet);
        packet
    };
    (0..).zip(clear).map(seal).collect()
}

fn copies(packets: &[Vec<u8>]) -> u64 {
    let mut room = [0; 600];
    packets.iter().fold(0, |hash, packet| {
        room[..packet.len()].copy_from_slice(black_box(packet));
        mix(hash, &black_box(&room)[..packet.len()])
    })
}

/// In a session of its own: to one that is older each packet would be a replay.
fn opened(plan: &Plan, packets: &[Vec<u8>]) -> u64 {
    let mut session = Session::new(plan);
    let mut room = [0; 600];
    packets.iter().fold(0, |hash, packet| match session.open(false, black_box(packet), Mono(1), &mut room) {
        Ok(clear) => mix(hash, clear),
        Err(_) => hash,
    })
}

/// The helper in C, if it can be built.
fn helper() -> Option<String> {
    let helper = format!("{}/libsrtp-bench-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libsrtp.c");
    let cc =
        Command::new("cc").args(["-O2", source, "-lsrtp2", "-o", &helper]).stderr(Stdio::null()).status();
    cc.is_ok_and(|status| status.success()).then_some(helper)
}

fn libsrtp(helper: &str, suite: Suite, sealed: &[Vec<u8>]) -> Option<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let number = Suite::ALL.iter().position(|one| *one == suite)?.to_string();
    let mut child = Command::new(helper)
        .args(["bench", "rtp", &number, &hex(keys(suite, 7).expose()), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    sealed.iter().try_for_each(|packet| writeln!(stdin, "{}", hex(packet))).ok()?;
    drop(stdin);
    let output = child.wait_with_output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
