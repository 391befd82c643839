//! `doctor`, `tune` and `plan`, run as a user would: on a tree of files, and in a network namespace of their own.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::{binary, said, tapehead};
use serde_json::Value;

/// Enough of a machine to be looked at.
const MACHINE: &[(&str, &str)] = &[
    ("proc/sys/net/core/rmem_max", "212992\n"),
    ("proc/sys/net/ipv4/ip_local_reserved_ports", "\n"),
    ("proc/sys/kernel/random/boot_id", "boot-1\n"),
    ("proc/sys/kernel/osrelease", "6.8.0-test\n"),
    ("sys/class/net/eth0/device/uevent", "\n"),
    ("sys/class/net/eth0/queues/rx-0/rps_cpus", "f\n"),
    ("sys/block/nvme0n1/queue/scheduler", "[mq-deadline] none\n"),
    ("sys/devices/system/cpu/online", "0-1\n"),
    ("etc/hostname", "recorder\n"),
];

fn machine() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in MACHINE {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn all(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut folders = vec![folder.to_owned()];
    let mut found = BTreeMap::new();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let bytes = if path.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
            found.insert(path.strip_prefix(folder).unwrap().display().to_string(), bytes);
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {}", said(output)))
}

/// `tapehead tune` on such a tree.
fn tune(root: &Path, arguments: &[&str]) -> Output {
    let root = root.display().to_string();
    tapehead(Path::new("/"), ["tune", "--root", &root].iter().chain(arguments))
}

#[test]
fn tune_checks_applies_and_undoes_and_its_exit_codes_say_how_it_went() {
    let machine = machine();
    let root = machine.path();
    let before = all(root);
    let check = tune(root, &["--check"]);
    assert_eq!(check.status.code(), Some(1), "{}", said(&check));
    assert!(said(&check).contains("LACKS     rmem-max"), "{}", said(&check));
    let dry = tune(root, &["--dry-run", "--json"]);
    assert_eq!(dry.status.code(), Some(1));
    assert!(
        json(&dry)["would_change"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["path"] == "/proc/sys/net/core/rmem_max")
    );
    assert!(all(root) == before, "looking changes nothing");

    let applied = tune(root, &["--apply", "--json"]);
    assert_eq!(applied.status.code(), Some(0), "{}", said(&applied));
    assert!(json(&applied)["changed"].as_array().unwrap().len() >= 5);
    assert_eq!(fs::read_to_string(root.join("sys/class/net/eth0/queues/rx-0/rps_cpus")).unwrap(), "0\n");
    assert_eq!(tune(root, &[]).status.code(), Some(0));
    let undone = tune(root, &["--undo"]);
    assert_eq!(undone.status.code(), Some(0), "{}", said(&undone));
    assert!(all(root) == before, "{}", said(&undone));
}

#[test]
fn tune_takes_the_ports_from_the_configuration_and_names_what_it_does_not_know() {
    let machine = machine();
    let config = machine.path().join("tapehead.toml");
    fs::write(&config, "[rtp]\nports = \"30000-30099\"\n").unwrap();
    let config = config.display().to_string();
    let seen = tune(machine.path(), &["--config", &config, "--only", "reserved-ports", "--json"]);
    let setting = &json(&seen)["settings"][0];
    assert_eq!(
        (setting["status"].as_str(), setting["wanted"].as_str()),
        (Some("lacks"), Some("30000-30099 among them"))
    );
    for (arguments, why) in [
        (&["--only", "rmem"][..], "there is no setting \"rmem\""),
        (&["--interface", "eth7"], "there are eth0"),
        (&["--apply", "--undo"], "cannot be used with"),
        (&["--force"], "--undo"),
        (&["--config", "/no/such/file"], "can't be read"),
    ] {
        let refused = tune(machine.path(), arguments);
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(said(&refused).contains(why), "{}", said(&refused));
    }
}

#[test]
fn what_can_t_be_set_is_named_and_the_rest_is_done() {
    let machine = machine();
    // A folder where a file of ours should go.
    fs::create_dir_all(machine.path().join("etc/sysctl.d/90-tapehead-rmem-max.conf")).unwrap();
    let partial = tune(machine.path(), &["--apply", "--json"]);
    assert_eq!(partial.status.code(), Some(3), "{}", said(&partial));
    let told = json(&partial);
    assert_eq!(told["failed"][0]["path"], "/etc/sysctl.d/90-tapehead-rmem-max.conf");
    assert!(told["changed"].as_array().unwrap().iter().any(|one| one["setting"] == "rps"));
}

/// For real, in a network namespace that ends with the script: what belongs to it is set and put back; /etc and /var/lib are
/// hidden by empty ones of its own. Without root RPS can't be set, which has to be said.
#[test]
fn tune_sets_and_undoes_for_real_what_belongs_to_a_network_namespace() {
    let binary = binary().display();
    let script = format!(
        "set -eu\n\
         mount -t tmpfs none /etc; mount -t tmpfs none /var/lib; mount -t sysfs none /sys\n\
         ip link set lo up; ip link add wt0 type veth peer name wt1\n\
         echo 5060 > /proc/sys/net/ipv4/ip_local_reserved_ports\n\
         rps=/sys/class/net/wt0/queues/rx-0/rps_cpus\n\
         (echo 1 > $rps) 2>/dev/null && root=1 || root=0\n\
         nft -f - <<'END'\n\
         table inet fw {{\n chain in {{\n type filter hook input priority 0\n ct state established accept\n }}\n}}\nEND\n\
         echo x > /dev/udp/127.0.0.1/9\n\
         show() {{ echo \"$1 $(cat /proc/sys/net/ipv4/ip_local_reserved_ports) $(cat $rps) $(nft list tables | wc -l)\"; }}\n\
         show before\n\
         tune() {{ {binary} tune --interface wt0 \"$@\" || echo \"exit $?\"; }}\n\
         tune --apply --only reserved-ports --only conntrack\n\
         [ $root = 0 ] || tune --apply --only rps\n\
         show applied\n\
         tune --apply --only reserved-ports --only conntrack\n\
         tune --undo\n\
         show undone\n\
         find /etc /var/lib -mindepth 1\n\
         echo root=$root end\n"
    );
    let is_root = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0;
    let arguments = if is_root { "-nm" } else { "-rnm" };
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new("unshare")
        .args([arguments, "bash", "-c", &script])
        .env("PATH", path)
        .current_dir("/")
        .output()
        .unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    let rps = if text.contains("root=1") { ("1", "0") } else { ("0", "0") };
    assert!(text.contains(&format!("before 5060 {} 1", rps.0)), "{text}");
    assert!(text.contains(&format!("applied 5060,10000-19999 {} 2", rps.1)), "{text}");
    assert!(text.contains("nothing to do"), "applying again changes nothing: {text}");
    assert!(text.contains(&format!("undone 5060 {} 1", rps.0)), "{text}");
    assert!(text.contains("undone") && !text.contains("\nexit "), "{text}");
    let left = text
        .lines()
        .skip_while(|line| !line.starts_with("undone"))
        .skip(1)
        .take_while(|line| !line.starts_with("root="));
    assert_eq!(left.count(), 0, "nothing is left in /etc and /var/lib: {text}");
}

#[test]
fn doctor_says_in_one_screen_what_lacks_and_what_it_costs() {
    let home = tempfile::tempdir().unwrap();
    let output = tapehead(home.path(), ["doctor", "--json"]);
    let told = json(&output);
    let findings = told["findings"].as_array().unwrap();
    let lacking = findings.iter().filter(|finding| finding["verdict"] == "lacks").count();
    assert_eq!(told["lacking"], lacking);
    assert_eq!(output.status.code(), Some(i32::from(lacking > 0)), "{}", said(&output));
    for topic in [
        "kernel",
        "ring",
        "receive tiers",
        "locked memory",
        "open files",
        "direct I/O",
        "room",
        "rps",
        "clock",
    ] {
        assert!(findings.iter().any(|finding| finding["topic"] == topic), "{topic}");
    }
    let screen = said(&tapehead(home.path(), ["doctor"]));
    assert!(screen.lines().count() < 70, "{screen}");
    assert_eq!(screen.matches("costs: ").count(), lacking, "{screen}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "it leaves nothing behind");
    // What a fresh machine lacks is told of another tree as well.
    let machine = machine();
    let root = machine.path().display().to_string();
    let output = tapehead(home.path(), ["doctor", "--root", &root]);
    assert!(
        output.status.code() == Some(1) && said(&output).contains("Linux 6.8.0-test"),
        "{}",
        said(&output)
    );
}

#[test]
fn plan_sizes_and_writes_its_page() {
    let home = tempfile::tempdir().unwrap();
    let arguments = ["plan", "--calls", "10000", "--minutes", "5", "--retention", "90d"];
    let text = said(&tapehead(home.path(), arguments));
    assert!(
        text.contains("1,004,000 per second") && text.contains("Cost per month with the sockets tier"),
        "{text}"
    );
    let report = serde_json::json!({ "coefficients": { "machine": "lab", "shard_ns_per_packet": { "packet": 250.0 } } });
    fs::write(home.path().join("report.json"), report.to_string()).unwrap();
    let measured = arguments.iter().chain(&["--measured", "report.json", "--tier", "packet", "--json"]);
    let told = json(&tapehead(home.path(), measured));
    let figures =
        || told["groups"].as_array().unwrap().iter().flat_map(|group| group["figures"].as_array().unwrap());
    let shards = figures().find(|figure| figure["name"] == "shards: packet").unwrap();
    assert_eq!((shards["value"].as_f64(), shards["grade"].as_str()), (Some(1.0), Some("measured")));
    assert_eq!(told["tier"], "packet");

    let page = || tapehead(home.path(), arguments.iter().chain(&["--html", "page.html"]));
    assert_eq!(page().status.code(), Some(0));
    assert!(fs::read_to_string(home.path().join("page.html")).unwrap().contains("</svg>"));
    let again = page();
    assert!(again.status.code() == Some(1) && said(&again).contains("--force"), "{}", said(&again));
}

#[test]
fn plan_refuses_what_makes_no_sense() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("bad.toml"), "currency = 3\n").unwrap();
    fs::write(home.path().join("bad.json"), "{}").unwrap();
    for (arguments, why) in [
        (&["--calls", "0"][..], "--calls must be between"),
        (&["--calls", "10", "--codec", "g729"], "not recorded yet"),
        (&["--calls", "10", "--retention", "forever"], "like 90d, 12w or 7y"),
        (&["--calls", "10", "--minutes", "inf"], "--minutes"),
        (&["--calls", "10", "--tier", "fast"], "possible values"),
        (&["--calls", "10", "--prices", "bad.toml"], "bad.toml"),
        (&["--calls", "10", "--measured", "bad.json"], "has no coefficients"),
        (&["--calls", "10", "--measured", "nowhere"], "nowhere"),
        (&[], "--calls"),
    ] {
        let refused = tapehead(home.path(), ["plan"].iter().chain(arguments));
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(said(&refused).contains(why), "{}", said(&refused));
    }
}
