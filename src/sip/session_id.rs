//! Session-ID (RFC 7989): one end's name for a communication beside the other's, by which operators find a call in every log.

use super::lex;

/// Said by who has no name of its own for a communication (RFC 7989 section 5).
pub(crate) const NIL: &str = "00000000000000000000000000000000";

/// Both names, ours first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SessionId {
    pub(crate) own: String,
    peer: String,
}

impl SessionId {
    /// From the peer's header. `None` if it holds no name.
    pub(crate) fn of(value: &str, own: impl FnOnce() -> String) -> Option<SessionId> {
        Some(SessionId { peer: name(value)?.to_owned(), own: own() })
    }

    /// The header of our requests.
    pub(crate) fn header(&self) -> String {
        format!("{};remote={}", self.own, self.peer)
    }
}

/// The header of a response to a request with `value`. A peer that names no remote end speaks RFC 7329, which wants its own value back
/// (RFC 7989 section 11).
pub(crate) fn answer(value: &str, own: &str) -> Option<String> {
    let peer = name(value)?;
    let (_, params) = lex::split_once_outside(value, b';');
    let new = lex::param(params.unwrap_or(""), "remote").is_some();
    Some(if new { format!("{own};remote={peer}") } else { peer.to_owned() })
}

/// 32 hexadecimal digits.
fn name(value: &str) -> Option<&str> {
    let name = lex::split_once_outside(value, b';').0.trim();
    (name.len() == NIL.len() && name.bytes().all(|b| b.is_ascii_hexdigit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ab30317f1a784dc48ff824d0d3715d86";
    const B: &str = "47755a9de7794ba387653f2099600ef2";

    #[test]
    fn both_ends_are_named_the_answering_one_first() {
        assert_eq!(answer(&format!("{A};remote={NIL}"), B), Some(format!("{B};remote={A}")));
        assert_eq!(answer(&format!(" {A} ; remote={B};x=1"), B), Some(format!("{B};remote={A}")));
        let ours = SessionId::of(&format!("{A};remote={NIL}"), || B.to_owned()).unwrap();
        assert_eq!(ours.header(), format!("{B};remote={A}"));
    }

    #[test]
    fn an_older_peer_gets_its_own_name_back_and_nonsense_nothing() {
        assert_eq!(answer(A, B), Some(A.to_owned()));
        for nonsense in ["", "x", ";remote=1", "ab30317f1a784dc48ff824d0d3715d8g", &A[1..]] {
            assert_eq!(answer(nonsense, B), None, "{nonsense}");
        }
    }
}
