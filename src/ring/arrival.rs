//! When and from where a datagram came, and how many the kernel dropped: from what the kernel writes beside it.
//!
//! The kernel stamps packets with the wall clock, which may be stepped; a recording is laid out on the monotonic one.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use crate::base::{Mono, Wall};

/// Bytes of a source address: `sockaddr_in6`, the longer of the two.
pub(super) const NAME_BYTES: usize = 28;
/// Bytes of control data: a header of 16 and 16 bytes of time, a header of 16 and the drop counter, padded to 8.
pub(super) const CONTROL_BYTES: usize = 64;

/// The clocks differ by more than slewing explains (500 ppm of a tick is 10 µs): someone set the wall clock.
const STEP_NS_MIN: u64 = 1_000_000;
/// Packets stamped before a step may still wait in sockets this long after it.
const STEP_REMEMBERED: Duration = Duration::from_secs(2);

/// Turns the kernel's wall time into the monotonic clock.
#[derive(Debug)]
pub(super) struct ArrivalClock {
    now: Mono,
    /// Wall clock minus monotonic clock.
    offset: i128,
    /// The offset before the last step, until it is forgotten, and the earliest that may come in.
    stepped: Option<Stepped>,
}

#[derive(Debug)]
struct Stepped {
    offset: i128,
    floor: Mono,
    until: Mono,
}

impl ArrivalClock {
    /// Starts with both clocks read together.
    pub(super) fn new((now, wall): (Mono, Wall)) -> ArrivalClock {
        ArrivalClock { now, offset: offset(now, wall), stepped: None }
    }

    /// To be called once per round with both clocks read together.
    pub(super) fn tick(&mut self, (now, wall): (Mono, Wall)) {
        let fresh = offset(now, wall);
        if fresh.abs_diff(self.offset) > u128::from(STEP_NS_MIN) {
            let floor = self.now - STEP_REMEMBERED;
            self.stepped = Some(Stepped { offset: self.offset, floor, until: now + STEP_REMEMBERED });
        } else if self.stepped.as_ref().is_some_and(|step| now > step.until) {
            self.stepped = None;
        }
        (self.now, self.offset) = (now, fresh);
    }

    /// The arrival of a datagram stamped `taken`: never later than this round.
    pub(super) fn arrival(&self, taken: Option<Wall>) -> Mono {
        let Some(taken) = taken else { return self.now };
        let at = i128::from(taken.0) - self.offset;
        match &self.stepped {
            None => self.clamp(at),
            // Which clock stamped it? The one that makes it plausible; a stamp that neither explains says nothing.
            Some(step) => {
                let plausible = |at: i128| at >= i128::from(step.floor.0) && at <= i128::from(self.now.0);
                let candidates = [at, i128::from(taken.0) - step.offset];
                candidates.into_iter().find(|&at| plausible(at)).map_or(self.now, |at| self.clamp(at))
            }
        }
    }

    fn clamp(&self, at: i128) -> Mono {
        Mono(at.clamp(0, i128::from(self.now.0)) as u64)
    }
}

fn offset(now: Mono, wall: Wall) -> i128 {
    i128::from(wall.0) - i128::from(now.0)
}

/// What the control data of a datagram says.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Control {
    /// When the kernel took it (`SCM_TIMESTAMPNS`).
    pub(super) taken: Option<Wall>,
    /// Datagrams dropped by this socket so far, modulo 2^32 (`SO_RXQ_OVFL`); absent while there were none.
    pub(super) dropped: Option<u32>,
    /// The local port it was sent to, if the socket was told to say so (`IP_ORIGDSTADDR`, `IPV6_ORIGDSTADDR`).
    pub(super) to_port: Option<u16>,
}

impl Control {
    /// Reads `cmsghdr`s: length (8 bytes, header included), level, type (4 each), data, padding to 8.
    pub(super) fn parse(mut bytes: &[u8]) -> Control {
        const HEADER: usize = 16;
        let mut control = Control::default();
        while let (Some(&length), Some(&level), Some(&kind)) = (
            bytes.first_chunk::<8>(),
            bytes.get(8..).and_then(<[u8]>::first_chunk),
            bytes.get(12..).and_then(<[u8]>::first_chunk),
        ) {
            let length = usize::from_ne_bytes(length);
            let Some(data) = bytes.get(HEADER..length) else { break };
            match (i32::from_ne_bytes(level), i32::from_ne_bytes(kind)) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => control.taken = timespec(data),
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    control.dropped = data.first_chunk().map(|&count| u32::from_ne_bytes(count));
                }
                (libc::SOL_IP, libc::IP_ORIGDSTADDR) | (libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR) => {
                    control.to_port =
                        data.get(2..).and_then(<[u8]>::first_chunk).map(|&port| u16::from_be_bytes(port));
                }
                _ => {}
            }
            bytes = bytes.get(length.next_multiple_of(8)..).unwrap_or_default();
        }
        control
    }
}

fn timespec(data: &[u8]) -> Option<Wall> {
    let seconds = i64::from_ne_bytes(*data.first_chunk()?);
    let nanoseconds = i64::from_ne_bytes(*data.get(8..)?.first_chunk()?);
    Some(Wall(
        u64::try_from(seconds)
            .ok()?
            .checked_mul(1_000_000_000)?
            .checked_add(u64::try_from(nanoseconds).ok()?)?,
    ))
}

