//! What a receiver knows about one source (RFC 3550 appendices A.3 and A.8) and tells in its report blocks.

use crate::base::Mono;

/// One report block of an SR or RR (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ReportBlock {
    /// The source it is about.
    pub ssrc: u32,
    /// Loss since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost in all; negative when duplicates outnumber losses. 24 bits on the wire.
    pub cumulative_lost: i32,
    /// Wraps in the upper half, highest sequence number in the lower.
    pub highest: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last SR; 0 if none came.
    pub last_sr: u32,
    /// Delay since that SR, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

/// Statistics of one source.
#[derive(Clone, Debug)]
pub struct Reception {
    clock_rate: u32,
    base: u64,
    highest: u64,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    /// 16 times the jitter, as appendix A.8 keeps it.
    jitter_x16: u32,
    transit: Option<u32>,
    last_sr: Option<(u32, Mono)>,
}

impl Reception {
    /// Of a source whose first packet has this extended number and whose timestamps tick at `clock_rate` Hz.
    pub fn new(first_extended: u64, clock_rate: u32) -> Reception {
        Reception {
            clock_rate,
            base: first_extended,
            highest: first_extended,
            received: 0,
            expected_prior: 0,
            received_prior: 0,
            jitter_x16: 0,
            transit: None,
            last_sr: None,
        }
    }

    /// The source's numbers start over ([`crate::rtp::Seen::Jump`]).
    pub fn restart(&mut self, first_extended: u64) {
        *self = Reception { last_sr: self.last_sr, ..Reception::new(first_extended, self.clock_rate) };
    }

    /// One packet came, duplicates and late ones included.
    #[inline]
    pub fn packet(&mut self, extended: u64, timestamp: u32, arrival: Mono) {
        self.received += 1;
        self.highest = self.highest.max(extended);
        // By the microsecond, so that 64 bits do: a wider division costs more than all the rest of this function.
        let ticks = arrival.0 / 1000 * u64::from(self.clock_rate) / 1_000_000;
        let transit = (ticks as u32).wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            // RFC 3550 appendix A.8: J += (|D| - J) / 16, in integers.
            let difference = (transit.wrapping_sub(before) as i32).unsigned_abs();
            let decay = self.jitter_x16.saturating_add(8) >> 4;
            self.jitter_x16 = self.jitter_x16.saturating_add(difference) - decay;
        }
    }

    /// A sender report came with this NTP time.
    pub fn sender_report(&mut self, ntp: u64, arrival: Mono) {
        self.last_sr = Some(((ntp >> 16) as u32, arrival));
    }

    /// Sequence numbers that should have come, so far.
    pub fn expected(&self) -> u64 {
        self.highest - self.base + 1
    }

    /// Packets lost so far, as appendix A.3 counts them.
    pub fn lost(&self) -> i64 {
        self.expected() as i64 - self.received as i64
    }

    /// The block to send now; starts the next reporting interval.
    pub fn report(&mut self, ssrc: u32, now: Mono) -> ReportBlock {
        let expected = self.expected() - self.expected_prior;
        let received = self.received - self.received_prior;
        self.expected_prior = self.expected();
        self.received_prior = self.received;
        // RFC 3550 appendix A.3. Losing all would be 256/256, which the field can't hold.
        let fraction = (expected.saturating_sub(received) << 8).checked_div(expected).unwrap_or(0).min(255);
        let (last_sr, since) = self.last_sr.map_or((0, 0), |(ntp, at)| {
            let delay = now.since(at).as_nanos() * 65_536 / 1_000_000_000;
            (ntp, u32::try_from(delay).unwrap_or(u32::MAX))
        });
        ReportBlock {
            ssrc,
            fraction_lost: fraction as u8,
            cumulative_lost: self.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest: (self.highest - (self.base & !0xffff)) as u32,
            jitter: self.jitter_x16 >> 4,
            last_sr,
            delay_since_last_sr: since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(packet: u64) -> Mono {
        Mono::from_ms(packet * 20)
    }

    #[test]
    fn loss_is_reported_per_interval_and_in_all() {
        let mut reception = Reception::new(65_536, 8000);
        (0..10).filter(|n| n % 2 == 0).for_each(|n| reception.packet(65_536 + n, n as u32 * 160, at(n)));
        let block = reception.report(7, at(10));
        assert_eq!((block.ssrc, block.cumulative_lost, block.highest), (7, 4, 8));
        assert_eq!(block.fraction_lost, (4u32 * 256 / 9) as u8);
        (9..19).for_each(|n| reception.packet(65_536 + n, n as u32 * 160, at(n)));
        let block = reception.report(7, at(20));
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 4));
        assert_eq!(reception.report(7, at(30)).fraction_lost, 0, "an interval without packets has no loss");
    }

    #[test]
    fn duplicates_make_the_loss_negative_and_all_lost_does_not_overflow() {
        let mut reception = Reception::new(65_536, 8000);
        (0..3).for_each(|_| reception.packet(65_536, 0, at(0)));
        assert_eq!(reception.report(1, at(1)).cumulative_lost, -2);
        reception.packet(65_536 + 2999, 0, at(1));
        assert_eq!(reception.report(1, at(2)).fraction_lost, 255);
    }

    #[test]
    fn wraps_are_told_from_the_first_packet_on() {
        let mut reception = Reception::new(65_536 + 65_535, 8000);
        reception.packet(65_536 + 65_535, 0, at(0));
        reception.packet(131_072 + 4, 160, at(1));
        assert_eq!(reception.report(1, at(2)).highest, 0x1_0004);
    }

    #[test]
    fn jitter_is_zero_on_an_even_stream_and_settles_on_the_mean_deviation() {
        let mut even = Reception::new(65_536, 8000);
        (0..100).for_each(|n| even.packet(65_536 + n, n as u32 * 160, at(n)));
        assert_eq!(even.report(1, at(100)).jitter, 0);
        let mut uneven = Reception::new(65_536, 8000);
        (0..1000)
            .for_each(|n| uneven.packet(65_536 + n, n as u32 * 160, Mono::from_ms(n * 20 + (n % 2) * 5)));
        let jitter = uneven.report(1, at(1000)).jitter;
        assert!((38..=41).contains(&jitter), "5 ms are 40 samples, not {jitter}");
    }

    #[test]
    fn the_delay_since_the_last_sender_report_is_in_65536ths() {
        let mut reception = Reception::new(65_536, 8000);
        reception.sender_report(0x1122_3344_5566_7788, Mono::from_ms(1000));
        let block = reception.report(1, Mono::from_ms(3500));
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0x3344_5566, 163_840));
    }
}
