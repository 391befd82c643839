//! The signalling of one recording client: a SIP [`Endpoint`] over one UDP socket or one TCP connection, driven by whoever waits.
//!
//! Blocking on purpose: a demonstration and its tests read best from top to bottom. While nobody waits nothing is answered.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::base::Mono;
use crate::sip::client::Invitation;
use crate::sip::event::{Action, Answer, Config, DialogId, Event};
use crate::sip::{Endpoint, Frame, Framer, Message, Peer, Transport};
use crate::sys::{OsEntropy, clock};

/// How long a read blocks at most before timers are looked at.
const NAP: Duration = Duration::from_millis(10);
const DATAGRAM_BYTES_MAX: usize = 65_535;

enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream, Framer),
}

/// See the [module](self).
pub struct Line {
    endpoint: Endpoint,
    wire: Wire,
    peer: Peer,
    events: VecDeque<Event>,
}

impl Line {
    /// A line to the recorder at `recorder`.
    pub fn open(transport: Transport, recorder: SocketAddr) -> io::Result<Line> {
        let any = SocketAddr::new(if recorder.is_ipv4() { [0, 0, 0, 0].into() } else { [0; 16].into() }, 0);
        let (wire, local) = match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(any)?;
                socket.connect(recorder)?;
                socket.set_read_timeout(Some(NAP))?;
                let local = socket.local_addr()?;
                (Wire::Udp(socket), local)
            }
            Transport::Tls => return Err(ErrorKind::Unsupported.into()),
            Transport::Tcp => {
                let stream = TcpStream::connect(recorder)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(NAP))?;
                let local = stream.local_addr()?;
                (Wire::Tcp(stream, Framer::new()), local)
            }
        };
        let endpoint = Endpoint::new(Config::client(), Box::new(OsEntropy));
        Ok(Line {
            endpoint,
            wire,
            peer: Peer { transport, link: 0, listener: 0, local, remote: recorder },
            events: VecDeque::new(),
        })
    }

    /// Our address, as the recorder sees it.
    pub fn local(&self) -> SocketAddr {
        self.peer.local
    }

    /// Sends an INVITE.
    pub fn invite(&mut self, invitation: Invitation) -> DialogId {
        self.endpoint.invite(clock::mono(), self.peer, invitation)
    }

    /// Sends an INVITE inside of `dialog`. False if the dialog is in no state for it.
    pub fn reinvite(&mut self, dialog: DialogId, offer: Answer) -> bool {
        self.endpoint.reinvite(clock::mono(), dialog, offer).is_ok()
    }

    /// Acknowledges a 2xx that had the recorder's offer, with this answer. False if the dialog is in no state for it.
    pub fn ack(&mut self, dialog: DialogId, answer: &str) -> bool {
        self.endpoint.ack(dialog, "application/sdp", answer.as_bytes()).is_ok()
    }

    /// Sends CANCEL as soon as the recorder has answered anything. False if there is nothing to cancel.
    pub fn cancel(&mut self, dialog: DialogId) -> bool {
        self.endpoint.cancel(clock::mono(), dialog).is_ok()
    }

    /// Sends BYE. False if the dialog is gone.
    pub fn bye(&mut self, dialog: DialogId) -> bool {
        self.endpoint.bye(clock::mono(), dialog).is_ok()
    }

    /// The next event, or `None` if none comes within `patience`.
    pub fn wait(&mut self, patience: Duration) -> io::Result<Option<Event>> {
        let deadline = clock::mono() + patience;
        loop {
            let now = clock::mono();
            self.act(now)?;
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if now >= deadline {
                return Ok(None);
            }
            self.read()?;
        }
    }

    fn act(&mut self, now: Mono) -> io::Result<()> {
        while let Some(action) = self.endpoint.poll(now) {
            match (action, &mut self.wire) {
                (Action::Event(event), _) => self.events.push_back(event),
                // A datagram that can't be sent is lost; the transaction sends it again.
                (Action::Send { bytes, .. }, Wire::Udp(socket)) => drop(socket.send(&bytes)),
                (Action::Send { bytes, .. }, Wire::Tcp(stream, _)) => stream.write_all(&bytes)?,
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        let read = match &mut self.wire {
            Wire::Udp(socket) => socket.recv(&mut bytes),
            Wire::Tcp(stream, _) => stream.read(&mut bytes),
        };
        let len = match read {
            Ok(0) if self.peer.transport == Transport::Tcp => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            // ECONNREFUSED on a datagram socket: the recorder is not there (yet); the transaction's timer decides.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                clock::sleep_until(clock::mono() + NAP);
                return Ok(());
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.take(&bytes[..len]);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        let now = clock::mono();
        match &mut self.wire {
            Wire::Udp(_) => self.endpoint.receive(now, self.peer, Message::parse_datagram(bytes)),
            Wire::Tcp(_, framer) => {
                framer.push(bytes);
                while let Some(frame) = framer.next_frame() {
                    match frame {
                        Frame::Message(message) => self.endpoint.receive(now, self.peer, Ok(*message)),
                        Frame::Malformed(why) | Frame::Broken(why) => {
                            self.endpoint.receive(now, self.peer, Err(why))
                        }
                        Frame::Ping => (),
                    }
                }
            }
        }
    }
}
