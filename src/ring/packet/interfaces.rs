//! Through which interfaces the packets for an address come in.

use std::net::IpAddr;

use super::{PacketError, system};
use crate::sys::interface::{Interface, interfaces};

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// The interface's index.
    pub index: u32,
    /// Only what this machine sends to itself comes this way.
    pub is_by_the_way: bool,
}

/// The ways to `address`: those `named`, or by who owns it, and the loopback for what this machine sends to its own address.
///
/// # Errors
/// There is none, or one that can't be tapped.
pub fn ways(address: IpAddr, named: &[String]) -> Result<Vec<Way>, PacketError> {
    let all = interfaces().map_err(|error| system("getifaddrs", &error))?;
    choose(address, named, &all)
}

fn choose(address: IpAddr, named: &[String], all: &[Interface]) -> Result<Vec<Way>, PacketError> {
    if address.is_unspecified() || address.is_multicast() {
        return Err(PacketError::Unspecified);
    }
    let loopback = all.iter().find(|interface| interface.is_loopback);
    let mut found: Vec<&Interface> = Vec::new();
    for name in named {
        let interface = all.iter().find(|interface| interface.name == *name);
        found.push(interface.ok_or_else(|| PacketError::NoInterface { name: name.clone() })?);
    }
    if found.is_empty() {
        let owner = all.iter().find(|interface| interface.addresses.contains(&address));
        found.push(match owner {
            _ if address.is_loopback() => loopback.ok_or(PacketError::NoOwner { address })?,
            Some(owner) if owner.is_loopback => return Err(PacketError::ServiceAddress { address }),
            owner => owner.ok_or(PacketError::NoOwner { address })?,
        });
    }
    for interface in &found {
        let name = || interface.name.clone();
        match interface {
            Interface { is_up: false, .. } => return Err(PacketError::Down { name: name() }),
            Interface { is_ethernet: false, .. } => return Err(PacketError::NotEthernet { name: name() }),
            _ => {}
        }
    }
    let mut ways: Vec<Way> =
        found.iter().map(|interface| Way { index: interface.index, is_by_the_way: false }).collect();
    ways.extend(
        loopback
            .filter(|own| own.is_up && !ways.iter().any(|way| way.index == own.index))
            .map(|own| Way { index: own.index, is_by_the_way: true }),
    );
    ways.sort_by_key(|way| way.index);
    ways.dedup_by_key(|way| way.index);
    Ok(ways)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<Interface> {
        let interface = |index: u32, name: &str, addresses: &[&str]| Interface {
            name: name.to_owned(),
            index,
            is_up: name != "eth1",
            is_loopback: name == "lo",
            is_ethernet: name != "tun0",
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        vec![
            interface(1, "lo", &["127.0.0.1", "::1", "198.51.100.9"]),
            interface(2, "eth0", &["192.0.2.1", "2001:db8::1"]),
            interface(3, "eth1", &["192.0.2.2"]),
            interface(4, "tun0", &["192.0.2.3"]),
            interface(5, "eth0.100", &["192.0.2.4"]),
        ]
    }

    fn chosen(address: &str, named: &[&str]) -> Result<Vec<(u32, bool)>, PacketError> {
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        let ways = choose(address.parse().unwrap(), &named, &machine())?;
        Ok(ways.iter().map(|way| (way.index, way.is_by_the_way)).collect())
    }

    #[test]
    fn an_address_comes_in_through_its_owner_and_from_this_machine_through_the_loopback() {
        assert_eq!(chosen("127.0.0.1", &[]), Ok(vec![(1, false)]));
        assert_eq!(chosen("127.4.5.6", &[]), Ok(vec![(1, false)]));
        assert_eq!(chosen("192.0.2.1", &[]), Ok(vec![(1, true), (2, false)]));
        assert_eq!(chosen("2001:db8::1", &[]), Ok(vec![(1, true), (2, false)]));
        assert_eq!(chosen("192.0.2.4", &[]), Ok(vec![(1, true), (5, false)]));
        assert_eq!(
            chosen("198.51.100.9", &["eth0", "eth0.100", "eth0"]),
            Ok(vec![(1, true), (2, false), (5, false)])
        );
        assert_eq!(chosen("192.0.2.1", &["lo"]), Ok(vec![(1, false)]));
    }

    #[test]
    fn what_can_not_be_tapped_is_refused_with_the_way_out() {
        for (address, named, says) in [
            ("0.0.0.0", &[][..], "set rtp.bind"),
            ("::", &[], "set rtp.bind"),
            ("203.0.113.1", &[], "no interface has the address 203.0.113.1"),
            ("198.51.100.9", &[], "give it to that interface"),
            ("192.0.2.1", &["eth7"], "no interface eth7"),
            ("192.0.2.2", &[], "ip link set eth1 up"),
            ("192.0.2.3", &[], "tun0 have no Ethernet header"),
        ] {
            let refused = chosen(address, named).unwrap_err();
            assert!(refused.to_string().contains(says), "{refused}");
        }
    }
}
