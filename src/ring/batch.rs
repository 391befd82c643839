//! Several datagrams of one socket by one system call: recvmmsg(2) and the memory it writes to.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use super::arrival::{Control, NAME_BYTES, source};
use crate::limits::DATAGRAM_BYTES_MAX;

/// Room for the datagrams of one recvmmsg. The headers point into the other parts, which never move.
pub(super) struct Batch {
    headers: Box<[libc::mmsghdr]>,
    #[expect(dead_code, reason = "the headers point to it")]
    slices: Box<[libc::iovec]>,
    names: Box<[[u8; NAME_BYTES]]>,
    /// As words, for control data is aligned to 8.
    controls: Box<[u64]>,
    /// Words of each.
    control_words: usize,
    payloads: Box<[[u8; DATAGRAM_BYTES_MAX]]>,
    /// Headers that the last call has written to.
    used: usize,
}

/// A datagram where it lies.
pub(super) struct Datagram<'a> {
    pub(super) from: SocketAddr,
    pub(super) control: Control,
    pub(super) payload: &'a [u8],
    pub(super) truncated: bool,
}

// SAFETY: the headers point to memory that the batch owns and that moves with it to another thread.
unsafe impl Send for Batch {}

impl Batch {
    /// Room for so many datagrams, each with so many bytes of control data.
    pub(super) fn new(datagrams: usize, control_bytes: usize) -> Batch {
        let control_words = control_bytes.div_ceil(8);
        let mut names: Box<[_]> = vec![[0; NAME_BYTES]; datagrams].into();
        let mut controls: Box<[u64]> = vec![0; datagrams * control_words].into();
        let mut payloads: Box<[_]> = vec![[0; DATAGRAM_BYTES_MAX]; datagrams].into();
        let mut slices: Box<[libc::iovec]> = payloads
            .iter_mut()
            .map(|payload| libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: DATAGRAM_BYTES_MAX })
            .collect();
        let headers = (0..datagrams)
            .map(|at| {
                // SAFETY: plain integers and pointers, for which all zeroes is a value.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_name = names[at].as_mut_ptr().cast();
                header.msg_hdr.msg_control = controls[at * control_words..].as_mut_ptr().cast();
                header.msg_hdr.msg_iov = &raw mut slices[at];
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Batch { headers, slices, names, controls, control_words, payloads, used: datagrams }
    }

    /// Takes what the socket holds, up to a batch; how many.
    pub(super) fn receive(&mut self, socket: &OwnedFd) -> io::Result<usize> {
        for header in &mut self.headers[..self.used] {
            header.msg_hdr.msg_namelen = NAME_BYTES as libc::socklen_t;
            header.msg_hdr.msg_controllen = (self.control_words * 8) as _;
        }
        // SAFETY: the headers point to parts of `self` that are as long as they say.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(count).map_err(|_| io::Error::last_os_error());
        // The kernel may have begun to write one more when it found nothing for it.
        self.used = received.as_ref().map_or(1, |count| count + 1).min(self.headers.len());
        received
    }

    /// The datagram of this index, below what `receive` said.
    #[inline]
    pub(super) fn datagram(&self, index: usize) -> Datagram<'_> {
        let header = &self.headers[index];
        let name_bytes = (header.msg_hdr.msg_namelen as usize).min(NAME_BYTES);
        let control = self.control(index);
        Datagram {
            from: source(&self.names[index][..name_bytes]),
            control: Control::parse(&control[..header.msg_hdr.msg_controllen.min(control.len())]),
            payload: &self.payloads[index][..(header.msg_len as usize).min(DATAGRAM_BYTES_MAX)],
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        }
    }

    fn control(&self, index: usize) -> &[u8] {
        let words = &self.controls[index * self.control_words..][..self.control_words];
        // SAFETY: initialised words, as bytes of the same extent.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
    }
}
