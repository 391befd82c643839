//! SIP methods (RFC 3261 section 7.1 and its extensions).

use std::fmt;

/// A request's method. Compared with regard to case (RFC 3261 section 7.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Prack,
    Update,
    Info,
    Message,
    Notify,
    Subscribe,
    Refer,
    Register,
    Publish,
    /// Any other token.
    Other(String),
}

const NAMES: [(Method, &str); 14] = [
    (Method::Invite, "INVITE"),
    (Method::Ack, "ACK"),
    (Method::Bye, "BYE"),
    (Method::Cancel, "CANCEL"),
    (Method::Options, "OPTIONS"),
    (Method::Prack, "PRACK"),
    (Method::Update, "UPDATE"),
    (Method::Info, "INFO"),
    (Method::Message, "MESSAGE"),
    (Method::Notify, "NOTIFY"),
    (Method::Subscribe, "SUBSCRIBE"),
    (Method::Refer, "REFER"),
    (Method::Register, "REGISTER"),
    (Method::Publish, "PUBLISH"),
];

impl Method {
    /// The method of this name; the caller has checked that it is a token.
    pub fn from_token(token: &str) -> Method {
        let known = NAMES.iter().find(|(_, name)| *name == token);
        known.map_or_else(|| Method::Other(token.to_owned()), |(method, _)| method.clone())
    }

    /// Its name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Method::Other(token) => token,
            known => NAMES.iter().find(|(method, _)| method == known).map_or("", |(_, name)| name),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_survives_its_own_name_and_case_matters() {
        for (method, name) in NAMES {
            assert_eq!(Method::from_token(name), method);
            assert_eq!(method.as_str(), name);
        }
        assert_eq!(Method::from_token("invite"), Method::Other("invite".to_owned()));
    }
}
