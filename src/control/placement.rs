//! Which shard gets a call: the least busy one that has a slot, ports, blocks and time for it.

use std::collections::VecDeque;
use std::time::Duration;

use super::Refusal;
use crate::base::Mono;
use crate::limits::{BUSY_HYSTERESIS_PPM, BUSY_STEP_PPM, CALL_BUSY_PPM_MIN, PORT_REST};
use crate::link::ShardStats;

/// Ports that come free within so much of each other count as resting equally long.
const REST_STEP: Duration = Duration::from_millis(50);

struct Shard {
    calls: u32,
    tracks: u32,
    alive: bool,
    /// Port pairs that were given back and rest until then: the shard gives them to nobody before.
    resting: VecDeque<(Mono, u32)>,
    /// Until then it is not asked for ports: it found others on those that it tried.
    portless_until: Mono,
    /// Over the bound, and not yet well below it again.
    busy: bool,
    /// Calls when it last told of itself.
    calls_told: u32,
    stats: ShardStats,
}

/// The shards as control counts them.
pub(super) struct Shards {
    shards: Vec<Shard>,
    calls_max: u32,
    pairs: u32,
    busy_ppm_max: u32,
    /// What a call costs, in millionths of a core, as far as that can be told; 0: not yet.
    call_ppm: u32,
}

impl Shards {
    /// So many shards of `calls_max` calls and `pairs` port pairs each, none to be kept busier than `busy_percent_max`; 100 is no bound.
    pub fn new(count: usize, calls_max: u32, pairs: u32, busy_percent_max: u8) -> Shards {
        let idle = || Shard {
            calls: 0,
            tracks: 0,
            alive: true,
            resting: VecDeque::new(),
            portless_until: Mono(0),
            busy: false,
            calls_told: 0,
            stats: ShardStats::default(),
        };
        Shards {
            shards: (0..count).map(|_| idle()).collect(),
            calls_max,
            pairs,
            busy_ppm_max: if busy_percent_max < 100 {
                u32::from(busy_percent_max) * 10_000
            } else {
                u32::MAX
            },
            call_ppm: 0,
        }
    }

    /// The shard for a call of so many tracks, or why there is none: the reason that is closest to going away.
    pub fn find(&self, tracks: u32, now: Mono) -> Result<usize, Refusal> {
        let mut refusal = Refusal::NoShard;
        let mut best: Option<(usize, (u32, u32))> = None;
        for (index, shard) in self.shards.iter().enumerate().filter(|(_, shard)| shard.alive) {
            match self.obstacle(shard, tracks, now) {
                Some(other) if other.hope() > refusal.hope() => refusal = other,
                Some(_) => {}
                None => {
                    // In steps, so that idle shards fill evenly instead of by chance.
                    let rank = (self.expected_ppm(shard) / BUSY_STEP_PPM, shard.calls);
                    best = best.filter(|(_, other)| *other <= rank).or(Some((index, rank)));
                }
            }
        }
        best.map(|(index, _)| index).ok_or(refusal)
    }

    /// Why a shard can't take a call of so many tracks now.
    fn obstacle(&self, shard: &Shard, tracks: u32, now: Mono) -> Option<Refusal> {
        let wanted = shard.tracks + tracks;
        match () {
            () if shard.calls >= self.calls_max => Some(Refusal::ShardCalls),
            () if wanted > self.pairs => Some(Refusal::PortsUsed),
            () if wanted + shard.resting(now) > self.pairs => Some(Refusal::PortsRest),
            () if shard.portless_until > now => Some(Refusal::PortsHeld),
            () if shard.lacks_blocks() => Some(Refusal::NoBlocks),
            () if self.is_busy(shard) => Some(Refusal::Busy),
            () => None,
        }
    }

    /// Takes a place for a call of so many tracks.
    pub fn place(&mut self, tracks: usize, now: Mono) -> Result<usize, Refusal> {
        let index = self.find(tracks as u32, now)?;
        let shard = &mut self.shards[index];
        shard.calls += 1;
        shard.tracks += tracks as u32;
        Ok(index)
    }

    /// Other processes hold the ports that a shard has tried: it is left alone for a moment.
    pub fn portless(&mut self, shard: usize, now: Mono) {
        self.shards[shard].portless_until = now + PORT_REST;
    }

    /// Gives a place back. Its ports rest.
    pub fn release(&mut self, shard: usize, tracks: usize, now: Mono) {
        let shard = &mut self.shards[shard];
        shard.calls -= 1;
        shard.tracks -= tracks as u32;
        shard.rest(tracks as u32, now);
    }

