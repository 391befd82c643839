//! Via, and where a response goes (RFC 3261 sections 18.2, 20.42; RFC 3581).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::lex;
use super::uri::{host_ip, split_host_port};

/// One Via element. Parameters keep their order, case and quotes: they are handed back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Via {
    /// The transport as written: `UDP`, `TCP`, `TLS`, ...
    pub transport: String,
    /// The host part of sent-by.
    pub host: String,
    /// The port part of sent-by.
    pub port: Option<u16>,
    params: Vec<(String, Option<String>)>,
}

impl Via {
    /// Reads one element such as `SIP/2.0/UDP host:port;branch=...`, blanks around every separator allowed.
    pub fn parse(text: &str) -> Option<Via> {
        let (front, params) = lex::split_once_outside(text, b';');
        let mut protocol = front.splitn(3, '/').map(str::trim);
        let (name, version, rest) = (protocol.next()?, protocol.next()?, protocol.next()?);
        if !name.eq_ignore_ascii_case("SIP") || !lex::is_token(version.as_bytes()) {
            return None;
        }
        let (transport, sent_by) = rest.split_once([' ', '\t'])?;
        let (host, port) = split_host_port(sent_by.trim());
        if !lex::is_token(transport.as_bytes()) || !is_host(host) {
            return None;
        }
        let params = lex::raw_params(params.unwrap_or(""));
        let params: Vec<_> =
            params.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).collect();
        let sound = |(name, value): &(String, Option<String>)| {
            lex::is_token(name.as_bytes()) && value.as_deref().is_none_or(lex::is_value)
        };
        if !params.iter().all(sound) {
            return None;
        }
        Some(Via { transport: transport.to_owned(), host: host.to_owned(), port, params })
    }

    /// The value of parameter `name`, compared without case; empty for a flag.
    pub fn param(&self, name: &str) -> Option<&str> {
        let found = self.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_deref().map_or("", lex::strip_quotes))
    }

    /// The `branch`, empty if missing.
    pub fn branch(&self) -> &str {
        self.param("branch").unwrap_or("")
    }

    /// Whether the branch was made by RFC 3261 rules and so names its transaction by itself (section 8.1.1.7).
    pub fn has_cookie(&self) -> bool {
        self.branch().get(..7).is_some_and(|cookie| cookie.eq_ignore_ascii_case("z9hG4bK"))
            && self.branch().len() > 7
    }

    /// Writes down where the request really came from: `received` when sent-by says otherwise (RFC 3261 section 18.2.1),
    /// and always both when `rport` asks for it (RFC 3581 section 4). What the peer claims in either is replaced.
    pub(crate) fn stamp(&mut self, source: SocketAddr) {
        let wants_port = self.param("rport").is_some();
        self.params.retain(|(name, _)| !name.eq_ignore_ascii_case("received"));
        if wants_port {
            let port = Some(source.port().to_string());
            self.params
                .iter_mut()
                .filter(|(n, _)| n.eq_ignore_ascii_case("rport"))
                .for_each(|(_, v)| v.clone_from(&port));
        }
        if wants_port || host_ip(&self.host) != Some(source.ip()) {
            self.params.push(("received".to_owned(), Some(source.ip().to_string())));
        }
    }

    /// Where a response goes if there is no connection to send it back on (RFC 3261 section 18.2.2): the source address, or
    /// over UDP `maddr`; with the port of sent-by, or over UDP the source port if the client asked for that (RFC 3581). The
    /// source port of a stream is nobody's to connect to.
    pub(crate) fn response_address(&self, source: SocketAddr) -> SocketAddr {
        let datagrams = self.transport.eq_ignore_ascii_case("UDP");
        let default = if self.transport.eq_ignore_ascii_case("TLS") { 5061 } else { 5060 };
        let port = self.port.unwrap_or(default);
        match self.maddr(source.ip()).filter(|_| datagrams) {
            Some(other) => SocketAddr::new(other, port),
            None if datagrams && self.param("rport").is_some() => source,
            None => SocketAddr::new(source.ip(), port),
        }
    }

    /// The address that the client wants responses at, if it is of the client's own network. Elsewhere anyone could point our
    /// answers at a third party, ten of them for one INVITE.
    fn maddr(&self, source: IpAddr) -> Option<IpAddr> {
        let wanted = host_ip(self.param("maddr")?)?;
        let near = match (wanted, source) {
            (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
            (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..4] == b.segments()[..4],
            _ => false,
        };
        near.then_some(wanted)
    }
}

