//! One call: admission, and its way up to the 200.

use super::action::{Job, Now, Outbox, Paper, Severity};
use super::book::Book;
use super::change::{Waiting, sdp_in};
use super::late;
use super::offer::Terms;
use super::pause::{PauseScope, Pauses};
use super::{Control, PeerRules, Refusal};
use crate::base::{Entropy, Mono, RecordingId, SegmentNumber, Wall};
use crate::limits::{CHECKPOINT_FIRST, KEY_WAIT_MAX, OPEN_WAIT_MAX};
use crate::link::{CallId, Command, OpenCall, SegmentPlan};
use crate::media::SAMPLE_RATE;
use crate::recording::{Manifest, layout};
use crate::sdp;
use crate::seal::{AudioParams, Block0, DataKey, StreamSeed, WrappedKey};
use crate::sip::{Answer, DialogId, Message, Peer, RequestId};
use crate::siprec::Bodies;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

/// How far a call has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Its data key is being wrapped.
    Keys,
    /// The shard is opening it.
    Opening,
    /// It was refused or taken back while the shard was opening it: to be closed and deleted.
    Abandoned,
    /// Answered.
    Live,
    /// The shard is closing it.
    Closing,
    /// Nothing more will come.
    Over,
}

/// See the module.
pub(super) struct Call {
    pub id: CallId,
    pub dialog: DialogId,
    pub shard: usize,
    /// How its client is to be treated.
    pub peer: Arc<PeerRules>,
    pub phase: Phase,
    /// The ACK has come.
    pub acked: bool,
    /// Since when no RTP has come on any track; `None` while it flows.
    pub quiet_since: Option<Mono>,
    pub terms: Terms,
    /// The request that waits for added tracks.
    pub(super) waiting: Option<Waiting>,
    /// The update that adds tracks and is not answered.
    pub(super) growing: Option<u32>,
    pub(super) pauses: Pauses,
    /// Tracks that placement counts for it.
    pub placed: usize,
    /// Bytes of raw metadata that are counted for it.
    pub held: usize,
    /// When its timer is set to.
    pub due: Option<Mono>,
    pub(super) book: Book,
    /// The INVITE, until it is answered.
    request: RequestId,
    /// Until then the key provider may answer,
    keys_until: Mono,
    /// ... and until then the shard.
    open_until: Mono,
    bind: IpAddr,
    tenant: String,
    recordings: PathBuf,
    pub(super) started: Wall,
    /// The zero of the timeline, once the shard has told.
    pub(super) zero: Mono,
    key: DataKey,
    wrapped: Vec<WrappedKey>,
    ssrc: u32,
    /// Segments planned so far.
    pub(super) segments: SegmentNumber,
    /// Every closed segment is durable.
    pub(super) durable: bool,
    pub(super) checkpoint_at: Option<Mono>,
    pub(super) checkpointed: Mono,
}

/// A new INVITE.
pub(super) struct Arrival<'a> {
    pub dialog: DialogId,
    pub request: RequestId,
    pub invite: &'a Message,
    pub from: Peer,
    pub local_tag: &'a str,
}

impl<E: Entropy> Control<E> {
    /// What the INVITE offers, or what we offer if it leaves that to us (RFC 3261 section 13.2.1).
    fn terms(&mut self, arrival: &Arrival<'_>, bodies: &Bodies<'_>) -> Result<Terms, Refusal> {
        let codecs = self.rules.peers.of(arrival.from.remote.ip()).codecs.clone();
        let addresses = self.addresses(arrival.from);
        let address = |ipv6: Option<bool>| {
            addresses.iter().copied().find(|ip| ipv6.is_none_or(|ipv6| ip.is_ipv6() == ipv6))
        };
        match sdp_in(bodies) {
            Some(sdp) => {
                let offer = sdp::parse(sdp).map_err(Refusal::BadOffer)?;
                Terms::new(offer, codecs, address, &mut self.entropy)
            }
            None => {
                Terms::offering(&late::labels(arrival.invite, bodies), codecs, address, &mut self.entropy)
            }
        }
    }

