//! What this process takes of the machine.

/// Memory of this process that is resident, in bytes; `None` if the kernel does not say.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_much_of_us_is_resident() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
