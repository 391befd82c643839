//! The network side of a track: its port pair, what the session description says of it, who talks.

use std::net::{IpAddr, SocketAddr};

use crate::base::Mono;
use crate::limits::{PORT_TRIES_MAX, SOURCE_HOLD};
use crate::link::{Refusal, TrackPlan, TrackReport};
use crate::media::{Payload, Track};
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
    /// Where RTP was announced to come from, and who was heard last, when.
    pub(super) rtp_from: Option<SocketAddr>,
    pub(super) talking: Option<(SocketAddr, Mono)>,
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
            rtp_from: None,
            talking: None,
            rtcp_to: None,
            rtcp_heard: None,
            srtp: None,
        }
    }

    /// Whether a packet comes from somebody else than who is talking. Who was announced is always right; anybody else may speak when the last
    /// one has fallen silent, because sources move and NAT hides them.
    pub(super) fn is_foreign(&mut self, from: SocketAddr, at: Mono) -> bool {
        let foreign = self.talking.is_some_and(|(talking, heard)| {
            talking != from && self.rtp_from != Some(from) && at.since(heard) < SOURCE_HOLD
        });
        if !foreign {
            self.talking = Some((from, at));
        }
        foreign
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
                if let Some(errno) = self.bind_failed.take() {
                    *tries += 1;
                    if *tries >= PORT_TRIES_MAX {
                        return Err(Refusal::Ports(errno.to_string()));
                    }
                }
                let free = io.ports.take(io.now);
                let pair = free.ok_or_else(|| Refusal::Ports("every port pair is in use".to_owned()))?;
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
        (self.rtp_from, self.talking) = (plan.rtp_from, None);
        self.rtcp_to = plan.rtcp_to;
        self.rtcp_heard = None;
        self.rtcp_mux = plan.rtcp_mux;
        match (&mut self.srtp, plan.srtp.as_deref()) {
            (Some(session), plan) => session.update(plan),
            (None, plan) => self.srtp = plan.map(|plan| Box::new(srtp::Session::new(plan))),
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
        TrackReport {
            port: self.pair.unwrap_or(0),
            counters: media.counters,
            first: media.first(),
            anchors: media.anchors().to_vec(),
        }
    }
}
