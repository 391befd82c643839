//! The operating system's randomness, for keys, salts, nonces and tags.

use std::cell::RefCell;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::base::Entropy;

/// Drawn from the kernel at once: a call needs about 140 bytes, in eight pieces. So many are never cut short by a signal (random(4)).
const STOCK_BYTES: usize = 256;

/// `getrandom(2)`: blocks only before the machine has gathered its first entropy after boot. Each thread keeps a small stock; what is
/// taken out of it is wiped there, so that no byte is handed out twice. A process that forks without `exec` would break that: none of ours does.
#[derive(Clone, Copy, Default, Debug)]
pub struct OsEntropy;

#[derive(ZeroizeOnDrop)]
struct Stock {
    bytes: [u8; STOCK_BYTES],
    /// The first so many are still there.
    left: usize,
}

thread_local! {
    static STOCK: RefCell<Stock> = const { RefCell::new(Stock { bytes: [0; STOCK_BYTES], left: 0 }) };
}

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        match out.len() <= STOCK_BYTES {
            true => STOCK.with_borrow_mut(|stock| stock.take(out)),
            false => draw(out),
        }
    }
}

impl Stock {
    fn take(&mut self, out: &mut [u8]) {
        if self.left < out.len() {
            draw(&mut self.bytes);
            self.left = STOCK_BYTES;
        }
        let taken = &mut self.bytes[self.left - out.len()..self.left];
        out.copy_from_slice(taken);
        taken.zeroize();
        self.left -= out.len();
    }
}

fn draw(out: &mut [u8]) {
    let mut filled = 0;
    while filled < out.len() {
        let rest = &mut out[filled..];
        // SAFETY: the rest of `out` is ours to write, and as long as said.
        match unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) } {
            taken @ 1.. => filled += taken as usize,
            // Only a signal may interrupt it. Anything else means there is no generator, and no key may be made.
            _ => {
                let error = std::io::Error::last_os_error();
                assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "no entropy: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        let (mut a, mut b) = ([0; 1000], [0; 1000]);
        OsEntropy.fill(&mut a);
        OsEntropy.fill(&mut b);
        assert_ne!(a, b);
        assert_ne!(a[900..], [0; 100]);
    }

    #[test]
    fn no_piece_is_handed_out_twice_and_none_is_left_behind() {
        let pieces = |length: usize| {
            let draw = |_| {
                let mut piece = vec![0; length];
                OsEntropy.fill(&mut piece);
                piece
            };
            (0..1000).map(draw).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!([pieces(16), pieces(100), pieces(STOCK_BYTES), pieces(STOCK_BYTES + 1)], [1000; 4]);
        STOCK.with_borrow(|stock| assert!(stock.bytes[stock.left..].iter().all(|byte| *byte == 0)));
    }
}