    /// Admits a call, places it and asks for its key.
    pub(super) fn open(&mut self, arrival: &Arrival<'_>, now: Now) -> Result<(), Refusal> {
        let bodies = self.admit(arrival.invite, arrival.from, now)?;
        let terms = self.terms(arrival, &bodies)?;
        let shard = self.shards.place(terms.tracks.len(), now.mono)?;
        self.rate.iter_mut().for_each(|rate| rate.take(now.mono));
        let mut call = self.new_call(arrival, terms, shard, now);
        call.book.room = self.metadata_left;
        call.book.revision(now.wall, arrival.invite, bodies);
        let id = call.id;
        self.keys.asked(now.mono);
        self.out.wrap(id, call.book.recording(), call.key.clone());
        *self.peer_calls.entry(call.peer.name.clone()).or_default() += 1;
        self.calls.insert(id, Box::new(call));
        self.dialogs.insert(arrival.dialog, id);
        let paused = self.paused.clone();
        // Sets its timer, too.
        self.with(id, |call, _, out| {
            paused.iter().for_each(|order| call.pause(PauseScope::All, order, now, out));
        });
        Ok(())
    }

    fn new_call(&mut self, arrival: &Arrival<'_>, terms: Terms, shard: usize, now: Now) -> Call {
        let bind = self.bind(terms.address);
        let recording = RecordingId::new(now.wall, &mut self.entropy);
        let book = Book::new(recording, &self.rules.tenant, now.wall, arrival);
        let id = CallId(self.next_call);
        self.next_call += 1;
        Call {
            id,
            dialog: arrival.dialog,
            shard,
            peer: Arc::clone(self.rules.peers.of(arrival.from.remote.ip())),
            phase: Phase::Keys,
            acked: false,
            placed: terms.tracks.len(),
            quiet_since: Some(now.mono),
            terms,
            waiting: None,
            growing: None,
            pauses: Pauses::new(self.rules.pause),
            held: 0,
            due: None,
            book,
            request: arrival.request,
            keys_until: now.mono + KEY_WAIT_MAX,
            open_until: now.mono + OPEN_WAIT_MAX,
            bind,
            tenant: self.rules.tenant.clone(),
            recordings: self.rules.recordings.clone(),
            started: now.wall,
            zero: now.mono,
            key: DataKey::new(self.random()),
            wrapped: Vec::new(),
            ssrc: u32::from_be_bytes(self.random()),
            segments: 0,
            durable: true,
            checkpoint_at: None,
            checkpointed: now.mono,
        }
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// The addresses that we may tell the client, the best first: what its signalling says, then those of other listeners, for media may be
    /// of the other family.
    fn addresses(&self, from: Peer) -> Vec<IpAddr> {
        let bind = self.rules.rtp_bind;
        let peer = self.rules.peers.of(from.remote.ip());
        let external = || self.external.values().copied();
        let said = peer.external_address.into_iter().chain(self.external.get(&from.listener).copied());
        if bind.is_unspecified() {
            let reached = said.chain([from.local.ip()]).chain(external());
            return reached.chain(self.rules.addresses.iter().copied()).collect();
        }
        let ours = said.chain([bind]).chain(external());
        // It takes nothing else.
        ours.filter(|ip| ip.is_ipv4() == bind.is_ipv4()).collect()
    }

    /// What to bind for media that come to `told`: of the same family.
    fn bind(&self, told: IpAddr) -> IpAddr {
        let bind = self.rules.rtp_bind;
        // Listening on every IPv6 address takes IPv4, too, so only this way round needs help.
        if bind.is_unspecified() && told.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { bind }
    }
}

impl Call {
    /// When it wants its [`Call::tick`].
    pub fn deadline(&self) -> Option<Mono> {
        match self.phase {
            Phase::Keys => Some(self.keys_until),
            Phase::Opening => Some(self.open_until),
            Phase::Live | Phase::Closing => self.checkpoint_at.into_iter().chain(self.waits_until()).min(),
            Phase::Abandoned | Phase::Over => None,
        }
    }

    /// The data key is wrapped: the shard may open.
    pub fn keys_ready(&mut self, wrapped: WrappedKey, entropy: &mut impl Entropy, out: &mut Outbox) {
        if self.phase != Phase::Keys {
            return;
        }
        self.wrapped = vec![wrapped];
        self.phase = Phase::Opening;
        let segment = self.segment_plan(entropy);
        let open = OpenCall {
            call: self.id,
            recording: self.book.recording(),
            bind: self.bind,
            tracks: self.terms.plans(),
            format: self.terms.format(),
            ssrc: self.ssrc,
            segment,
        };
        out.command(self.shard, Command::Open(Box::new(open)));
        if self.pauses.in_force() {
            self.tell_pause(out);
        }
    }

