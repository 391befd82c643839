//! Frames written by hand-made writers, damaged in every way, and read against a checksum done the slow way.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

/// RFC 1071, word by word as it is told there.
pub(crate) fn slow_checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !(sum as u16)
}

fn udp_bytes(addresses: &[u8], from: u16, port: u16, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    let mut bytes: Vec<u8> = [from, port, len, 0].iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend(payload);
    let check = match slow_checksum(&[addresses, &[0, 17], &len.to_be_bytes(), &bytes]) {
        0 => 0xffff,
        check => check,
    };
    bytes[6..8].copy_from_slice(&check.to_be_bytes());
    bytes
}

/// Writes the header checksum of an IPv4 packet without options anew.
pub(crate) fn mend(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[10..12].fill(0);
    let check = slow_checksum(&[&bytes[..20]]);
    bytes[10..12].copy_from_slice(&check.to_be_bytes());
    bytes
}

/// An IPv4 packet; `options` a multiple of four bytes.
pub(crate) fn v4(source: [u8; 4], options: &[u8], from: u16, port: u16, payload: &[u8]) -> Vec<u8> {
    let to = [192, 0, 2, 1];
    let udp = udp_bytes(&[source, to].concat(), from, port, payload);
    let header_bytes = 20 + options.len();
    let total = ((header_bytes + udp.len()) as u16).to_be_bytes();
    let mut bytes = vec![0x40 | (header_bytes / 4) as u8, 0, total[0], total[1], 1, 2, 0x40, 0, 64, 17, 0, 0];
    bytes.extend([source, to].concat());
    bytes.extend(options);
    let check = slow_checksum(&[&bytes]);
    bytes[10..12].copy_from_slice(&check.to_be_bytes());
    bytes.extend(udp);
    bytes
}

/// An IPv6 packet with extension headers, each its number and its bytes from the second on.
pub(crate) fn v6(source: Ipv6Addr, chain: &[(u8, Vec<u8>)], from: u16, port: u16, payload: &[u8]) -> Vec<u8> {
    let to: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let addresses = [source.octets(), to.octets()].concat();
    let udp = udp_bytes(&addresses, from, port, payload);
    let mut body = Vec::new();
    for (at, (_, rest)) in chain.iter().enumerate() {
        body.push(chain.get(at + 1).map_or(UDP, |next| next.0));
        body.extend(rest);
    }
    body.extend(udp);
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend([chain.first().map_or(UDP, |first| first.0), 64]);
    bytes.extend(addresses);
    bytes.extend(body);
    bytes
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    Frame { bytes, wire_bytes: bytes.len(), is_vouched: false, interface: 7 }
}

fn source6() -> Ipv6Addr {
    "2001:db8::2".parse().unwrap()
}

/// Destination options of `units` + 1 times eight bytes.
pub(crate) fn options(units: u8) -> (u8, Vec<u8>) {
    let mut rest = vec![units];
    rest.resize(7 + usize::from(units) * 8, 0);
    (60, rest)
}

#[test]
fn padding_behind_a_packet_is_no_payload() {
    for mut bytes in [v4([192, 0, 2, 2], &[], 5000, 6000, b"ab"), v6(source6(), &[], 5000, 6000, b"ab")] {
        bytes.extend([0; 30]);
        let datagram = parse(&frame(&bytes)).unwrap();
        assert_eq!((datagram.port, datagram.from.port(), datagram.payload), (6000, 5000, &b"ab"[..]));
        assert!(!datagram.truncated);
    }
}

#[test]
fn a_fragment_is_known_as_one_and_a_packet_in_one_piece_is_not() {
    for (flags, expected) in [(0x2000u16, true), (0x0001, true), (0x4000, false), (0x8000, false)] {
        let mut bytes = v4([192, 0, 2, 2], &[], 1, 2, b"x");
        bytes[6..8].copy_from_slice(&flags.to_be_bytes());
        assert_eq!(parse(&frame(&mend(bytes))) == Err(Fault::Fragment), expected, "{flags:#x}");
    }
    for (offset, expected) in [(0u16, false), (1, true), (8, true)] {
        let mut header = vec![0];
        header.extend(offset.to_be_bytes());
        header.extend([9, 9, 9, 9]);
        let bytes = v6(source6(), &[(FRAGMENT, header)], 1, 2, b"x");
        assert_eq!(parse(&frame(&bytes)) == Err(Fault::Fragment), expected, "{offset}");
    }
}

