//! Sends the packets of any number of streams when they are due, from the calling thread.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::script::Script;
use crate::base::Mono;
use crate::srtp::Sender;
use crate::sys::clock;

/// How long the thread sleeps at most, so that it sees when it has to stop.
const NAP: Duration = Duration::from_millis(20);

/// One stream on its way.
pub struct Feed {
    /// What is sent.
    pub script: Script,
    /// From here.
    pub socket: UdpSocket,
    /// To here.
    pub to: SocketAddr,
    /// How long after the others this one starts: real sources are not in step.
    pub offset: Duration,
    sender: Option<Sender>,
    next: usize,
}

impl Feed {
    /// A feed that has sent nothing yet.
    pub fn new(script: Script, socket: UdpSocket, to: SocketAddr, offset: Duration) -> Feed {
        Feed { script, socket, to, offset, sender: None, next: 0 }
    }

    /// The same with its packets protected by `sender`, if there is one.
    pub fn secured(self, sender: Option<Sender>) -> Feed {
        Feed { sender, ..self }
    }

    fn due(&self, started: Mono) -> Option<Mono> {
        self.script.sendings.get(self.next).map(|sending| started + self.offset + sending.at)
    }

    /// Sends what is due. A datagram that the system does not take is lost, as on any network.
    fn send_due(&mut self, started: Mono, now: Mono) {
        while self.due(started).is_some_and(|due| due <= now) {
            let packet = self.script.sendings[self.next].packet;
            let mut datagram = self.script.datagram(packet);
            if let Some(sender) = &self.sender {
                sender.rtp(self.script.rollovers(packet), &mut datagram);
            }
            let _ = self.socket.send_to(&datagram, self.to);
            self.next += 1;
        }
    }
}

/// Sends all of `feeds` in real time, from `started` on, until they are through or `stop` is set. `progress` is told the time since
/// `started` now and then.
pub fn run(feeds: &mut [Feed], started: Mono, stop: &AtomicBool, mut progress: impl FnMut(Duration)) {
    while !stop.load(Ordering::Relaxed) {
        let now = clock::mono();
        feeds.iter_mut().for_each(|feed| feed.send_due(started, now));
        progress(now.since(started));
        let Some(next) = feeds.iter().filter_map(|feed| feed.due(started)).min() else { return };
        clock::sleep_until(next.min(now + NAP));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::src_client::script::{Impairment, StreamPlan};
    use crate::src_client::signal::{Law, Signal};

    #[test]
    fn packets_come_in_real_time_and_in_full() {
        let there = UdpSocket::bind("127.0.0.1:0").unwrap();
        there.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let plan = StreamPlan {
            signal: Signal::tone(440.0, 1),
            law: Law::Mulaw,
            ssrc: 1,
            sequence: 0,
            timestamp: 0,
            packets: 6,
        };
        let script = Script::new(plan, Impairment::default(), 1);
        let here = UdpSocket::bind("127.0.0.1:0").unwrap();
        let feed = Feed::new(script.clone(), here, there.local_addr().unwrap(), Duration::ZERO);
        let started = clock::mono();
        run(&mut [feed], started, &AtomicBool::new(false), |_| ());
        assert!(clock::mono().since(started) >= Duration::from_millis(100));
        for packet in 0..6 {
            let mut bytes = [0; 400];
            let (len, _) = there.recv_from(&mut bytes).unwrap();
            assert_eq!(bytes[..len], script.datagram(packet));
        }
    }
}
