//! How much each address has, so that one peer alone can't take what all need.

use std::collections::HashMap;
use std::net::IpAddr;

/// Counts by address. Holds only addresses that have something: no more of them than there is to count.
#[derive(Default)]
pub(crate) struct Census(HashMap<IpAddr, usize>);

impl Census {
    pub(crate) fn of(&self, address: IpAddr) -> usize {
        self.0.get(&address).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, address: IpAddr) {
        *self.0.entry(address).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, address: IpAddr) {
        if let Some(count) = self.0.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&address);
            }
        }
    }
}
