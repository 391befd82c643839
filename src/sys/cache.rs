//! Asking the processor for memory that is about to be touched, so that many misses pass at once and not one after the other.

/// Bytes that a cache holds as one.
const LINE_BYTES: usize = 64;

/// Fetches `what` into the cache nearest to this core, and waits for nothing. Reads nothing, so it is always allowed and never wrong, at worst idle.
#[inline(always)]
pub fn fetch<T: ?Sized>(what: &T) {
    let (start, bytes) = ((&raw const *what).cast::<u8>(), size_of_val(what));
    // From the line it begins in to the line it ends in.
    let before = start as usize % LINE_BYTES;
    for at in (0..before + bytes).step_by(LINE_BYTES) {
        fetch_line(start.wrapping_sub(before).wrapping_add(at));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch_line(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint, which may name any address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

/// Elsewhere there is no stable way to ask.
#[cfg(not(target_arch = "x86_64"))]
fn fetch_line(_at: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_may_be_fetched() {
        fetch(&());
        fetch::<[u64]>(&[]);
        fetch(&[1u8; 1000]);
        let value = Box::new([7u64; 100]);
        fetch(&*value);
        assert_eq!(value[99], 7);
    }
}
