//! Clients that the recorder asks for something, or that look at what it sends besides answers: pauses by command, refreshes, requests of
//! both ends that meet, BYE, RTCP; and one over IPv6.

use std::f64::consts::TAU;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use tapehead::media::linear_to_mulaw;

use super::client::Client;

/// Plays the client of this name.
pub fn play(name: &str, client: Client) -> Result<(), String> {
    match name {
        "raw-pause-one" => pause_one(client),
        "raw-pause-all" => pause_all(client),
        "raw-glare" => glare(client),
        "raw-refresh-update" => refresh(client, "Allow: INVITE, ACK, BYE, UPDATE\r\n", "UPDATE"),
        "raw-refresh-reinvite" => refresh(client, "", "INVITE"),
        "raw-bye-refused" => bye_refused(client),
        "raw-rtcp-reports" => rtcp_reports(client),
        "raw-ipv6" => ipv6(client),
        _ => Err(format!("no client is called {name}")),
    }
}

/// Waits for a re-INVITE of the recorder's that offers this direction on both lines.
fn asked_for(client: &mut Client, direction: &str) -> Result<String, String> {
    let invite = client.asked("INVITE")?;
    let offered = invite.lines().filter(|line| *line == format!("a={direction}")).count();
    match offered {
        2 => Ok(invite),
        _ => Err(format!("{offered} lines of {direction} in {invite}")),
    }
}

/// Answers it and waits for the ACK.
fn agree(client: &mut Client, invite: &str, sdp: &str) -> Result<(), String> {
    client.answer(invite, "200 OK", "", sdp)?;
    client.asked("ACK").map(|_| ())
}

/// The client is asked to stop sending, says yes and sends on for half a second: none of that is kept.
fn pause_one(mut client: Client) -> Result<(), String> {
    let ports = client.call()?;
    client.tones(ports)?;
    client.ctl(&["pause", "1", "--reason", "card number"])?;
    let invite = asked_for(&mut client, "inactive")?;
    let sdp = client.sdp(2, "inactive", [4000, 4000]);
    agree(&mut client, &invite, &sdp)?;
    client.tones_of(ports, [1300, 1720], 500)?;
    client.ctl(&["resume", "1"])?;
    let invite = asked_for(&mut client, "recvonly")?;
    let sdp = client.sdp(3, "sendonly", [4000, 4000]);
    agree(&mut client, &invite, &sdp)?;
    client.tones(ports)?;
    client.bye(2)
}

/// A client that takes no requests of ours is asked nothing: whatever came instead of an answer would be a request.
fn pause_all(mut client: Client) -> Result<(), String> {
    let ports = client.call()?;
    client.tones(ports)?;
    client.ctl(&["pause", "--all", "--reason", "maintenance"])?;
    client.tones_of(ports, [1300, 1720], 500)?;
    client.ctl(&["resume", "--all"])?;
    client.tones(ports)?;
    let options = client.request("OPTIONS", 2);
    client.wire.send(options.as_bytes())?;
    let next = client.wire.receive()?;
    if !next.starts_with("SIP/2.0 200 ") {
        return Err(format!("a client that must not be asked was asked: {next}"));
    }
    client.bye(3)
}

