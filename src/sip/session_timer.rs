//! Session timers (RFC 4028): what a message says of one, what two ends agree on, and when it is to be refreshed or has run out.
//!
//! A recorder never answers 422: any interval is taken. The client refreshes wherever it can; we do where it asks for that or knows
//! nothing of timers. Leaves out sending anything: that is [`super::Endpoint`]'s.

use std::time::Duration;

use super::header::Head;
use super::lex;
use super::message::Message;
use crate::base::Mono;

/// A session shorter than this is refreshed and looked after as if it were this long, whatever a peer asks for.
const INTERVAL_MIN: Duration = Duration::from_secs(10);
/// A failed refresh is not tried again sooner.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Who has to refresh a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refresher {
    /// This endpoint.
    Us,
    /// The other end.
    Peer,
}

/// The two ends of one request, as `refresher` names them: not those of the dialog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Whoever sent the request.
    Uac,
    /// Whoever answers it.
    Uas,
}

impl Role {
    /// Its name in the header.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Role::Uac => "uac",
            Role::Uas => "uas",
        }
    }
}

/// A Session-Expires header (RFC 4028 section 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SessionExpires {
    /// The interval.
    pub(crate) seconds: u32,
    /// Who is to refresh, if it says so.
    pub(crate) refresher: Option<Role>,
}

impl SessionExpires {
    /// Reads the header; what is no positive number of seconds is none.
    pub(crate) fn read(head: &Head) -> Option<SessionExpires> {
        let value = head.header("Session-Expires")?;
        let (seconds, params) = lex::split_once_outside(&value, b';');
        let seconds = seconds.trim().parse().ok().filter(|seconds| *seconds > 0)?;
        let refresher = lex::param(params.unwrap_or(""), "refresher");
        let role = |name: &str| {
            [Role::Uac, Role::Uas].into_iter().find(|role| name.eq_ignore_ascii_case(role.as_str()))
        };
        Some(SessionExpires { seconds, refresher: refresher.and_then(role) })
    }
}

/// What a request says about timers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Wish {
    expires: Option<SessionExpires>,
    /// The peer speaks RFC 4028 itself; a Session-Expires without this was put in by a proxy or a sloppy client.
    supports: bool,
}

/// What our 2xx says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Terms {
    pub(crate) seconds: u32,
    pub(crate) refresher: Role,
    /// `Require: timer` (RFC 4028 section 9).
    pub(crate) require: bool,
    /// Whether it is said at all: not to a peer that neither asked nor knows the header.
    pub(crate) said: bool,
}

impl Wish {
    /// Reads a request.
    pub(crate) fn of(request: &Message) -> Wish {
        let supports = request.lists("Supported", "timer") || request.lists("Require", "timer");
        Wish { expires: SessionExpires::read(request), supports }
    }

    /// What we answer (RFC 4028 section 9 and its table 2). A request that does not mention a timer that runs leaves it as it is, as
    /// far as that can be: many clients forget it in what they only mean as a hold.
    pub(crate) fn answer(&self, running: Option<&SessionTimer>) -> Option<Terms> {
        let Some(asked) = self.expires else {
            let running = running?;
            let refresher = if running.refresher == Refresher::Us { Role::Uas } else { Role::Uac };
            // One that we could not tell the peer to go on refreshing is switched off.
            let goes_on = self.supports || refresher == Role::Uas;
            let (seconds, require) = (running.seconds, self.supports);
            return goes_on.then_some(Terms { seconds, refresher, require, said: self.supports });
        };
        let able = if self.supports { Role::Uac } else { Role::Uas };
        let refresher = asked.refresher.unwrap_or(able);
        let require = self.supports || refresher == Role::Uac;
        Some(Terms { seconds: asked.seconds, refresher, require, said: true })
    }
}

/// A session timer that runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SessionTimer {
    pub(crate) seconds: u32,
    pub(crate) refresher: Refresher,
    /// When the session runs out unless it is refreshed.
    pub(crate) expires: Mono,
    /// When we refresh it next, if that is for us to do.
    refresh: Mono,
}

/// What a session timer asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lapse {
    /// Refresh it.
    Refresh,
    /// It has run out.
    Expired,
}

impl SessionTimer {
    /// Agreed or refreshed at `now`. The refresher's turn comes at half time (RFC 4028 section 7.2).
    pub(crate) fn start(now: Mono, seconds: u32, refresher: Refresher) -> SessionTimer {
        let interval = interval(seconds);
        SessionTimer { seconds, refresher, expires: now + interval, refresh: now + interval / 2 }
    }

    /// How long a session lasts without a refresh.
    pub(crate) fn interval(&self) -> Duration {
        interval(self.seconds)
    }

    /// When something is due next.
    pub(crate) fn deadline(&self) -> Mono {
        match self.refresher {
            Refresher::Us => self.refresh.min(self.expires),
            Refresher::Peer => self.expires,
        }
    }

