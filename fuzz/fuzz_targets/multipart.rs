//! Any bytes as a multipart body, behind their first line as its Content-Type: parts or a reason, never a panic; what we write
//! of the parts reads back as the same parts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapehead::sip::multipart::{Writer, split};

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (content_type, body) = input.split_at(end);
    let Ok(parts) = split(&String::from_utf8_lossy(content_type), body) else { return };
    let written = parts.iter().fold(Writer::new("b"), |writer, part| writer.part("a/b", &[], part.body));
    let (content_type, body) = written.finish();
    let again = split(&content_type, &body).expect("what we write has a delimiter");
    let bodies: Vec<_> = parts.iter().map(|part| part.body).collect();
    assert_eq!(again.iter().map(|part| part.body).collect::<Vec<_>>(), bodies);
});
