//! One call after its 200: intervals, segments, and its end. Offers and answers are in [`super::change`].

use std::time::Duration;

use super::Refusal;
use super::action::{Job, Now, Outbox, Severity};
use super::call::{Call, Phase};
use crate::base::{Entropy, Mono};
use crate::limits::{CHECKPOINT_CLOSING, CHECKPOINT_INTERVAL, LOSS_AT_CRASH_MAX, SEGMENTS_MAX};
use crate::link::{Command, SegmentReport, TrackReport};
use crate::media::{Interval, SAMPLE_RATE};
use crate::sip::Message;
use crate::siprec::Bodies;

impl Call {
    /// The deadline has come: too slow in opening, or a checkpoint is due.
    pub fn tick(&mut self, now: Now, out: &mut Outbox) {
        match self.phase {
            Phase::Keys => self.give_up(&Refusal::KeysSlow, out),
            Phase::Opening => self.give_up(&Refusal::Slow, out),
            Phase::Live | Phase::Closing => {
                self.overdue(now, out);
                if self.checkpoint_at.is_some_and(|at| at <= now.mono) {
                    self.checkpoint(now, out);
                }
            }
            Phase::Abandoned | Phase::Over => {}
        }
    }

    /// BYE: its body may hold the last metadata, so that is read first.
    pub fn bye(&mut self, message: &Message, now: Now, out: &mut Outbox) {
        self.book.revision(now.wall, message, Bodies::within(message));
        match self.phase {
            Phase::Keys | Phase::Opening => {
                self.terminated(out);
                self.abandon(out);
            }
            Phase::Live => self.close("bye", now, out),
            Phase::Abandoned | Phase::Closing | Phase::Over => {}
        }
    }

    /// No ACK came for a 200 within 64*T1 (RFC 3261 section 13.3.1.4). Where the first was acknowledged the dialog stands, and so does the call.
    pub fn unacknowledged(&mut self, now: Now, out: &mut Outbox) {
        if self.acked {
            // An answer that was to come with it will not come any more.
            self.terms.unanswered = false;
            return self.log(out, Severity::Warn, "the answer to a re-INVITE was never acknowledged");
        }
        if self.phase == Phase::Live {
            out.bye(self.dialog);
            self.close("no_ack", now, out);
        }
    }

    /// The client has not refreshed its session (RFC 4028 section 10). While its media flow the call is there, whatever signalling says; once
    /// nothing has come for as long as a session lasts, it is not.
    pub fn expired(&mut self, interval: Duration, now: Now, out: &mut Outbox) {
        if self.phase != Phase::Live {
            return;
        }
        if self.quiet_since.is_none_or(|since| now.mono.since(since) < interval) {
            return self.log(
                out,
                Severity::Warn,
                "the client does not refresh its session, but media flow: going on",
            );
        }
        self.log(out, Severity::Warn, "the session has run out and no media flow: hanging up");
        out.bye(self.dialog);
        self.close("session_expired", now, out);
    }

    /// Ends it from our side.
    pub fn hang_up(&mut self, cause: &str, now: Now, out: &mut Outbox) {
        match self.phase {
            Phase::Keys | Phase::Opening => self.give_up(&Refusal::Shutdown, out),
            Phase::Live => {
                out.bye(self.dialog);
                self.close(cause, now, out);
            }
            Phase::Abandoned | Phase::Closing | Phase::Over => {}
        }
    }

    /// Has the shard close it.
    pub(super) fn close(&mut self, cause: &str, now: Now, out: &mut Outbox) {
        self.terminate_waiting(out);
        self.phase = Phase::Closing;
        // The last manifest is about to be written: one before it is for a shard that takes long.
        self.checkpoint_at = self.checkpoint_at.map(|at| at.max(now.mono + CHECKPOINT_CLOSING));
        self.book.end(now.wall, cause);
        out.command(self.shard, Command::Close { call: self.id });
        self.log(out, Severity::Info, format!("recording ended: {cause}"));
    }

    /// No RTP has come for as long as the operator waits for it. An alarm, and no more than that.
    pub fn silent(&mut self, since: Mono, now: Now, out: &mut Outbox) {
        let seconds = now.mono.since(since).as_secs();
        self.log(out, Severity::Warn, format!("no RTP has come for {seconds} s; the call goes on"));
    }

