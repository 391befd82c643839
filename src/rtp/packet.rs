//! The RTP header (RFC 3550 section 5.1): a view into the datagram, and the writer that tests and the demo send with.

/// The fixed part of the header, in bytes.
pub const HEADER_BYTES: usize = 12;

/// One packet, borrowed from its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// What the payload is, 0 to 127.
    pub payload_type: u8,
    /// The marker: for audio, the first packet after a silence (RFC 3551 section 4.1).
    pub marker: bool,
    /// The sequence number as sent.
    pub sequence: u16,
    /// Sampling instant of the first sample, in the payload's clock.
    pub timestamp: u32,
    /// The source.
    pub ssrc: u32,
    /// Contributing sources, 4 bytes each, big endian; at most 15.
    pub csrc: &'a [u8],
    /// Header extension (RFC 3550 section 5.3.1): profile word and its bytes.
    pub extension: Option<(u16, &'a [u8])>,
    /// The payload without padding; may be empty.
    pub payload: &'a [u8],
}

/// Why a datagram is not RTP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Malformed {
    /// Shorter than the fixed header.
    Short,
    /// Not version 2.
    Version,
    /// The list of contributing sources goes past the end.
    Csrc,
    /// The header extension goes past the end.
    Extension,
    /// The padding count is zero or larger than what is left.
    Padding,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Malformed::Short => "shorter than an RTP header",
            Malformed::Version => "not RTP version 2",
            Malformed::Csrc => "contributing sources go past the end",
            Malformed::Extension => "header extension goes past the end",
            Malformed::Padding => "padding count is impossible",
        })
    }
}

impl std::error::Error for Malformed {}

impl<'a> Packet<'a> {
    /// Reads `datagram`, checking what RFC 3550 appendix A.1 says can be checked without state. Whether the payload type was
    /// agreed is the caller's question.
    #[inline]
    pub fn parse(datagram: &'a [u8]) -> Result<Packet<'a>, Malformed> {
        let (head, rest) = datagram.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed::Short)?;
        if head[0] >> 6 != 2 {
            return Err(Malformed::Version);
        }
        let (csrc, rest) = rest.split_at_checked(4 * usize::from(head[0] & 0x0f)).ok_or(Malformed::Csrc)?;
        let (extension, rest) = if head[0] & 0x10 == 0 { (None, rest) } else { extension(rest)? };
        let payload = if head[0] & 0x20 == 0 { rest } else { unpad(rest)? };
        Ok(Packet {
            payload_type: head[1] & 0x7f,
            marker: head[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([head[2], head[3]]),
            timestamp: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            ssrc: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            csrc,
            extension,
            payload,
        })
    }
}

/// The extension and what follows it.
type Extended<'a> = (Option<(u16, &'a [u8])>, &'a [u8]);

/// RFC 3550 section 5.3.1: profile, length in 32-bit words, words.
fn extension(rest: &[u8]) -> Result<Extended<'_>, Malformed> {
    let (head, rest) = rest.split_first_chunk::<4>().ok_or(Malformed::Extension)?;
    let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let (body, rest) = rest.split_at_checked(4 * words).ok_or(Malformed::Extension)?;
    Ok((Some((u16::from_be_bytes([head[0], head[1]]), body)), rest))
}

/// RFC 3550 section 5.1: the last octet counts the padding, itself included.
fn unpad(rest: &[u8]) -> Result<&[u8], Malformed> {
    let count = usize::from(*rest.last().ok_or(Malformed::Padding)?);
    if count == 0 || count > rest.len() {
        return Err(Malformed::Padding);
    }
    Ok(&rest[..rest.len() - count])
}

/// What [`write()`] puts in front of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Header<'a> {
    /// 0 to 127.
    pub payload_type: u8,
    /// The marker.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// The source.
    pub ssrc: u32,
    /// Contributing sources; at most 15.
    pub csrc: &'a [u32],
    /// Profile word and body of a header extension; the body a multiple of 4 bytes.
    pub extension: Option<(u16, &'a [u8])>,
    /// Bytes of padding after the payload, 0 for none.
    pub padding: u8,
}

