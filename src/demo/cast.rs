//! Who calls whom in the demonstration, what they say, and what the network does to it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::Prng;
use crate::sip::Transport;
use crate::src_client::pace::Feed;
use crate::src_client::{Call, CallError, Impairment, Law, Party, Script, Signal, StreamPlan};

/// Length of each call.
pub const SECONDS: u32 = 10;

/// A network on a bad day: 1 to 2 % lost, some of it in bursts, 5 % overtaken, all within the default horizon.
const BAD_DAY: Impairment =
    Impairment { lost: 12, duplicated: 15, delayed: 50, delay_max: Duration::from_millis(150) };

/// One of the two calls.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// How SIP travels.
    pub transport: Transport,
    /// How both sides are coded.
    pub law: Law,
    /// Who is first track and who is second.
    pub names: [&'static str; 2],
    aors: [&'static str; 2],
}

/// The two calls.
pub const CASTS: [Cast; 2] = [
    Cast {
        transport: Transport::Udp,
        law: Law::Mulaw,
        names: ["Ada", "Bob"],
        aors: ["sip:ada@example.com", "sip:bob@example.com"],
    },
    Cast {
        transport: Transport::Tcp,
        law: Law::Alaw,
        names: ["Cleo", "Dan"],
        aors: ["sip:cleo@example.com", "tel:+15555550123"],
    },
];

impl Cast {
    /// The codec's name in SDP (RFC 3551 section 6).
    pub fn codec(&self) -> &'static str {
        match self.law {
            Law::Mulaw => "PCMU",
            Law::Alaw => "PCMA",
        }
    }

    /// Places the call.
    pub fn place(&self, recorder: SocketAddr) -> Result<Call, CallError> {
        let parties = [0, 1].map(|n| Party { name: self.names[n], aor: self.aors[n], law: self.law });
        Call::place(self.transport, recorder, &parties)
    }

    /// What its two streams send, drawn from `seed`. Sequence numbers and timestamps wrap on the way.
    pub fn scripts(&self, seed: u64) -> [Script; 2] {
        let mut chance = Prng::new(seed);
        [0.0, 1.0].map(|track| {
            let signal = Signal {
                from_hz: 220.0 + 180.0 * track,
                to_hz: 520.0 + 360.0 * track,
                sweep_s: 1.4 + 0.3 * track,
                turn_s: 2.5 * track,
                seed: chance.u64(),
            };
            let plan = StreamPlan {
                signal,
                law: self.law,
                ssrc: chance.u64() as u32,
                sequence: u16::MAX - chance.below(300) as u16,
                timestamp: u32::MAX - chance.below(40_000) as u32,
                packets: SECONDS * 50,
            };
            Script::new(plan, BAD_DAY, chance.u64())
        })
    }
}

/// The streams of `call`, which starts `offset` after the other.
pub fn feeds(call: &Call, scripts: &[Script; 2], offset: Duration) -> Result<Vec<Feed>, CallError> {
    let scripted = scripts.iter().zip(call.media()?).zip(0..);
    let feeds = scripted.map(|((script, (socket, to)), track)| {
        // The two sides of a call are not in step either.
        Feed::new(script.clone(), socket, to, offset + Duration::from_millis(7) * track)
    });
    Ok(feeds.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_has_a_bad_day_for_every_seed() {
        for seed in 0..50 {
            for script in CASTS.iter().flat_map(|cast| cast.scripts(seed)) {
                assert!(
                    !script.lost.is_empty() && script.duplicated > 0 && script.delayed > 0,
                    "seed {seed}"
                );
                assert_eq!(script.duration(), Duration::from_secs(10));
            }
        }
    }
}
