//! A frame, from its network header on, to the datagram in it: pure, bounded, and as strict as the kernel's own IP and UDP.
//!
//! The kernel's filter (`program`) has looked at address, protocol and port; everything else is checked here, because a tap sees
//! a packet before the stack would: length against what was on the wire, header checksum (RFC 791), UDP length (RFC 768) and UDP checksum
//! unless the kernel vouches for it. What a stack would throw away is an error with its reason. Fragments are not put together.
//!
//! Leaves out the link layer: VLAN tags and padding are gone or cut off.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use crate::limits::{DATAGRAM_BYTES_MAX, IPV6_EXTENSIONS_MAX};

/// Protocol number of UDP (IANA).
pub const UDP: u8 = 17;
/// Next headers that may stand in front of it (RFC 8200 section 4): hop-by-hop options, routing, destination options.
pub const EXTENSIONS: [u8; 3] = [0, 43, 60];
/// The fragment header (RFC 8200 section 4.5).
pub const FRAGMENT: u8 = 44;
const ROUTING: u8 = 43;
const UDP_HEADER_BYTES: usize = 8;

/// A frame as the tap saw it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// From the network header on, as far as it was captured.
    pub bytes: &'a [u8],
    /// How long it was on the wire, network header and padding included, in bytes.
    pub wire_bytes: usize,
    /// The kernel vouches for the transport checksum: the card has verified it, or the packet never left this machine and has none yet.
    pub is_vouched: bool,
    /// Index of the interface, for the scope of link-local addresses.
    pub interface: u32,
}

/// What is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram<'a> {
    /// Destination port.
    pub port: u16,
    /// Source.
    pub from: SocketAddr,
    /// Its bytes, cut at [`DATAGRAM_BYTES_MAX`].
    pub payload: &'a [u8],
    /// Whether they were cut.
    pub truncated: bool,
}

/// Why there is no datagram to be had from a frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// A fragment of a longer packet.
    Fragment,
    /// The UDP checksum is wrong, or absent where IPv6 requires one (RFC 8200 section 8.1).
    Checksum,
    /// A length, version or header checksum that no IP stack would accept.
    Malformed,
}

/// Reads a frame. Never panics, whatever is in it.
pub fn parse<'a>(frame: &Frame<'a>) -> Result<Datagram<'a>, Fault> {
    match frame.bytes.first().ok_or(Fault::Malformed)? >> 4 {
        4 => ipv4(frame),
        6 => ipv6(frame),
        _ => Err(Fault::Malformed),
    }
}

/// The part of a packet behind its network headers: what was captured of it, and how long it is.
struct Transport<'a> {
    bytes: &'a [u8],
    len: usize,
    /// Sum of source and destination, the part of the pseudo header that is the network's.
    addresses: u64,
}

/// RFC 791 section 3.1.
fn ipv4<'a>(frame: &Frame<'a>) -> Result<Datagram<'a>, Fault> {
    let fixed: &[u8; 20] = frame.bytes.first_chunk().ok_or(Fault::Malformed)?;
    let header_bytes = usize::from(fixed[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let header = frame.bytes.get(..header_bytes).ok_or(Fault::Malformed)?;
    if header_bytes < 20 || total < header_bytes || total > frame.wire_bytes || fold(sum(header)) != 0xffff {
        return Err(Fault::Malformed);
    }
    // More fragments, or an offset.
    if u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff != 0 {
        return Err(Fault::Fragment);
    }
    if fixed[9] != UDP {
        return Err(Fault::Malformed);
    }
    let source = Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]);
    let bytes = within(frame.bytes, header_bytes, total);
    let transport = Transport { bytes, len: total - header_bytes, addresses: sum(&fixed[12..20]) };
    udp(&transport, source.into(), frame)
}

