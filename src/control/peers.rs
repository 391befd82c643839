//! What is particular to single clients, by the address they send from.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::Networks;
use crate::link::Payload;

/// How one peer's calls are treated. The default is for everybody of whom nothing is said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeerRules {
    /// What the operator calls it; empty for those of whom nothing is said.
    pub name: String,
    /// The codecs it gets, most wanted first; empty: every one that can be stored, in the order offered.
    pub codecs: Vec<Payload>,
    /// Our address as it knows us, where that is not the one for everybody.
    pub external_address: Option<IpAddr>,
    /// We may send it INVITEs inside of a call.
    pub reinvite: bool,
    /// Its calls are recorded without any sign of SIPREC, too.
    pub any_call: bool,
    /// Its calls at once, if bounded.
    pub calls_max: Option<u32>,
}

/// The rules of all peers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Peers {
    networks: Networks<Arc<PeerRules>>,
    everybody: Arc<PeerRules>,
}

impl Peers {
    /// Peers by their networks.
    pub fn new(networks: Networks<Arc<PeerRules>>) -> Peers {
        Peers { networks, everybody: Arc::default() }
    }

    /// The rules for whoever sends from `address`.
    pub fn of(&self, address: IpAddr) -> &Arc<PeerRules> {
        self.networks.find(address).unwrap_or(&self.everybody)
    }
}
