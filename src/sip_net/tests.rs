//! Real sockets on loopback.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::base::{Mono, Seeded, network};
use crate::limits::SIP_WRITES_MAX;
use crate::sip::client::Invitation;
use crate::sip::{Action, Answer, Builder, Config, Endpoint, Event, Gate, Method};

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A listener of each of these kinds, on loopback.
fn listen(kinds: &[Transport]) -> Vec<Listen> {
    kinds.iter().map(|kind| Listen::new(*kind, loopback())).collect()
}

const BOTH: &[Transport] = &[Transport::Udp, Transport::Tcp];

fn options(call: &str, body: &[u8]) -> Vec<u8> {
    Builder::request(&Method::Options, "sip:h")
        .header("Via", format_args!("SIP/2.0/TCP 127.0.0.1;rport;branch=z9hG4bK{call}"))
        .header("From", "<sip:a@h>;tag=1")
        .header("To", "<sip:h>")
        .header("Call-ID", call)
        .header("CSeq", "1 OPTIONS")
        .body("a/b", body)
        .finish()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(30), future).await.expect("done in time") })
}

async fn call_id(transports: &mut Transports) -> String {
    transports.receive().await.message.expect("well-formed").call_id().to_owned()
}

/// An endpoint on its own sockets, driven as the control core drives it.
struct Station {
    transports: Transports,
    endpoint: Endpoint,
    start: Instant,
}

impl Station {
    fn new(config: Config, kinds: &[Transport]) -> Station {
        let transports = Transports::bind(&listen(kinds), Options::default()).unwrap();
        let endpoint = Endpoint::new(config, Box::new(Seeded::new(kinds.len() as u64 + 9)));
        Station { transports, endpoint, start: Instant::now() }
    }

    fn now(&self) -> Mono {
        Mono(self.start.elapsed().as_nanos() as u64)
    }

    /// The next event.
    async fn event(&mut self) -> Event {
        loop {
            while let Some(action) = self.endpoint.poll(self.now()) {
                match action {
                    Action::Send { to, fallback, bytes } => self.transports.send(to, fallback, bytes),
                    Action::Event(event) => return event,
                }
            }
            let wait = self.endpoint.deadline().map_or(Duration::from_secs(60), |at| at.since(self.now()));
            if let Ok(inbound) = timeout(wait, self.transports.receive()).await {
                self.endpoint.receive(self.now(), inbound.peer, inbound.message);
            }
        }
    }
}

fn whole_call(transport: Transport) {
    block_on(async {
        let mut srs = Station::new(Config::recorder(), BOTH);
        let mut src = Station::new(Config::client(), &[Transport::Udp]);
        let (_, at) = srs.transports.listeners().iter().find(|(kind, _)| *kind == transport).unwrap();
        let to = src.transports.towards(transport, *at).unwrap();
        // 60 KB: beyond any one read, and on UDP a datagram in fragments.
        let invitation = Invitation::to("sip:rec@127.0.0.1").body("a/b", vec![b'x'; 60_000]);
        let dialog = src.endpoint.invite(src.now(), to, invitation);
        let recorder = async {
            let Event::Invite { request, message, .. } = srs.event().await else { panic!("no INVITE") };
            assert_eq!(message.body().len(), 60_000);
            srs.endpoint.respond(srs.now(), request, Answer::ok()).unwrap();
            assert!(matches!(srs.event().await, Event::Ack { .. }));
            assert!(matches!(srs.event().await, Event::Bye { .. }));
            // The 200 still has to go out.
            let _ = timeout(Duration::from_millis(200), srs.event()).await;
        };
        let client = async {
            assert!(matches!(src.event().await, Event::Progress { .. }));
            assert!(matches!(src.event().await, Event::Accepted { .. }));
            src.endpoint.bye(src.now(), dialog).unwrap();
            assert!(matches!(src.event().await, Event::Closed { code: 200, .. }));
        };
        tokio::join!(recorder, client);
    });
}

#[test]
fn a_whole_call_with_a_large_body_over_udp() {
    whole_call(Transport::Udp);
}

#[test]
fn a_whole_call_with_a_large_body_over_tcp() {
    whole_call(Transport::Tcp);
}

