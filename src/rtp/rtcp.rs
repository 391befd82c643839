//! RTCP (RFC 3550 section 6): reading of compound packets, writing of reports.
//!
//! Lenient where it costs nothing: a reduced-size packet (RFC 5506) is read, an unknown type is skipped. Leaves out timing rules.

use super::ReportBlock;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const APP: u8 = 204;
/// Bytes of a report block.
const BLOCK_BYTES: usize = 24;
/// SDES item that names a source for its whole life (RFC 3550 section 6.5.1).
pub const CNAME: u8 = 1;

/// Whether a datagram on a shared port is RTCP (RFC 5761 section 4): the second byte is a packet type from 192 to 223,
/// which as RTP would be payload types 64 to 95 with the marker, and those must not be used.
#[inline]
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.len() >= 4 && datagram[0] >> 6 == 2 && (192..=223).contains(&datagram[1])
}

/// One packet of a compound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rtcp<'a> {
    /// SR (RFC 3550 section 6.4.1).
    SenderReport {
        /// The sender.
        ssrc: u32,
        /// Its wall clock: seconds since 1900 in the upper half, fraction in the lower.
        ntp: u64,
        /// The same instant on its media clock.
        timestamp: u32,
        /// RTP packets sent so far.
        packets: u32,
        /// Payload bytes sent so far.
        octets: u32,
        /// What it receives.
        reports: ReportBlocks<'a>,
    },
    /// RR (RFC 3550 section 6.4.2).
    ReceiverReport {
        /// The reporter.
        ssrc: u32,
        /// What it receives.
        reports: ReportBlocks<'a>,
    },
    /// SDES (RFC 3550 section 6.5).
    SourceDescription(Items<'a>),
    /// BYE (RFC 3550 section 6.6).
    Bye {
        /// Sources that leave, 4 bytes each, big endian.
        sources: &'a [u8],
        /// Why, if told.
        reason: &'a [u8],
    },
    /// APP (RFC 3550 section 6.7).
    App {
        /// Subtype, 0 to 31.
        subtype: u8,
        /// The source.
        ssrc: u32,
        /// Four ASCII characters.
        name: [u8; 4],
        /// What the application makes of it.
        data: &'a [u8],
    },
    /// Any other type, unread.
    Other {
        /// The packet type.
        packet_type: u8,
        /// Count or subtype, 0 to 31.
        count: u8,
        /// Everything after the 4-byte header.
        body: &'a [u8],
    },
}

/// Why a datagram is not (wholly) RTCP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Malformed {
    /// Fewer than 4 bytes are left.
    Short,
    /// Not version 2.
    Version,
    /// The length goes past the end of the datagram.
    Length,
    /// The fixed part or the counted list does not fit the length.
    Body,
    /// The padding count is impossible, or padding is not in the last packet.
    Padding,
}

/// The packets of one datagram, in order. The first error ends it.
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

/// Reads `datagram` as a compound packet (RFC 3550 section 6.1, appendix A.2).
pub fn compound(datagram: &[u8]) -> Compound<'_> {
    Compound { rest: datagram }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Rtcp<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.packet();
        if read.is_err() {
            self.rest = &[];
        }
        Some(read)
    }
}

impl<'a> Compound<'a> {
    fn packet(&mut self) -> Result<Rtcp<'a>, Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<4>().ok_or(Malformed::Short)?;
        if head[0] >> 6 != 2 {
            return Err(Malformed::Version);
        }
        let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (mut body, after) = rest.split_at_checked(4 * words).ok_or(Malformed::Length)?;
        if head[0] & 0x20 != 0 {
            // RFC 3550 section 6.4.1: only the last packet is padded, by a count of whole words that includes itself.
            let count = usize::from(*body.last().ok_or(Malformed::Padding)?);
            if !after.is_empty() || count == 0 || count > body.len() {
                return Err(Malformed::Padding);
            }
            body = &body[..body.len() - count];
        }
        self.rest = after;
        read(head[1], head[0] & 0x1f, body).ok_or(Malformed::Body)
    }
}

