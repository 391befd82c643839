//! The shard's slice of the RTP port range: even port for RTP, the next for RTCP (RFC 3550 section 11).

use std::collections::VecDeque;

use crate::base::Mono;
use crate::limits::PORT_REST;
use crate::ring::SocketIx;

/// Port pairs, the longest unused first.
pub struct Ports {
    first: u16,
    free: VecDeque<(u16, Mono)>,
}

impl Ports {
    /// The pairs of `count` ports from the even port `first` on.
    pub fn new(first: u16, count: u16) -> Ports {
        debug_assert_eq!(first % 2, 0);
        let last = u32::from(first) + u32::from(count);
        let pairs = (u32::from(first)..).step_by(2).take_while(|port| port + 1 < last);
        Ports { first, free: pairs.map(|port| (port as u16, Mono(0))).collect() }
    }

    /// A pair that has rested, by its even port.
    pub fn take(&mut self, now: Mono) -> Option<u16> {
        let (port, rested) = *self.free.front()?;
        if rested > now {
            return None;
        }
        self.free.pop_front();
        Some(port)
    }

    /// Gives a pair back, to rest before the next call: the last one's late packets must not meet it.
    pub fn rest(&mut self, port: u16, now: Mono) {
        self.free.push_back((port, now + PORT_REST));
    }

    /// The socket slot of a port: slots and ports are the same numbers, shifted.
    pub fn slot(&self, port: u16) -> SocketIx {
        SocketIx(u32::from(port - self.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_rests_before_it_is_taken_again() {
        let mut ports = Ports::new(10_000, 4);
        let now = Mono::from_ms(0);
        assert_eq!((ports.take(now), ports.take(now), ports.take(now)), (Some(10_000), Some(10_002), None));
        ports.rest(10_002, now);
        assert_eq!(ports.take(now), None);
        assert_eq!(ports.take(now + PORT_REST), Some(10_002));
        assert_eq!(ports.slot(10_003), SocketIx(3));
    }

    #[test]
    fn the_top_of_the_port_range_is_usable() {
        let mut ports = Ports::new(65_534, 2);
        assert_eq!(ports.take(Mono(0)), Some(65_534));
        assert_eq!(ports.take(Mono(0)), None);
    }
}