/// Appends one packet to `out`.
///
/// # Panics
/// If the header can't be written: more than 15 contributing sources, or an extension that is no whole number of words.
pub fn write(header: &Header<'_>, payload: &[u8], out: &mut Vec<u8>) {
    assert!(header.csrc.len() <= 15 && header.payload_type < 128);
    let flags = u8::from(header.padding > 0) << 5 | u8::from(header.extension.is_some()) << 4;
    out.push(2 << 6 | flags | header.csrc.len() as u8);
    out.push(u8::from(header.marker) << 7 | header.payload_type);
    out.extend(header.sequence.to_be_bytes());
    out.extend(header.timestamp.to_be_bytes());
    out.extend(header.ssrc.to_be_bytes());
    header.csrc.iter().for_each(|csrc| out.extend(csrc.to_be_bytes()));
    if let Some((profile, body)) = header.extension {
        assert!(body.len().is_multiple_of(4) && body.len() / 4 <= usize::from(u16::MAX));
        out.extend(profile.to_be_bytes());
        out.extend(((body.len() / 4) as u16).to_be_bytes());
        out.extend(body);
    }
    out.extend(payload);
    if header.padding > 0 {
        out.resize(out.len() + usize::from(header.padding) - 1, 0);
        out.push(header.padding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_packet_of_the_wire_is_read_field_by_field() {
        let wire = [
            0x80, 0x88, 0xff, 0xfe, 0x01, 0x02, 0x03, 0x04, 0xde, 0xad, 0xbe, 0xef, 0xd5,
            0x55, // A-law, marked
        ];
        let packet = Packet::parse(&wire).unwrap();
        assert_eq!((packet.payload_type, packet.marker, packet.sequence), (8, true, 0xfffe));
        assert_eq!(
            (packet.timestamp, packet.ssrc, packet.payload),
            (0x01020304, 0xdeadbeef, &[0xd5, 0x55][..])
        );
    }

    #[test]
    fn each_malformation_is_told_apart() {
        let with = |first: u8, tail: &[u8]| {
            let mut wire = vec![first, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
            wire.extend(tail);
            Packet::parse(&wire).map(|packet| packet.payload.len())
        };
        assert_eq!(Packet::parse(&[0x80; 11]), Err(Malformed::Short));
        assert_eq!(with(0x40, &[]), Err(Malformed::Version));
        assert_eq!(with(0x82, &[0; 7]), Err(Malformed::Csrc));
        assert_eq!(with(0x90, &[0, 0, 0]), Err(Malformed::Extension));
        assert_eq!(with(0x90, &[0, 0, 0, 1, 9, 9, 9]), Err(Malformed::Extension));
        assert_eq!(with(0xa0, &[]), Err(Malformed::Padding));
        assert_eq!(with(0xa0, &[7, 0]), Err(Malformed::Padding));
        assert_eq!(with(0xa0, &[7, 3]), Err(Malformed::Padding));
        assert_eq!(with(0xa0, &[7, 2]), Ok(0), "padding may be all there is");
        assert_eq!(with(0x80, &[]), Ok(0), "an empty payload is RTP");
    }

    proptest! {
        #[test]
        fn no_datagram_panics_and_the_payload_lies_within(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.payload.len() + HEADER_BYTES <= bytes.len());
            }
        }

        #[test]
        fn what_is_written_reads_back(
            (payload_type, marker, sequence) in (0u8..128, any::<bool>(), any::<u16>()),
            (timestamp, ssrc, padding) in (any::<u32>(), any::<u32>(), any::<u8>()),
            csrc in prop::collection::vec(any::<u32>(), 0..16),
            extension in prop::option::of((any::<u16>(), prop::collection::vec(any::<[u8; 4]>(), 0..5))),
            payload in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let extension = extension.map(|(profile, words)| (profile, words.concat()));
            let extension = extension.as_ref().map(|(profile, body)| (*profile, body.as_slice()));
            let header = Header { payload_type, marker, sequence, timestamp, ssrc, csrc: &csrc, extension, padding };
            let mut wire = Vec::new();
            write(&header, &payload, &mut wire);
            let packet = Packet::parse(&wire).unwrap();
            prop_assert_eq!((packet.payload_type, packet.marker, packet.sequence), (payload_type, marker, sequence));
            prop_assert_eq!((packet.timestamp, packet.ssrc, packet.extension), (timestamp, ssrc, extension));
            prop_assert_eq!(packet.payload, &payload[..]);
            let sources: Vec<u8> = csrc.iter().flat_map(|csrc| csrc.to_be_bytes()).collect();
            prop_assert_eq!(packet.csrc, &sources[..]);
        }
    }
}
