//! A STUN server tells the recorder its external address; when that changes, new calls are told the new one.

mod common;

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Recorder, code, request};

const PATIENCE: Duration = Duration::from_secs(5);

/// A STUN server in a few lines (RFC 8489): everybody is told that they come from `seen`. Loses every second request.
fn server(seen: Arc<Mutex<Ipv4Addr>>) -> String {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback takes sockets");
    let address = socket.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        let mut request = [0; 100];
        for number in 0u64.. {
            let Ok((20, client)) = socket.recv_from(&mut request) else { return };
            if number % 2 == 0 {
                continue;
            }
            let ip = u32::from(*seen.lock().expect("no test has failed")) ^ 0x2112_A442;
            let mut answer = vec![1, 1, 0, 12];
            answer.extend(&request[4..20]);
            answer.extend([0, 0x20, 0, 8, 0, 1, 0x21, 0x12]);
            answer.extend(ip.to_be_bytes());
            let _ = socket.send_to(&answer, client);
        }
    });
    address
}

/// What an INVITE is told: the hosts of Contact and of the SDP.
fn told(recorder: &Recorder, call: &str) -> (String, String) {
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=sendonly\r\n";
    let invite = request("INVITE", call).replace(
        "Content-Length: 0\r\n\r\n",
        &format!(
            "Contact: <sip:src@127.0.0.1:9>\r\nRequire: siprec\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        ),
    );
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback takes sockets");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout is allowed");
    socket.send_to(invite.as_bytes(), recorder.sip).expect("loopback takes it");
    let mut bytes = [0; 65_535];
    loop {
        let length = socket.recv(&mut bytes).expect("an answer");
        let answer = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if code(&answer) == Some(200) {
            let after = |start: &str| {
                let line = answer.lines().find_map(|line| line.strip_prefix(start)).expect("it is there");
                line.split([':', '>', ';']).next().expect("a host").to_owned()
            };
            return (after("Contact: <sip:tapehead@"), after("c=IN IP4 "));
        }
    }
}

#[test]
fn the_external_address_comes_by_stun_and_follows_its_changes() {
    let home = tempfile::tempdir().expect("a folder of our own");
    let seen = Arc::new(Mutex::new(Ipv4Addr::new(203, 0, 113, 5)));
    let stun = server(seen.clone());
    let variables = [("TAPEHEAD_NAT_STUN_SERVER", stun.as_str()), ("TAPEHEAD_NAT_STUN_SECONDS", "1")];
    let recorder = Recorder::start_with(home.path(), "", &variables);
    let both = |ip: &str| (ip.to_owned(), ip.to_owned());
    assert_eq!(told(&recorder, "first"), both("203.0.113.5"));
    *seen.lock().expect("no test has failed") = Ipv4Addr::new(198, 51, 100, 9);
    recorder.has_logged("the external address has changed");
    assert_eq!(told(&recorder, "second"), both("198.51.100.9"));
}

#[test]
fn without_an_answer_the_recorder_starts_loudly_and_a_configured_address_stays() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback takes sockets");
    let address = silent.local_addr().expect("it is bound").to_string();
    let home = tempfile::tempdir().expect("a folder of our own");
    let recorder = Recorder::start_with(home.path(), "", &[("TAPEHEAD_NAT_STUN_SERVER", &address)]);
    assert!(
        recorder.log().contains("ERROR") && recorder.log().contains("NO EXTERNAL ADDRESS"),
        "{}",
        recorder.log()
    );
    assert_eq!(told(&recorder, "local"), ("127.0.0.1".to_owned(), "127.0.0.1".to_owned()));
    drop(recorder);

    let stun = server(Arc::new(Mutex::new(Ipv4Addr::new(203, 0, 113, 5))));
    let variables =
        [("TAPEHEAD_NAT_STUN_SERVER", stun.as_str()), ("TAPEHEAD_SIP_EXTERNAL_ADDRESS", "192.0.2.77")];
    let recorder = Recorder::start_with(home.path(), "", &variables);
    assert_eq!(told(&recorder, "configured"), ("192.0.2.77".to_owned(), "192.0.2.77".to_owned()));
}
