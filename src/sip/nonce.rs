//! Nonces without state, and their use with a little of it (RFC 7616 sections 3.3, 5.4, 5.12).
//!
//! A nonce is the time of its making and a number, sealed with a secret of this start. What is kept is only which counts of a nonce
//! were used, for those that were used with the right password, so that nobody without it can fill the table.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;

use super::digest::hex;
use crate::base::{Entropy, Mono};
use crate::limits::{DIGEST_NONCE_LIFE, DIGEST_NONCES_MAX};

/// Hexadecimal digits of the time in milliseconds, of the number and of the seal.
const DIGITS: [usize; 3] = [16, 8, 32];

/// The time of its making in milliseconds and its number: in the order in which they were made.
type Id = (u64, u32);

/// Makes nonces and looks after their use.
pub(crate) struct Nonces {
    key: hmac::Key,
    made: u32,
    used: BTreeMap<Id, Window>,
    /// Whether this one and those before it were used is known no more: they are stale.
    floor: Option<Id>,
    max: usize,
}

/// Which counts of a nonce were used: the highest, and those up to 63 below it, for datagrams overtake each other.
struct Window {
    top: u32,
    /// Bit `n`: `top - n` was used.
    seen: u64,
}

impl Nonces {
    pub(crate) fn new(entropy: &mut dyn Entropy) -> Nonces {
        Nonces::bounded(entropy, DIGEST_NONCES_MAX)
    }

    fn bounded(entropy: &mut dyn Entropy, max: usize) -> Nonces {
        let mut secret = [0; 32];
        entropy.fill(&mut secret);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Nonces { key, made: 0, used: BTreeMap::new(), floor: None, max }
    }

    /// A new one.
    pub(crate) fn make(&mut self, now: Mono) -> String {
        self.made = self.made.wrapping_add(1);
        self.seal((ms(now), self.made))
    }

    fn seal(&self, (made, number): Id) -> String {
        let front = format!("{made:016x}{number:08x}");
        let seal = hmac::sign(&self.key, front.as_bytes());
        front + &hex(&seal.as_ref()[..DIGITS[2] / 2])
    }

    /// Uses a nonce that came with the right password, once for each count; without a count once at all. False if it is not ours, too
    /// old, or was used so before.
    pub(crate) fn spend(&mut self, now: Mono, nonce: &str, count: Option<u32>) -> bool {
        let Some(id) = self.open(nonce) else { return false };
        let oldest = ms(now).saturating_sub(DIGEST_NONCE_LIFE.as_millis() as u64);
        if id.0 < oldest || self.floor.is_some_and(|floor| id <= floor) {
            return false;
        }
        while self.used.first_key_value().is_some_and(|(first, _)| first.0 < oldest) {
            self.used.pop_first();
        }
        let fresh = match self.used.get_mut(&id) {
            // Without a count every count is used at once.
            None => {
                self.used.insert(id, Window::of(count));
                true
            }
            Some(window) => count.is_some_and(|count| window.take(count)),
        };
        if self.used.len() > self.max {
            self.floor = self.used.pop_first().map(|(first, _)| first);
        }
        fresh
    }

    /// The nonce's id, if we sealed it.
    fn open(&self, nonce: &str) -> Option<Id> {
        let whole = nonce.len() == DIGITS.iter().sum::<usize>() && nonce.is_ascii();
        let (made, number) = nonce.get(..DIGITS[0] + DIGITS[1]).filter(|_| whole)?.split_at(DIGITS[0]);
        let id = (u64::from_str_radix(made, 16).ok()?, u32::from_str_radix(number, 16).ok()?);
        let genuine = self.seal(id);
        aws_lc_rs::constant_time::verify_slices_are_equal(genuine.as_bytes(), nonce.as_bytes()).ok()?;
        Some(id)
    }
}

impl Window {
    fn of(count: Option<u32>) -> Window {
        count.map_or(Window { top: u32::MAX, seen: u64::MAX }, |top| Window { top, seen: 1 })
    }

    /// False if it was used, or is too far below the highest to tell.
    fn take(&mut self, count: u32) -> bool {
        if count > self.top {
            self.seen = self.seen.checked_shl(count - self.top).unwrap_or(0) | 1;
            self.top = count;
            return true;
        }
        let Some(bit) = 1u64.checked_shl(self.top - count) else { return false };
        let fresh = self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}

fn ms(at: Mono) -> u64 {
    at.0 / 1_000_000
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::Seeded;

    fn nonces(seed: u64, max: usize) -> Nonces {
        Nonces::bounded(&mut Seeded::new(seed), max)
    }

    #[test]
    fn a_count_is_good_once_in_whatever_order_it_comes() {
        let mut nonces = nonces(1, 8);
        let nonce = nonces.make(Mono(0));
        for (count, good) in
            [(2, true), (2, false), (1, true), (70, true), (69, true), (5, false), (70, false), (1, false)]
        {
            assert_eq!(nonces.spend(Mono(0), &nonce, Some(count)), good, "{count}");
        }
        let once = nonces.make(Mono(0));
        assert!(nonces.spend(Mono(0), &once, None));
        assert!(!nonces.spend(Mono(0), &once, None) && !nonces.spend(Mono(0), &once, Some(9)));
    }

    #[test]
    fn nonces_grow_old_and_those_of_others_were_never_good() {
        let mut nonces = nonces(1, 8);
        let nonce = nonces.make(Mono::from_ms(1000));
        let end = Mono::from_ms(1000) + DIGEST_NONCE_LIFE;
        assert!(nonces.spend(end, &nonce, Some(1)));
        assert!(!nonces.spend(end + Duration::from_millis(1), &nonce, Some(2)));
        let foreign = super::tests::nonces(2, 8).make(end);
        assert!(!nonces.spend(end, &foreign, Some(1)));
        for nonsense in
            ["", "é", &nonce[1..], &nonce.replace('0', "1"), &"+".repeat(56), &nonce.to_uppercase()]
        {
            assert!(nonsense == nonce || !nonces.spend(Mono::from_ms(1000), nonsense, Some(1)), "{nonsense}");
        }
    }

    #[test]
    fn the_table_is_bounded_and_what_it_forgets_is_stale() {
        let mut nonces = nonces(1, 4);
        let all: Vec<String> = (0..10).map(|_| nonces.make(Mono(0))).collect();
        assert!(all.iter().all(|nonce| nonces.spend(Mono(0), nonce, Some(1))));
        assert_eq!(nonces.used.len(), 4);
        assert!(
            all.iter().all(|nonce| !nonces.spend(Mono(0), nonce, Some(1))),
            "no replay, forgotten or not"
        );
        assert!(nonces.spend(Mono(0), &all[9], Some(2)));
    }
}
