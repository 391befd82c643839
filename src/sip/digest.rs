//! Digest authentication (RFC 7616, RFC 8760): the arithmetic and both headers, with SHA-256 and MD5.
//!
//! Leaves out which nonces are good (`nonce`), who has to authenticate (`gate`), `auth-int`, and the `-sess` algorithms.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use md5::Digest as _;
use zeroize::Zeroizing;

use super::header::Head;
use super::lex;
use crate::base::Redacted;

/// A hash that a response may be made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// SHA-256 (RFC 8760).
    Sha256,
    /// MD5, which most clients know alone.
    Md5,
}

impl Algorithm {
    /// Best first (RFC 8760 section 2.3).
    pub const ALL: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Md5];

    /// Its name in headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Md5 => "MD5",
        }
    }

    /// The one of this name; a header without a name means MD5 (RFC 7616 section 3.3).
    fn named(name: Option<&str>) -> Option<Algorithm> {
        let name = name.unwrap_or("MD5");
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
    }

    fn hash(self, parts: &[&str]) -> String {
        let text = Zeroizing::new(parts.join(":"));
        match self {
            Algorithm::Sha256 => hex(digest(&SHA256, text.as_bytes()).as_ref()),
            Algorithm::Md5 => hex(&md5::Md5::digest(text.as_bytes())),
        }
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A name and its password.
#[derive(Clone, Debug)]
pub struct Credentials {
    user: Redacted<String>,
    secret: Redacted<Zeroizing<String>>,
}

impl Credentials {
    /// Of this user, with this password.
    pub fn new(user: &str, secret: &str) -> Credentials {
        let (user, secret) = (user.to_owned(), Zeroizing::new(secret.to_owned()));
        Credentials { user: Redacted::new(user), secret: Redacted::new(secret) }
    }

    /// The `response` (RFC 7616 section 3.4.1), with `count` = nc, cnonce and qop where those are used.
    fn response(&self, of: &Of<'_>, count: Option<(&str, &str, &str)>) -> String {
        let own = Zeroizing::new(of.algorithm.hash(&[self.user.reveal(), of.realm, self.secret.reveal()]));
        let asked = of.algorithm.hash(&[of.method, of.uri]);
        match count {
            Some((nc, cnonce, qop)) => of.algorithm.hash(&[&own, of.nonce, nc, cnonce, qop, &asked]),
            None => of.algorithm.hash(&[&own, of.nonce, &asked]),
        }
    }
}

/// What a response is made of besides credentials.
struct Of<'a> {
    algorithm: Algorithm,
    realm: &'a str,
    nonce: &'a str,
    method: &'a str,
    uri: &'a str,
}

/// What a peer says to our challenge: an Authorization header (RFC 7616 section 3.4).
pub(crate) struct Response<'a> {
    pub(crate) nonce: Cow<'a, str>,
    /// nc; `None` from a client of RFC 2069, which does not count.
    pub(crate) count: Option<u32>,
    /// Whether it knows the password. Not whether the nonce is good.
    pub(crate) genuine: bool,
}

/// Judges the Authorization for `realm` in a request; `None` if there is none. Its `uri` is taken as said and not held against the request-URI (RFC 7616
/// section 3.4.6): proxies on the way rewrite that, and clients name the server in it. That a response is used once is what its nonce and count see to.
pub(crate) fn judge<'a>(
    fields: &'a [Cow<'a, str>],
    method: &str,
    realm: &str,
    credentials: &Credentials,
) -> Option<Response<'a>> {
    fields.iter().filter_map(|field| parameters(field)).find_map(|said| {
        let field = |name: &str| said.get(name).map(|value| &**value);
        (field("realm")? == realm).then_some(())?;
        let algorithm = Algorithm::named(field("algorithm"))?;
        let of = Of { algorithm, realm, nonce: field("nonce")?, method, uri: field("uri")? };
        let count = match field("qop") {
            Some(qop) if qop.eq_ignore_ascii_case("auth") => Some((field("nc")?, field("cnonce")?, qop)),
            Some(_) => return None,
            None => None,
        };
        let wanted = credentials.response(&of, count);
        let (user, given) = (field("username")?, field("response")?.to_ascii_lowercase());
        let right = same(wanted.as_bytes(), given.as_bytes());
        let genuine = same(user.as_bytes(), credentials.user.reveal().as_bytes()) && right;
        let count = match count {
            Some((nc, ..)) => Some(u32::from_str_radix(nc, 16).ok()?),
            None => None,
        };
        Some(Response { nonce: said.get("nonce")?.clone(), count, genuine })
    })
}

/// In a time that does not depend on where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// Our challenges, best first, as values of WWW-Authenticate (RFC 8760 section 2.4).
pub(crate) fn challenges(realm: &str, nonce: &str, stale: bool) -> impl Iterator<Item = String> {
    Algorithm::ALL.into_iter().map(move |algorithm| {
        let stale = if stale { ", stale=true" } else { "" };
        let algorithm = algorithm.as_str();
        format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\", algorithm={algorithm}{stale}")
    })
}

/// Our answer to the best challenge in a 401 or 407 that we can meet: header name and value, and whether only the nonce was too old.
pub(crate) fn authorization(
    response: &Head,
    credentials: &Credentials,
    method: &str,
    uri: &str,
    cnonce: &str,
) -> Option<(&'static str, String, bool)> {
    let names = [("WWW-Authenticate", "Authorization"), ("Proxy-Authenticate", "Proxy-Authorization")];
    names.into_iter().find_map(|(asked, answered)| {
        let fields: Vec<_> = response.headers(asked).collect();
        let challenges: Vec<_> = fields.iter().filter_map(|field| parameters(field)).collect();
        let best = Algorithm::ALL.into_iter().find_map(|algorithm| {
            let of = |said: &&HashMap<String, Cow<'_, str>>| {
                Algorithm::named(said.get("algorithm").map(|name| &**name)) == Some(algorithm)
            };
            Some((algorithm, challenges.iter().find(of)?))
        });
        let (algorithm, said) = best?;
        let stale = said.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true"));
        let value = answer(algorithm, said, credentials, (method, uri), cnonce)?;
        Some((answered, value, stale))
    })
}

