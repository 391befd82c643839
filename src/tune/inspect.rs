//! What a machine has of a setting, and what would have to change.

use std::fmt::Write;

use super::facts::{Facts, core_list, ranges};
use super::list::{HandCheck, Setting, Want, cores, file, filled, nft_name, sysctl_path};
use super::system;
use super::tree::{Tree, chosen};

/// How a machine stands to a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As wanted.
    Good,
    /// Not as wanted.
    Lacks,
    /// Says nothing about this machine.
    NotHere,
    /// Not as wanted, which is in order unless it is asked for.
    OnRequest,
    /// Can't be seen, for want of privileges.
    Unseen,
}

/// How something is changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// A value handed to the kernel.
    Value,
    /// A word chosen in a file of the kernel.
    Word,
    /// A file of ours.
    File,
    /// A table loaded into nftables.
    Table,
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// What is changed: a path, or `nft:` and a table.
    pub path: String,
    /// What it becomes; of a table, the file it is loaded from.
    pub to: String,
    /// How.
    pub how: How,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// In short.
    pub status: Status,
    /// What there is, for people.
    pub now: String,
    /// What is wanted, for people.
    pub wanted: String,
    /// What would make it good; empty if that is up to people.
    pub changes: Vec<Change>,
}

/// Looks at one setting. Changes nothing.
pub fn inspect(setting: &Setting, tree: &Tree, facts: &Facts) -> Seen {
    if let Some(needs) = setting.needs.as_ref().filter(|needs| !tree.exists(needs)) {
        return not_here(format!("there is no {needs}"));
    }
    if facts.cores.len() < setting.cores_min {
        return not_here(format!("{} cores: too few to set some apart", facts.cores.len()));
    }
    let mut seen = match &setting.want {
        Want::Sysctl { key, at_least, is } => number(setting, tree, key, *at_least, *is),
        Want::Ports { key } => ports(setting, tree, key, facts),
        Want::Word { path, any_of } => words(tree, path, any_of),
        Want::Mask { path } => masks(tree, path, facts),
        Want::Irq {} => interrupts(tree, facts),
        Want::File { path, content, like, keep } => {
            let text = match (content, like) {
                (Some(content), _) => filled(content, facts),
                (None, Some(name)) => file(name, facts),
                (None, None) => String::new(),
            };
            own_file(tree, path, &text, *keep)
        }
        Want::Nft { path, like, table } => nftables(tree, path, &file(like, facts), table),
        Want::ByHand { check, .. } => by_hand(tree, *check, facts),
    };
    if setting.on_request && seen.status == Status::Lacks {
        seen.status = Status::OnRequest;
    }
    seen
}

fn not_here(why: String) -> Seen {
    Seen { status: Status::NotHere, now: why, wanted: String::new(), changes: Vec::new() }
}

fn seen(good: bool, now: String, wanted: String, changes: Vec<Change>) -> Seen {
    let status = if good { Status::Good } else { Status::Lacks };
    Seen { status, now, wanted, changes: if good { Vec::new() } else { changes } }
}

/// The change of a sysctl, at once and for later.
fn sysctl_changes(setting: &Setting, key: &str, to: &str) -> Vec<Change> {
    let about = format!(
        "# {}\n# Put here by `tapehead tune`; `tapehead tune --undo` takes it away.\n",
        setting.title
    );
    vec![
        Change { path: sysctl_path(key), to: format!("{to}\n"), how: How::Value },
        Change { path: setting.sysctl_file(), to: format!("{about}{key} = {to}\n"), how: How::File },
    ]
}

fn number(setting: &Setting, tree: &Tree, key: &str, at_least: Option<u64>, is: Option<u64>) -> Seen {
    let Ok(text) = tree.read(&sysctl_path(key)) else {
        return not_here(format!("this kernel, or this container, does not show {key}"));
    };
    let now = text.trim().parse::<u64>().ok();
    let good = match (is, at_least) {
        (Some(is), _) => now == Some(is),
        (None, least) => now.is_some_and(|now| now >= least.unwrap_or(0)),
    };
    let to = is.or(at_least).unwrap_or(0);
    let wanted = if is.is_some() { to.to_string() } else { format!("at least {to}") };
    seen(good, format!("{key} = {}", text.trim()), wanted, sysctl_changes(setting, key, &to.to_string()))
}

