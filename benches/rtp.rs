//! Reading RTP: nanoseconds per packet of one thread's CPU time, over a fixed set of packets of every shape, in one run:
//!
//! - `touch`: the first 12 bytes are looked at, the baseline;
//! - `parse`: the header, with what extensions, contributing sources and padding there are;
//! - `sequence`: parse, then the extended sequence number and the duplicate window;
//! - `rtcp`: a compound of SR, SDES and BYE, for comparison.
//!
//! `cargo bench --bench rtp`; with `-- --smoke` a short run. Either way a hash of everything that was read is printed and checked.

use std::hint::black_box;

use tapehead::base::Prng;
use tapehead::rtp::{Header, Packet, Seen, Sequence, rtcp, write};
use tapehead::sys::clock::thread_cpu;

/// Packets of the set; it fits the second-level cache, as a tick's worth of receive buffers does.
const PACKETS: usize = 2048;
/// The hash of one pass over the set. It changes only with the set or with what is read from it.
const HASH: u64 = 0x1f67_7da0_28a7_26c6;

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--smoke");
    let passes = if smoke { 20 } else { 5000 };
    let packets = packets();
    let compound = compound();
    let touch = measure(passes, &packets, touch);
    let parse = measure(passes, &packets, parse);
    let sequence = measure(passes, &packets, sequence);
    let rtcp = measure(passes, &vec![compound; PACKETS], control);
    for (name, ns) in [("touch", touch.0), ("parse", parse.0), ("sequence", sequence.0), ("rtcp", rtcp.0)] {
        println!("{name:<9}{ns:7.2} ns/packet   {:.2}", ns / parse.0);
    }
    let hash = [touch, parse, sequence, rtcp].iter().fold(0, |hash, &(_, one)| mix(hash, one));
    println!("smoke    {hash:016x}");
    assert_eq!(hash, HASH, "something else was read than before");
}

/// Nanoseconds per packet over all passes, and the hash of one.
fn measure(passes: usize, packets: &[Vec<u8>], pass: fn(&[Vec<u8>]) -> u64) -> (f64, u64) {
    let hash = pass(packets);
    let start = thread_cpu();
    for _ in 0..passes {
        assert_eq!(black_box(pass(black_box(packets))), hash);
    }
    ((thread_cpu() - start).as_nanos() as f64 / (passes * packets.len()) as f64, hash)
}

fn mix(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
}

fn touch(packets: &[Vec<u8>]) -> u64 {
    packets.iter().fold(0, |hash, bytes| mix(hash, u64::from(bytes[1]) << 16 | u64::from(bytes[11])))
}

fn parse(packets: &[Vec<u8>]) -> u64 {
    packets.iter().fold(0, |hash, bytes| match Packet::parse(bytes) {
        Ok(packet) => {
            let head = u64::from(packet.timestamp) << 32 | u64::from(packet.sequence);
            mix(mix(hash, head), packet.payload.len() as u64)
        }
        Err(why) => mix(hash, why as u64),
    })
}

fn sequence(packets: &[Vec<u8>]) -> u64 {
    let mut sequence = Sequence::new();
    packets.iter().filter_map(|bytes| Packet::parse(bytes).ok()).fold(0, |hash, packet| {
        let seen = match sequence.observe(packet.sequence) {
            Seen::New { extended, .. } | Seen::Old { extended } | Seen::Jump { extended } => extended,
            Seen::Duplicate => 0,
        };
        mix(hash, seen)
    })
}

fn control(compounds: &[Vec<u8>]) -> u64 {
    compounds.iter().fold(0, |hash, bytes| {
        rtcp::compound(bytes).flatten().fold(hash, |hash, packet| match packet {
            rtcp::Rtcp::SenderReport { ntp, .. } => mix(hash, ntp),
            rtcp::Rtcp::SourceDescription(items) => mix(hash, items.count() as u64),
            _ => mix(hash, 1),
        })
    })
}

/// Nine in ten are plain G.711; the rest has all that a header may carry, comes twice, or is cut.
fn packets() -> Vec<Vec<u8>> {
    let mut prng = Prng::new(1);
    let mut packets: Vec<Vec<u8>> = Vec::with_capacity(PACKETS);
    for number in 0..PACKETS as u32 {
        let rich = prng.chance(60);
        let header = Header {
            sequence: (65_000 + number) as u16,
            timestamp: number * 160,
            ssrc: 7,
            csrc: if rich { &[1, 2] } else { &[] },
            extension: rich.then_some((0xbede, &[0x10, 0xff, 0, 0])),
            padding: if rich { 4 } else { 0 },
            ..Header::default()
        };
        let mut bytes = Vec::new();
        write(&header, &[0x55; 160], &mut bytes);
        if prng.chance(10) {
            bytes.truncate(12 + prng.below(4) as usize);
            bytes[0] |= 0x10;
        }
        match packets.last() {
            Some(last) if prng.chance(20) => packets.push(last.clone()),
            _ => packets.push(bytes),
        }
    }
    packets
}

fn compound() -> Vec<u8> {
    let mut bytes = Vec::new();
    rtcp::write_sr(7, 0x1234_5678_9abc_def0, 160, (50, 8000), "src@192.0.2.1", &mut bytes);
    rtcp::write_bye(7, &mut bytes);
    bytes
}
