//! What SIPp can't do: clients that write their own bytes to a socket. Each is one call with two tones, bent in its own way.

use std::path::Path;

use super::asked;
use super::client::{Client, Reach, Wire};

/// Plays the client of this name.
pub fn play(name: &str, reach: Reach<'_>, id: &str, player: &Path) -> Result<(), String> {
    let client = Client::open(reach, id, player)?;
    match name {
        "raw-lf-only" => lf_only(client),
        "raw-no-final-crlf" => no_final_crlf(client),
        "raw-folded" => folded(client),
        "raw-framing" => framing(client),
        "raw-retransmitted-invite" => retransmitted_invite(client),
        "raw-answer-resent" => answer_resent(client),
        "raw-cancel" => cancel(client),
        "raw-ack-elsewhere" => ack_elsewhere(client),
        "raw-reconnect" => reconnect(client),
        _ => asked::play(name, client),
    }
}

/// Bare line feeds everywhere: in the headers, between the parts, in the SDP.
fn lf_only(mut client: Client) -> Result<(), String> {
    let body = client.body().replace("\r\n", "\n");
    let invite = client.invite(&body).replace("\r\n", "\n");
    client.wire.send(invite.as_bytes())?;
    client.talk()
}

/// The body ends with the last letter of the metadata: no line end, no delimiter.
fn no_final_crlf(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let cut = body.find("</recording>").ok_or("there is metadata")? + "</recording>".len();
    let invite = client.invite(&body[..cut]);
    client.wire.send(invite.as_bytes())?;
    client.talk()
}

/// Header fields over several lines, blanks before colons, of the message and of its parts (RFC 3261 section 7.3.1).
fn folded(mut client: Client) -> Result<(), String> {
    let body = client.body().replace("Content-Type: ", "Content-Type:\r\n\t ").replace(
        "Content-Disposition: recording-session",
        "content-disposition : recording-session;\r\n handling=optional",
    );
    let invite = client.invite(&body).replace("Subject: raw", "Subject: folded\r\n   over two lines");
    let invite = invite
        .replace("Require: siprec", "Require :\r\n siprec")
        .replace("Content-Length: ", "Content-Length  :   ");
    client.wire.send(invite.as_bytes())?;
    client.talk()
}

/// Streams: keep-alives in front (RFC 5626 section 3.5.1), pieces of 97 bytes, ACK and OPTIONS in one write. Datagrams: line ends in
/// front, bytes behind the body that are not part of it (RFC 3261 section 18.3).
fn framing(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let invite = format!("\r\n\r\n{}", client.invite(&body));
    match client.reach.transport.is_stream() {
        true => invite.as_bytes().chunks(97).try_for_each(|piece| client.wire.send(piece))?,
        false => client.wire.send(format!("{invite}\r\nthis belongs to nobody\r\n").as_bytes())?,
    }
    let ports = client.answered()?;
    let ack = client.request("ACK", 1);
    let options = client.request("OPTIONS", 2);
    match client.reach.transport.is_stream() {
        true => client.wire.send(format!("{ack}\r\n\r\n{options}").as_bytes())?,
        false => [ack, options].iter().try_for_each(|one| client.wire.send(one.as_bytes()))?,
    }
    client.expect(200, "OPTIONS")?;
    client.tones(ports)?;
    client.bye(3)
}

/// The INVITE three times over, on every transport: one dialog.
fn retransmitted_invite(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let invite = client.invite(&body);
    for _ in 0..3 {
        client.wire.send(invite.as_bytes())?;
    }
    let ports = client.answered()?;
    client.wire.send(invite.as_bytes())?;
    client.acknowledge()?;
    client.tones(ports)?;
    client.bye(2)
}

/// The first 200 is lost: it comes again until the ACK (RFC 3261 section 13.3.1.4).
fn answer_resent(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let invite = client.invite(&body);
    client.wire.send(invite.as_bytes())?;
    let ports = client.answered()?;
    if client.answered()? != ports {
        return Err("the answer that was sent again is another".to_owned());
    }
    client.acknowledge()?;
    client.tones(ports)?;
    client.bye(2)
}

/// INVITE and CANCEL in one breath: 200 to the CANCEL, 487 to the INVITE.
fn cancel(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let invite = client.invite(&body);
    let cancel = client.request("CANCEL", 1);
    match client.reach.transport.is_stream() {
        true => client.wire.send(format!("{invite}{cancel}").as_bytes())?,
        false => [&invite, &cancel].iter().try_for_each(|one| client.wire.send(one.as_bytes()))?,
    }
    client.expect(200, "CANCEL")?;
    client.expect(487, "INVITE")?;
    let ack = client.request("ACK", 1);
    client.wire.send(ack.as_bytes())
}

/// The ACK comes from another source port, or on another connection.
fn ack_elsewhere(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let invite = client.invite(&body);
    client.wire.send(invite.as_bytes())?;
    let ports = client.answered()?;
    let ack = client.request("ACK", 1);
    let mut other = Wire::open(client.reach)?;
    other.send(ack.as_bytes())?;
    client.tones(ports)?;
    client.bye(2)
}

/// The connection breaks in the middle of the call; the BYE comes on a new one, or from a new port.
fn reconnect(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let invite = client.invite(&body);
    client.wire.send(invite.as_bytes())?;
    let ports = client.answered()?;
    client.acknowledge()?;
    client.wire = Wire::open(client.reach)?;
    client.tones(ports)?;
    client.bye(2)
}