    /// A silent stretch: written down now, on disk within [`CHECKPOINT_INTERVAL`].
    pub fn interval(&mut self, interval: Interval, now: Now) {
        self.book.interval(interval);
        if self.phase == Phase::Live && self.checkpoint_at.is_none() {
            self.checkpoint_at = Some((self.checkpointed + CHECKPOINT_INTERVAL).max(now.mono));
        }
    }

    /// The shard needs the next segment.
    pub fn next_segment(&mut self, entropy: &mut impl Entropy, out: &mut Outbox) {
        if matches!(self.phase, Phase::Keys | Phase::Over) {
            return;
        }
        if self.segments >= SEGMENTS_MAX {
            self.book.note("the recording has as many segments as are allowed; what came after them is lost");
            return self.log(out, Severity::Error, "no more segments are allowed: audio is being lost");
        }
        let plan = self.segment_plan(entropy);
        out.command(self.shard, Command::Segment(Box::new(plan)));
    }

    /// A segment is closed, durably or not.
    pub fn segment_closed(&mut self, report: &SegmentReport, now: Now, out: &mut Outbox) {
        if let Err(why) = &report.durable {
            self.durable = false;
            self.book.note("a segment could not be closed durably and was left for recovery");
            self.log(out, Severity::Error, format!("segment {} is not durable: {why}", report.segment));
        }
        self.book.segment(report);
        if self.phase == Phase::Live {
            self.checkpoint_at.get_or_insert(now.mono);
        }
    }

    /// The shard is done with it.
    pub fn closed(&mut self, tracks: Vec<TrackReport>, samples: u64, now: Now, out: &mut Outbox) {
        match self.phase {
            Phase::Abandoned => return self.discard(out),
            Phase::Closing => {}
            // Not asked for: the shard gave up on it.
            Phase::Live => {
                out.bye(self.dialog);
                self.book.end(now.wall, "failure");
            }
            Phase::Keys | Phase::Opening | Phase::Over => return,
        }
        self.phase = Phase::Over;
        if !self.durable {
            // The folder stays where recovery looks for it.
            let manifest = self.book.checkpoint(&self.terms, samples);
            return out.job(Job::Checkpoint(self.paper(manifest)));
        }
        let manifest = self.book.complete(&self.terms, tracks, samples);
        out.job(Job::Finalise(self.paper(manifest)));
    }

    /// Its shard is gone. What was written stays for recovery.
    pub fn lost(&mut self, now: Now, out: &mut Outbox) {
        match self.phase {
            Phase::Keys | Phase::Opening => self.fail(&Refusal::NoShard, out),
            Phase::Abandoned => self.discard(out),
            Phase::Over => {}
            Phase::Live | Phase::Closing => {
                if self.phase == Phase::Live {
                    out.bye(self.dialog);
                    self.book.end(now.wall, "failure");
                }
                self.log(out, Severity::Error, "its shard stopped: the rest of the recording is lost");
                self.checkpoint(now, out);
                self.phase = Phase::Over;
            }
        }
    }

    /// Has the manifest written as it is now.
    pub(super) fn checkpoint(&mut self, now: Now, out: &mut Outbox) {
        (self.checkpoint_at, self.checkpointed) = (None, now.mono);
        let manifest = self.book.checkpoint(&self.terms, self.settled(now.mono));
        out.job(Job::Checkpoint(self.paper(manifest)));
    }

    /// The same, at most every [`CHECKPOINT_INTERVAL`]: it may be several MB, and whoever sends much sends often.
    pub(super) fn checkpoint_soon(&mut self, now: Now, out: &mut Outbox) {
        let at = self.checkpointed + CHECKPOINT_INTERVAL;
        if at <= now.mono {
            return self.checkpoint(now, out);
        }
        self.checkpoint_at = Some(self.checkpoint_at.map_or(at, |due| due.min(at)));
    }

    /// Up to where every interval has been told: what a crash now would not take.
    fn settled(&self, now: Mono) -> u64 {
        samples(now.since(self.zero).saturating_sub(LOSS_AT_CRASH_MAX))
    }

    /// The position on its timeline; 0 before that has begun.
    pub(super) fn position(&self, now: Now) -> u64 {
        if self.phase == Phase::Live { samples(now.mono.since(self.zero)) } else { 0 }
    }
}

fn samples(time: Duration) -> u64 {
    (time.as_millis() as u64).saturating_mul(u64::from(SAMPLE_RATE) / 1000)
}
