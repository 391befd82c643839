//! STUN as a client asks it (RFC 8489): which address do packets of ours come from, behind a NAT? No I/O.
//!
//! One request, one answer: [`Request::bytes`] goes out, [`Request::read`] takes whatever comes back. Leaves out authentication, which a
//! plain binding request needs none of, fingerprints, and servers that redirect.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::Entropy;

/// Header: type, length, magic cookie, transaction id (RFC 8489 section 5).
const HEADER_BYTES: usize = 20;
const MAGIC: u32 = 0x2112_A442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const MAPPED_ADDRESS: u16 = 0x0001;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// A binding request that waits for its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    id: [u8; 12],
}

/// Why bytes tell no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoAddress {
    /// They are no answer to this request: wait on.
    Foreign,
    /// The server refuses, by this code.
    Refused(u16),
    /// An answer without an address, or one that can't be read.
    Malformed,
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAddress::Foreign => f.write_str("no answer to this request"),
            NoAddress::Refused(code) => write!(f, "the server refuses with {code}"),
            NoAddress::Malformed => f.write_str("the server's answer can't be read"),
        }
    }
}

impl std::error::Error for NoAddress {}

impl Request {
    /// One with a transaction id of its own, which nobody can guess who does not see it.
    pub fn new(entropy: &mut impl Entropy) -> Request {
        let mut id = [0; 12];
        entropy.fill(&mut id);
        Request { id }
    }

    /// The datagram; the same for each retransmission (RFC 8489 section 6.2.1).
    pub fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..2].copy_from_slice(&BINDING_REQUEST.to_be_bytes());
        bytes[4..8].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[8..].copy_from_slice(&self.id);
        bytes
    }

    /// The address that the server saw us at. Attributes that we don't know are stepped over, whatever they demand: the address
    /// means the same beside them.
    pub fn read(&self, datagram: &[u8]) -> Result<SocketAddr, NoAddress> {
        let (header, rest) = datagram.split_at_checked(HEADER_BYTES).ok_or(NoAddress::Foreign)?;
        if header[4..8] != MAGIC.to_be_bytes() || header[8..] != self.id {
            return Err(NoAddress::Foreign);
        }
        let length = usize::from(number(&header[2..4]));
        let attributes = rest.get(..length).filter(|_| length % 4 == 0);
        let attributes = Attributes(attributes.ok_or(NoAddress::Malformed)?);
        match number(&header[..2]) {
            BINDING_SUCCESS => self.address(&attributes).ok_or(NoAddress::Malformed),
            BINDING_ERROR => Err(refusal(&attributes).map_or(NoAddress::Malformed, NoAddress::Refused)),
            _ => Err(NoAddress::Foreign),
        }
    }

    /// XOR-MAPPED-ADDRESS, which no NAT rewrites by mistake, else the older MAPPED-ADDRESS (RFC 8489 section 14.1, 14.2).
    fn address(&self, attributes: &Attributes<'_>) -> Option<SocketAddr> {
        let mut mask = [0; 16];
        mask[..4].copy_from_slice(&MAGIC.to_be_bytes());
        mask[4..].copy_from_slice(&self.id);
        let masked = attributes.value(XOR_MAPPED_ADDRESS).and_then(|value| address(value, &mask));
        let address = masked.or_else(|| address(attributes.value(MAPPED_ADDRESS)?, &[0; 16]))?;
        (!address.ip().is_unspecified()).then_some(address)
    }
}

/// Type, length, value, padded to four bytes (RFC 8489 section 14).
struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The first of this type.
    fn value(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = self.0;
        loop {
            let (head, tail) = rest.split_at_checked(4)?;
            let length = usize::from(number(&head[2..]));
            let value = tail.get(..length)?;
            if number(&head[..2]) == wanted {
                return Some(value);
            }
            rest = tail.get(length.next_multiple_of(4)..)?;
        }
    }
}