/// Names, addresses, and the underscores that are in neither but on the wire.
fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'[' | b']' | b':'))
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        for (name, value) in &self.params {
            match value {
                None => write!(f, ";{name}")?,
                Some(value) => write!(f, ";{name}={value}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> SocketAddr {
        "192.0.2.7:40000".parse().unwrap()
    }

    #[test]
    fn blanks_around_every_separator_are_read() {
        let via =
            Via::parse("SIP  /    2.0\t/  TCP     spindle.example.com : 99  ; branch  =   z9hG4bK9ikj8")
                .unwrap();
        assert_eq!(
            (via.transport.as_str(), via.host.as_str(), via.port),
            ("TCP", "spindle.example.com", Some(99))
        );
        assert_eq!(via.branch(), "z9hG4bK9ikj8");
        assert!(via.has_cookie());
        assert_eq!(via.to_string(), "SIP/2.0/TCP spindle.example.com:99;branch=z9hG4bK9ikj8");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "SIP/2.0",
            "SIP/2.0/UDP",
            ";;,",
            "HTTP/1.1/TCP h",
            "SIP/2.0/UDP ;branch=x",
            "SIP/2.0/UDP a b",
        ] {
            assert_eq!(Via::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_response_goes_where_the_transport_says() {
        let goes = |via: &str| Via::parse(via).unwrap().response_address(source()).to_string();
        for (via, to) in [
            ("SIP/2.0/UDP 10.0.0.1;branch=x", "192.0.2.7:5060"),
            ("SIP/2.0/UDP 10.0.0.1:5070;rport;branch=x", "192.0.2.7:40000"),
            ("SIP/2.0/UDP 10.0.0.1:5070;maddr=192.0.2.9;rport;branch=x", "192.0.2.9:5070"),
            ("SIP/2.0/UDP 10.0.0.1:5070;maddr=198.51.100.1;branch=x", "192.0.2.7:5070"),
            ("SIP/2.0/UDP 10.0.0.1:5070;maddr=proxy.example;branch=x", "192.0.2.7:5070"),
            ("SIP/2.0/TCP 10.0.0.1:5070;rport;branch=x", "192.0.2.7:5070"),
            ("SIP/2.0/TCP 10.0.0.1;rport=1;branch=x", "192.0.2.7:5060"),
            ("SIP/2.0/TLS 10.0.0.1;branch=x", "192.0.2.7:5061"),
            ("SIP/2.0/tls sbc.example:5071;rport;branch=x", "192.0.2.7:5071"),
        ] {
            assert_eq!(goes(via), to, "{via}");
        }
    }

    #[test]
    fn the_true_source_is_stamped_and_answered() {
        let mut plain = Via::parse("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1;received=6.6.6.6").unwrap();
        plain.stamp(source());
        assert_eq!(plain.to_string(), "SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1;received=192.0.2.7");
        assert_eq!(plain.response_address(source()), "192.0.2.7:5070".parse().unwrap());

        let mut symmetric = Via::parse("SIP/2.0/UDP 192.0.2.7;RPORT;branch=z9hG4bK1").unwrap();
        symmetric.stamp(source());
        assert_eq!(
            symmetric.to_string(),
            "SIP/2.0/UDP 192.0.2.7;RPORT=40000;branch=z9hG4bK1;received=192.0.2.7"
        );
        assert_eq!(symmetric.response_address(source()), source());

        let mut honest = Via::parse("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1").unwrap();
        honest.stamp(source());
        assert_eq!(honest.param("received"), None);
        assert_eq!(honest.response_address(source()), "192.0.2.7:5060".parse().unwrap());
    }
}
