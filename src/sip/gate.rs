//! Who may talk to us, how much, and who has to say who he is: judged by source address before anything is kept of a request.
//!
//! - **Allow-list**: what others send is dropped unanswered. Peers of whom anything is said are allowed.
//! - **Rate**: requests outside of calls, a token bucket per peer of whom one is said; too many are answered 503, and of far too many
//!   only as many as would have been let through.
//! - **Digest** (RFC 7616): a peer with credentials is challenged for everything but ACK and CANCEL, inside of calls, too.
//!
//! What is retransmitted never comes here: it is answered as before.

use std::net::IpAddr;

use super::digest::{self, Credentials};
use super::message::Message;
use super::method::Method;
use super::nonce::Nonces;
use crate::base::{Entropy, Mono, Network, Networks, Rate};

/// What is asked of the peers in some networks.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Where they send from.
    pub networks: Vec<Network>,
    /// Requests outside of calls per second, all of them together; `None`: as many as they like.
    pub rate_per_second: Option<u32>,
    /// How they have to authenticate themselves.
    pub challenge: Option<Credentials>,
    /// How we authenticate ourselves where they challenge us.
    pub answer: Option<Credentials>,
}

/// What becomes of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is served.
    Pass,
    /// It is dropped unanswered.
    Drop,
    /// It is answered 503: too many of them.
    Busy,
    /// It is answered 401 with this nonce.
    Challenge {
        /// To be used in the next attempt.
        nonce: String,
        /// The password was right, only the nonce was not (any more).
        stale: bool,
        /// Something was said, and it was wrong.
        wrong: bool,
    },
}

/// Who may talk to us at all: the allow-list, and the peers of whom anything is said. By default everybody.
#[derive(Clone, Default, Debug)]
pub struct Allowed(Networks<()>);

impl Allowed {
    /// Whether anything from this address is looked at.
    pub fn allows(&self, from: IpAddr) -> bool {
        self.0.is_empty() || self.0.find(from).is_some()
    }
}

/// See the [module](self).
pub struct Gate {
    allowed: Allowed,
    numbers: Networks<usize>,
    peers: Vec<Peer>,
    realm: String,
    nonces: Nonces,
}

struct Peer {
    rule: Rule,
    /// What is served, and of the rest what is answered 503.
    rates: Option<[Rate; 2]>,
}

impl Gate {
    /// A gate for these peers, the most specific network first. An empty `allow` lets everybody in. `realm` is shown in challenges; it
    /// holds no quotes and backslashes.
    pub fn new(allow: &[Network], peers: Vec<Rule>, realm: &str, entropy: &mut dyn Entropy) -> Gate {
        let numbered = peers.iter().enumerate();
        let numbers: Networks<usize> =
            numbered.flat_map(|(at, rule)| rule.networks.iter().map(move |network| (*network, at))).collect();
        let known = peers.iter().flat_map(|rule| &rule.networks).filter(|_| !allow.is_empty());
        let allowed = Allowed(allow.iter().chain(known).map(|network| (*network, ())).collect());
        let peer = |rule: Rule| {
            let rate = rule.rate_per_second.and_then(|rate| Rate::new(rate.max(1)));
            Peer { rule, rates: rate.map(|rate| [rate, rate]) }
        };
        let realm = realm.replace(['"', '\\'], "");
        Gate {
            allowed,
            numbers,
            peers: peers.into_iter().map(peer).collect(),
            realm,
            nonces: Nonces::new(entropy),
        }
    }

    /// Whose messages are looked at.
    pub fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    /// Whether anything is asked of this address, so that [`Gate::check`] may say something else than to pass.
    pub fn asks(&self, from: IpAddr) -> bool {
        let rule = self.numbers.find(from).map(|number| &self.peers[*number].rule);
        rule.is_some_and(|rule| rule.rate_per_second.is_some() || rule.challenge.is_some())
    }

    /// Judges a request that is no retransmission.
    pub fn check(&mut self, now: Mono, from: IpAddr, request: &Message) -> Verdict {
        if !self.allowed.allows(from) {
            return Verdict::Drop;
        }
        let method = request.method();
        // Neither can be sent again with an answer to a challenge (RFC 3261 section 22.1).
        let exempt = matches!(method, Method::Ack | Method::Cancel);
        let Some(peer) = self.numbers.find(from).filter(|_| !exempt).map(|number| &mut self.peers[*number])
        else {
            return Verdict::Pass;
        };
        if let Some([served, told]) = peer.rates.as_mut().filter(|_| request.to().tag().is_empty())
            && !served.pass(now)
        {
            return if told.pass(now) { Verdict::Busy } else { Verdict::Drop };
        }
        let Some(credentials) = &peer.rule.challenge else { return Verdict::Pass };
        let fields: Vec<_> = request.headers("Authorization").collect();
        let said = digest::judge(&fields, method.as_str(), &self.realm, credentials);
        let genuine = said.as_ref().filter(|response| response.genuine);
        if genuine.is_some_and(|response| self.nonces.spend(now, &response.nonce, response.count)) {
            return Verdict::Pass;
        }
        let stale = genuine.is_some();
        Verdict::Challenge { nonce: self.nonces.make(now), stale, wrong: said.is_some() && !stale }
    }

