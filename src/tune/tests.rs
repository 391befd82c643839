//! A machine made of files: looked at, set up, taken back, and failing at every step.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// What a fresh machine with two cards shows.
const MACHINE: &[(&str, &str)] = &[
    ("proc/sys/net/core/rmem_max", "212992\n"),
    ("proc/sys/net/core/rmem_default", "212992\n"),
    ("proc/sys/net/core/netdev_max_backlog", "1000\n"),
    ("proc/sys/net/ipv4/ip_local_reserved_ports", "5060,12000-12999\n"),
    ("proc/sys/net/netfilter/nf_conntrack_count", "17\n"),
    ("proc/sys/kernel/io_uring_disabled", "1\n"),
    ("proc/sys/kernel/random/boot_id", "boot-1\n"),
    ("proc/sys/fs/nr_open", "1048576\n"),
    ("proc/irq/30/eth0-config/x", ""),
    ("proc/irq/30/smp_affinity_list", "0-7\n"),
    ("proc/irq/31/eth0-rx-0/x", ""),
    ("proc/irq/31/smp_affinity_list", "0-7\n"),
    ("proc/irq/32/eth0-rx-1/x", ""),
    ("proc/irq/32/smp_affinity_list", "2\n"),
    ("sys/class/net/eth0/device/msi_irqs/30", "msix\n"),
    ("sys/class/net/eth0/device/msi_irqs/31", "msix\n"),
    ("sys/class/net/eth0/device/msi_irqs/32", "msix\n"),
    ("sys/class/net/eth0/queues/rx-0/rps_cpus", "ff\n"),
    ("sys/class/net/eth0/queues/rx-1/rps_cpus", "00\n"),
    ("sys/class/net/lo/queues/rx-0/rps_cpus", "ff\n"),
    ("sys/block/nvme0n1/queue/scheduler", "none [mq-deadline] kyber\n"),
    ("sys/block/sda/queue/scheduler", "none [bfq]\n"),
    ("sys/devices/system/cpu/online", "0-7\n"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
    ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n"),
    ("run/systemd/system/x", ""),
    ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
];

struct Machine {
    folder: tempfile::TempDir,
    tree: Tree,
}

impl Machine {
    fn new(files: &[(&str, &str)]) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Machine { tree: Tree::new(folder.path()), folder }
    }

    fn fresh() -> Machine {
        Machine::new(MACHINE)
    }

    fn facts(&self) -> Facts {
        Facts::gather(&self.tree, (10_000, 19_999), Some(4), &[]).unwrap()
    }

    fn apply(&self, asked: &[&str]) -> Result<Applied, StateError> {
        let asked: Vec<String> = asked.iter().map(|&id| id.to_owned()).collect();
        apply(&settings(), &asked, &self.tree, &self.facts())
    }

    fn undo(&self) -> Undone {
        undo(&settings(), &self.tree, &self.facts().boot, false).unwrap()
    }

    fn status(&self, id: &str) -> Status {
        self.seen(id).status
    }

    fn seen(&self, id: &str) -> Seen {
        let settings = settings();
        inspect(settings.iter().find(|setting| setting.id == id).unwrap(), &self.tree, &self.facts())
    }

    /// Every file and folder with its mode and its bytes.
    fn all(&self) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut found = BTreeMap::new();
        read_all(self.folder.path(), self.folder.path(), &mut found);
        found
    }
}

fn read_all(root: &Path, folder: &Path, found: &mut BTreeMap<String, (u32, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = path.metadata().unwrap().permissions().mode();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let bytes = if path.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
        found.insert(name, (mode, bytes));
        if path.is_dir() {
            read_all(root, &path, found);
        }
    }
}

#[test]
fn every_entry_of_the_list_is_whole_and_of_one_name() {
    let settings = settings();
    let mut ids: Vec<&str> = settings.iter().map(|setting| setting.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), settings.len());
    let machine = Machine::fresh();
    for setting in &settings {
        let known = ["measured: ", "assumed"].iter().any(|start| setting.evidence.starts_with(start));
        assert!(known, "{}: {}", setting.id, setting.evidence);
        assert!(setting.reason.len() > 20 && setting.cost.len() > 5, "{}", setting.id);
        // Looking at it panics if it names a file that is not there.
        let seen = inspect(setting, &machine.tree, &machine.facts());
        let leftover =
            seen.changes.iter().find(|change| change.to.contains(['{', '}']) && !change.to.contains("chain"));
        assert!(leftover.is_none(), "{leftover:?}");
        if let Want::File { content, like, .. } = &setting.want {
            assert!(content.is_some() != like.is_some(), "{}: one of content and like", setting.id);
        }
        if let Want::Sysctl { at_least, is, .. } = &setting.want {
            assert!(at_least.is_some() != is.is_some(), "{}: one of at_least and is", setting.id);
        }
    }
}

