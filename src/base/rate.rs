//! So many per second, whatever is counted. Leaves out who is counted and what happens to those who come too fast.

use std::time::Duration;

use super::Mono;

/// So many per second, with a second's worth at once. The generic cell rate algorithm: one instant is all its state.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    interval: Duration,
    /// When the next would be due if they came evenly and as fast as they may.
    due: Mono,
}

impl Rate {
    /// At most `per_second`; 0: as many as come.
    pub fn new(per_second: u32) -> Option<Rate> {
        (per_second > 0).then(|| Rate { interval: Duration::from_secs(1) / per_second, due: Mono(0) })
    }

    /// Whether one more may come now.
    pub fn allows(&self, now: Mono) -> bool {
        self.due.since(now) + self.interval <= Duration::from_secs(1)
    }

    /// One has come.
    pub fn take(&mut self, now: Mono) {
        self.due = self.due.max(now) + self.interval;
    }

    /// Takes one if it may come now.
    pub fn pass(&mut self, now: Mono) -> bool {
        let allowed = self.allows(now);
        if allowed {
            self.take(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_a_second_s_worth_through_at_once_and_then_one_at_a_time() {
        let mut rate = Rate::new(10).unwrap();
        let now = Mono::from_ms(5_000);
        let mut taken = 0;
        while rate.allows(now) {
            rate.take(now);
            taken += 1;
        }
        assert_eq!(taken, 10);
        assert!(!rate.allows(now + Duration::from_millis(99)));
        assert!(rate.allows(now + Duration::from_millis(100)));
        let steady = (0..1000).filter(|n| {
            let at = now + Duration::from_millis(10 * n);
            let allowed = rate.allows(at);
            if allowed {
                rate.take(at);
            }
            allowed
        });
        assert_eq!(steady.count(), 99, "10 s, begun empty");
        assert!(Rate::new(0).is_none());
    }
}