#[test]
fn a_recorder_hangs_up_over_the_connection_that_the_call_came_on() {
    block_on(async {
        let mut srs = Station::new(Config::recorder(), &[Transport::Tcp]);
        let mut src = Station::new(Config::client(), &[]);
        let to = src.transports.towards(Transport::Tcp, srs.transports.listeners()[0].1).unwrap();
        src.endpoint.invite(src.now(), to, Invitation::to("sip:rec@127.0.0.1").body("a/b", "x"));
        let recorder = async {
            let Event::Invite { dialog, request, .. } = srs.event().await else { panic!("no INVITE") };
            srs.endpoint.respond(srs.now(), request, Answer::ok()).unwrap();
            assert!(matches!(srs.event().await, Event::Ack { .. }));
            srs.endpoint.bye(srs.now(), dialog).unwrap();
            assert!(matches!(srs.event().await, Event::Closed { code: 200, .. }));
            assert_eq!(srs.transports.connections(), 1);
        };
        let client = async {
            assert!(matches!(src.event().await, Event::Progress { .. }));
            assert!(matches!(src.event().await, Event::Accepted { .. }));
            assert!(matches!(src.event().await, Event::Bye { .. }));
            let _ = timeout(Duration::from_millis(200), src.event()).await;
        };
        tokio::join!(recorder, client);
    });
}

#[test]
fn a_ping_gets_one_pong_and_pieces_are_put_together() {
    block_on(async {
        let mut transports = Transports::bind(&listen(&[Transport::Tcp]), Options::default()).unwrap();
        let mut peer = TcpStream::connect(transports.listeners()[0].1).await.unwrap();
        peer.write_all(b"\r\n\r\n").await.unwrap();
        let message = options("one", b"body");
        for piece in message.chunks(50) {
            peer.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        peer.write_all(&[options("two", b""), b"\r\n\r\n".to_vec()].concat()).await.unwrap();
        assert_eq!(
            (call_id(&mut transports).await, call_id(&mut transports).await),
            ("one".into(), "two".into())
        );
        let mut pongs = [0; 4];
        peer.read_exact(&mut pongs).await.unwrap();
        assert_eq!(&pongs, b"\r\n\r\n");
        let more = timeout(Duration::from_millis(100), peer.read(&mut pongs)).await;
        assert!(more.is_err(), "one pong for each ping");
    });
}

#[test]
fn a_stream_that_cannot_be_framed_is_answered_and_closed() {
    block_on(async {
        let mut srs = Station::new(Config::recorder(), &[Transport::Tcp]);
        let mut peer = TcpStream::connect(srs.transports.listeners()[0].1).await.unwrap();
        let bad =
            String::from_utf8(options("x", b"")).unwrap().replace("Content-Length: 0", "Content-Length: -1");
        peer.write_all(bad.as_bytes()).await.unwrap();
        let _ = timeout(Duration::from_millis(1500), srs.event()).await;
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("SIP/2.0 400 Content-Length can't be read\r\n"), "{answer}");
        assert_eq!(srs.transports.connections(), 0);
    });
}

#[test]
fn the_connection_idle_longest_makes_room() {
    block_on(async {
        let mut transports = Transports::bind(
            &listen(&[Transport::Tcp]),
            Options { connections_max: 2, ..Options::default() },
        )
        .unwrap();
        let address = transports.listeners()[0].1;
        let mut peers = Vec::new();
        for call in ["a", "b"] {
            let mut peer = TcpStream::connect(address).await.unwrap();
            peer.write_all(&options(call, b"")).await.unwrap();
            assert_eq!(call_id(&mut transports).await, call);
            peers.push(peer);
        }
        peers[0].write_all(&options("a2", b"")).await.unwrap();
        assert_eq!(call_id(&mut transports).await, "a2");
        let mut third = TcpStream::connect(address).await.unwrap();
        third.write_all(&options("c", b"")).await.unwrap();
        assert_eq!(call_id(&mut transports).await, "c");
        assert_eq!((transports.connections(), transports.counters().connections_evicted), (2, 1));
        assert_eq!(peers[1].read(&mut [0; 1]).await.unwrap(), 0, "b was idle longest");
        peers[0].write_all(&options("a3", b"")).await.unwrap();
        assert_eq!(call_id(&mut transports).await, "a3");
    });
}

#[test]
fn a_burst_of_answers_to_one_peer_does_not_cost_it_its_connection() {
    block_on(async {
        let mut transports = Transports::bind(&listen(&[Transport::Tcp]), Options::default()).unwrap();
        let mut peer = TcpStream::connect(transports.listeners()[0].1).await.unwrap();
        peer.write_all(&options("burst", b"")).await.unwrap();
        let from = transports.receive().await.peer;
        let answer: Arc<[u8]> = options("answer", b"").into();
        // In one turn, as when a trunk moves its calls here.
        (0..500).for_each(|_| transports.send(from, None, answer.clone()));
        let mut all = vec![0; 500 * answer.len()];
        peer.read_exact(&mut all).await.unwrap();
        assert_eq!((transports.counters().connections_stalled, transports.connections()), (0, 1));
    });
}