#[test]
fn a_checksum_is_checked_unless_the_kernel_vouches_for_it() {
    for mut bytes in [v4([192, 0, 2, 2], &[], 1, 2, b"media"), v6(source6(), &[], 1, 2, b"media")] {
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(parse(&frame(&bytes)), Err(Fault::Checksum));
        let vouched = Frame { is_vouched: true, ..frame(&bytes) };
        assert_eq!(parse(&vouched).unwrap().payload, b"medi`");
        // Captured in part it can't be checked.
        let cut = Frame { bytes: &bytes[..bytes.len() - 1], ..frame(&bytes) };
        assert!(parse(&cut).unwrap().truncated);
        // Zero means none, which IPv6 does not allow.
        let (at, is_v4) = (bytes.len() - 5 - 2, bytes[0] >> 4 == 4);
        bytes[at..at + 2].fill(0);
        assert_eq!(parse(&frame(&bytes)).is_ok(), is_v4);
        if !is_v4 {
            assert_eq!(parse(&frame(&bytes)), Err(Fault::Checksum));
        }
    }
}

#[test]
fn lengths_that_contradict_each_other_are_malformed() {
    let good = v4([192, 0, 2, 2], &[], 1, 2, b"media");
    let mended = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes = mend(bytes);
        let vouched = Frame { is_vouched: true, ..frame(&bytes) };
        parse(&vouched).map(|datagram| datagram.payload.to_vec())
    };
    assert_eq!(mended(|_| ()), Ok(b"media".to_vec()));
    let malformed: [fn(&mut Vec<u8>); 7] = [
        |bytes| bytes[3] += 1,   // longer than the wire
        |bytes| bytes[3] = 19,   // shorter than its header
        |bytes| bytes[3] = 27,   // no room for UDP
        |bytes| bytes[0] = 0x44, // four words of header
        |bytes| bytes[0] = 0x55, // IPv5
        |bytes| bytes[25] += 1,  // UDP longer than the packet
        |bytes| bytes[25] = 7,   // UDP shorter than its header
    ];
    for (case, change) in malformed.into_iter().enumerate() {
        assert_eq!(mended(change), Err(Fault::Malformed), "case {case}");
    }
    // A datagram may be shorter than the packet it is in.
    assert_eq!(mended(|bytes| bytes[25] -= 1), Ok(b"medi".to_vec()));
    let mut bytes = good.clone();
    bytes[11] ^= 1;
    assert_eq!(parse(&frame(&bytes)), Err(Fault::Malformed), "the header's checksum");
}

#[test]
fn extension_headers_are_walked_to_a_bound() {
    let chain = |count: usize| vec![options(1); count];
    let read =
        |chain: &[(u8, Vec<u8>)]| parse(&frame(&v6(source6(), chain, 1, 2, b"x"))).map(|found| found.port);
    assert_eq!(read(&chain(IPV6_EXTENSIONS_MAX)), Ok(2));
    assert_eq!(read(&chain(IPV6_EXTENSIONS_MAX + 1)), Err(Fault::Malformed));
    let routing = |left: u8| vec![(ROUTING, vec![0, 0, left, 0, 0, 0, 0])];
    assert_eq!((read(&routing(0)), read(&routing(1))), (Ok(2), Err(Fault::Malformed)));
    assert_eq!(read(&[(6, vec![0; 7])]), Err(Fault::Malformed), "TCP");
}

