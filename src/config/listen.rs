//! Where SIP is taken, and as what clients know it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::plan::Check;
use crate::sip::Transport;

/// A listening point of SIP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Listen {
    /// Over what.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// What clients are told instead.
    pub external: Option<External>,
}

impl Listen {
    /// A listening point that clients know by its own address.
    pub fn new(transport: Transport, address: SocketAddr) -> Listen {
        Listen { transport, address, external: None }
    }
}

/// Our address as clients reach it, where a NAT stands between.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct External {
    /// For Contact, Via and SDP.
    pub ip: IpAddr,
    /// For Contact and Via, if the NAT changes that, too.
    pub port: Option<u16>,
}

impl External {
    fn parse(text: &str) -> Option<External> {
        let ip_only = text.parse().ok().map(|ip| External { ip, port: None });
        let both =
            || text.parse::<SocketAddr>().ok().map(|at| External { ip: at.ip(), port: Some(at.port()) });
        ip_only.or_else(both).filter(|external| !external.ip.is_unspecified() && external.port != Some(0))
    }
}

/// As a URI and a Via write it: an IPv6 address in brackets.
impl std::fmt::Display for External {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.ip, self.port) {
            (ip, Some(port)) => write!(f, "{}", SocketAddr::new(ip, port)),
            (IpAddr::V4(ip), None) => write!(f, "{ip}"),
            (IpAddr::V6(ip), None) => write!(f, "[{ip}]"),
        }
    }
}

/// Whom we ask for our external address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StunPlan {
    /// Host and port.
    pub server: String,
    /// How often.
    pub every: Duration,
}

impl Check<'_> {
    pub(super) fn stun(&mut self) -> Option<StunPlan> {
        let server = self.text("nat.stun_server").to_owned();
        let every = Duration::from_secs(self.number("nat.stun_seconds", 1, 24 * 3600));
        let port = server
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .and_then(|(_, port)| port.parse().ok());
        if !server.is_empty() && port.is_none_or(|port: u16| port == 0) {
            self.problem("nat.stun_server", format_args!("must be \"HOST:PORT\" or empty, not {server:?}"));
        }
        (!server.is_empty()).then_some(StunPlan { server, every })
    }

    pub(super) fn listen(&mut self) -> Vec<Listen> {
        let said = self.list("sip.listen").to_vec();
        let mut listen = Vec::new();
        for item in &said {
            match listen_point(item) {
                Some(point) if point.address.port() != 0 && listen.iter().any(|known| same(known, &point)) => {
                    self.problem("sip.listen", format_args!("names {item:?} twice"));
                }
                Some(point) => listen.push(point),
                None => self.problem(
                    "sip.listen",
                    format_args!(
                        "takes \"udp:ADDRESS:PORT\", \"tcp:ADDRESS:PORT\" and \"tls:ADDRESS:PORT\", with \";external=ADDRESS\" if need be, not {item:?}"
                    ),
                ),
            }
        }
        if said.is_empty() {
            self.problem("sip.listen", "is empty: no call could reach the recorder");
        }
        self.apart_from_media(&listen);
        let external = self.external_address();
        listen.iter_mut().for_each(|point| {
            point.external = point.external.or(external.filter(|e| e.ip.is_ipv4() == point.address.is_ipv4()))
        });
        listen
    }

    /// A SIP port inside the media range would be taken by the first of the two that binds it.
    fn apart_from_media(&mut self, listen: &[Listen]) {
        let (first, last) = self.rtp_ports_unchecked();
        let clash = listen
            .iter()
            .find(|l| l.transport == Transport::Udp && (first..=last).contains(&l.address.port()));
        if let Some(clash) = clash {
            let what =
                format!("takes UDP port {}, which is inside rtp.ports {first}-{last}", clash.address.port());
            self.problem("sip.listen", what);
        }
    }

    fn rtp_ports_unchecked(&self) -> (u16, u16) {
        let mut quiet = Check { raw: self.raw, problems: Vec::new() };
        quiet.rtp_ports()
    }

    /// The default of all listeners of its address family.
    fn external_address(&mut self) -> Option<External> {
        let said = self.text("sip.external_address").to_owned();
        let external = External::parse(&said).filter(|external| external.port.is_none());
        if !said.is_empty() && external.is_none() {
            self.problem(
                "sip.external_address",
                format_args!("must be an IP address that clients can reach, or empty, not {said:?}"),
            );
        }
        external
    }
}

fn same(a: &Listen, b: &Listen) -> bool {
    (a.transport, a.address) == (b.transport, b.address)
}

fn listen_point(text: &str) -> Option<Listen> {
    let (point, external) = match text.split_once(";external=") {
        Some((point, external)) => (point, Some(External::parse(external)?)),
        None => (text, None),
    };
    let (transport, address) = point.split_once(':')?;
    let transport = match transport {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls,
        _ => return None,
    };
    Some(Listen { external, ..Listen::new(transport, address.parse().ok()?) })
}
