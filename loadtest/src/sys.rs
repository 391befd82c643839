//! The one place of this package that speaks with the kernel past the standard library: many datagrams by one system call.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Longest datagram: 60 ms of G.711, the RTP header and the longest SRTP trailer, rounded up.
pub const DATAGRAM_BYTES_MAX: usize = 576;
/// Datagrams of one system call. At 3 µs each the first of them would wait for 0.4 ms if the kernel took them all before it sent any.
pub const BATCH: usize = 128;

/// Where a datagram goes, as the kernel reads it.
#[derive(Clone, Copy)]
pub struct Address {
    storage: libc::sockaddr_in6,
    bytes: libc::socklen_t,
}

impl From<SocketAddr> for Address {
    fn from(at: SocketAddr) -> Address {
        // SAFETY: a socket address of zeros is a valid value of this plain C struct.
        let mut storage: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
        let bytes = match at {
            SocketAddr::V4(at) => {
                let v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: at.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(at.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: the place is ours, larger (28 > 16 bytes) and at least as aligned.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(v4) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(at) => {
                storage.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                storage.sin6_port = at.port().to_be();
                storage.sin6_flowinfo = at.flowinfo();
                storage.sin6_addr.s6_addr = at.ip().octets();
                storage.sin6_scope_id = at.scope_id();
                size_of::<libc::sockaddr_in6>()
            }
        };
        Address { storage, bytes: bytes as libc::socklen_t }
    }
}

/// Datagrams that wait to go out of one socket, each to its own address.
pub struct Batch {
    socket: UdpSocket,
    // The headers point at the three below, whose memory never moves: boxed, and never taken out.
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    addresses: Box<[Address]>,
    bytes: Box<[[u8; DATAGRAM_BYTES_MAX]]>,
    waiting: usize,
}

impl Batch {
    /// Nothing waits yet. The socket has to be one that blocks.
    pub fn new(socket: UdpSocket) -> Batch {
        let nowhere = Address::from(SocketAddr::from(([0, 0, 0, 0], 0)));
        let mut batch = Batch {
            socket,
            headers: Box::new([]),
            vectors: Box::new([]),
            addresses: vec![nowhere; BATCH].into_boxed_slice(),
            bytes: vec![[0; DATAGRAM_BYTES_MAX]; BATCH].into_boxed_slice(),
            waiting: 0,
        };
        let vector = |bytes: &mut [u8; DATAGRAM_BYTES_MAX]| libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: 0,
        };
        batch.vectors = batch.bytes.iter_mut().map(vector).collect();
        let places = batch.vectors.iter_mut().zip(&mut batch.addresses);
        let header = |(vector, address): (&mut libc::iovec, &mut Address)| {
            // SAFETY: a message header of zeros is a valid value of this plain C struct.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = (&raw mut address.storage).cast();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header
        };
        batch.headers = places.map(header).collect();
        batch
    }

    /// Whether another datagram has to wait until these are sent.
    pub fn is_full(&self) -> bool {
        self.waiting == BATCH
    }

    /// Adds a datagram: `write` puts it into the buffer and says how long it is.
    ///
    /// # Panics
    /// If the batch is full, or the datagram longer than the buffer.
    pub fn push(&mut self, to: &Address, write: impl FnOnce(&mut [u8; DATAGRAM_BYTES_MAX]) -> usize) {
        let at = self.waiting;
        let bytes = write(&mut self.bytes[at]);
        assert!(bytes <= DATAGRAM_BYTES_MAX, "a datagram fits its buffer");
        self.vectors[at].iov_len = bytes;
        self.addresses[at] = *to;
        self.headers[at].msg_hdr.msg_namelen = to.bytes;
        self.waiting += 1;
    }

    /// Sends all that waits, in order; blocks if the socket's buffer is full. Tells of each that the system refused: its place, and why.
    pub fn send(&mut self, mut refused: impl FnMut(usize, io::Error)) {
        let mut from = 0;
        while from < self.waiting {
            let rest = &mut self.headers[from..self.waiting];
            // SAFETY: the headers, and what they point at (see `new`), live in `self` through the call; their number is as said.
            let sent = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_NOSIGNAL,
                )
            };
            if sent > 0 {
                from += sent as usize;
                continue;
            }
            let why = io::Error::last_os_error();
            if why.kind() != io::ErrorKind::Interrupted {
                refused(from, why);
                from += 1;
            }
        }
        self.waiting = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn receiver(at: &str) -> UdpSocket {
        let socket = UdpSocket::bind(at).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    fn write<'a>(text: &'a [u8]) -> impl FnOnce(&mut [u8; DATAGRAM_BYTES_MAX]) -> usize + 'a {
        |bytes| {
            bytes[..text.len()].copy_from_slice(text);
            text.len()
        }
    }

    #[test]
    fn each_datagram_reaches_its_own_address_over_either_protocol() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let (a, b) = (receiver(ip), receiver(ip));
            let mut batch = Batch::new(UdpSocket::bind(ip).unwrap());
            for round in 0..3 {
                for (socket, text) in [(&a, &b"first"[..]), (&b, b"second, longer"), (&a, b"3")] {
                    batch.push(&socket.local_addr().unwrap().into(), write(text));
                }
                batch.send(|place, why| panic!("round {round}, {place}: {why}"));
            }
            let mut bytes = [0; 100];
            let mut next = |socket: &UdpSocket| {
                let (len, _) = socket.recv_from(&mut bytes).unwrap();
                bytes[..len].to_vec()
            };
            for _ in 0..3 {
                assert_eq!(
                    (next(&a), next(&a), next(&b)),
                    (b"first".to_vec(), b"3".to_vec(), b"second, longer".to_vec())
                );
            }
        }
    }

    #[test]
    fn what_the_system_refuses_is_told_and_the_rest_is_sent() {
        let there = receiver("127.0.0.1:0");
        let mut batch = Batch::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = there.local_addr().unwrap();
        batch.push(&to.into(), write(b"one"));
        // Port 0 is nobody's.
        batch.push(&SocketAddr::from(([127, 0, 0, 1], 0)).into(), write(b"nowhere"));
        batch.push(&to.into(), write(b"two"));
        let mut refused = Vec::new();
        batch.send(|place, _| refused.push(place));
        assert_eq!(refused, [1]);
        let mut bytes = [0; 100];
        assert_eq!((there.recv(&mut bytes).unwrap(), there.recv(&mut bytes).unwrap()), (3, 3));
        assert_eq!(&bytes[..3], b"two");
    }

    #[test]
    fn a_batch_knows_when_it_is_full() {
        let there = receiver("127.0.0.1:0");
        let to = there.local_addr().unwrap().into();
        let mut batch = Batch::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        for _ in 0..BATCH {
            assert!(!batch.is_full());
            batch.push(&to, write(b"x"));
        }
        assert!(batch.is_full());
        batch.send(|_, why| panic!("{why}"));
        assert!(!batch.is_full());
    }
}
