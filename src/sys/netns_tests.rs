//! Networks of a test's own: two namespaces that nobody else sees, joined by as many cables (veth pairs) as it likes.
//!
//! They have no names: they hang on descriptors and on the thread, and are gone with them, panic or not.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

use socket2::{Domain, Socket, Type};

use super::interface::interfaces;

/// The addresses of both ends of every cable.
pub(crate) const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// See [`NEAR_MAC`].
pub(crate) const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Two machines: the thread stands in `near`, and visits `far`.
pub(crate) struct Network {
    home: File,
    near: File,
    far: File,
}

impl Network {
    /// Moves this thread into a namespace of its own, loopback up, until this is dropped.
    pub(crate) fn new() -> Network {
        let home = here();
        let far = fresh();
        let near = fresh();
        Network { home, near, far }
    }

    /// A cable between interfaces of one name in both, up, with these addresses (`192.0.2.1/24`).
    pub(crate) fn cable(&self, name: &str, near: &[&str], far: &[&str]) {
        let other = format!("/proc/{}/fd/{}", std::process::id(), self.far.as_raw_fd());
        let (near_mac, far_mac) = (text(NEAR_MAC), text(FAR_MAC));
        let pair = ["link", "add", name, "address", &near_mac, "type", "veth", "peer", "name", name];
        ip(&[&pair[..], &["address", &far_mac, "netns", &other]].concat());
        let set_up = |addresses: &[&str]| {
            for address in addresses {
                // Without `nodad` an IPv6 address waits a second for others to object.
                let nodad = if address.contains(':') { &["nodad"][..] } else { &[] };
                ip(&[&["addr", "add", address, "dev", name], nodad].concat());
            }
            ip(&["link", "set", name, "up"]);
        };
        self.far(|| set_up(far));
        set_up(near);
    }

    /// Does something at the far end.
    pub(crate) fn far<T>(&self, act: impl FnOnce() -> T) -> T {
        enter(&self.far);
        let done = act();
        enter(&self.near);
        done
    }
}

/// Sends frames as they are.
pub(crate) struct Wire {
    socket: Socket,
    interface: u32,
}

impl Wire {
    /// On an interface of the namespace that the thread stands in.
    pub(crate) fn new(name: &str) -> Wire {
        let all = interfaces().unwrap();
        let interface = all.iter().find(|interface| interface.name == name).unwrap().index;
        Wire { socket: Socket::new(Domain::PACKET, Type::RAW, None).unwrap(), interface }
    }

    /// Sends a frame from its Ethernet header on.
    pub(crate) fn send(&self, frame: &[u8]) {
        // SAFETY: plain integers, for which all zeroes is a value.
        let mut at: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        at.sll_family = libc::AF_PACKET as u16;
        at.sll_ifindex = self.interface as libc::c_int;
        let bytes = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: frame and address live through the call and are as long as said.
        let sent = unsafe {
            let raw = self.socket.as_raw_fd();
            libc::sendto(raw, frame.as_ptr().cast(), frame.len(), 0, (&raw const at).cast(), bytes)
        };
        assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        enter(&self.home);
    }
}

/// Runs `ip` (iproute2).
pub(crate) fn ip(args: &[&str]) {
    let done = Command::new("ip").args(args).output().expect("iproute2 is installed");
    assert!(done.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn fresh() -> File {
    // SAFETY: takes no pointers; only this thread moves.
    let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(done, 0, "networks of their own need root: {}", std::io::Error::last_os_error());
    ip(&["link", "set", "lo", "up"]);
    here()
}

fn here() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

fn enter(namespace: &File) {
    // SAFETY: takes no pointers; only this thread moves.
    assert_eq!(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