/// Both send a re-INVITE before they have seen the other's: each gets 491 (RFC 3261 section 14.2). The recorder comes again first, for the
/// Call-ID is not its own (section 14.1), then the client.
fn glare(mut client: Client) -> Result<(), String> {
    let ports = client.call()?;
    client.tones(ports)?;
    client.ctl(&["pause", "1"])?;
    let ours = client.reinvite(2, &client.sdp(2, "sendonly", [4000, 4000]));
    client.wire.send(ours.as_bytes())?;
    client.expect(491, "INVITE")?;
    // Of its own transaction, as for every answer that is not 2xx.
    let ack = ours.replacen("INVITE ", "ACK ", 1).replace("CSeq: 2 INVITE", "CSeq: 2 ACK");
    let (head, _) = ack.split_once("Content-Type").ok_or("a re-INVITE has a body")?;
    client.wire.send(format!("{head}Content-Length: 0\r\n\r\n").as_bytes())?;
    let theirs = client.asked("INVITE")?;
    client.answer(&theirs, "491 Request Pending", "", "")?;
    client.asked("ACK")?;
    let again = asked_for(&mut client, "inactive")?;
    let sdp = client.sdp(3, "inactive", [4000, 4000]);
    agree(&mut client, &again, &sdp)?;
    let ours = client.reinvite(3, &client.sdp(4, "inactive", [4000, 4000]));
    client.wire.send(ours.as_bytes())?;
    client.expect(200, "INVITE")?;
    let ack = client.request("ACK", 3);
    client.wire.send(ack.as_bytes())?;
    client.ctl(&["resume", "1"])?;
    let invite = asked_for(&mut client, "recvonly")?;
    let sdp = client.sdp(5, "sendonly", [4000, 4000]);
    agree(&mut client, &invite, &sdp)?;
    client.tones(ports)?;
    client.bye(4)
}

/// The shortest session that the recorder looks after, and it is to refresh it: at half time, by UPDATE where the client takes that, else
/// by its last session description in a re-INVITE (RFC 4028 section 7.4).
fn refresh(mut client: Client, allow: &str, method: &str) -> Result<(), String> {
    let fields = format!("Supported: timer\r\nSession-Expires: 10;refresher=uas\r\nMin-SE: 10\r\n{allow}");
    let invite = client.invite_with(&fields, &client.body());
    client.wire.send(invite.as_bytes())?;
    let begun = Instant::now();
    let answer = client.expect(200, "INVITE")?;
    if !answer.contains("\r\nSession-Expires: 10;refresher=uas\r\n") {
        return Err(format!("it does not take the refreshing on: {answer}"));
    }
    let ports = client.ports_of(&answer)?;
    client.acknowledge()?;
    client.tones(ports)?;
    let asked = client.asked(method)?;
    let after = begun.elapsed();
    if !(Duration::from_secs(4)..Duration::from_secs(8)).contains(&after) {
        return Err(format!("refreshed after {after:?}"));
    }
    if !asked.contains("\r\nSession-Expires: 10") {
        return Err(format!("a refresh that does not say for how long: {asked}"));
    }
    let timer = "Require: timer\r\nSession-Expires: 10;refresher=uac\r\n";
    if method == "INVITE" {
        let sdp = client.sdp(2, "sendonly", [4000, 4000]);
        client.answer(&asked, "200 OK", timer, &sdp)?;
        client.asked("ACK")?;
    } else {
        client.answer(&asked, "200 OK", timer, "")?;
    }
    client.tones(ports)?;
    client.bye(2)
}

/// The recorder hangs up and the client will not have it: the recording is complete all the same.
fn bye_refused(mut client: Client) -> Result<(), String> {
    let ports = client.call()?;
    client.tones(ports)?;
    client.ctl(&["drain", "--seconds", "0"])?;
    let bye = client.asked("BYE")?;
    client.answer(&bye, "405 Method Not Allowed", "Allow: INVITE, ACK\r\n", "")
}

/// Receiver reports come to the port beside the announced one, and to that itself where RTCP shares it.
fn rtcp_reports(mut client: Client) -> Result<(), String> {
    let pairs = [pair()?, pair()?];
    let ports = [0, 1].map(|line| port_of(&pairs[line][0]));
    let sdp = client.sdp(1, "sendonly", ports) + "a=rtcp-mux\r\n";
    let invite = client.invite(&client.body_with(&sdp));
    client.wire.send(invite.as_bytes())?;
    let to = client.answered()?;
    client.acknowledge()?;
    speak(&client, [&pairs[0][0], &pairs[1][0]], to, 320)?;
    for (line, socket) in [(0, &pairs[0][1]), (1, &pairs[1][0])] {
        report(socket, line as u8).map_err(|why| format!("line {line}: {why}"))?;
    }
    client.bye(2)
}

