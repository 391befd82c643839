//! Networks of IP addresses, and tables by them in which the most specific network wins.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// A network: an address and the length of its prefix (RFC 4632 section 3.1).
pub type Network = ipnet::IpNet;

/// Reads `10.0.0.0/8`, `2001:db8::/32`, or a single address. Bits beyond the prefix are an error: they are most often a slip.
pub fn network(text: &str) -> Option<Network> {
    let text = text.trim();
    let network = match text.parse::<IpAddr>() {
        Ok(address) => Network::from(address.to_canonical()),
        Err(_) => text.parse().ok()?,
    };
    (network.trunc() == network).then_some(network)
}

/// Values by network. Finding one takes a look-up per prefix length in use, however many networks there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Networks<T> {
    values: HashMap<Network, T>,
    /// The prefix lengths in use.
    lengths: BTreeSet<u8>,
}

impl<T> Default for Networks<T> {
    fn default() -> Networks<T> {
        Networks { values: HashMap::new(), lengths: BTreeSet::new() }
    }
}

impl<T> FromIterator<(Network, T)> for Networks<T> {
    /// Of equal networks the last one counts.
    fn from_iter<I: IntoIterator<Item = (Network, T)>>(entries: I) -> Networks<T> {
        let values: HashMap<Network, T> =
            entries.into_iter().map(|(net, value)| (net.trunc(), value)).collect();
        let lengths = values.keys().map(Network::prefix_len).collect();
        Networks { values, lengths }
    }
}

impl<T> Networks<T> {
    /// The value of the smallest network that holds `address`. An IPv4 address inside of IPv6 counts as the IPv4 address.
    pub fn find(&self, address: IpAddr) -> Option<&T> {
        let address = address.to_canonical();
        let of_length = |length: &u8| self.values.get(&Network::new(address, *length).ok()?.trunc());
        self.lengths.iter().rev().find_map(of_length)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_smallest_network_wins_and_mapped_addresses_count_as_ipv4() {
        let table: Networks<&str> =
            [("0.0.0.0/0", "any"), ("10.0.0.0/8", "ten"), ("10.1.2.3", "one"), ("2001:db8::/32", "six")]
                .map(|(net, name)| (network(net).unwrap(), name))
                .into_iter()
                .collect();
        let find = |address: &str| table.find(address.parse().unwrap()).copied();
        assert_eq!(find("10.1.2.3"), Some("one"));
        assert_eq!(find("10.1.2.4"), Some("ten"));
        assert_eq!(find("::ffff:10.1.2.3"), Some("one"));
        assert_eq!(find("192.0.2.1"), Some("any"));
        assert_eq!((find("2001:db8::5"), find("2001:db9::5")), (Some("six"), None));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "host", "2001:db8::1/32"] {
            assert_eq!(network(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_table_finds_what_a_search_through_all_finds(
            nets in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..20), address in any::<u32>(), near in any::<bool>()
        ) {
            let nets: Vec<Network> = nets.iter().map(|(ip, len)| Network::new(IpAddr::from(ip.to_be_bytes()), *len).unwrap().trunc()).collect();
            let address = match nets.first() {
                Some(net) if near => net.addr(),
                _ => IpAddr::from(address.to_be_bytes()),
            };
            let table: Networks<Network> = nets.iter().map(|net| (*net, *net)).collect();
            let wanted = nets.iter().filter(|net| net.contains(&address)).max_by_key(|net| net.prefix_len());
            prop_assert_eq!(table.find(address), wanted);
        }
    }
}