#[test]
fn an_extension_header_that_goes_on_behind_the_end_is_malformed() {
    // 16 bytes behind the fixed header, of which the destination options claim 24; UDP would follow.
    let mut packet = vec![0u8; 56];
    packet[0] = 0x60;
    packet[4..7].copy_from_slice(&[0, 16, 60]);
    packet[40..42].copy_from_slice(&[17, 2]);
    for bytes in [packet.clone(), [packet, vec![0; 40]].concat()] {
        let wire_bytes = bytes.len();
        let frame = Frame { bytes: &bytes, wire_bytes, is_vouched: true, interface: 3 };
        assert_eq!(parse(&frame), Err(Fault::Malformed));
    }
}

#[test]
fn a_link_local_source_has_the_scope_of_its_interface() {
    let near: Ipv6Addr = "fe80::1".parse().unwrap();
    let bytes = v6(near, &[], 9, 2, b"x");
    assert_eq!(parse(&frame(&bytes)).unwrap().from, SocketAddrV6::new(near, 9, 0, 7).into());
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        (v4_source, v6_source, is_v4) in (any::<[u8; 4]>(), any::<u128>(), any::<bool>()),
        (from, port) in (any::<u16>(), any::<u16>()),
        options_words in 0usize..=10, extensions in prop::collection::vec(0u8..4, 0..=IPV6_EXTENSIONS_MAX),
        payload in prop::collection::vec(any::<u8>(), 0..DATAGRAM_BYTES_MAX + 20),
        (padding, captured) in (0usize..40, any::<prop::sample::Index>()),
    ) {
        let chain: Vec<_> = extensions.iter().map(|&units| options(units)).collect();
        let mut bytes = if is_v4 {
            v4(v4_source, &vec![1; options_words * 4], from, port, &payload)
        } else {
            v6(v6_source.into(), &chain, from, port, &payload)
        };
        let headers = bytes.len() - payload.len();
        bytes.resize(bytes.len() + padding, 0xee);
        let datagram = parse(&frame(&bytes)).unwrap();
        prop_assert_eq!((datagram.port, datagram.from.port()), (port, from));
        prop_assert_eq!(datagram.payload, &payload[..payload.len().min(DATAGRAM_BYTES_MAX)]);
        prop_assert_eq!(datagram.truncated, payload.len() > DATAGRAM_BYTES_MAX);
        // Captured in part: the same datagram with less of it, or nothing.
        let captured = captured.index(bytes.len() + 1);
        let cut = Frame { bytes: &bytes[..captured], ..frame(&bytes) };
        match parse(&cut) {
            Ok(part) => {
                prop_assert!(captured >= headers);
                prop_assert!(datagram.payload.starts_with(part.payload));
                prop_assert_eq!(part.truncated, payload.len() > part.payload.len());
            }
            Err(fault) => prop_assert!(captured < headers && fault == Fault::Malformed),
        }
    }

    #[test]
    fn one_wrong_bit_is_found(at in any::<prop::sample::Index>(), bit in 0u8..8, is_v4: bool, payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let good = if is_v4 { v4([192, 0, 2, 2], &[], 1, 2, &payload) } else { v6(source6(), &[], 1, 2, &payload) };
        let expected = parse(&frame(&good)).unwrap();
        let mut bytes = good.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        match parse(&frame(&bytes)) {
            Err(_) => {}
            // What neither checksum covers: traffic class, flow label and hop limit of IPv6.
            Ok(found) => {
                prop_assert_eq!(found, expected);
                prop_assert!(!is_v4 && (at < 4 || at == 7), "byte {} bit {}", at, bit);
            }
        }
    }

    #[test]
    fn the_fast_sum_is_the_slow_one(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert_eq!(u16::from_be(!fold(sum(&bytes))), slow_checksum(&[&bytes]));
    }

    #[test]
    fn no_frame_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200), more in 0usize..100, is_v4: bool, is_vouched: bool) {
        if let Some(first) = bytes.first_mut() {
            *first = if is_v4 { 0x40 | (*first & 7) } else { 0x60 };
        }
        let frame = Frame { wire_bytes: bytes.len() + more, is_vouched, ..frame(&bytes) };
        if let Ok(datagram) = parse(&frame) {
            prop_assert!(bytes.as_ptr_range().contains(&datagram.payload.as_ptr()) || datagram.payload.is_empty());
        }
    }
}
