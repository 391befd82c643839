//! The network interfaces of this network namespace and the addresses they own (getifaddrs(3)).

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// It is up.
    pub is_up: bool,
    /// It is the loopback.
    pub is_loopback: bool,
    /// Its frames have an Ethernet header, as those of cards, bonds, bridges, VLANs, veth pairs and the loopback have.
    pub is_ethernet: bool,
    /// What it owns.
    pub addresses: Vec<IpAddr>,
}

/// All of them.
///
/// # Errors
/// The kernel's.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the pointer is ours to write.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (mut found, mut owned): (Vec<Interface>, Vec<(String, IpAddr)>) = (Vec::new(), Vec::new());
    let mut at = first;
    // SAFETY: a list that ends in null; its entries live until it is freed below.
    while let Some(entry) = unsafe { at.as_ref() } {
        at = entry.ifa_next;
        // SAFETY: a string ended by zero, which lives as long as the entry.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
        match address(entry) {
            Some(Address::Link(link)) => found.push(interface(name, entry.ifa_flags, &link)),
            Some(Address::Ip(address)) => owned.push((name, address)),
            None => {}
        }
    }
    // SAFETY: the list made above, freed once.
    unsafe { libc::freeifaddrs(first) };
    for (name, address) in owned {
        // An address with a label of its own ("eth0:1") is listed under that.
        let base = name.split(':').next().unwrap_or(&name);
        if let Some(interface) = found.iter_mut().find(|interface| interface.name == base) {
            interface.addresses.push(address);
        }
    }
    Ok(found)
}

fn interface(name: String, flags: libc::c_uint, link: &libc::sockaddr_ll) -> Interface {
    let has = |flag: libc::c_int| flags & flag as u32 != 0;
    Interface {
        name,
        index: link.sll_ifindex as u32,
        is_up: has(libc::IFF_UP),
        is_loopback: has(libc::IFF_LOOPBACK),
        is_ethernet: [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK].contains(&link.sll_hatype),
        addresses: Vec::new(),
    }
}

enum Address {
    /// Of the interface itself, which has one such entry.
    Link(libc::sockaddr_ll),
    Ip(IpAddr),
}

fn address(entry: &libc::ifaddrs) -> Option<Address> {
    let raw = entry.ifa_addr;
    // SAFETY: null, or an address that lives as long as the entry; its family says which structure it is.
    unsafe {
        match i32::from(raw.as_ref()?.sa_family) {
            libc::AF_PACKET => Some(Address::Link(raw.cast::<libc::sockaddr_ll>().read_unaligned())),
            libc::AF_INET => {
                let address = raw.cast::<libc::sockaddr_in>().read_unaligned().sin_addr;
                Some(Address::Ip(Ipv4Addr::from(u32::from_be(address.s_addr)).into()))
            }
            libc::AF_INET6 => {
                let address = raw.cast::<libc::sockaddr_in6>().read_unaligned().sin6_addr;
                Some(Address::Ip(Ipv6Addr::from(address.s6_addr).into()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_found_with_its_address() {
        let all = interfaces().unwrap();
        let loopback: Vec<_> = all.iter().filter(|interface| interface.is_loopback).collect();
        assert_eq!(loopback.len(), 1);
        assert!(loopback[0].is_ethernet && loopback[0].index > 0);
        assert!(loopback[0].addresses.contains(&Ipv4Addr::LOCALHOST.into()));
        assert!(
            all.iter().filter(|interface| !interface.is_loopback).all(|other| other.name != loopback[0].name)
        );
    }
}
