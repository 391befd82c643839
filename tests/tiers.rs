//! The receive tiers of the real binary: which one it gets, what it says of it, what is left of its privileges, and that nothing outlives
//! it. Needs root: without, these tests fail.

mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Recorder, binary, config_text, free_port, said};

/// Capabilities that only opening a tier needs: CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN, CAP_BPF.
const GIVEN_UP: u64 = 1 << 12 | 1 << 13 | 1 << 21 | 1 << 39;

/// A port of the recorder's media range, as its configuration has it.
fn media_port(home: &Path, index: u16) -> SocketAddr {
    let config = std::fs::read_to_string(home.join("tapehead.toml")).unwrap();
    let ports = config.split_once("ports = \"").and_then(|(_, rest)| rest.split_once('-')).unwrap().0;
    (Ipv4Addr::LOCALHOST, ports.parse::<u16>().unwrap() + index).into()
}

/// Whether a socket that is bound there hears what is sent to it.
fn hears(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let from = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    from.send_to(b"x", socket.local_addr().unwrap()).unwrap();
    socket.recv(&mut [0; 4]).is_ok()
}

fn start(home: &Path, receive: &str) -> Recorder {
    Recorder::start_with(home, "", &[("TAPEHEAD_RECEIVE", receive)])
}

#[test]
fn as_root_the_best_tier_is_chosen_and_every_thread_gives_up_its_privileges() {
    let home = tempfile::tempdir().unwrap();
    let recorder = start(home.path(), "auto");
    recorder.has_logged("receive tier tier=steered");
    let mut threads = 0;
    for task in std::fs::read_dir(format!("/proc/{}/task", recorder.pid())).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:", "CapBnd:"] {
            let hex = status.lines().find_map(|line| line.strip_prefix(set)).unwrap().trim();
            let had = u64::from_str_radix(hex, 16).unwrap() & GIVEN_UP;
            assert_eq!(had, 0, "{set} {status}");
        }
        threads += 1;
    }
    assert!(threads >= 3, "a shard, control and the pool: {threads}");
}

#[test]
fn when_it_is_killed_its_ports_are_as_if_it_had_never_been() {
    let home = tempfile::tempdir().unwrap();
    let recorder = start(home.path(), "steered");
    let socket = UdpSocket::bind(media_port(home.path(), 5)).unwrap();
    assert!(!hears(&socket), "while it runs it takes what comes to its ports");
    recorder.kill();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !hears(&socket) {
        assert!(Instant::now() < deadline, "the program outlives its recorder");
    }
}

#[test]
fn with_sockets_nothing_is_attached() {
    let home = tempfile::tempdir().unwrap();
    let recorder = start(home.path(), "sockets");
    recorder.has_logged("receive tier tier=sockets");
    let socket = UdpSocket::bind(media_port(home.path(), 5)).unwrap();
    assert!(hears(&socket));
}

#[test]
fn with_packet_a_port_without_a_call_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let recorder = start(home.path(), "packet");
    recorder.has_logged("receive tier tier=packet");
    let socket = UdpSocket::bind(media_port(home.path(), 5)).unwrap();
    assert!(hears(&socket));
}

/// The binary without any capability, though its user is root: `setpriv` is part of util-linux.
fn without_privileges(home: &Path, receive: &str) -> Command {
    let config = home.join("tapehead.toml");
    std::fs::write(&config, config_text(home, &format!("receive = \"{receive}\""), free_port())).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]);
    command
        .arg(binary())
        .args(["serve", "--config"])
        .arg(&config)
        .current_dir(home)
        .env_remove("TAPEHEAD_RECEIVE");
    command
}

#[test]
fn a_tier_that_is_asked_for_and_can_not_be_had_is_an_error_that_says_what_to_do() {
    for (tier, needs) in
        [("steered", "=CAP_BPF CAP_NET_ADMIN"), ("packet", "=CAP_NET_RAW CAP_BPF CAP_NET_ADMIN")]
    {
        let home = tempfile::tempdir().unwrap();
        let ended = without_privileges(home.path(), tier).output().unwrap();
        let said = said(&ended);
        assert_eq!(ended.status.code(), Some(2), "{said}");
        for part in [&format!("receive tier {tier}"), needs, "setting `receive`"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

#[test]
fn without_privileges_it_takes_sockets_and_says_why_not_a_better_tier() {
    let home = tempfile::tempdir().unwrap();
    let log = std::fs::File::create(home.path().join("log")).unwrap();
    let mut command = without_privileges(home.path(), "auto");
    let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let text = || std::fs::read_to_string(home.path().join("log")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !text().contains("listening") && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let log = text();
    for part in
        ["receive tier tier=sockets", "better=packet", "better=steered", "CAP_BPF CAP_NET_ADMIN missing"]
    {
        assert!(log.contains(part), "{part}: {log}");
    }
}
