//! Receiving sockets: opened, bound and told to report arrival times and drops; and one datagram out.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A bound UDP socket that does not block, and the address it got. Each datagram will come with the wall time of its
/// arrival (`SO_TIMESTAMPNS`) and, once there were any, the number of datagrams the kernel dropped (`SO_RXQ_OVFL`).
pub fn receiver(at: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket =
        Socket::new(Domain::for_address(at), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    set(socket.as_raw_fd(), (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS), 1)?;
    set(socket.as_raw_fd(), (libc::SOL_SOCKET, libc::SO_RXQ_OVFL), 1)?;
    socket.bind(&SockAddr::from(at))?;
    let bound = match at.port() {
        0 => socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?,
        _ => at,
    };
    Ok((socket.into(), bound))
}

/// Each datagram will say to which address and port it was sent (`IP_RECVORIGDSTADDR`, `IPV6_RECVORIGDSTADDR`). A socket of IPv6 is told both:
/// one that is bound to any address takes IPv4 as well.
pub fn tell_destination(socket: &impl AsRawFd, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set(socket.as_raw_fd(), (libc::SOL_IPV6, libc::IPV6_RECVORIGDSTADDR), 1)?;
    }
    set(socket.as_raw_fd(), (libc::SOL_IP, libc::IP_RECVORIGDSTADDR), 1)
}

/// Room for `bytes` of waiting datagrams, whatever `net.core.rmem_max` says. Needs CAP_NET_ADMIN. The kernel doubles it for what it
/// keeps beside each datagram, and counts that.
pub fn force_receive_buffer(socket: &impl AsRawFd, bytes: u32) -> io::Result<()> {
    set(socket.as_raw_fd(), (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE), bytes as libc::c_int)
}

/// Sends one datagram, or says why not; never blocks.
pub fn send_to(socket: RawFd, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let to = SockAddr::from(to);
    // SAFETY: the bytes and the address live through the call and are as long as said.
    let sent = unsafe {
        libc::sendto(
            socket,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            to.as_ptr().cast(),
            to.len(),
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The same from an address and port of ours, which somebody else must not hold, through a socket that lives for this datagram.
pub fn send_from(from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    send_to(bound(from)?.as_raw_fd(), to, bytes)
}

/// Whether somebody holds this UDP address and port.
pub fn is_taken(at: SocketAddr) -> bool {
    bound(at).is_err_and(|error| error.raw_os_error() == Some(libc::EADDRINUSE))
}

fn bound(at: SocketAddr) -> io::Result<Socket> {
    let socket =
        Socket::new(Domain::for_address(at), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    socket.bind(&SockAddr::from(at))?;
    Ok(socket)
}

/// Makes room for `files` descriptors at once. The kernel grows the table by doubling, and in a process with several threads each
/// growth waits for an RCU grace period (10-30 ms): better before the first call than during it.
pub fn reserve_descriptors(files: u32) -> io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: duplicates a descriptor of ours; what comes back is closed below and nothing else knows it.
    match unsafe { libc::fcntl(null.as_raw_fd(), libc::F_DUPFD_CLOEXEC, files as libc::c_int) } {
        -1 => Err(io::Error::last_os_error()),
        duplicate => {
            // SAFETY: just made and known to nobody else; the owner closes it once.
            drop(unsafe { OwnedFd::from_raw_fd(duplicate) });
            Ok(())
        }
    }
}

fn set(socket: RawFd, (level, option): (libc::c_int, libc::c_int), value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value lives through the call and is as long as said.
    let outcome = unsafe {
        libc::setsockopt(
            socket,
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_gets_what_is_sent_to_it_and_its_port_is_taken() {
        let (a, at) = receiver("127.0.0.1:0".parse().unwrap()).unwrap();
        let (b, from) = receiver("127.0.0.1:0".parse().unwrap()).unwrap();
        send_to(b.as_raw_fd(), at, b"hello").unwrap();
        let socket = std::net::UdpSocket::from(a);
        socket.set_nonblocking(false).unwrap();
        let mut bytes = [0; 16];
        assert_eq!(socket.recv_from(&mut bytes).unwrap(), (5, from));
        assert_eq!(receiver(at).unwrap_err().raw_os_error(), Some(libc::EADDRINUSE));
    }

    #[test]
    fn room_for_descriptors_stays_within_the_limit() {
        reserve_descriptors(200).unwrap();
        assert!(reserve_descriptors(i32::MAX as u32).is_err());
    }
}