    /// The next segment, under a seed of its own.
    pub(super) fn segment_plan(&mut self, entropy: &mut impl Entropy) -> SegmentPlan {
        self.segments += 1;
        // Format and start are the shard's to fill.
        let audio = AudioParams {
            format: self.terms.format(),
            rate: SAMPLE_RATE,
            channels: self.terms.tracks.len() as u16,
            start: 0,
        };
        let recording = self.book.recording();
        let (keys, number) = (self.wrapped.clone(), self.segments);
        SegmentPlan {
            call: self.id,
            segment: number,
            path: layout::part_path(&self.recordings, recording, number),
            block0: Box::new(Block0::segment(recording, number, &self.tenant, self.started, audio, keys)),
            key: self.key.clone(),
            seed: StreamSeed::new(entropy),
        }
    }

    /// The shard has bound ports and made the file: the call is answered.
    pub fn opened(&mut self, ports: &[u16], zero: Mono, now: Now, out: &mut Outbox) {
        if self.phase != Phase::Opening {
            return;
        }
        self.phase = Phase::Live;
        self.zero = zero;
        self.book.started(Wall(now.wall.0 - now.mono.since(zero).as_nanos() as u64));
        self.terms.bound(ports);
        let answer = Answer::ok().body("application/sdp", self.terms.answer());
        out.answer(self.request, answer);
        let (tracks, shard) = (self.terms.tracks.len(), self.shard);
        self.log(out, Severity::Info, format!("recording started: {tracks} tracks on shard {shard}"));
        self.note_declined(out);
        // Soon, but what a client says right after its call has begun goes with it.
        self.checkpoint_at = Some(now.mono + CHECKPOINT_FIRST);
    }

    /// It can't be recorded. Nothing of it is kept.
    pub fn fail(&mut self, refusal: &Refusal, out: &mut Outbox) {
        match self.phase {
            Phase::Keys | Phase::Opening => {
                out.refuse(self.request, Some(self.book.recording()), refusal);
                self.discard(out);
            }
            Phase::Abandoned => self.discard(out),
            Phase::Live | Phase::Closing | Phase::Over => {}
        }
    }

    /// The client took its INVITE back, which the endpoint has answered.
    pub fn cancelled(&mut self, now: Now, out: &mut Outbox) {
        match self.phase {
            Phase::Keys | Phase::Opening => self.abandon(out),
            // The CANCEL crossed our 200, and the endpoint ended the dialog all the same.
            Phase::Live => self.close("cancel", now, out),
            Phase::Abandoned | Phase::Closing | Phase::Over => {}
        }
    }

    /// Gives up a call that was not answered 200. What the shard says of it from now on only serves to clean up.
    pub(super) fn abandon(&mut self, out: &mut Outbox) {
        if self.phase == Phase::Opening {
            out.command(self.shard, Command::Close { call: self.id });
            self.phase = Phase::Abandoned;
        } else {
            self.phase = Phase::Over;
        }
        self.log(out, Severity::Info, "call ended before it was answered");
    }

    /// Refuses it after all, where the shard may still be at work.
    pub(super) fn give_up(&mut self, refusal: &Refusal, out: &mut Outbox) {
        out.refuse(self.request, Some(self.book.recording()), refusal);
        self.abandon(out);
    }

    /// Answers an INVITE that was overtaken by its BYE (RFC 3261 section 15.1.2).
    pub(super) fn terminated(&self, out: &mut Outbox) {
        out.answer(self.request, Answer::new(487, "Request Terminated"));
    }

    pub(super) fn discard(&mut self, out: &mut Outbox) {
        if self.segments > 0 {
            let dir = layout::active_folder(&self.recordings, self.book.recording());
            out.job(Job::Discard { call: self.id, dir });
        }
        self.phase = Phase::Over;
    }

    pub(super) fn log(&self, out: &mut Outbox, severity: Severity, text: impl Into<String>) {
        out.log(severity, Some(self.book.recording()), text);
    }

    /// A manifest with what is needed to seal it.
    pub(super) fn paper(&self, mut manifest: Manifest) -> Box<Paper> {
        manifest.pauses = self.pauses.entries().to_vec();
        let (key, wrapped) = (self.key.clone(), self.wrapped.clone());
        Box::new(Paper { call: self.id, manifest, key, wrapped })
    }
}
