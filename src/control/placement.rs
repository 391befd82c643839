//! Which shard gets a call: the one with the fewest, if it has a slot and ports.

use crate::link::ShardStats;

struct Shard {
    calls: u32,
    tracks: u32,
    alive: bool,
    stats: ShardStats,
}

/// The shards as control counts them.
pub(super) struct Shards {
    shards: Vec<Shard>,
    calls_max: u32,
    pairs: u32,
}

impl Shards {
    pub fn new(count: usize, calls_max: u32, pairs: u32) -> Shards {
        let idle = || Shard { calls: 0, tracks: 0, alive: true, stats: ShardStats::default() };
        Shards { shards: (0..count).map(|_| idle()).collect(), calls_max, pairs }
    }

    /// Takes a place for a call of so many tracks.
    pub fn place(&mut self, tracks: usize) -> Option<usize> {
        let tracks = tracks as u32;
        let (calls_max, pairs) = (self.calls_max, self.pairs);
        let fits = |s: &Shard| s.alive && s.calls < calls_max && s.tracks + tracks <= pairs;
        let fitting = self.shards.iter_mut().enumerate().filter(|(_, shard)| fits(shard));
        let (index, shard) = fitting.min_by_key(|(_, shard)| shard.calls)?;
        shard.calls += 1;
        shard.tracks += tracks;
        Some(index)
    }

    /// Gives a place back.
    pub fn release(&mut self, shard: usize, tracks: usize) {
        let shard = &mut self.shards[shard];
        shard.calls -= 1;
        shard.tracks -= tracks as u32;
    }

    /// A call has another number of tracks. The shard itself says whether it has the ports.
    pub fn resize(&mut self, shard: usize, from: usize, to: usize) {
        let shard = &mut self.shards[shard];
        shard.tracks = shard.tracks + to as u32 - from as u32;
    }

    /// Takes a shard out of service for good.
    pub fn stopped(&mut self, shard: usize) {
        self.shards[shard].alive = false;
    }

    pub fn note(&mut self, shard: usize, stats: ShardStats) {
        self.shards[shard].stats = stats;
    }

    pub fn stats(&self) -> impl Iterator<Item = &ShardStats> {
        self.shards.iter().map(|shard| &shard.stats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_spread_evenly_until_slots_or_ports_run_out() {
        let mut shards = Shards::new(2, 3, 4);
        assert_eq!([shards.place(2), shards.place(2), shards.place(2)], [Some(0), Some(1), Some(0)]);
        assert_eq!((shards.place(3), shards.place(2)), (None, Some(1)));
        assert_eq!(shards.place(1), None, "every port pair is taken");
        shards.release(1, 2);
        assert_eq!(shards.place(1), Some(1));
        shards.stopped(1);
        assert_eq!(shards.place(1), None);
    }
}