/// A call as any other, but for its addresses.
fn ipv6(mut client: Client) -> Result<(), String> {
    let body = client.body();
    let invite = client.invite(&body);
    client.wire.send(invite.as_bytes())?;
    let answer = client.expect(200, "INVITE")?;
    let contact = format!("Contact: <sip:tapehead@{}", client.reach.at);
    if !answer.contains("c=IN IP6 ::1\r\n") || !answer.contains(&contact) {
        return Err(format!("not told the address that was called: {answer}"));
    }
    let to = client.ports_of(&answer)?;
    client.acknowledge()?;
    let sockets = [socket(client.reach.at)?, socket(client.reach.at)?];
    speak(&client, [&sockets[0], &sockets[1]], to, 50)?;
    client.bye(2)
}

/// Sends so many packets of a tone to each line, one every 20 ms.
fn speak(client: &Client, sockets: [&UdpSocket; 2], to: [u16; 2], packets: u16) -> Result<(), String> {
    let begun = Instant::now();
    for packet in 0..packets {
        for (line, hz) in [(0, 440.0), (1, 1000.0)] {
            let at = SocketAddr::new(client.reach.at.ip(), to[line]);
            sockets[line].send_to(&tone(line as u8, packet, hz), at).map_err(|why| why.to_string())?;
        }
        let next = begun + Duration::from_millis(20) * (u32::from(packet) + 1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn socket(beside: SocketAddr) -> Result<UdpSocket, String> {
    let any = SocketAddr::new(beside.ip(), 0);
    UdpSocket::bind(any).map_err(|why| why.to_string())
}

fn port_of(socket: &UdpSocket) -> u16 {
    socket.local_addr().map_or(0, |at| at.port())
}

/// An even port and the next.
fn pair() -> Result<[UdpSocket; 2], String> {
    for _ in 0..100 {
        let rtp = UdpSocket::bind("127.0.0.1:0").map_err(|why| why.to_string())?;
        let port = port_of(&rtp);
        if port.is_multiple_of(2)
            && let Ok(rtcp) = UdpSocket::bind(("127.0.0.1", port + 1))
        {
            return Ok([rtp, rtcp]);
        }
    }
    Err("no pair of ports".to_owned())
}

const SSRC: [u8; 3] = [0x7a, 0x9e, 0x00];

/// 20 ms of a tone in PCMU.
fn tone(line: u8, packet: u16, hz: f64) -> Vec<u8> {
    let mut bytes = vec![0x80, 0];
    bytes.extend(packet.to_be_bytes());
    bytes.extend((u32::from(packet) * 160).to_be_bytes());
    bytes.extend(SSRC.iter().chain(&[line]));
    let sample =
        |n: u32| (12_000.0 * (TAU * hz * f64::from(u32::from(packet) * 160 + n) / 8000.0).sin()) as i16;
    bytes.extend((0..160).map(|n| linear_to_mulaw(sample(n))));
    bytes
}

/// A receiver report (RFC 3550 section 6.4.2) of our source, of which nothing was lost.
fn report(socket: &UdpSocket, line: u8) -> Result<(), String> {
    socket.set_read_timeout(Some(Duration::from_secs(3))).map_err(|why| why.to_string())?;
    let mut bytes = [0; 1500];
    let length = socket.recv(&mut bytes).map_err(|why| format!("no report: {why}"))?;
    let report = &bytes[..length];
    let block = report.get(8..32).ok_or("a report without a block")?;
    let is_report = report[0] >> 6 == 2 && report[0] & 31 == 1 && report[1] == 201;
    let lost = u32::from_be_bytes([0, block[5], block[6], block[7]]);
    let highest = u32::from_be_bytes([block[8], block[9], block[10], block[11]]);
    match is_report && block[..3] == SSRC && block[3] == line && lost == 0 && block[4] == 0 && highest > 100 {
        true => Ok(()),
        false => Err(format!("{report:02x?}")),
    }
}
