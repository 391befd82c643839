//! Peers: what is particular to single clients, by the addresses they send from.
//!
//! Secrets stand in files of their own and are not read here: a plan may be printed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::plan::Check;
use crate::base::{Network, network};
use crate::limits::{CALLS_MAX, NETWORKS_MAX, PEERS_MAX, RATE_MAX};
use crate::media::Payload;

/// One peer, checked. [`super::PEER_SETTINGS`] says what each means.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PeerPlan {
    /// What the operator calls it; in logs and metrics.
    pub name: String,
    /// Where it sends from; at least one.
    pub networks: Vec<Network>,
    /// Requests outside of calls per second, if bounded.
    pub rate_per_second: Option<u32>,
    /// Its calls at once, if bounded.
    pub calls_max: Option<u32>,
    /// The codecs it gets, most wanted first; empty: all that can be stored.
    pub codecs: Vec<Payload>,
    /// Our address as it knows us, if it is not the one for everybody.
    pub external_address: Option<IpAddr>,
    /// We may send it re-INVITEs.
    pub reinvite: bool,
    /// All its calls are recorded.
    pub any_call: bool,
    /// How it has to authenticate itself, if at all.
    pub digest: Option<DigestPlan>,
}

/// The credentials of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DigestPlan {
    /// The name.
    pub user: String,
    /// The file with the password.
    pub secret_file: PathBuf,
}

/// Codecs that can be asked for.
const CODECS: [(&str, Payload); 2] = [("PCMU", Payload::Pcmu), ("PCMA", Payload::Pcma)];

impl Check<'_> {
    /// All peers, by name.
    pub(super) fn peers(&mut self) -> Vec<PeerPlan> {
        let names: Vec<String> = self.raw.peers().map(str::to_owned).collect();
        if names.len() > PEERS_MAX {
            self.problem(
                &format!("peers.{}.networks", names[0]),
                format_args!("is one of more than {PEERS_MAX} peers"),
            );
        }
        let peers: Vec<PeerPlan> = names.into_iter().take(PEERS_MAX).map(|name| self.peer(name)).collect();
        self.apart(&peers);
        peers
    }

    fn peer(&mut self, name: String) -> PeerPlan {
        let key = |setting: &str| format!("peers.{name}.{setting}");
        let networks = self.networks(&key("networks"), NETWORKS_MAX);
        if self.list(&key("networks")).is_empty() {
            self.problem(&key("networks"), "is empty: say where the peer sends from");
        }
        let bound = |number: u64| u32::try_from(number).ok().filter(|number| *number > 0);
        PeerPlan {
            networks,
            rate_per_second: bound(self.number(&key("rate_per_second"), 0, RATE_MAX)),
            calls_max: bound(self.number(&key("calls_max"), 0, u64::from(CALLS_MAX))),
            codecs: self.codecs(&key("codecs")),
            external_address: self.address(&key("external_address")),
            reinvite: self.switch(&key("reinvite")),
            any_call: self.switch(&key("any_call")),
            digest: self.digest(&key("digest_user"), &key("digest_secret_file")),
            name,
        }
    }

    /// A list of networks.
    pub(super) fn networks(&mut self, key: &str, max: usize) -> Vec<Network> {
        let said = self.list(key).to_vec();
        if said.len() > max {
            self.problem(key, format_args!("has {} networks; {max} are allowed", said.len()));
        }
        let mut networks = Vec::new();
        for item in said.iter().take(max) {
            match network(item) {
                Some(network) => networks.push(network),
                None => self.problem(key, format_args!("takes addresses and networks like \"10.0.0.0/8\", without bits behind the prefix, not {item:?}")),
            }
        }
        networks
    }

    fn address(&mut self, key: &str) -> Option<IpAddr> {
        let said = self.text(key).to_owned();
        let address = said.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified());
        if !said.is_empty() && address.is_none() {
            self.problem(
                key,
                format_args!("must be an IP address that this peer can reach, or empty, not {said:?}"),
            );
        }
        address
    }

    fn codecs(&mut self, key: &str) -> Vec<Payload> {
        let mut codecs = Vec::new();
        for item in self.list(key).to_vec() {
            match CODECS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&item)) {
                Some((_, payload)) => codecs.push(*payload),
                None => {
                    let names: Vec<&str> = CODECS.iter().map(|(name, _)| *name).collect();
                    self.problem(key, format_args!("takes {}, not {item:?}", names.join(", ")));
                }
            }
        }
        codecs
    }

    fn digest(&mut self, user_key: &str, file_key: &str) -> Option<DigestPlan> {
        let (user, file) = (self.text(user_key).to_owned(), self.text(file_key).to_owned());
        match (user.is_empty(), file.is_empty()) {
            (true, true) => None,
            (false, false) => Some(DigestPlan { user, secret_file: PathBuf::from(file) }),
            (true, false) => {
                self.problem(user_key, "is empty, but there is a digest_secret_file");
                None
            }
            (false, true) => {
                self.problem(file_key, "is empty, but there is a digest_user");
                None
            }
        }
    }

    /// One network can't be two peers'.
    fn apart(&mut self, peers: &[PeerPlan]) {
        let mut owners: BTreeMap<Network, &str> = BTreeMap::new();
        for peer in peers {
            for network in &peer.networks {
                match owners.insert(*network, &peer.name) {
                    Some(owner) if owner != peer.name => self.problem(
                        &format!("peers.{}.networks", peer.name),
                        format_args!("names {network}, which is peers.{owner}'s"),
                    ),
                    _ => {}
                }
            }
        }
    }
}