fn ports(setting: &Setting, tree: &Tree, key: &str, facts: &Facts) -> Seen {
    let Ok(text) = tree.read(&sysctl_path(key)) else {
        return not_here(format!("this kernel, or this container, does not show {key}"));
    };
    let (first, last) = (usize::from(facts.rtp_ports.0), usize::from(facts.rtp_ports.1));
    let mut reserved = ranges(&text).unwrap_or_default();
    let good = holds(&reserved, first, last);
    reserved.push((first, last));
    let one = |&(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let to = reserved.iter().map(one).collect::<Vec<_>>().join(",");
    let said = if text.trim().is_empty() { "none" } else { text.trim() };
    let wanted = format!("{first}-{last} among them");
    seen(good, format!("{key} = {said}"), wanted, sysctl_changes(setting, key, &to))
}

/// Whether the ranges together hold all from `first` to `last`.
fn holds(ranges: &[(usize, usize)], first: usize, last: usize) -> bool {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut next = first;
    for (from, to) in sorted {
        if from <= next && to >= next {
            next = to + 1;
        }
    }
    next > last
}

fn words(tree: &Tree, pattern: &str, any_of: &[String]) -> Seen {
    let mut said = String::new();
    let mut changes = Vec::new();
    let found = tree.find(pattern);
    for path in &found {
        let Ok(text) = tree.read(path) else { continue };
        let word = chosen(&text);
        if !any_of.iter().any(|good| good == word) {
            tell(&mut said, path, word);
            changes.push(Change { path: path.clone(), to: any_of[0].clone(), how: How::Word });
        }
    }
    several(found.len(), pattern, said, any_of.join(" or "), changes)
}

fn masks(tree: &Tree, pattern: &str, facts: &Facts) -> Seen {
    let paths = facts.interfaces.iter().flat_map(|nic| tree.find(&pattern.replace("{nic}", nic)));
    let paths: Vec<String> = paths.collect();
    let mut said = String::new();
    let mut changes = Vec::new();
    for path in &paths {
        let Ok(text) = tree.read(path) else { continue };
        if text.trim().chars().any(|digit| digit != '0' && digit != ',') {
            tell(&mut said, path, text.trim());
            changes.push(Change { path: path.clone(), to: "0\n".to_owned(), how: How::Value });
        }
    }
    several(paths.len(), pattern, said, "0".to_owned(), changes)
}

/// What several files say together.
fn several(found: usize, pattern: &str, said: String, wanted: String, changes: Vec<Change>) -> Seen {
    match found {
        0 => not_here(format!("there is no {pattern}")),
        found if changes.is_empty() => seen(true, format!("{wanted} ({found} looked at)"), wanted, changes),
        _ => seen(false, said, wanted, changes),
    }
}

/// The part of a path that tells it from its like: `eth0/queues/rx-0/rps_cpus`.
fn tell(said: &mut String, path: &str, value: &str) {
    let parts: Vec<&str> = path.split('/').collect();
    let short = parts[parts.len().saturating_sub(4)..].join("/");
    let comma = if said.is_empty() { "" } else { "; " };
    // Writing to a string can't fail.
    let _ = write!(said, "{comma}{short} = {value}");
}

/// The receive interrupts of a card, in the order of their numbers.
fn receive_interrupts(tree: &Tree, nic: &str) -> Vec<u32> {
    // A virtio device is a child of the PCI device that interrupts.
    let folders =
        ["device/msi_irqs", "device/../msi_irqs"].map(|below| format!("/sys/class/net/{nic}/{below}"));
    let numbers = folders.iter().flat_map(|folder| tree.names(folder)).filter_map(|name| name.parse().ok());
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
        .retain(|number| tree.names(&format!("/proc/irq/{number}")).iter().any(|name| receives(name, nic)));
    numbers
}

/// Whether an interrupt of this name, as its driver gives it, is that of a receive queue.
fn receives(name: &str, nic: &str) -> bool {
    let lower = name.to_lowercase();
    let numbered = name.strip_prefix(nic).and_then(|rest| rest.strip_prefix('-'));
    let by_number = numbered.is_some_and(|rest| rest.parse::<u32>().is_ok());
    by_number || ["rx", "input", "comp", "queue", "ntfy"].iter().any(|word| lower.contains(word))
}

fn interrupts(tree: &Tree, facts: &Facts) -> Seen {
    let shard_cores = facts.shard_cores();
    let mut said = String::new();
    let mut changes = Vec::new();
    let mut found = 0;
    for nic in &facts.interfaces {
        for (at, number) in receive_interrupts(tree, nic).into_iter().enumerate() {
            let path = format!("/proc/irq/{number}/smp_affinity_list");
            let Ok(text) = tree.read(&path) else { continue };
            found += 1;
            let is_theirs = |list: Vec<usize>| list.iter().all(|core| shard_cores.contains(core));
            if !core_list(&text).is_some_and(is_theirs) {
                tell(&mut said, &path, text.trim());
                let core = shard_cores[at % shard_cores.len()];
                changes.push(Change { path, to: format!("{core}\n"), how: How::Value });
            }
        }
    }
    several(
        found,
        "receive interrupt of a network card",
        said,
        format!("cores {}", cores(&shard_cores)),
        changes,
    )
}

fn own_file(tree: &Tree, path: &str, text: &str, keep: bool) -> Seen {
    let now = tree.read(path).ok();
    let change = Change { path: path.to_owned(), to: text.to_owned(), how: How::File };
    let (good, said) = match now {
        Some(now) if now == text => (true, "is there"),
        Some(_) if keep => (true, "is there, and another than ours"),
        Some(_) => (false, "is there, but different"),
        None => (false, "is not there"),
    };
    seen(good, format!("{path} {said}"), "there".to_owned(), vec![change])
}

fn nftables(tree: &Tree, path: &str, text: &str, table: &str) -> Seen {
    let Ok(count) = tree.read("/proc/sys/net/netfilter/nf_conntrack_count") else {
        return not_here("this kernel tracks no connections".to_owned());
    };
    let has_file = tree.read(path).is_ok_and(|now| now == text);
    if count.trim() == "0" && !has_file {
        return not_here("no connection is tracked here: no rule asks for it".to_owned());
    }
    // On a tree of files the file stands for the table.
    let loaded = if tree.is_real() { system::table_is_loaded(table) } else { Ok(has_file) };
    let wanted = format!("table {table} loaded, and in {path}");
    let changes = vec![
        Change { path: path.to_owned(), to: text.to_owned(), how: How::File },
        Change { path: nft_name(table), to: path.to_owned(), how: How::Table },
    ];
    match loaded {
        Err(why) => Seen { status: Status::Unseen, now: why, wanted, changes },
        Ok(loaded) => {
            let said = if loaded { "loaded" } else { "not loaded" };
            seen(
                loaded && has_file,
                format!("{} connections tracked; table {table} {said}", count.trim()),
                wanted,
                changes,
            )
        }
    }
}

fn by_hand(tree: &Tree, check: HandCheck, facts: &Facts) -> Seen {
    match check {
        HandCheck::Clocksource => {
            let folder = "/sys/devices/system/clocksource/clocksource0";
            let Ok(now) = tree.read(&format!("{folder}/current_clocksource")) else {
                return not_here("this kernel does not say".to_owned());
            };
            let good =
                ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"].contains(&now.trim());
            seen(good, now.trim().to_owned(), "tsc, or kvm-clock".to_owned(), Vec::new())
        }
        HandCheck::Queues => {
            let queues = |nic: &str| tree.find(&format!("/sys/class/net/{nic}/queues/rx-*")).len();
            let cards: Vec<_> = facts.interfaces.iter().map(|nic| (nic, queues(nic))).collect();
            if cards.is_empty() {
                return not_here("there is no network card".to_owned());
            }
            let said = cards.iter().map(|(nic, queues)| format!("{nic} has {queues}"));
            let good = cards.iter().all(|(_, queues)| *queues >= facts.shards);
            let said = said.collect::<Vec<_>>().join(", ");
            seen(good, said, format!("{} receive queues", facts.shards), Vec::new())
        }
    }
}