/// A source address as the kernel writes it; the unspecified one if it is neither IPv4 nor IPv6, which a UDP socket never yields.
pub(super) fn source(name: &[u8]) -> SocketAddr {
    let family = name.first_chunk().map_or(0, |&family| i32::from(u16::from_ne_bytes(family)));
    match (family, name) {
        (libc::AF_INET, [_, _, p0, p1, a, b, c, d, ..]) => {
            SocketAddr::from((Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*p0, *p1])))
        }
        (libc::AF_INET6, [_, _, p0, p1, _, _, _, _, rest @ ..]) if rest.len() >= 20 => {
            let address: [u8; 16] = std::array::from_fn(|at| rest[at]);
            let scope = u32::from_ne_bytes([rest[16], rest[17], rest[18], rest[19]]);
            SocketAddrV6::new(Ipv6Addr::from(address), u16::from_be_bytes([*p0, *p1]), 0, scope).into()
        }
        _ => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
    }
}

/// What one socket has dropped, as told so far.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct DropCount(u32);

impl DropCount {
    /// How many are new in the kernel's running total.
    pub(super) fn news(&mut self, total: Option<u32>) -> Option<u32> {
        let total = total?;
        let count = total.wrapping_sub(std::mem::replace(&mut self.0, total));
        (count > 0).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: (Mono, Wall) = (Mono::from_ms(10_000), Wall(1_800_000_000_000_000_000));

    fn after(ms: u64, step_ms: i64) -> (Mono, Wall) {
        let wall = START.1.0.wrapping_add_signed((ms as i64 + step_ms) * 1_000_000);
        (Mono::from_ms(10_000 + ms), Wall(wall))
    }

    #[test]
    fn a_stamp_is_moved_to_the_monotonic_clock_and_never_into_the_future() {
        let mut clock = ArrivalClock::new(START);
        clock.tick(after(20, 0));
        assert_eq!(clock.arrival(Some(after(7, 0).1)), Mono::from_ms(10_007));
        assert_eq!(clock.arrival(Some(after(21, 0).1)), Mono::from_ms(10_020));
        assert_eq!(clock.arrival(None), Mono::from_ms(10_020));
        // After a stall of the machine old packets keep their time.
        clock.tick(after(5000, 0));
        assert_eq!(clock.arrival(Some(after(30, 0).1)), Mono::from_ms(10_030));
    }

    #[test]
    fn a_step_of_the_wall_clock_moves_no_arrival() {
        for step_ms in [3_600_000, -3_600_000, 30_000, -30_000] {
            let mut clock = ArrivalClock::new(START);
            clock.tick(after(20, 0));
            clock.tick(after(40, step_ms));
            assert_eq!(clock.arrival(Some(after(25, 0).1)), Mono::from_ms(10_025), "stamped before it");
            assert_eq!(clock.arrival(Some(after(35, step_ms).1)), Mono::from_ms(10_035), "stamped after it");
            clock.tick(after(60, step_ms));
            assert_eq!(clock.arrival(Some(after(38, 0).1)), Mono::from_ms(10_038), "left over");
            clock.tick(after(3000, step_ms));
            assert_eq!(clock.arrival(Some(after(2990, step_ms).1)), Mono::from_ms(12_990), "long after");
        }
    }

    #[test]
    fn control_data_is_read_in_any_order() {
        let message = |(level, kind): (i32, i32), data: &[u8]| {
            let mut bytes = (16 + data.len()).to_ne_bytes().to_vec();
            bytes.extend(level.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes
        };
        let time = message(
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS),
            &[5i64.to_ne_bytes(), 7i64.to_ne_bytes()].concat(),
        );
        let drops = message((libc::SOL_SOCKET, libc::SO_RXQ_OVFL), &9u32.to_ne_bytes());
        let expected = Control { taken: Some(Wall(5_000_000_007)), dropped: Some(9), to_port: None };
        assert_eq!(Control::parse(&[time.clone(), drops.clone()].concat()), expected);
        assert_eq!(Control::parse(&[drops.clone(), time.clone()].concat()), expected);
        assert!(time.len() + drops.len() <= CONTROL_BYTES);
        let to = |port: u16| [&[0, 0][..], &port.to_be_bytes(), &[0; 24]].concat();
        for (level, kind) in [(libc::SOL_IP, libc::IP_ORIGDSTADDR), (libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR)]
        {
            let all = [time.clone(), message((level, kind), &to(10_002)), drops.clone()].concat();
            assert_eq!(Control::parse(&all), Control { to_port: Some(10_002), ..expected });
        }
    }

    #[test]
    fn drops_are_counted_once_across_the_wrap() {
        let mut drops = DropCount::default();
        assert_eq!(drops.news(None), None);
        assert_eq!(drops.news(Some(u32::MAX)), Some(u32::MAX));
        assert_eq!(drops.news(Some(u32::MAX)), None);
        assert_eq!(drops.news(Some(1)), Some(2));
    }

    proptest! {
        #[test]
        fn nothing_the_kernel_could_write_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), taken: u64) {
            Control::parse(&bytes);
            source(&bytes);
            let mut clock = ArrivalClock::new(START);
            clock.tick(after(20, taken as i32 as i64));
            prop_assert!(clock.arrival(Some(Wall(taken))) <= Mono::from_ms(10_020));
        }

        #[test]
        fn a_source_address_reads_back(address: u128, v4: u32, port: u16) {
            for at in [SocketAddr::from((Ipv6Addr::from(address), port)), SocketAddr::from((Ipv4Addr::from(v4), port))] {
                let raw = socket2::SockAddr::from(at);
                let mut bytes = [0u8; NAME_BYTES];
                match at {
                    SocketAddr::V4(at) => bytes[4..8].copy_from_slice(&at.ip().octets()),
                    SocketAddr::V6(at) => bytes[8..24].copy_from_slice(&at.ip().octets()),
                }
                bytes[..2].copy_from_slice(&raw.family().to_ne_bytes());
                bytes[2..4].copy_from_slice(&port.to_be_bytes());
                prop_assert_eq!(source(&bytes), at);
            }
        }
    }
}