fn answer(
    algorithm: Algorithm,
    said: &HashMap<String, Cow<'_, str>>,
    credentials: &Credentials,
    (method, uri): (&str, &str),
    cnonce: &str,
) -> Option<String> {
    let (realm, nonce) = (said.get("realm")?, said.get("nonce")?);
    let qop = said.get("qop");
    if qop.is_some_and(|qop| !lex::list(qop).any(|one| one.eq_ignore_ascii_case("auth"))) {
        return None;
    }
    let count = qop.map(|_| ("00000001", cnonce, "auth"));
    let made = credentials.response(&Of { algorithm, realm, nonce, method, uri }, count);
    let mut value = format!(
        "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{made}\", algorithm={}",
        credentials.user.reveal(),
        algorithm.as_str()
    );
    if let Some((nc, cnonce, qop)) = count {
        let _ = write!(value, ", qop={qop}, nc={nc}, cnonce=\"{cnonce}\"");
    }
    if let Some(opaque) = said.get("opaque") {
        let _ = write!(value, ", opaque=\"{opaque}\"");
    }
    Some(value)
}

/// The parameters of a `Digest ...` value by their names in lower case, without quotes.
fn parameters<'a>(field: &'a str) -> Option<HashMap<String, Cow<'a, str>>> {
    let (scheme, rest) = field.trim().split_once([' ', '\t'])?;
    scheme.eq_ignore_ascii_case("Digest").then_some(())?;
    let pairs = lex::list(rest).filter_map(|item| item.split_once('='));
    Some(pairs.map(|(name, value)| (name.trim().to_ascii_lowercase(), lex::unquote(value.trim()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mufasa() -> Credentials {
        Credentials::new("Mufasa", "Circle of Life")
    }

    /// RFC 7616 section 3.9.1.
    fn example(algorithm: &str, response: &str) -> String {
        format!(
            "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
             cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        )
    }

    fn genuine(field: &str, method: &str) -> Option<bool> {
        let fields = [Cow::Borrowed(field)];
        judge(&fields, method, "http-auth@example.org", &mufasa()).map(|response| response.genuine)
    }

    #[test]
    fn the_examples_of_the_standard_are_genuine_and_nothing_near_them_is() {
        let sha = example("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
        let md5 = example("MD5", "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!((genuine(&sha, "GET"), genuine(&md5, "GET")), (Some(true), Some(true)));
        assert_eq!(genuine(&md5.replace("algorithm=MD5, ", ""), "GET"), Some(true));
        for wrong in [
            md5.replace("8ca5", "8ca6"),
            md5.replace("nc=00000001", "nc=00000002"),
            md5.replace("\"Mufasa\"", "\"Scar\""),
            md5.replace("index", "other"),
            md5.replace("8ca523f5e9506fed4657c9700eebdbec", ""),
        ] {
            assert_eq!(genuine(&wrong, "GET"), Some(false), "{wrong}");
        }
        assert_eq!(genuine(&md5, "BYE"), Some(false));
        for none in [
            md5.replace("http-auth@example.org", "elsewhere"),
            md5.replace("Digest", "Basic"),
            md5.replace("qop=auth", "qop=auth-int"),
            md5.replace("nc=00000001", "nc=x"),
            md5.replace("algorithm=MD5", "algorithm=MD5-sess"),
            String::new(),
        ] {
            assert_eq!(genuine(&none, "GET"), None, "{none}");
        }
    }

    #[test]
    fn our_answer_to_our_challenge_is_genuine_and_takes_the_better_hash() {
        let challenge: Vec<String> =
            challenges("tape \\ head", "abc", true).map(|c| format!("WWW-Authenticate: {c}\n")).collect();
        let answer_to = |challenge: &str| {
            let text = format!("SIP/2.0 401 No\n{challenge}\n");
            let (head, _) = Head::read(text.into_bytes());
            authorization(&head, &mufasa(), "BYE", "sip:h", "c")
        };
        let (name, value, stale) = answer_to(&challenge.concat()).unwrap();
        assert!(name == "Authorization" && stale && value.contains("algorithm=SHA-256"));
        let fields = [Cow::Borrowed(&*value)];
        // Realms are compared as read: an escape is gone on both sides.
        let judged = judge(&fields, "BYE", "tape  head", &mufasa()).unwrap();
        assert_eq!((judged.genuine, judged.count, &*judged.nonce), (true, Some(1), "abc"));
        let old = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", opaque=\"o\"\n";
        let (name, value, stale) = answer_to(old).unwrap();
        assert!(
            name == "Proxy-Authorization"
                && !stale
                && value.contains("opaque=\"o\"")
                && !value.contains("nc=")
        );
        assert!(judge(&[Cow::Borrowed(&*value)], "BYE", "r", &mufasa()).unwrap().genuine);
        assert!(answer_to("WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"\n").is_none());
        assert!(answer_to("WWW-Authenticate: Bearer x=1\n").is_none());
    }

    #[test]
    fn credentials_do_not_show() {
        assert_eq!(format!("{:?}", mufasa()), "Credentials { user: [redacted], secret: [redacted] }");
    }
}