#[test]
fn a_fresh_machine_is_seen_as_it_is() {
    let machine = Machine::fresh();
    for (id, status) in [
        ("rmem-max", Status::Lacks),
        ("rmem-default", Status::Good),
        ("reserved-ports", Status::Lacks),
        ("rps", Status::Lacks),
        ("irq", Status::Lacks),
        ("queues", Status::Lacks),
        ("governor", Status::Lacks),
        ("isolation", Status::OnRequest),
        ("conntrack", Status::Lacks),
        ("scheduler", Status::Lacks),
        ("clock", Status::Good),
    ] {
        assert_eq!(machine.status(id), status, "{id}: {:?}", machine.seen(id));
    }
    // Neither the card's own interrupt nor the one that is on a shard's core.
    let irq = machine.seen("irq").changes;
    assert_eq!(irq.len(), 1);
    assert_eq!((irq[0].path.as_str(), irq[0].to.as_str()), ("/proc/irq/31/smp_affinity_list", "0\n"));
    assert_eq!(machine.seen("rps").changes.len(), 1, "loopback is no card");
    assert_eq!(machine.seen("reserved-ports").changes[0].to, "5060,12000-12999,10000-19999\n");
}

#[test]
fn what_is_applied_is_good_and_undoing_it_leaves_every_byte_as_it_was() {
    let machine = Machine::fresh();
    let before = machine.all();
    let applied = machine.apply(&[]).unwrap();
    assert_eq!(applied.failed, []);
    for setting in settings() {
        let status = machine.status(&setting.id);
        let by_hand = matches!(setting.want, Want::ByHand { .. });
        let wanted = if setting.on_request { Status::OnRequest } else { Status::Good };
        assert!(by_hand || status == wanted, "{}: {status:?}", setting.id);
    }
    let text = |path: &str| fs::read_to_string(machine.folder.path().join(path)).unwrap();
    assert!(text("etc/sysctl.d/90-tapehead-rmem-max.conf").ends_with("net.core.rmem_max = 33554432\n"));
    assert_eq!(text("sys/block/nvme0n1/queue/scheduler"), "[none] mq-deadline kyber\n");
    assert_eq!(text("sys/block/sda/queue/scheduler"), "none [bfq]\n", "not on the list");
    assert!(text("etc/tapehead/notrack.nft").contains("udp dport 10000-19999 notrack"));
    let state = machine.folder.path().join("var/lib/tapehead-tune/state.json");
    assert_eq!(state.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let once = machine.all();
    assert!(machine.apply(&[]).unwrap().done.is_empty());
    assert!(machine.all() == once, "applying again changes nothing");
    let undone = machine.undo();
    assert!(undone.failed.is_empty() && undone.restored.len() > 10, "{undone:?}");
    assert!(machine.all() == before, "{:?}", machine.all().keys().collect::<Vec<_>>());
    assert!(machine.undo().restored.is_empty(), "undoing again changes nothing");
    assert!(machine.all() == before);
}

#[test]
fn a_change_that_fails_is_told_and_never_keeps_the_rest_from_being_undone() {
    let changes = {
        let machine = Machine::fresh();
        let before = machine.all().len();
        machine.apply(&[]).unwrap();
        machine.all().len() - before
    };
    for failing in 0..2 * changes as u32 {
        let machine = Machine::fresh();
        let before = machine.all();
        machine.tree.failing.set(Some(failing));
        let outcome = machine.apply(&[]);
        machine.tree.failing.set(None);
        match outcome {
            Err(_) => assert!(machine.all() == before, "step {failing}: nothing was begun"),
            Ok(applied) => {
                for failure in &applied.failed {
                    let done = applied.done.iter().any(|(_, path)| *path == failure.path);
                    assert!(!done, "step {failing}: {failure:?} is told as done, too");
                }
                machine.undo();
                assert!(machine.all() == before, "step {failing}: {:?}", applied.failed);
            }
        }
    }
}

#[test]
fn what_somebody_else_has_changed_since_is_left_alone() {
    let machine = Machine::fresh();
    machine.apply(&["rmem-max", "backlog"]).unwrap();
    machine.tree.set("/proc/sys/net/core/rmem_max", "50000000\n").unwrap();
    let undone = machine.undo();
    assert_eq!(undone.failed.len(), 1);
    assert!(undone.failed[0].why.contains("changed it since"));
    assert_eq!(machine.tree.read("/proc/sys/net/core/rmem_max").unwrap(), "50000000\n");
    assert_eq!(machine.tree.read("/proc/sys/net/core/netdev_max_backlog").unwrap(), "1000\n");
    undo(&settings(), &machine.tree, "boot-1", true).unwrap();
    assert_eq!(machine.tree.read("/proc/sys/net/core/rmem_max").unwrap(), "212992\n");
}

#[test]
fn interrupts_of_an_earlier_boot_are_not_put_back() {
    let machine = Machine::fresh();
    machine.apply(&["irq", "backlog"]).unwrap();
    machine.tree.set("/proc/sys/kernel/random/boot_id", "boot-2\n").unwrap();
    let undone = machine.undo();
    assert_eq!(undone.restored.len(), 2, "the sysctl and its file: {undone:?}");
    assert_eq!(machine.tree.read("/proc/irq/31/smp_affinity_list").unwrap(), "0\n");
}

#[test]
fn a_state_file_that_names_what_is_not_on_the_list_is_not_believed() {
    let machine = Machine::fresh();
    machine.apply(&["backlog"]).unwrap();
    let state = machine.folder.path().join("var/lib/tapehead-tune/state.json");
    let good = fs::read_to_string(&state).unwrap();
    let refused = || undo(&settings(), &machine.tree, "boot-1", true).unwrap_err().to_string();
    for path in
        ["/etc/passwd", "/proc/sys/net/core/../../../../etc/passwd", "/proc/irq/a/b/smp_affinity_list"]
    {
        fs::write(&state, good.replace("/proc/sys/net/core/netdev_max_backlog", path)).unwrap();
        assert!(refused().contains("none of ours"), "{path}");
    }
    fs::write(&state, "{").unwrap();
    assert!(refused().contains("can't be read"));
    fs::write(&state, &good).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused().contains("open to others"));
}

