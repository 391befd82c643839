//! Messages out of a stream of bytes: framed by Content-Length, bounded (RFC 3261 section 18.3), with the keep-alives of
//! RFC 5626 section 4.4.1 in between.

use super::header::Head;
use super::malformed::{Malformed, Why};
use super::message::Message;
use crate::limits::{SIP_BODY_BYTES_MAX, SIP_HEADER_BYTES_MAX};

/// One thing found in a stream.
#[derive(Debug)]
pub enum Frame {
    /// A message.
    Message(Box<Message>),
    /// A message whose extent is known but which can't be taken. The stream goes on behind it.
    Malformed(Malformed),
    /// A double CRLF between messages, to be answered with a single one.
    Ping,
    /// Where the next message starts can't be known any more: answer if possible, then close.
    Broken(Malformed),
}

/// Takes a stream in pieces of any size. Feed with [`Framer::push`], then take [`Framer::next_frame`] until `None`.
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes at the front that are done with.
    taken: usize,
    /// Bytes behind `taken` known to hold no end of a header block.
    searched: usize,
    /// Length of the message at the front, once its head has been read.
    wanted: Option<usize>,
    broken: bool,
    body_bytes_max: usize,
    /// Bytes of a refused body that are still to come.
    skip: usize,
}

impl Default for Framer {
    fn default() -> Framer {
        Framer::new()
    }
}

impl Framer {
    /// An empty one for bodies up to [`SIP_BODY_BYTES_MAX`].
    pub fn new() -> Framer {
        Framer::with_body_max(SIP_BODY_BYTES_MAX)
    }

    /// An empty one for bodies up to this many bytes; a longer one is refused and stepped over.
    pub fn with_body_max(body_bytes_max: usize) -> Framer {
        Framer {
            buffer: Vec::new(),
            taken: 0,
            searched: 0,
            wanted: None,
            broken: false,
            body_bytes_max,
            skip: 0,
        }
    }

