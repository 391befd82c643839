//! Comparing addresses of record, which the same client writes now with a scheme, host and parameters, now without (interop 28).

use crate::sip::Uri;

/// What two forms of one address have in common: the digits of a number, else the user part, else what there is. In lower case.
pub(super) fn key(aor: &str) -> String {
    let uri = Uri::parse(aor);
    let user = match uri.user() {
        Some(user) if !user.is_empty() => user,
        _ if !uri.host().is_empty() => uri.host(),
        _ => uri.as_str(),
    };
    let user = user.split(';').next().unwrap_or(user);
    let is_number = user.parse::<std::net::IpAddr>().is_err()
        && user.bytes().any(|b| b.is_ascii_digit())
        && user.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'(' | b')'));
    if is_number {
        return user.chars().filter(char::is_ascii_digit).collect();
    }
    user.to_ascii_lowercase()
}

/// Whether an id or an address tells who somebody is, as a number or a SIP URI does and a UUID does not.
pub fn is_personal(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let number = digits >= 5 && text.bytes().all(|b| b.is_ascii_digit() || b"+-.() ".contains(&b));
    let scheme = ["sip:", "sips:", "tel:"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    number || scheme || text.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_one_address_share_a_key() {
        for form in
            ["sip:+1555123@h;noa=x", "tel:+1-555-123", "1555123", "sips:1555123@10.0.0.1:5061", "1555123@h"]
        {
            assert_eq!(key(form), "1555123", "{form}");
        }
        assert_eq!((key("sip:Ann@h"), key("ANN@other")), ("ann".to_owned(), "ann".to_owned()));
        assert_eq!(
            (key("sip:@10.1.1.1"), key("token"), key("")),
            ("10.1.1.1".into(), "token".into(), String::new())
        );
    }

    #[test]
    fn numbers_and_addresses_are_personal_and_opaque_ids_are_not() {
        assert!(["+15551234567", "sip:x", "a@b", "55512"].into_iter().all(is_personal));
        assert!(
            ["", "1", "0001", "7+OTCyoxTmqmqyA/1weDAg==", "urn:uuid:72561964-1", "participant-1"]
                .into_iter()
                .all(|id| !is_personal(id))
        );
    }
}