    /// What is due at `now`. Until a refresh succeeds, each is tried again at half of the time that is left; a session that has run out
    /// runs out again after every further interval.
    pub(crate) fn fire(&mut self, now: Mono) -> Option<Lapse> {
        if self.expires <= now {
            *self = SessionTimer::start(now, self.seconds, self.refresher);
            return Some(Lapse::Expired);
        }
        if self.refresher == Refresher::Peer || self.refresh > now {
            return None;
        }
        self.refresh = now + (self.expires.since(now) / 2).max(RETRY_MIN);
        Some(Lapse::Refresh)
    }

    /// Has the next refresh tried `after` this long, if the session lasts until then.
    pub(crate) fn retry(&mut self, now: Mono, after: Duration) {
        self.refresh = now + after;
    }
}

fn interval(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into()).max(INTERVAL_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(headers: &str) -> Wish {
        let text = format!(
            "INVITE sip:h SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\nFrom: <sip:a@h>;tag=1\nTo: <sip:h>\nCall-ID: c\n\
             CSeq: 1 INVITE\n{headers}\n\n"
        );
        Wish::of(&Message::parse_datagram(text.as_bytes()).unwrap())
    }

    /// Session-Expires and Require as they are said in the 2xx, or nothing.
    fn said(headers: &str, running: Option<Refresher>) -> String {
        let running = running.map(|refresher| SessionTimer::start(Mono(0), 600, refresher));
        wish(headers).answer(running.as_ref()).filter(|terms| terms.said).map_or_else(String::new, |terms| {
            format!(
                "{} {}{}",
                terms.seconds,
                terms.refresher.as_str(),
                if terms.require { " timer" } else { "" }
            )
        })
    }

    #[test]
    fn every_mixture_of_headers_has_its_answer() {
        for (headers, answer) in [
            ("Supported: timer\nSession-Expires: 1800", "1800 uac timer"),
            ("k: timer, 100rel\nx: 1800;refresher=uac", "1800 uac timer"),
            ("Supported: timer\nSession-Expires: 1800 ; Refresher = UAS\nMin-SE: 90", "1800 uas timer"),
            ("Require: siprec, timer\nSession-Expires: 35;refresher=uac", "35 uac timer"),
            ("Session-Expires: 1800", "1800 uas"),
            ("Supported: siprec\nSession-Expires: 1800;refresher=uas", "1800 uas"),
            ("Session-Expires: 1800;refresher=uac", "1800 uac timer"),
            ("Supported: timer\nSession-Expires: 600;refresher=both", "600 uac timer"),
            ("Supported: timer\nMin-SE: 90", ""),
            ("Supported: timer", ""),
            ("Session-Expires: never", ""),
            ("Session-Expires: 0", ""),
            ("Session-Expires:", ""),
        ] {
            assert_eq!(said(headers, None), answer, "{headers}");
        }
    }

    #[test]
    fn a_request_that_forgets_the_timer_leaves_it_running_where_the_peer_can_be_told() {
        assert_eq!(said("Supported: timer", Some(Refresher::Peer)), "600 uac timer");
        assert_eq!(said("Supported: timer", Some(Refresher::Us)), "600 uas timer");
        let timer = |refresher| SessionTimer::start(Mono(0), 600, refresher);
        let silent = wish("").answer(Some(&timer(Refresher::Us))).unwrap();
        assert!(!silent.said && silent.refresher == Role::Uas);
        assert_eq!(wish("").answer(Some(&timer(Refresher::Peer))), None);
    }

    #[test]
    fn we_refresh_at_half_time_and_harder_as_the_end_comes_near() {
        let mut timer = SessionTimer::start(Mono(0), 800, Refresher::Us);
        let mut due = Vec::new();
        while due.last().is_none_or(|(_, lapse)| *lapse == Lapse::Refresh) {
            let at = timer.deadline();
            due.extend(timer.fire(at).map(|lapse| (at.0 / 1_000_000_000, lapse)));
        }
        let refreshes: Vec<_> = due.iter().map(|(at, _)| *at).collect();
        assert_eq!(refreshes, [400, 600, 700, 750, 775, 787, 793, 796, 798, 799, 800]);
        assert_eq!(timer.deadline(), Mono::from_ms(1_200_000));
    }

    #[test]
    fn a_session_that_the_peer_refreshes_only_runs_out_and_does_so_again() {
        let mut timer = SessionTimer::start(Mono(0), 90, Refresher::Peer);
        assert_eq!((timer.deadline(), timer.fire(Mono::from_ms(89_999))), (Mono::from_ms(90_000), None));
        assert_eq!(timer.fire(Mono::from_ms(90_000)), Some(Lapse::Expired));
        assert_eq!(timer.deadline(), Mono::from_ms(180_000));
        assert_eq!(SessionTimer::start(Mono(0), 1, Refresher::Peer).deadline(), Mono::from_ms(10_000));
        assert!(
            SessionTimer::start(Mono(u64::MAX - 5), u32::MAX, Refresher::Us).deadline() <= Mono(u64::MAX)
        );
    }
}