fn read(packet_type: u8, count: u8, body: &[u8]) -> Option<Rtcp<'_>> {
    Some(match packet_type {
        SENDER_REPORT => Rtcp::SenderReport {
            ssrc: u32_at(body, 0)?,
            ntp: u64::from(u32_at(body, 4)?) << 32 | u64::from(u32_at(body, 8)?),
            timestamp: u32_at(body, 12)?,
            packets: u32_at(body, 16)?,
            octets: u32_at(body, 20)?,
            reports: ReportBlocks::within(body.get(24..)?, count)?,
        },
        RECEIVER_REPORT => Rtcp::ReceiverReport {
            ssrc: u32_at(body, 0)?,
            reports: ReportBlocks::within(body.get(4..)?, count)?,
        },
        SOURCE_DESCRIPTION => Rtcp::SourceDescription(Items { rest: body, chunks: count, ssrc: None }),
        BYE => {
            let (sources, rest) = body.split_at_checked(4 * usize::from(count))?;
            let reason = match rest.split_first() {
                Some((&length, text)) => text.get(..usize::from(length))?,
                None => &[],
            };
            Rtcp::Bye { sources, reason }
        }
        APP => Rtcp::App {
            subtype: count,
            ssrc: u32_at(body, 0)?,
            name: *body.get(4..)?.first_chunk()?,
            data: body.get(8..)?,
        },
        _ => Rtcp::Other { packet_type, count, body },
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The report blocks of an SR or RR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportBlocks<'a>(&'a [u8]);

impl<'a> ReportBlocks<'a> {
    /// The first `count` blocks of `bytes`; what follows is a profile's extension (RFC 3550 section 6.4.3).
    fn within(bytes: &'a [u8], count: u8) -> Option<ReportBlocks<'a>> {
        Some(ReportBlocks(bytes.get(..BLOCK_BYTES * usize::from(count))?))
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_first_chunk::<BLOCK_BYTES>()?;
        self.0 = rest;
        let word = |index: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| block[4 * index + byte]));
        Some(ReportBlock {
            ssrc: word(0),
            fraction_lost: (word(1) >> 24) as u8,
            // Sign extension from 24 bits.
            cumulative_lost: (word(1) << 8) as i32 >> 8,
            highest: word(2),
            jitter: word(3),
            last_sr: word(4),
            delay_since_last_sr: word(5),
        })
    }
}

/// The items of a source description, chunk after chunk. Ends early where the bytes make no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
    chunks: u8,
    ssrc: Option<u32>,
}

impl<'a> Iterator for Items<'a> {
    /// Source, item type, text.
    type Item = (u32, u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(ssrc) = self.ssrc else {
                self.chunks = self.chunks.checked_sub(1)?;
                self.ssrc = Some(u32_at(self.rest, 0)?);
                self.rest = &self.rest[4..];
                continue;
            };
            let (&kind, rest) = self.rest.split_first()?;
            if kind != 0 {
                let (&length, rest) = rest.split_first()?;
                let (text, rest) = rest.split_at_checked(usize::from(length))?;
                self.rest = rest;
                return Some((ssrc, kind, text));
            }
            // Null octets up to the next word boundary end a chunk (RFC 3550 section 6.5); bodies are whole words.
            let left = rest.len() - rest.len() % 4;
            self.rest = &rest[rest.len() - left..];
            self.ssrc = None;
        }
    }
}

/// Appends the compound that a pure receiver sends (RFC 3550 section 6.1): an RR with up to 31 blocks, then its CNAME.
///
/// # Panics
/// If there are more than 31 blocks or the name is longer than 255 bytes.
pub fn write_rr(ssrc: u32, blocks: &[ReportBlock], cname: &str, out: &mut Vec<u8>) {
    header(RECEIVER_REPORT, blocks.len(), 4 + BLOCK_BYTES * blocks.len(), out);
    out.extend(ssrc.to_be_bytes());
    blocks.iter().for_each(|block| write_block(block, out));
    write_cname(ssrc, cname, out);
}

