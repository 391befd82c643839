//! The network side of a track: its port pair, what the session description says of it, who talks.

use std::net::{IpAddr, SocketAddr};

use crate::limits::PORT_TRIES_MAX;
use crate::link::{Refusal, TrackPlan, TrackReport};
use crate::media::{Payload, SourceLock, Track};
use crate::ring::{Errno, Op, SocketIx};
use crate::shard::Io;
use crate::srtp;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Port {
    Idle,
    Binding,
    Open,
    Closing,
}

/// The network side of a track.
pub(super) struct Leg {
    pub(super) payloads: [Option<Payload>; 128],
    /// The even port of the pair it has.
    pub(super) pair: Option<u16>,
    /// RTP and RTCP.
    pub(super) ports: [Port; 2],
    pub(super) bind_failed: Option<Errno>,
    pub(super) rtcp_mux: bool,
    /// Whom it listens to.
    pub(super) lock: SourceLock,
    pub(super) rtcp_to: Option<SocketAddr>,
    /// Where its RTCP really comes from: a better address than the one announced.
    pub(super) rtcp_heard: Option<SocketAddr>,
    /// If it is secured, or was.
    pub(super) srtp: Option<Box<srtp::Session>>,
}

impl Leg {
    pub(super) fn new() -> Leg {
        Leg {
            payloads: [None; 128],
            pair: None,
            ports: [Port::Idle; 2],
            bind_failed: None,
            rtcp_mux: false,
            lock: SourceLock::default(),
            rtcp_to: None,
            rtcp_heard: None,
            srtp: None,
        }
    }

    /// Gives it, as number `track` of its call, a port pair; another one if somebody else holds the first, which is one of its call's `tries`.
    pub(super) fn bind(
        &mut self,
        (track, at): (usize, IpAddr),
        tries: &mut u32,
        io: &mut Io<'_>,
    ) -> Result<(), Refusal> {
        match self.ports {
            [Port::Idle, Port::Idle] => {
                let held = self.bind_failed.take().map(|errno| Refusal::Ports(errno.to_string()));
                *tries += u32::from(held.is_some());
                if let Some(held) = held.clone().filter(|_| *tries >= PORT_TRIES_MAX) {
                    return Err(held);
                }
                let free = io.ports.take(io.now);
                let pair = free.ok_or_else(|| held.unwrap_or(Refusal::PortsRest))?;
                self.pair = Some(pair);
                self.ports = [Port::Binding; 2];
                for port in [pair, pair + 1] {
                    let socket = io.ports.slot(port);
                    io.sockets[socket.0 as usize] = Some((io.slot, track as u8));
                    io.outbox.push(Op::Bind { socket, at: SocketAddr::new(at, port) });
                }
            }
            [Port::Binding, _] | [_, Port::Binding] => {}
            _ if self.bind_failed.is_some() => self.close(io),
            _ => {}
        }
        Ok(())
    }

    /// Whether both its ports are open.
    pub(super) fn is_bound(&self) -> bool {
        self.ports == [Port::Open; 2]
    }

    /// Whether it holds no port.
    pub(super) fn is_idle(&self) -> bool {
        self.ports == [Port::Idle; 2]
    }

    /// What the session description says of it now. Who talks is to be found out anew. Payload types of before still count where they mean
    /// nothing else now: packets sent before the client had the answer may be on their way (RFC 3264 section 8.3.2).
    pub(super) fn agree(&mut self, plan: &TrackPlan) {
        for &(payload_type, payload) in &plan.payloads {
            if let Some(slot) = self.payloads.get_mut(usize::from(payload_type)) {
                *slot = Some(payload);
            }
        }
        self.lock.announce(plan.rtp_from);
        self.rtcp_to = plan.rtcp_to;
        self.rtcp_heard = None;
        self.rtcp_mux = plan.rtcp_mux;
        match (&mut self.srtp, plan.srtp.as_deref()) {
            (Some(session), plan) => session.update(plan),
            (None, plan) => self.srtp = plan.map(|plan| Box::new(srtp::Session::new(plan))),
        }
    }

    /// Where receiver reports go: where its RTCP comes from, else where it should (RFC 3550 section 11) beside RTP that does not come from where it
    /// was announced, for there the announced address is of no use; else where the session description says.
    pub(super) fn reports_to(&self) -> Option<SocketAddr> {
        let beside = |talker: SocketAddr| match self.rtcp_mux {
            true => talker,
            false => SocketAddr::new(talker.ip(), talker.port().saturating_add(1)),
        };
        let moved = self.lock.talker().filter(|talker| self.rtcp_to.is_some_and(|to| to.ip() != talker.ip()));
        self.rtcp_heard.or(moved.map(beside)).or(self.rtcp_to)
    }

    /// RTCP came from there. Only the peer's hosts tell where reports are wanted.
    pub(super) fn heard_rtcp(&mut self, from: SocketAddr) {
        let known = [self.lock.talker(), self.rtcp_to];
        let mut hosts = known.iter().flatten().peekable();
        if hosts.peek().is_none() || hosts.any(|host| host.ip() == from.ip()) {
            self.rtcp_heard = Some(from);
        }
    }

    /// Closes what is open; what is being bound is closed when it is.
    pub(super) fn close(&mut self, io: &mut Io<'_>) {
        let Some(pair) = self.pair else { return };
        for (port, state) in [pair, pair + 1].into_iter().zip(&mut self.ports) {
            if *state == Port::Open {
                *state = Port::Closing;
                let socket: SocketIx = io.ports.slot(port);
                io.outbox.push(Op::CloseSocket { socket });
            }
        }
    }

    pub(super) fn report(&self, media: &Track) -> TrackReport {
        TrackReport { counters: media.counters, first: media.first(), anchors: media.anchors().to_vec() }
    }
}
