//! The operating system's randomness, for keys, salts, nonces and tags.

use crate::base::Entropy;

/// `getrandom(2)`: blocks only before the machine has gathered its first entropy after boot.
#[derive(Clone, Copy, Default, Debug)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) {
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
}
