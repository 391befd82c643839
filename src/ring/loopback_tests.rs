//! The [`World`](super::conformance::World) of the real rings: loopback, a folder on the disk that holds `target/`, the machine's clock.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Peers and a folder.
pub(crate) struct Loopback {
    host: IpAddr,
    peers: Vec<UdpSocket>,
    folder: tempfile::TempDir,
}

impl Loopback {
    pub(crate) fn new(host: IpAddr) -> Loopback {
        // Not /tmp: that may be a tmpfs, and direct I/O is what is to be tried.
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
        let folder = tempfile::Builder::new().prefix("ring-").tempdir_in(target).unwrap();
        Loopback { host, peers: Vec::new(), folder }
    }

    fn socket(&mut self, peer: usize) -> &UdpSocket {
        while self.peers.len() <= peer {
            let socket = UdpSocket::bind((self.host, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            self.peers.push(socket);
        }
        &self.peers[peer]
    }

    pub(crate) fn host(&self) -> IpAddr {
        self.host
    }

    pub(crate) fn peer(&mut self, peer: usize) -> SocketAddr {
        self.socket(peer).local_addr().unwrap()
    }

    pub(crate) fn send(&mut self, peer: usize, to: SocketAddr, bytes: &[u8]) {
        // On loopback a datagram is queued before sendto returns. A closed port answers with ECONNREFUSED only when connected.
        assert_eq!(self.socket(peer).send_to(bytes, to).unwrap(), bytes.len());
    }

    pub(crate) fn received(&mut self, peer: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut bytes = [0; 2048];
        let socket = self.socket(peer);
        std::iter::from_fn(|| {
            socket.recv_from(&mut bytes).ok().map(|(len, from)| (from, bytes[..len].to_vec()))
        })
        .collect()
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn mode(&self, path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }
}

/// Makes `$name`, a tuple struct around a [`Loopback`], the world of `$ring`.
macro_rules! loopback_world {
    ($name:ident, $ring:ty, $start:expr) => {
        // 1,280 bytes of truesize each; the default socket holds 208 KiB.
        $crate::ring::loopback::loopback_world!($name, $ring, $start, "127.0.0.1", 3000);
    };
    ($name:ident, $ring:ty, $start:expr, $host:literal, $flood:literal) => {
        impl World for $name {
            type Ring = $ring;

            fn start(
                plan: $crate::ring::RingPlan,
                blocks: &$crate::sys::memory::BlockPool,
            ) -> ($name, $ring) {
                let start: fn($crate::ring::RingPlan, &$crate::sys::memory::BlockPool) -> $ring = $start;
                ($name(Loopback::new($host.parse().unwrap())), start(plan, blocks))
            }
            fn now(&self) -> $crate::base::Mono {
                $crate::sys::mono()
            }
            fn bind_at(&self) -> std::net::SocketAddr {
                (self.0.host(), 0).into()
            }
            fn peer(&mut self, peer: usize) -> std::net::SocketAddr {
                self.0.peer(peer)
            }
            fn send(&mut self, peer: usize, to: std::net::SocketAddr, bytes: &[u8]) {
                self.0.send(peer, to, bytes)
            }
            fn received(&mut self, peer: usize) -> Vec<(std::net::SocketAddr, Vec<u8>)> {
                self.0.received(peer)
            }
            fn flood(&self) -> usize {
                $flood
            }
            fn folder(&self) -> std::path::PathBuf {
                self.0.folder()
            }
            fn file(&mut self, path: &std::path::Path) -> Option<Vec<u8>> {
                std::fs::read(path).ok()
            }
            fn mode(&mut self, path: &std::path::Path) -> u32 {
                self.0.mode(path)
            }
            fn failing_offset(&mut self, _path: &std::path::Path) -> u64 {
                1 << 62 // beyond what a file can hold: EFBIG
            }
        }
    };
}
pub(crate) use loopback_world;