/// Appends the compound of a sender that receives nothing: an SR without blocks, then its CNAME. `ntp` and `timestamp` are one instant;
/// `sent` is packets and payload bytes so far.
pub fn write_sr(ssrc: u32, ntp: u64, timestamp: u32, sent: (u32, u32), cname: &str, out: &mut Vec<u8>) {
    header(SENDER_REPORT, 0, 24, out);
    out.extend(ssrc.to_be_bytes());
    out.extend(ntp.to_be_bytes());
    [timestamp, sent.0, sent.1].iter().for_each(|word| out.extend(word.to_be_bytes()));
    write_cname(ssrc, cname, out);
}

/// Appends a BYE of one source without a reason; goes after a report.
pub fn write_bye(ssrc: u32, out: &mut Vec<u8>) {
    header(BYE, 1, 4, out);
    out.extend(ssrc.to_be_bytes());
}

fn write_block(block: &ReportBlock, out: &mut Vec<u8>) {
    let lost = block.cumulative_lost as u32 & 0xff_ffff | u32::from(block.fraction_lost) << 24;
    for word in [block.ssrc, lost, block.highest, block.jitter, block.last_sr, block.delay_since_last_sr] {
        out.extend(word.to_be_bytes());
    }
}

fn write_cname(ssrc: u32, cname: &str, out: &mut Vec<u8>) {
    let length = u8::try_from(cname.len()).expect("a CNAME is ours and short");
    // Source, item header, text, at least one null, filled to a word.
    let bytes = (4 + 2 + cname.len() + 1).next_multiple_of(4);
    header(SOURCE_DESCRIPTION, 1, bytes, out);
    let end = out.len() + bytes;
    out.extend(ssrc.to_be_bytes());
    out.extend([CNAME, length]);
    out.extend(cname.as_bytes());
    out.resize(end, 0);
}