#[test]
fn a_peer_that_does_not_read_loses_its_connection_and_holds_up_nobody() {
    block_on(async {
        let mut transports = Transports::bind(&listen(&[Transport::Tcp]), Options::default()).unwrap();
        let address = transports.listeners()[0].1;
        let mut deaf = TcpStream::connect(address).await.unwrap();
        deaf.write_all(&options("deaf", b"")).await.unwrap();
        let peer = transports.receive().await.peer;
        let bytes: Arc<[u8]> = vec![0; 1 << 20].into();
        // More than the kernel's buffers and our queue hold together.
        for _ in 0..SIP_WRITES_MAX + 32 {
            if transports.counters().connections_stalled > 0 {
                break;
            }
            transports.send(peer, Some(address), bytes.clone());
            tokio::task::yield_now().await;
        }
        assert_eq!((transports.counters().connections_stalled, transports.connections()), (1, 0));
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(&options("other", b"")).await.unwrap();
        assert_eq!(call_id(&mut transports).await, "other");
    });
}

#[test]
fn a_response_whose_connection_is_gone_goes_out_over_a_new_one() {
    block_on(async {
        let mut transports = Transports::bind(&listen(&[Transport::Tcp]), Options::default()).unwrap();
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let mut peer = TcpStream::connect(transports.listeners()[0].1).await.unwrap();
        peer.write_all(&options("gone", b"")).await.unwrap();
        let from = transports.receive().await.peer;
        drop(peer);
        let _ = timeout(Duration::from_millis(100), transports.receive()).await;
        assert_eq!(transports.connections(), 0);
        transports.send(from, Some(listener.local_addr().unwrap()), options("answer", b"").into());
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut front = [0; 7];
        stream.read_exact(&mut front).await.unwrap();
        assert_eq!(&front, b"OPTIONS");
    });
}

#[test]
fn datagrams_come_with_our_address_as_the_peer_sees_it_and_keep_alives_are_silent() {
    block_on(async {
        let mut transports = Transports::bind(
            &[Listen::new(Transport::Udp, "0.0.0.0:0".parse().unwrap())],
            Options::default(),
        )
        .unwrap();
        let port = transports.listeners()[0].1.port();
        let peer = tokio::net::UdpSocket::bind(loopback()).await.unwrap();
        for datagram in [&b""[..], b"\r\n\r\n", b"\0\0\0\0", &options("u", b"abc")] {
            peer.send_to(datagram, ("127.0.0.1", port)).await.unwrap();
        }
        let inbound = transports.receive().await;
        assert_eq!(inbound.message.unwrap().call_id(), "u");
        assert_eq!(inbound.peer.local, SocketAddr::new("127.0.0.1".parse().unwrap(), port));
        transports.send(inbound.peer, None, Arc::from(&b"back"[..]));
        let mut buffer = [0; 9];
        assert_eq!(peer.recv(&mut buffer).await.unwrap(), 4);
    });
}

#[test]
fn a_body_that_is_too_long_is_answered_413_and_the_connection_goes_on() {
    block_on(async {
        let options_of = Options { body_bytes_max: 1000, ..Options::default() };
        let transports = Transports::bind(&listen(&[Transport::Tcp]), options_of).unwrap();
        let mut srs = Station::new(Config::recorder(), &[]);
        srs.transports = transports;
        let mut peer = TcpStream::connect(srs.transports.listeners()[0].1).await.unwrap();
        peer.write_all(&options("long", &[b'x'; 1001])).await.unwrap();
        peer.write_all(&options("next", &[b'x'; 1000])).await.unwrap();
        let _ = timeout(Duration::from_millis(300), srs.event()).await;
        let mut bytes = vec![0; 10_000];
        let length = peer.read(&mut bytes).await.unwrap();
        let answers = String::from_utf8_lossy(&bytes[..length]);
        assert!(answers.starts_with("SIP/2.0 413 Body too long\r\n"), "{answers}");
        assert!(answers.contains("SIP/2.0 200 OK\r\n") && answers.contains("Call-ID: next"), "{answers}");
        assert_eq!((srs.transports.connections(), srs.transports.counters().bodies_refused), (1, 1));
    });
}

#[test]
fn all_streams_together_hold_no_more_than_they_may_and_ordinary_messages_still_pass() {
    block_on(async {
        const ALL: usize = 1 << 20;
        let bounded = Options { stream_bytes_max: ALL, ..Options::default() };
        let mut transports = Transports::bind(&listen(&[Transport::Tcp]), bounded).unwrap();
        let address = transports.listeners()[0].1;
        // Ten messages of which 300 KB each have come, and no more for now: three of them fit.
        let large = options("large", &[b'x'; 400_000]);
        let mut peers = Vec::new();
        for _ in 0..10 {
            let mut peer = TcpStream::connect(address).await.unwrap();
            // One that is refused is closed, perhaps before it has written everything.
            let _ = peer.write_all(&large[..300_000]).await;
            peers.push(peer);
        }
        let mut small = TcpStream::connect(address).await.unwrap();
        small.write_all(&options("small", &[b'x'; 8000])).await.unwrap();
        assert_eq!(call_id(&mut transports).await, "small");
        while transports.counters().connections_out_of_memory < 7 {
            let _ = timeout(Duration::from_millis(20), transports.receive()).await;
        }
        let held = transports.shared.budget.held();
        assert!((700_000..=ALL).contains(&held), "{held}");
        drop((peers, small));
        while transports.connections() > 0 {
            let _ = timeout(Duration::from_millis(20), transports.receive()).await;
        }
        assert_eq!(transports.shared.budget.held(), 0);
    });
}

