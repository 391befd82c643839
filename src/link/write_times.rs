//! How long a shard's writes took, counted in buckets: a few additions per write, and no more memory than that.

/// Upper bounds of the buckets, in microseconds; what took longer is in one more. A shard sees the end of a write at its next tick
/// ([`crate::limits::TICK`]): a disk that keeps up shows as one tick, so the bounds lie between multiples of it.
pub const WRITE_BOUNDS_US: [u64; 14] = [
    5_000, 10_000, 15_000, 22_000, 30_000, 42_000, 62_000, 82_000, 122_000, 202_000, 502_000, 1_002_000,
    2_000_000, 5_000_000,
];

/// Times of writes, from the tick that submits one to the tick that sees its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteTimes {
    counts: [u64; WRITE_BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl WriteTimes {
    /// A write has ended.
    pub fn add(&mut self, took_us: u64) {
        self.counts[WRITE_BOUNDS_US.partition_point(|bound| *bound < took_us)] += 1;
        self.sum_us += took_us;
    }

    /// Adds another shard's.
    pub fn sum(&mut self, other: &WriteTimes) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, other)| *count += other);
        self.sum_us += other.sum_us;
    }

    /// How many took at most as long as each bound says, in order; the last is of all of them.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let bounds = WRITE_BOUNDS_US.into_iter().map(Some).chain([None]);
        bounds.zip(self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        }))
    }

    /// All times together, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_write_is_in_every_bucket_that_is_long_enough() {
        let (mut times, mut other) = (WriteTimes::default(), WriteTimes::default());
        [0, 5_000, 5_001, 20_000].into_iter().for_each(|us| times.add(us));
        other.add(9_000_000);
        times.sum(&other);
        let told: Vec<(Option<u64>, u64)> = times.cumulative().collect();
        assert_eq!((told[0], told[1], told[3]), ((Some(5_000), 2), (Some(10_000), 3), (Some(22_000), 4)));
        assert_eq!((told[13], told[14]), ((Some(5_000_000), 4), (None, 5)));
        assert_eq!(times.sum_us(), 9_030_001);
    }
}