/// The 4 bytes in front of a body of `bytes`, a whole number of words.
fn header(packet_type: u8, count: usize, bytes: usize, out: &mut Vec<u8>) {
    assert!(count <= 31 && bytes.is_multiple_of(4) && bytes < 4 * usize::from(u16::MAX));
    out.extend([2 << 6 | count as u8, packet_type]);
    out.extend(((bytes / 4) as u16).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(seed: u32) -> ReportBlock {
        ReportBlock {
            ssrc: seed,
            fraction_lost: seed as u8,
            cumulative_lost: -(seed as i32),
            highest: seed << 8,
            jitter: 3,
            last_sr: 4,
            delay_since_last_sr: 5,
        }
    }

    #[test]
    fn a_receiver_report_reads_back_with_its_cname() {
        let mut wire = Vec::new();
        write_rr(0xaabb_ccdd, &[block(1), block(2)], "tapehead@192.0.2.1", &mut wire);
        assert!(is_rtcp(&wire) && wire.len().is_multiple_of(4));
        let packets: Vec<_> = compound(&wire).collect::<Result<_, _>>().unwrap();
        let [Rtcp::ReceiverReport { ssrc, reports }, Rtcp::SourceDescription(items)] = packets[..] else {
            panic!("{packets:?}")
        };
        assert_eq!(ssrc, 0xaabb_ccdd);
        assert_eq!(reports.collect::<Vec<_>>(), [block(1), block(2)]);
        assert_eq!(items.collect::<Vec<_>>(), [(0xaabb_ccdd, CNAME, &b"tapehead@192.0.2.1"[..])]);
    }

    #[test]
    fn a_sender_report_and_a_bye_read_back() {
        let mut wire = Vec::new();
        write_sr(7, 0x0102_0304_0506_0708, 99, (3, 480), "a", &mut wire);
        write_bye(7, &mut wire);
        let packets: Vec<_> = compound(&wire).collect::<Result<_, _>>().unwrap();
        assert!(matches!(
            packets[0],
            Rtcp::SenderReport {
                ssrc: 7,
                ntp: 0x0102_0304_0506_0708,
                timestamp: 99,
                packets: 3,
                octets: 480,
                ..
            }
        ));
        assert_eq!(packets[2], Rtcp::Bye { sources: &[0, 0, 0, 7], reason: &[] });
    }

    #[test]
    fn chunks_of_several_sources_are_read_each_with_its_padding() {
        let body =
            [&[0, 0, 0, 1, CNAME, 1, b'x', 0][..], &[0, 0, 0, 2, 2, 2, b'y', b'z', CNAME, 0, 0, 0]].concat();
        let wire = [&[0x82, SOURCE_DESCRIPTION, 0, 5][..], &body].concat();
        let Some(Ok(Rtcp::SourceDescription(items))) = compound(&wire).next() else { panic!() };
        let expected: [(u32, u8, &[u8]); 3] = [(1, CNAME, b"x"), (2, 2, b"yz"), (2, CNAME, b"")];
        assert_eq!(items.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_malformation_is_told_apart_and_ends_the_compound() {
        let errors = |wire: &[u8]| compound(wire).last().unwrap().unwrap_err();
        assert_eq!(errors(&[0x80, 201, 0]), Malformed::Short);
        assert_eq!(errors(&[0x40, 201, 0, 0]), Malformed::Version);
        assert_eq!(errors(&[0x80, 201, 0, 2, 0, 0, 0, 0]), Malformed::Length);
        assert_eq!(errors(&[0x81, 201, 0, 1, 0, 0, 0, 0]), Malformed::Body);
        assert_eq!(errors(&[0xa0, 201, 0, 1, 0, 0, 0, 9]), Malformed::Padding);
        assert_eq!(errors(&[0xa0, 201, 0, 1, 0, 0, 0, 4, 0x80, 201, 0, 0]), Malformed::Padding);
        assert_eq!(errors(&[0x81, 203, 0, 2, 0, 0, 0, 1, 4, b'b', b'y', b'e']), Malformed::Body);
    }

    #[test]
    fn only_the_types_that_rfc_5761_reserves_are_rtcp_on_a_shared_port() {
        assert!((0..=255u8).all(|byte| is_rtcp(&[0x80, byte, 0, 0]) == (192..=223).contains(&byte)));
        assert!(!is_rtcp(&[0x80, 200, 0]), "too short to tell");
        assert!(!is_rtcp(&[0x00, 200, 0, 0]), "STUN and the like are not version 2");
    }

    proptest! {
        #[test]
        fn no_datagram_panics_or_loops(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for packet in compound(&bytes).flatten() {
                match packet {
                    Rtcp::SenderReport { reports, .. } | Rtcp::ReceiverReport { reports, .. } => {
                        prop_assert!(reports.count() <= 31);
                    }
                    Rtcp::SourceDescription(items) => prop_assert!(items.count() <= bytes.len()),
                    _ => {}
                }
            }
        }

        #[test]
        fn any_report_reads_back(count in 0u32..32, lost in -0x80_0000..0x80_0000i32, cname in "[a-z@.]{0,255}") {
            let blocks: Vec<_> = (0..count).map(|n| ReportBlock { cumulative_lost: lost, ..block(n) }).collect();
            let mut wire = Vec::new();
            write_rr(1, &blocks, &cname, &mut wire);
            let packets: Vec<_> = compound(&wire).collect::<Result<_, _>>().unwrap();
            let Rtcp::ReceiverReport { reports, .. } = packets[0] else { panic!() };
            prop_assert_eq!(reports.collect::<Vec<_>>(), blocks);
            let Rtcp::SourceDescription(mut items) = packets[1] else { panic!() };
            prop_assert_eq!(items.next(), Some((1, CNAME, cname.as_bytes())));
        }
    }
}
