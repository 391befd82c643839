//! The list itself, as `tuning/settings.toml` declares it.

use serde::Deserialize;

use super::facts::Facts;

/// One thing that a machine should have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Its name, for `--only`.
    pub id: String,
    /// What it is, in a few words.
    pub title: String,
    /// What is wanted.
    pub want: Want,
    /// Why.
    pub reason: String,
    /// What it costs not to have it.
    pub cost: String,
    /// How we know: "measured ..." or "assumed ...".
    pub evidence: String,
    /// A path without which this says nothing about the machine.
    #[serde(default)]
    pub needs: Option<String>,
    /// Fewer cores than this have nothing to gain.
    #[serde(default)]
    pub cores_min: usize,
    /// Neither lacking nor applied unless it is named.
    #[serde(default)]
    pub on_request: bool,
}

/// What is wanted.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Want {
    /// A number below `/proc/sys`.
    Sysctl {
        /// As `sysctl` names it.
        key: String,
        /// The least that is enough.
        at_least: Option<u64>,
        /// The only value that will do.
        is: Option<u64>,
    },
    /// A list of ports below `/proc/sys` that must hold the RTP range.
    Ports {
        /// As `sysctl` names it.
        key: String,
    },
    /// Files that hold one word, or several of which one is chosen: `none [mq-deadline]`.
    Word {
        /// With `*`.
        path: String,
        /// Any of these will do; the first is set.
        any_of: Vec<String>,
    },
    /// Files that hold a mask of cores, which must be empty.
    Mask {
        /// With `*` and `{nic}`.
        path: String,
    },
    /// The receive interrupts of the network cards, on the cores of shards.
    Irq {},
    /// A file of ours.
    File {
        /// Where.
        path: String,
        /// What stands in it ...
        content: Option<String>,
        /// ... or the file of `tuning/` that it is like.
        like: Option<String>,
        /// One that is there stays as it is.
        #[serde(default)]
        keep: bool,
    },
    /// A table of nftables.
    Nft {
        /// The file.
        path: String,
        /// The file of `tuning/` that it is like.
        like: String,
        /// Family and name.
        table: String,
    },
    /// Only looked at.
    ByHand {
        /// What is looked at.
        check: HandCheck,
        /// What to do about it.
        how: String,
    },
}

/// What is looked at and left to people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandCheck {
    /// Each network card has a receive queue per shard.
    Queues,
    /// The clock is read without a system call.
    Clocksource,
}

/// The files of `tuning/` that entries refer to.
const FILES: &[(&str, &str)] = &[
    ("capabilities.conf", include_str!("../../tuning/capabilities.conf")),
    ("notrack.nft", include_str!("../../tuning/notrack.nft")),
    ("slice.conf", include_str!("../../tuning/slice.conf")),
    ("tapehead-tune.service", include_str!("../../tuning/tapehead-tune.service")),
    ("tapehead.service", include_str!("../../tuning/tapehead.service")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    setting: Vec<Setting>,
}

/// The list that this program was built with.
pub fn settings() -> Vec<Setting> {
    let file: File =
        toml::from_str(include_str!("../../tuning/settings.toml")).expect("built in, and read by a test");
    file.setting
}

impl Setting {
    /// The file in `/etc/sysctl.d` that keeps its value over a restart.
    pub(super) fn sysctl_file(&self) -> String {
        format!("/etc/sysctl.d/90-tapehead-{}.conf", self.id)
    }

    /// Every path that this setting may touch, with `*` for what a machine decides.
    pub(super) fn may_touch(&self) -> Vec<String> {
        match &self.want {
            Want::Sysctl { key, .. } | Want::Ports { key } => vec![sysctl_path(key), self.sysctl_file()],
            Want::Word { path, .. } | Want::Mask { path } => vec![path.replace("{nic}", "*")],
            Want::Irq {} => vec!["/proc/irq/*/smp_affinity_list".to_owned()],
            Want::File { path, .. } => vec![path.clone()],
            Want::Nft { path, table, .. } => vec![path.clone(), nft_name(table)],
            Want::ByHand { .. } => Vec::new(),
        }
    }
}

/// Where a sysctl is: `net.core.rmem_max` is `/proc/sys/net/core/rmem_max`.
pub(super) fn sysctl_path(key: &str) -> String {
    format!("/proc/sys/{}", key.replace('.', "/"))
}

/// How a table of nftables is named where a path would stand.
pub(super) fn nft_name(table: &str) -> String {
    format!("nft:{table}")
}

/// A file of `tuning/` as it is on this machine.
pub(super) fn file(name: &str, facts: &Facts) -> String {
    let found = FILES.iter().find(|(known, _)| *known == name);
    filled(found.expect("a test looks at every entry").1, facts)
}

/// `text` with what stands in braces put in.
pub(super) fn filled(text: &str, facts: &Facts) -> String {
    let (first, last) = facts.rtp_ports;
    text.replace("{rtp}", &format!("{first}-{last}"))
        .replace("{shard_cores}", &cores(&facts.shard_cores()))
        .replace("{other_cores}", &cores(&facts.other_cores()))
        .replace("{exe}", &facts.program)
        .replace("{arguments}", &facts.arguments)
}

/// Cores as the kernel lists them, without ranges.
pub(super) fn cores(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}
