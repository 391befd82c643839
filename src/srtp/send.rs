//! Protecting what is sent: our receiver reports, and the RTP of the recording client that tests and the demo use.

use super::index::index;
use super::transform::{Kind, Place, RTCP_HEAD_BYTES, Transform};
use super::{Keys, Suite};

/// Protects packets under one master key.
pub struct Sender {
    keys: Keys,
    suite: Suite,
    clear_rtcp: bool,
    rtp: Transform,
    rtcp: Transform,
    /// Of the next SRTCP packet. Never goes back, whatever key comes next, so no key stream is used twice.
    index: u32,
}

impl Sender {
    /// A sender with these keys; SRTCP only authenticated if `clear_rtcp`.
    pub fn new(suite: Suite, keys: &Keys, clear_rtcp: bool) -> Sender {
        let (rtp, rtcp) = (keys.rtp(suite), keys.rtcp(suite));
        Sender { keys: keys.clone(), suite, clear_rtcp, rtp, rtcp, index: 0 }
    }

    pub(super) fn rekey(&mut self, suite: Suite, keys: &Keys, clear_rtcp: bool) {
        if (self.suite, &self.keys, self.clear_rtcp) != (suite, keys, clear_rtcp) {
            *self = Sender { index: self.index, ..Sender::new(suite, keys, clear_rtcp) };
        }
    }

    /// Protects the RTP packet in `packet`, whose sequence number has rolled over `rollovers` times. One packet must not be protected with
    /// two contents.
    ///
    /// # Panics
    /// If it is no RTP packet.
    pub fn rtp(&self, rollovers: u32, packet: &mut Vec<u8>) {
        let (head, ssrc) = super::receive::rtp_head(packet).expect("a packet of our own making");
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let index = index(rollovers, sequence);
        self.seal(&self.rtp, Place { kind: Kind::Rtp, ssrc, index, encrypted: true }, head, packet);
    }

    /// Protects the RTCP packet in `packet`.
    ///
    /// # Panics
    /// If it is shorter than an RTCP header with its SSRC.
    pub fn rtcp(&mut self, packet: &mut Vec<u8>) {
        let ssrc = packet[4..RTCP_HEAD_BYTES].try_into().map_or(0, u32::from_be_bytes);
        let (index, encrypted) = (u64::from(self.index), !self.clear_rtcp);
        self.index = (self.index + 1) & 0x7fff_ffff;
        let place = Place { kind: Kind::Rtcp, ssrc, index, encrypted };
        self.seal(&self.rtcp, place, RTCP_HEAD_BYTES, packet);
    }

    fn seal(&self, transform: &Transform, place: Place, head: usize, packet: &mut Vec<u8>) {
        let mut tag = [0; 16];
        let tag = &mut tag[..transform.tag_bytes];
        let (clear, body) = packet.split_at_mut(head);
        transform.seal(place, clear, body, tag);
        let word = place.tail();
        let word = if place.kind == Kind::Rtcp { &word[..] } else { &[] };
        let (mki, tag) = (self.keys.mki(), &tag[..]);
        let after = if self.suite.is_aead() { [tag, word, mki] } else { [word, mki, tag] };
        after.into_iter().for_each(|part| packet.extend_from_slice(part));
    }
}
