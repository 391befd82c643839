//! What the list needs to know of the machine and of the recorder that will run on it.

use super::tree::Tree;

/// Known before anything is looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// First and last RTP port.
    pub rtp_ports: (u16, u16),
    /// Cores that are online.
    pub cores: Vec<usize>,
    /// Shard threads.
    pub shards: usize,
    /// Network cards, by their interfaces' names.
    pub interfaces: Vec<String>,
    /// Where this program is.
    pub program: String,
    /// What `tune --apply` is told beyond that, to do the same again at boot; starts with a space unless empty.
    pub arguments: String,
    /// Which boot this is: numbers of interrupts mean something only until the next.
    pub boot: String,
}

impl Facts {
    /// The cores on which shards run: the first ones, as `pin` does it.
    pub fn shard_cores(&self) -> Vec<usize> {
        self.cores.iter().copied().take(self.shards.max(1)).collect()
    }

    /// The others; the last core, which is that of signalling, if all have a shard.
    pub fn other_cores(&self) -> Vec<usize> {
        let others: Vec<usize> = self.cores.iter().copied().skip(self.shards.max(1)).collect();
        if others.is_empty() { self.cores.last().copied().into_iter().collect() } else { others }
    }
}

/// The cores that are online, below the tree.
pub(super) fn online(tree: &Tree) -> Vec<usize> {
    let text = tree.read("/sys/devices/system/cpu/online").unwrap_or_default();
    core_list(&text).filter(|cores| !cores.is_empty()).unwrap_or_else(|| vec![0])
}

/// Interfaces with a device behind them: neither loopback nor bridges, tunnels or veth.
pub(super) fn network_cards(tree: &Tree) -> Vec<String> {
    let names = tree.names("/sys/class/net");
    names.into_iter().filter(|name| tree.exists(&format!("/sys/class/net/{name}/device"))).collect()
}

impl Facts {
    /// What the tree says, for a recorder of `shards` threads (`None`: one per core but one) that receives on `rtp_ports`. Interfaces
    /// named by the caller stand for those found.
    pub fn gather(
        tree: &Tree,
        rtp_ports: (u16, u16),
        shards: Option<usize>,
        interfaces: &[String],
    ) -> Result<Facts, String> {
        let unknown = interfaces.iter().find(|name| {
            name.is_empty() || name.contains(['/', '*']) || !tree.exists(&format!("/sys/class/net/{name}"))
        });
        if let Some(name) = unknown {
            let known = tree.names("/sys/class/net").join(", ");
            return Err(format!("there is no network interface {name:?} here: there are {known}"));
        }
        let cores = online(tree);
        Ok(Facts {
            rtp_ports,
            shards: shards.unwrap_or_else(|| cores.len().saturating_sub(1).max(1)),
            interfaces: if interfaces.is_empty() { network_cards(tree) } else { interfaces.to_vec() },
            cores,
            program: std::env::current_exe()
                .map_or_else(|_| "/usr/local/bin/tapehead".to_owned(), |path| path.display().to_string()),
            arguments: String::new(),
            boot: tree.read("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
        })
    }
}

/// Most cores that a list may name: the kernel's own bound.
const CORES_MAX: usize = 8192;

/// A list of cores or ports as the kernel writes it: `0-3,8`.
pub(super) fn ranges(text: &str) -> Option<Vec<(usize, usize)>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last).then_some((first, last))
    };
    text.trim().split(',').filter(|part| !part.trim().is_empty()).map(range).collect()
}

/// The same, one by one.
pub(super) fn core_list(text: &str) -> Option<Vec<usize>> {
    let ranges = ranges(text)?;
    let all = ranges.iter().all(|&(_, last)| last < CORES_MAX);
    all.then(|| ranges.into_iter().flat_map(|(first, last)| first..=last).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(core_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(core_list("\n"), Some(vec![]));
        assert_eq!(core_list("3-1"), None);
        assert_eq!(core_list("0-99999999"), None);
        assert_eq!(ranges("10000-19999,5060"), Some(vec![(10_000, 19_999), (5060, 5060)]));
    }
}