/// RFC 8200 section 3. Without jumbograms (RFC 2675): no datagram of media is one.
fn ipv6<'a>(frame: &Frame<'a>) -> Result<Datagram<'a>, Fault> {
    let fixed: &[u8; 40] = frame.bytes.first_chunk().ok_or(Fault::Malformed)?;
    let total = 40 + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    if total > frame.wire_bytes {
        return Err(Fault::Malformed);
    }
    let start = extensions(within(frame.bytes, 0, total), fixed[6])?;
    let source: [u8; 16] = std::array::from_fn(|at| fixed[8 + at]);
    let bytes = within(frame.bytes, start, total);
    // The last extension header may claim to go on behind the end.
    let len = total.checked_sub(start).ok_or(Fault::Malformed)?;
    let transport = Transport { bytes, len, addresses: sum(&fixed[8..40]) };
    udp(&transport, source.into(), frame)
}

/// Where the transport header starts, behind at most [`IPV6_EXTENSIONS_MAX`] extension headers.
fn extensions(packet: &[u8], first: u8) -> Result<usize, Fault> {
    let (mut next, mut at) = (first, 40);
    for _ in 0..=IPV6_EXTENSIONS_MAX {
        if next == UDP {
            return Ok(at);
        }
        let header: &[u8; 8] = packet.get(at..).and_then(<[u8]>::first_chunk).ok_or(Fault::Malformed)?;
        match next {
            // A packet that is all of its fragments is whole (RFC 6946).
            FRAGMENT if u16::from_be_bytes([header[2], header[3]]) & 0xfff9 != 0 => {
                return Err(Fault::Fragment);
            }
            FRAGMENT => at += 8,
            // Segments left: it is on its way to somebody else.
            ROUTING if header[3] != 0 => return Err(Fault::Malformed),
            _ if EXTENSIONS.contains(&next) => at += (usize::from(header[1]) + 1) * 8,
            _ => return Err(Fault::Malformed),
        }
        next = header[0];
    }
    Err(Fault::Malformed)
}

/// RFC 768.
fn udp<'a>(transport: &Transport<'a>, source: IpAddr, frame: &Frame<'a>) -> Result<Datagram<'a>, Fault> {
    let header: &[u8; UDP_HEADER_BYTES] = transport.bytes.first_chunk().ok_or(Fault::Malformed)?;
    let [from, port, len, checksum] =
        std::array::from_fn(|at| u16::from_be_bytes([header[at * 2], header[at * 2 + 1]]));
    let len = usize::from(len);
    if len < UDP_HEADER_BYTES || len > transport.len {
        return Err(Fault::Malformed);
    }
    let bytes = within(transport.bytes, 0, len);
    let is_whole = bytes.len() == len;
    if !frame.is_vouched {
        let is_good = match checksum {
            0 => source.is_ipv4(),
            // What was not captured can't be summed up; the datagram is of no use either.
            _ if !is_whole => true,
            _ => fold(transport.addresses + pseudo(len) + sum(bytes)) == 0xffff,
        };
        if !is_good {
            return Err(Fault::Checksum);
        }
    }
    let payload = within(bytes, UDP_HEADER_BYTES, UDP_HEADER_BYTES + DATAGRAM_BYTES_MAX);
    let truncated = payload.len() < len - UDP_HEADER_BYTES;
    Ok(Datagram { port, from: address(source, from, frame.interface), payload, truncated })
}

fn address(source: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match source {
        IpAddr::V6(source) if source.is_unicast_link_local() => {
            SocketAddrV6::new(source, port, 0, interface).into()
        }
        source => SocketAddr::new(source, port),
    }
}

/// Bytes `start` to `end`, as far as they are there.
fn within(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    let end = end.min(bytes.len());
    bytes.get(start..end).unwrap_or_default()
}

/// The transport's part of the pseudo header, in the byte order that [`sum`] uses.
fn pseudo(len: usize) -> u64 {
    u64::from(u16::from(UDP).to_be()) + u64::from((len as u16).to_be())
}

/// One's complement sum of 16-bit words (RFC 1071), not folded yet: in the machine's byte order, which the folded sum does not mind, and four
/// bytes at a time. No frame is long enough to carry out of 64 bits.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let all: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    all + u64::from(u32::from_ne_bytes(last))
}

/// Folds to 16 bits; 0xffff over data that hold their own checksum.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

#[cfg(test)]
#[path = "frame_tests.rs"]
pub(crate) mod tests;