    /// What the 401 says.
    pub(crate) fn challenges(&self, nonce: &str, stale: bool) -> impl Iterator<Item = String> {
        digest::challenges(&self.realm, nonce, stale)
    }

    /// How we authenticate ourselves to this address.
    pub(crate) fn credentials(&self, peer: IpAddr) -> Option<&Credentials> {
        self.peers[*self.numbers.find(peer)?].rule.answer.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Seeded, network};

    fn gate(allow: &[&str], rules: Vec<(&str, Rule)>) -> Gate {
        let allow: Vec<_> = allow.iter().map(|text| network(text).unwrap()).collect();
        let rules =
            rules.into_iter().map(|(text, rule)| Rule { networks: vec![network(text).unwrap()], ..rule });
        Gate::new(&allow, rules.collect(), "tapehead", &mut Seeded::new(1))
    }

    fn request(method: &str, to_tag: &str, header: &str) -> Message {
        let text = format!(
            "{method} sip:h SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\nFrom: <sip:a@h>;tag=1\nTo: <sip:h>{to_tag}\nCall-ID: c\n\
             CSeq: 1 {method}\n{header}\n"
        );
        Message::parse_datagram(text.as_bytes()).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn strangers_are_dropped_once_anybody_is_named_and_peers_need_no_naming() {
        let mut open = gate(&[], vec![("10.0.0.0/8", Rule::default())]);
        assert!(open.allowed.allows(ip("192.0.2.1")) && !open.asks(ip("10.0.0.1")));
        assert_eq!(open.check(Mono(0), ip("192.0.2.1"), &request("INVITE", "", "")), Verdict::Pass);
        let mut closed = gate(&["192.0.2.0/24"], vec![("10.0.0.0/8", Rule::default())]);
        for (from, verdict) in
            [("192.0.2.1", Verdict::Pass), ("10.1.1.1", Verdict::Pass), ("198.51.100.1", Verdict::Drop)]
        {
            assert_eq!(closed.check(Mono(0), ip(from), &request("OPTIONS", "", "")), verdict, "{from}");
        }
    }

    #[test]
    fn too_many_requests_outside_of_calls_are_told_and_far_too_many_are_not_even_that() {
        let mut gate = gate(&[], vec![("10.0.0.0/8", Rule { rate_per_second: Some(10), ..Rule::default() })]);
        let mut count = |at: u64, text: &Message| {
            let verdicts: Vec<_> =
                (0..100).map(|_| gate.check(Mono::from_ms(at), ip("10.0.0.1"), text)).collect();
            let of = |wanted: Verdict| verdicts.iter().filter(|verdict| **verdict == wanted).count();
            (of(Verdict::Pass), of(Verdict::Busy), of(Verdict::Drop))
        };
        let invite = request("INVITE", "", "");
        assert_eq!(count(0, &invite), (10, 10, 80));
        assert_eq!(count(500, &invite), (5, 5, 90));
        assert_eq!(count(60_000, &invite), (10, 10, 80));
        assert_eq!(count(60_000, &request("BYE", ";tag=x", "")), (100, 0, 0));
        assert_eq!(count(60_000, &request("CANCEL", "", "")), (100, 0, 0));
    }

    #[test]
    fn a_peer_with_a_password_is_challenged_until_it_knows_it_and_each_answer_is_good_once() {
        let credentials = Credentials::new("sbc", "secret");
        let challenge = Rule { challenge: Some(credentials.clone()), ..Rule::default() };
        let mut gate = gate(&[], vec![("10.0.0.1", challenge)]);
        let from = ip("10.0.0.1");
        let mut ask = |at: u64, method: &str, credentials: Option<(&Credentials, &str)>| {
            let authorization = credentials.map_or_else(String::new, |(credentials, nonce)| {
                let challenges: Vec<_> = digest::challenges("tapehead", nonce, false).collect();
                let text = format!("SIP/2.0 401 No\nWWW-Authenticate: {}\n\n", challenges[1]);
                let (head, _) = crate::sip::Head::read(text.into_bytes());
                let (name, value, _) =
                    digest::authorization(&head, credentials, method, "sip:h", "c").unwrap();
                format!("{name}: {value}\n")
            });
            gate.check(Mono::from_ms(at), from, &request(method, "", &authorization))
        };
        let Verdict::Challenge { nonce, stale: false, wrong: false } = ask(0, "INVITE", None) else {
            panic!()
        };
        assert_eq!(ask(0, "INVITE", Some((&credentials, &nonce))), Verdict::Pass);
        let replayed = ask(0, "INVITE", Some((&credentials, &nonce)));
        assert!(matches!(replayed, Verdict::Challenge { stale: true, wrong: false, .. }), "{replayed:?}");
        let guess = Credentials::new("sbc", "guess");
        assert!(matches!(
            ask(0, "BYE", Some((&guess, &nonce))),
            Verdict::Challenge { stale: false, wrong: true, .. }
        ));
        let Verdict::Challenge { nonce, .. } = ask(0, "BYE", None) else { panic!() };
        assert!(matches!(
            ask(400_000, "BYE", Some((&credentials, &nonce))),
            Verdict::Challenge { stale: true, .. }
        ));
        assert_eq!((ask(0, "ACK", None), ask(0, "CANCEL", None)), (Verdict::Pass, Verdict::Pass));
    }
}
