//! No bytes make the parsers panic, and what is built is read back.

use proptest::prelude::*;
use tapehead::sip::{Builder, Frame, Framer, Message, Method, NameAddr, Reply, Uri, Via, multipart};

use crate::messages::TORTURE;

/// Calls everything that reads on demand.
fn look_at(message: &Message) {
    message.contact();
    message.addresses("Route");
    message.allow();
    message.require();
    message.supported();
    message.max_forwards();
    message.session_expires();
    message.content_type();
    for (name, value) in message.fields() {
        assert!(!name.is_empty() && !value.contains('\n'), "{name}: {value}");
    }
    if message.is_request() {
        let source = "192.0.2.1:5060".parse().expect("an address");
        let reply = Reply::new(message, source).expect("a well-formed request can be answered");
        let answer =
            Message::parse_datagram(&reply.builder(200, "OK", "t").finish()).expect("our answer can be read");
        assert_eq!((answer.call_id(), answer.cseq()), (message.call_id(), message.cseq()));
        assert_eq!(answer.via().branch(), message.via().branch());
    }
}

/// Every frame of `stream`, read in pieces of `size` bytes.
fn frames(stream: &[u8], size: usize) -> Vec<String> {
    let mut framer = Framer::new();
    let mut out = Vec::new();
    for piece in stream.chunks(size) {
        framer.push(piece);
        while let Some(frame) = framer.next_frame() {
            out.push(match frame {
                Frame::Message(message) => String::from_utf8_lossy(message.bytes()).into_owned(),
                other => format!("{other:?}"),
            });
        }
    }
    out
}

fn words() -> impl Strategy<Value = String> {
    "[a-z0-9]{1,12}"
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(input: Vec<u8>, text in ".{0,80}") {
        if let Ok(message) = Message::parse_datagram(&input) {
            look_at(&message);
        }
        frames(&input, 7);
        Uri::parse(&text);
        NameAddr::parse(&text);
        Via::parse(&text);
    }

    #[test]
    fn torn_and_mended_messages_never_panic(
        which in 0..TORTURE.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 0..8),
    ) {
        let mut input = TORTURE[which].2.to_vec();
        for (at, byte, how) in edits {
            let at = at.index(input.len().max(1));
            match how {
                0 if at < input.len() => input[at] = byte,
                1 if at < input.len() => drop(input.remove(at)),
                2 => input.insert(at.min(input.len()), byte),
                _ => input.truncate(at),
            }
        }
        if let Ok(message) = Message::parse_datagram(&input) {
            look_at(&message);
        }
    }

    #[test]
    fn a_stream_reads_the_same_in_pieces_of_any_size(
        picks in prop::collection::vec((0..TORTURE.len(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
        size in 1usize..200,
    ) {
        let mut stream = Vec::new();
        for (which, at, byte) in picks {
            let mut message = TORTURE[which].2.to_vec();
            let at = at.index(message.len());
            message[at] = byte;
            stream.extend(message);
        }
        prop_assert_eq!(frames(&stream, size), frames(&stream, usize::MAX));
    }

    #[test]
    fn parts_of_a_damaged_body_are_written_and_read_back(
        boundary in prop::sample::select(vec!["b", "--b", "=_b", ""]),
        pieces in prop::collection::vec(prop::sample::select(vec![
            "--b", "--b--", "----b", "--=_b", "\r\n", "\n", "\r", "v=0", "Content-Type: a/b", "X:y", " folded", "--", "x", "",
        ]), 0..24),
    ) {
        let body = pieces.concat();
        let Ok(parts) = multipart::split(&format!("multipart/mixed;boundary=\"{boundary}\""), body.as_bytes()) else {
            return Ok(());
        };
        let bodies: Vec<_> = parts.iter().map(|part| part.body).collect();
        let written = bodies.iter().fold(multipart::Writer::new("b"), |writer, body| writer.part("c/d", &[], *body));
        let (content_type, written) = written.finish();
        let again = multipart::split(&content_type, &written).unwrap();
        prop_assert_eq!(again.iter().map(|part| part.body).collect::<Vec<_>>(), bodies);
    }

    #[test]
    fn what_is_built_is_read_back(
        user in words(), tag in words(), call in words(), branch in words(), number: u32,
        extra in prop::collection::vec(("X-[A-Za-z]{1,8}", "[ -~]{0,40}"), 0..6),
        body: Vec<u8>,
    ) {
        let built = Builder::request(&Method::Info, &format!("sip:{user}@h"))
            .header("Via", format_args!("SIP/2.0/UDP h;branch=z9hG4bK{branch}"))
            .header("From", format_args!("\"{user}\" <sip:{user}@h>;tag={tag}"))
            .header("To", "<sip:h>")
            .header("Call-ID", &call)
            .header("CSeq", format_args!("{number} INFO"))
            .headers(extra.iter().map(|(name, value)| (name, value)))
            .body("a/b", body.clone())
            .finish();
        let message = Message::parse_datagram(&built).unwrap();
        prop_assert_eq!(message.uri().unwrap().user(), Some(user.as_str()));
        prop_assert_eq!((message.from().display(), message.from().tag()), (user.as_str(), tag.as_str()));
        prop_assert_eq!((message.call_id(), message.cseq().number, message.body()), (call.as_str(), number, &body[..]));
        let fields: Vec<_> = message.fields().map(|(n, v)| (n.into_owned(), v.into_owned())).skip(5).collect();
        for (read, (name, value)) in fields.iter().zip(&extra) {
            prop_assert_eq!((read.0.as_str(), read.1.as_str()), (name.as_str(), value.trim()));
        }
        prop_assert_eq!(message.bytes(), &built[..]);
    }
}