#[test]
fn connections_that_never_carried_a_message_make_room_first() {
    block_on(async {
        let two = Options { connections_max: 2, ..Options::default() };
        let mut transports = Transports::bind(&listen(&[Transport::Tcp]), two).unwrap();
        let address = transports.listeners()[0].1;
        let mut used = TcpStream::connect(address).await.unwrap();
        used.write_all(&options("used", b"")).await.unwrap();
        assert_eq!(call_id(&mut transports).await, "used");
        let mut silent = Vec::new();
        for _ in 0..5 {
            silent.push(TcpStream::connect(address).await.unwrap());
            let _ = timeout(Duration::from_millis(50), transports.receive()).await;
        }
        assert_eq!((transports.connections(), transports.counters().connections_evicted), (2, 4));
        used.write_all(&options("again", b"")).await.unwrap();
        assert_eq!(call_id(&mut transports).await, "again");
    });
}

#[test]
fn connections_from_addresses_that_are_not_allowed_take_no_room() {
    block_on(async {
        let gate = Gate::new(&[network("127.0.0.2/32").unwrap()], Vec::new(), "r", &mut Seeded::new(1));
        let one = Options { connections_max: 1, allowed: gate.allowed().clone(), ..Options::default() };
        let mut transports = Transports::bind(&listen(&[Transport::Tcp]), one).unwrap();
        let address = transports.listeners()[0].1;
        let from = TcpSocket::new_v4().unwrap();
        from.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut allowed = from.connect(address).await.unwrap();
        allowed.write_all(&options("first", b"")).await.unwrap();
        assert_eq!(call_id(&mut transports).await, "first");
        for _ in 0..5 {
            let mut other = TcpStream::connect(address).await.unwrap();
            other.write_all(&options("other", b"")).await.unwrap();
            assert!(matches!(other.read(&mut [0; 1]).await, Ok(0) | Err(_)), "closed");
        }
        allowed.write_all(&options("second", b"")).await.unwrap();
        assert_eq!(call_id(&mut transports).await, "second");
        let counters = transports.counters();
        assert_eq!((counters.connections_not_allowed, counters.connections_evicted), (5, 0));
    });
}

#[test]
fn listeners_of_both_families_and_kinds_are_told_apart() {
    block_on(async {
        let v6: SocketAddr = "[::1]:0".parse().unwrap();
        let points = [
            Listen::new(Transport::Udp, loopback()),
            Listen::new(Transport::Tcp, v6),
            Listen::new(Transport::Udp, v6),
            Listen::new(Transport::Tcp, loopback()),
        ];
        let mut transports = Transports::bind(&points, Options::default()).unwrap();
        for (number, (transport, address)) in transports.listeners().to_vec().into_iter().enumerate() {
            let call = format!("over-{number}");
            // Kept open until the message is there.
            let mut stream = None;
            if transport == Transport::Udp {
                let any = SocketAddr::new(address.ip(), 0);
                let peer = tokio::net::UdpSocket::bind(any).await.unwrap();
                peer.send_to(&options(&call, b""), address).await.unwrap();
            } else {
                let peer = stream.insert(TcpStream::connect(address).await.unwrap());
                peer.write_all(&options(&call, b"")).await.unwrap();
            }
            let inbound = transports.receive().await;
            assert_eq!(inbound.message.unwrap().call_id(), call);
            assert_eq!((inbound.peer.listener, inbound.peer.transport), (number as u16, transport));
            assert_eq!(inbound.peer.local, address);
        }
    });
}

#[test]
fn without_tls_nothing_meant_for_tls_goes_out_in_the_clear() {
    block_on(async {
        let mut transports = Transports::bind(&listen(&[Transport::Tcp]), Options::default()).unwrap();
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let to = transports.towards(Transport::Tls, listener.local_addr().unwrap()).unwrap();
        transports.send(to, None, options("secret", b"").into());
        assert_eq!((transports.counters().connections_not_made, transports.connections()), (1, 0));
        assert!(timeout(Duration::from_millis(100), listener.accept()).await.is_err());
    });
}