    /// Adds bytes as they came. After [`Frame::Broken`] they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(&bytes[skipped..]);
    }

    /// Whether a message has begun and not ended. Line ends begin none: a ping may stay half of one, and a body may have one behind it.
    pub fn is_inside(&self) -> bool {
        // Of line ends there are three at most in front.
        let begun = self.buffer[self.taken..].iter().any(|b| !matches!(b, b'\r' | b'\n'));
        self.skip > 0 || begun
    }

    /// Bytes held that belong to no frame yet.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.taken
    }

    /// The next frame, if it is complete.
    pub fn next_frame(&mut self) -> Option<Frame> {
        if self.broken {
            return None;
        }
        // A long body comes in many pieces: its head is read once, not with each of them.
        if let Some(length) = self.wanted {
            return (self.pending_bytes() >= length).then(|| self.message(length));
        }
        if self.skip_empty_lines() {
            return Some(Frame::Ping);
        }
        let Some(head_bytes) = self.head_bytes() else {
            let long = self.pending_bytes() > SIP_HEADER_BYTES_MAX;
            return long.then(|| self.give_up(Why::HeadersTooLong, self.pending_bytes()));
        };
        match self.body_bytes(head_bytes) {
            Err(why) => Some(self.give_up(why, head_bytes)),
            Ok(body_bytes) if body_bytes > self.body_bytes_max => {
                Some(self.step_over(head_bytes, body_bytes))
            }
            Ok(body_bytes) => {
                self.wanted = Some(head_bytes + body_bytes);
                self.next_frame()
            }
        }
    }

    /// Steps over line ends between messages. A double CRLF is a ping, a single one is an answer to ours or a vendor's
    /// habit. True for a ping.
    fn skip_empty_lines(&mut self) -> bool {
        loop {
            let rest = &self.buffer[self.taken..];
            if rest.starts_with(b"\r\n\r\n") {
                self.taken += 4;
                self.searched = 0;
                return true;
            }
            match rest {
                // The rest of a ping may be on its way.
                [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return false,
                [b'\r' | b'\n', ..] => {
                    self.taken += 1;
                    self.searched = 0;
                }
                _ => return false,
            }
        }
    }

    /// Length of the header block with the empty line that ends it.
    fn head_bytes(&mut self) -> Option<usize> {
        let rest = &self.buffer[self.taken..];
        // An end may have been cut in two: "\n\r" + "\n".
        let from = self.searched.saturating_sub(2).min(rest.len());
        let ends = |at: &usize| {
            rest[*at] == b'\n' && (rest[at + 1..].starts_with(b"\n") || rest[at + 1..].starts_with(b"\r\n"))
        };
        let end = (from..rest.len()).find(ends);
        self.searched = rest.len();
        end.map(|at| at + if rest[at + 1] == b'\n' { 2 } else { 3 })
    }

    fn body_bytes(&self, head_bytes: usize) -> Result<usize, Why> {
        if head_bytes > SIP_HEADER_BYTES_MAX {
            return Err(Why::HeadersTooLong);
        }
        let (head, _) = Head::read(self.buffer[self.taken..self.taken + head_bytes].to_vec());
        match head.content_length()? {
            Some(length) => Ok(length),
            // Mandatory on streams (RFC 3261 section 18.3); without a body nothing is lost by its absence.
            None if head.header("Content-Type").is_none() => Ok(0),
            None => Err(Why::LengthUnknown),
        }
    }

    fn message(&mut self, length: usize) -> Frame {
        let bytes = self.buffer[self.taken..self.taken + length].to_vec();
        self.taken += length;
        self.searched = 0;
        self.wanted = None;
        match Message::parse(bytes) {
            Ok(message) => Frame::Message(Box::new(message)),
            Err(malformed) => Frame::Malformed(malformed),
        }
    }

    /// Refuses a message for its body alone: where the next one starts is known.
    fn step_over(&mut self, head_bytes: usize, body_bytes: usize) -> Frame {
        let (head, _) = Head::read(self.buffer[self.taken..self.taken + head_bytes].to_vec());
        let here = body_bytes.min(self.pending_bytes() - head_bytes);
        self.taken += head_bytes + here;
        self.skip = body_bytes - here;
        self.searched = 0;
        Frame::Malformed(Malformed::new(Why::BodyTooLong, head))
    }

    fn give_up(&mut self, why: Why, head_bytes: usize) -> Frame {
        let (head, _) = Head::read(self.buffer[self.taken..self.taken + head_bytes].to_vec());
        self.broken = true;
        self.buffer = Vec::new();
        self.taken = 0;
        Frame::Broken(Malformed::new(why, head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(call: u32, body: &str) -> String {
        format!(
            "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK{call}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:h>\r\n\
             Call-ID: {call}\r\nCSeq: 1 OPTIONS\r\nContent-Length:  {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// What a stream in pieces of `size` bytes yields: Call-ID and body, or "ping", or the fault.
    fn frames(stream: &[u8], size: usize) -> Vec<String> {
        let mut framer = Framer::new();
        let mut out = Vec::new();
        for piece in stream.chunks(size) {
            framer.push(piece);
            while let Some(frame) = framer.next_frame() {
                out.push(match frame {
                    Frame::Message(m) => format!("{}:{}", m.call_id(), String::from_utf8_lossy(m.body())),
                    Frame::Malformed(malformed) => format!("malformed: {malformed}"),
                    Frame::Broken(malformed) => format!("broken: {malformed}"),
                    Frame::Ping => "ping".to_owned(),
                });
            }
        }
        out
    }

    #[test]
    fn split_and_coalesced_messages_and_keep_alives_come_out_the_same() {
        let stream =
            format!("\r\n{}\r\n\r\n{}{}\r\n", options(1, "abc"), options(2, ""), options(3, "\r\n\r\nx"));
        for size in [1, 2, 3, 7, 64, 10_000] {
            assert_eq!(
                frames(stream.as_bytes(), size),
                ["1:abc", "ping", "2:", "3:\r\n\r\nx"],
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn line_ends_between_messages_begin_none() {
        let mut framer = Framer::new();
        let mut inside = |bytes: &str| {
            framer.push(bytes.as_bytes());
            while framer.next_frame().is_some() {}
            framer.is_inside()
        };
        assert!(!inside("\r\n") && !inside("\r\n\r") && !inside("\n\r\n\r"));
        assert!(inside("O"));
        assert!(!inside(&(options(1, "abc")[1..].to_owned() + "\r\n")));
        let (whole, last) = (options(2, "\r\n\r\n"), "\n");
        assert!(inside(&whole[..whole.len() - 1]) && !inside(last));
    }

    #[test]
    fn lf_only_streams_are_framed() {
        let stream = format!("{}{}", options(1, "abc"), options(2, "")).replace("\r\n", "\n");
        for size in [1, 5, 10_000] {
            assert_eq!(frames(stream.as_bytes(), size), ["1:abc", "2:"]);
        }
    }

    #[test]
    fn a_body_of_a_megabyte_passes_and_a_longer_one_is_refused_and_stepped_over() {
        let body = "x".repeat(SIP_BODY_BYTES_MAX);
        assert_eq!(frames(options(1, &body).as_bytes(), 60_000).len(), 1);
        let stream = options(1, &(body + "x")) + &options(2, "abc");
        for size in [1000, 60_000, 2_000_000] {
            assert_eq!(
                frames(stream.as_bytes(), size),
                ["malformed: Body too long", "2:abc"],
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn a_body_of_any_claimed_length_costs_no_memory() {
        let mut framer = Framer::with_body_max(100);
        let claim = options(1, "").replace("Content-Length:  0", &format!("Content-Length: {}", u32::MAX));
        framer.push(claim.as_bytes());
        assert!(matches!(
            framer.next_frame(),
            Some(Frame::Malformed(Malformed { why: Why::BodyTooLong, .. }))
        ));
        for _ in 0..100 {
            framer.push(&[b'x'; 60_000]);
            assert!(framer.next_frame().is_none() && framer.is_inside());
            assert_eq!(framer.pending_bytes(), 0);
        }
    }

    #[test]
    fn what_cannot_be_framed_breaks_and_the_rest_is_dropped() {
        let bad = options(1, "").replace("Content-Length:  0", "Content-Length: -1");
        assert_eq!(
            frames((bad + &options(2, "")).as_bytes(), 10_000),
            ["broken: Content-Length can't be read"]
        );
        let unknown = options(1, "").replace("Content-Length:  0", "Content-Type: a/b");
        assert_eq!(frames(unknown.as_bytes(), 10_000), ["broken: Content-Length missing"]);
        assert_eq!(frames(&[b'x'; SIP_HEADER_BYTES_MAX + 1], 1000), ["broken: Header block too long"]);
    }

    #[test]
    fn a_malformed_message_of_known_length_does_not_end_the_stream() {
        let bad = options(1, "abc").replace("CSeq: 1", "CSeq: one");
        assert_eq!(
            frames((bad + &options(2, "")).as_bytes(), 10_000),
            ["malformed: CSeq can't be read", "2:"]
        );
    }
}