fn number(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn address(value: &[u8], mask: &[u8; 16]) -> Option<SocketAddr> {
    let (head, ip) = value.split_at_checked(4)?;
    let port = number(&head[2..]) ^ number(mask);
    let mut clear = [0; 16];
    clear.iter_mut().zip(ip.iter().zip(mask)).for_each(|(clear, (byte, mask))| *clear = byte ^ mask);
    let ip = match (head[1], ip.len()) {
        (1, 4) => IpAddr::V4(Ipv4Addr::new(clear[0], clear[1], clear[2], clear[3])),
        (2, 16) => IpAddr::V6(Ipv6Addr::from(clear)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Class and number of the code (RFC 8489 section 14.8).
fn refusal(attributes: &Attributes<'_>) -> Option<u16> {
    let value = attributes.value(ERROR_CODE)?;
    let (class, number) = (value.get(2)? & 7, *value.get(3)?);
    Some(u16::from(class) * 100 + u16::from(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The transaction of RFC 5769 section 2.
    const REQUEST: Request =
        Request { id: [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae] };

    fn answer(kind: u16, id: &[u8; 12], attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend(kind.to_be_bytes());
            body.extend((value.len() as u16).to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), b' ');
        }
        [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), &MAGIC.to_be_bytes(), id, &body]
            .concat()
    }

    #[test]
    fn the_request_is_a_bare_header() {
        assert_eq!(REQUEST.bytes()[..8], [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
        assert_eq!(REQUEST.bytes()[8..], REQUEST.id);
    }

    #[test]
    fn the_sample_answers_of_rfc_5769_are_read() {
        let software: (u16, &[u8]) = (0x8022, b"test vector");
        let v4 = [0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        let v6 = [
            0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe,
            0xd2, 0xb9, 0xd9,
        ];
        let read = |value: &[u8]| REQUEST.read(&answer(0x0101, &REQUEST.id, &[software, (0x20, value)]));
        assert_eq!(read(&v4), Ok("192.0.2.1:32853".parse().unwrap()));
        assert_eq!(read(&v6), Ok("[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap()));
    }

    #[test]
    fn an_old_server_s_plain_address_does_and_the_masked_one_is_preferred() {
        let plain: (u16, &[u8]) = (1, &[0, 1, 0x13, 0xc4, 203, 0, 113, 5]);
        let masked: (u16, &[u8]) = (0x20, &[0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        // SOURCE-ADDRESS of RFC 3489, which we don't know.
        let unknown: (u16, &[u8]) = (4, &[1, 2, 3]);
        let read =
            |attributes: &[_]| REQUEST.read(&answer(0x0101, &REQUEST.id, attributes)).unwrap().to_string();
        assert_eq!(read(&[unknown, plain]), "203.0.113.5:5060");
        assert_eq!(read(&[plain, unknown, masked]), "192.0.2.1:32853");
    }

    #[test]
    fn what_tells_no_address_says_why() {
        let good = answer(0x0101, &REQUEST.id, &[(1, &[0, 1, 0, 1, 10, 0, 0, 1])]);
        assert!(REQUEST.read(&good).is_ok());
        assert_eq!(REQUEST.read(&answer(0x0101, &[0; 12], &[])), Err(NoAddress::Foreign));
        assert_eq!(REQUEST.read(&REQUEST.bytes()), Err(NoAddress::Foreign), "our own request, sent back");
        assert_eq!(REQUEST.read(&good[..good.len() - 1]), Err(NoAddress::Malformed));
        assert_eq!(REQUEST.read(&answer(0x0101, &REQUEST.id, &[])), Err(NoAddress::Malformed));
        let nowhere = answer(0x0101, &REQUEST.id, &[(1, &[0, 1, 0, 1, 0, 0, 0, 0])]);
        assert_eq!(REQUEST.read(&nowhere), Err(NoAddress::Malformed));
        let refused = answer(0x0111, &REQUEST.id, &[(9, b"\0\0\x04\x01Unauthorized")]);
        assert_eq!(REQUEST.read(&refused), Err(NoAddress::Refused(401)));
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(kind in prop::sample::select(vec![0x0101u16, 0x0111, 1]), body in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = answer(kind, &REQUEST.id, &[]);
            bytes[2..4].copy_from_slice(&(body.len() as u16).to_be_bytes());
            bytes.extend(body);
            let _ = REQUEST.read(&bytes);
        }

        #[test]
        fn whatever_address_a_server_saw_is_read_back(ip: IpAddr, port: u16, padding in prop::collection::vec(any::<u8>(), 0..9)) {
            prop_assume!(!ip.is_unspecified());
            let (family, octets) = match ip {
                IpAddr::V4(ip) => (1, ip.octets().to_vec()),
                IpAddr::V6(ip) => (2, ip.octets().to_vec()),
            };
            let mask = &REQUEST.bytes()[4..];
            let masked = port.to_be_bytes().into_iter().zip(mask).chain(octets.into_iter().zip(mask)).map(|(a, b)| a ^ b);
            let value: Vec<u8> = [0, family].into_iter().chain(masked).collect();
            let bytes = answer(0x0101, &REQUEST.id, &[(0x8022, &padding), (0x20, &value)]);
            prop_assert_eq!(REQUEST.read(&bytes), Ok(SocketAddr::new(ip, port)));
        }
    }
}