    /// A call has another number of tracks. The shard itself says whether it has the ports.
    pub fn resize(&mut self, shard: usize, from: usize, to: usize, now: Mono) {
        let shard = &mut self.shards[shard];
        shard.tracks = shard.tracks + to as u32 - from as u32;
        shard.rest(from.saturating_sub(to) as u32, now);
    }

    /// Takes a shard out of service for good.
    pub fn stopped(&mut self, shard: usize) {
        self.shards[shard].alive = false;
    }

    /// What a shard tells of itself.
    pub fn note(&mut self, index: usize, stats: ShardStats) {
        let max = self.busy_ppm_max;
        let shard = &mut self.shards[index];
        let bound = if shard.busy { max.saturating_sub(BUSY_HYSTERESIS_PPM) } else { max };
        shard.busy = stats.busy_ppm >= bound;
        shard.calls_told = shard.calls;
        shard.stats = stats;
        let (busy, calls) = self.shards.iter().fold((0u64, 0u64), |(busy, calls), shard| {
            (busy + u64::from(shard.stats.busy_ppm), calls + u64::from(shard.stats.calls))
        });
        if let Some(each) = busy.checked_div(calls) {
            self.call_ppm = each.clamp(u64::from(CALL_BUSY_PPM_MIN), 1_000_000) as u32;
        }
    }

    /// How busy it is by now: a report is up to a second old, and many calls may have come since.
    fn expected_ppm(&self, shard: &Shard) -> u32 {
        let since = shard.calls.saturating_sub(shard.calls_told);
        shard.stats.busy_ppm.saturating_add(since.saturating_mul(self.call_ppm))
    }

    fn is_busy(&self, shard: &Shard) -> bool {
        shard.busy || self.expected_ppm(shard) >= self.busy_ppm_max
    }

    /// Two-track calls for which there are slots and ports.
    pub fn slots_left(&self) -> u32 {
        let left =
            |s: &Shard| self.calls_max.saturating_sub(s.calls).min(self.pairs.saturating_sub(s.tracks) / 2);
        self.shards.iter().filter(|shard| shard.alive).map(left).sum()
    }

    /// Calls for which there is time; without bound until it is known what one costs.
    pub fn busy_left(&self) -> u32 {
        if self.call_ppm == 0 {
            return u32::MAX;
        }
        let usable = self.shards.iter().filter(|shard| shard.alive && !self.is_busy(shard));
        let calls = usable.map(|shard| (self.busy_ppm_max - self.expected_ppm(shard)) / self.call_ppm);
        calls.fold(0, u32::saturating_add)
    }

    /// What each shard told last.
    pub fn stats(&self) -> impl Iterator<Item = &ShardStats> {
        self.shards.iter().map(|shard| &shard.stats)
    }

    /// Calls and port pairs taken on each shard, and the pairs it has.
    pub fn taken(&self) -> impl Iterator<Item = (u32, u32, u32)> {
        self.shards.iter().map(|shard| (shard.calls, shard.tracks, self.pairs))
    }
}

impl Shard {
    /// So many port pairs come free, but not at once. The shard has let them go a little earlier than we hear of it.
    fn rest(&mut self, pairs: u32, now: Mono) {
        while self.resting.front().is_some_and(|(until, _)| *until <= now) {
            self.resting.pop_front();
        }
        // In steps, so that there are few of them.
        let until = Mono((now + PORT_REST).0.next_multiple_of(REST_STEP.as_nanos() as u64));
        match self.resting.back_mut().filter(|(last, _)| *last == until) {
            Some((_, resting)) => *resting += pairs,
            None if pairs > 0 => self.resting.push_back((until, pairs)),
            None => {}
        }
    }

    /// Port pairs that rest.
    fn resting(&self, now: Mono) -> u32 {
        self.resting.iter().filter(|(until, _)| *until > now).map(|(_, pairs)| pairs).sum()
    }