#[test]
fn two_at_once_do_not_mix() {
    let machine = Machine::fresh();
    machine.apply(&["backlog"]).unwrap();
    let _held = state::lock(&machine.tree).unwrap();
    assert!(matches!(machine.apply(&["rmem-max"]), Err(StateError::Busy)));
    assert!(matches!(undo(&settings(), &machine.tree, "boot-1", false), Err(StateError::Busy)));
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let machine = Machine::fresh();
    for name in ["eth9", "../eth0", "*"] {
        let why = Facts::gather(&machine.tree, (10_000, 19_999), None, &[name.to_owned()]).unwrap_err();
        assert!(why.contains("there are eth0, lo"), "{why}");
    }
    assert_eq!(machine.facts().shard_cores(), [0, 1, 2, 3]);
    assert_eq!(machine.facts().other_cores(), [4, 5, 6, 7]);
}

proptest! {
    // Each case syncs some twenty files.
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is there and whatever is asked for: a look changes nothing, and an undo takes everything back.
    #[test]
    fn apply_then_undo_changes_nothing(
        there in proptest::collection::vec(any::<bool>(), MACHINE.len()),
        asked in proptest::collection::vec(0..settings().len(), 0..6),
        again in proptest::collection::vec(0..settings().len(), 0..6),
        dropin in proptest::option::of("[a-z\n]{0,20}"),
    ) {
        let mut files: Vec<(&str, &str)> = MACHINE.iter().zip(&there).filter(|(_, there)| **there).map(|(file, _)| *file).collect();
        let dropin = dropin.unwrap_or_default();
        if !dropin.is_empty() {
            files.push(("etc/systemd/system/tapehead.service.d/50-memlock.conf", &dropin));
        }
        let machine = Machine::new(&files);
        let before = machine.all();
        let list = settings();
        let ids = |picked: &[usize]| picked.iter().map(|&at| list[at].id.clone()).collect::<Vec<_>>();
        let facts = machine.facts();
        let planned = changes(&list, &ids(&asked), &machine.tree, &facts);
        prop_assert!(machine.all() == before, "a look changes nothing");
        let applied = apply(&list, &ids(&asked), &machine.tree, &facts).unwrap();
        prop_assert_eq!(applied.failed.len(), 0, "{:?}", applied.failed);
        prop_assert_eq!(applied.done.len(), planned.iter().map(|(_, changes)| changes.len()).sum::<usize>());
        apply(&list, &ids(&again), &machine.tree, &facts).unwrap();
        let undone = machine.undo();
        prop_assert!(undone.failed.is_empty(), "{:?}", undone.failed);
        let after = machine.all();
        let differ: Vec<_> = before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)).collect();
        prop_assert!(differ.is_empty(), "{:?}", differ);
    }
}