    /// Whether its pool is so empty that another call would cost the running ones their audio: the disk is too slow.
    fn lacks_blocks(&self) -> bool {
        self.stats.blocks_free * 20 < self.stats.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono::from_ms(1_000);

    fn told(shards: &mut Shards, shard: usize, busy_percent: u32) {
        let calls = shards.shards[shard].calls;
        shards.note(
            shard,
            ShardStats {
                busy_ppm: busy_percent * 10_000,
                calls,
                blocks: 100,
                blocks_free: 50,
                ..ShardStats::default()
            },
        );
    }

    #[test]
    fn calls_spread_evenly_until_slots_or_ports_run_out() {
        let mut shards = Shards::new(2, 3, 4, 85);
        assert_eq!([shards.place(2, NOW), shards.place(2, NOW), shards.place(2, NOW)], [Ok(0), Ok(1), Ok(0)]);
        assert_eq!((shards.place(3, NOW), shards.place(2, NOW)), (Err(Refusal::PortsUsed), Ok(1)));
        assert_eq!(shards.place(1, NOW), Err(Refusal::PortsUsed), "every port pair is taken");
        shards.release(1, 2, NOW);
        let rested = NOW + PORT_REST;
        assert_eq!((shards.slots_left(), shards.place(1, rested)), (1, Ok(1)));
        shards.stopped(1);
        assert_eq!(shards.place(1, rested), Err(Refusal::PortsUsed), "of the shard that is left");
        shards.stopped(0);
        assert_eq!(shards.place(1, rested), Err(Refusal::NoShard));
    }

    #[test]
    fn ports_that_rest_are_given_to_nobody_and_refuse_under_their_own_name() {
        let mut shards = Shards::new(1, 10, 4, 85);
        assert_eq!([shards.place(2, NOW), shards.place(2, NOW)], [Ok(0), Ok(0)]);
        shards.release(0, 2, NOW);
        assert_eq!(shards.place(2, NOW), Err(Refusal::PortsRest));
        let later = NOW + PORT_REST / 2;
        // A track less at half time: one pair more, that rests longer.
        shards.resize(0, 2, 1, later);
        assert_eq!(shards.place(3, NOW + PORT_REST), Err(Refusal::PortsRest));
        assert_eq!(shards.place(2, NOW + PORT_REST), Ok(0));
        assert_eq!(shards.place(1, later + PORT_REST), Ok(0));
        assert_eq!(shards.place(1, later + PORT_REST), Err(Refusal::PortsUsed));
    }

    #[test]
    fn a_shard_whose_ports_others_hold_is_left_alone_for_a_moment() {
        let mut shards = Shards::new(2, 2, 40, 85);
        shards.portless(0, NOW);
        assert_eq!([shards.place(2, NOW), shards.place(2, NOW)], [Ok(1), Ok(1)]);
        assert_eq!(shards.place(2, NOW), Err(Refusal::PortsHeld), "the other one has no slot left");
        assert_eq!(shards.place(2, NOW + PORT_REST), Ok(0));
    }

    #[test]
    fn a_bound_of_100_percent_is_none() {
        let mut shards = Shards::new(1, 1000, 2000, 100);
        told(&mut shards, 0, 100);
        let taken = (0..1000).filter(|_| shards.place(2, NOW).is_ok()).count();
        assert_eq!((taken, shards.place(2, NOW)), (1000, Err(Refusal::ShardCalls)));
    }

    #[test]
    fn the_least_busy_shard_gets_the_call_and_a_busy_one_none_until_it_is_well_below_the_bound() {
        let mut shards = Shards::new(2, 1000, 4000, 85);
        told(&mut shards, 0, 40);
        told(&mut shards, 1, 20);
        assert_eq!(shards.place(2, NOW), Ok(1));
        told(&mut shards, 1, 90);
        assert_eq!(shards.place(2, NOW), Ok(0));
        told(&mut shards, 0, 86);
        assert_eq!(shards.place(2, NOW), Err(Refusal::Busy));
        told(&mut shards, 0, 83);
        assert_eq!(shards.place(2, NOW), Err(Refusal::Busy), "not yet well below");
        told(&mut shards, 0, 79);
        assert_eq!(shards.place(2, NOW), Ok(0));
    }

    #[test]
    fn calls_of_the_last_second_are_reckoned_with_before_the_shard_has_told_of_them() {
        let mut shards = Shards::new(1, 10_000, 40_000, 85);
        (0..100).for_each(|_| assert_eq!(shards.place(2, NOW), Ok(0)));
        told(&mut shards, 0, 50);
        // Half a percent each: 70 more make 85 percent.
        assert_eq!(shards.busy_left(), 70);
        let taken = (0..1000).take_while(|_| shards.place(2, NOW).is_ok()).count();
        assert_eq!((taken, shards.busy_left(), shards.place(2, NOW)), (70, 0, Err(Refusal::Busy)));
    }

    #[test]
    fn a_shard_without_blocks_gets_no_call() {
        let mut shards = Shards::new(1, 10, 40, 85);
        shards.note(0, ShardStats { blocks: 100, blocks_free: 4, ..ShardStats::default() });
        assert_eq!(shards.place(2, NOW), Err(Refusal::NoBlocks));
        shards.note(0, ShardStats { blocks: 100, blocks_free: 5, ..ShardStats::default() });
        assert_eq!(shards.place(2, NOW), Ok(0));
    }
}
