//! What can be wrong with a stream: a profile of its codec and faults, as plan files hold it.
//!
//! Leaves out when which packet is hit: that is [`crate::schedule`], from the seed.

use serde::{Deserialize, Serialize};

use crate::signal::mix;

/// G.711's two laws.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// µ-law, payload type 0 (RFC 3551).
    #[default]
    Pcmu,
    /// A-law, payload type 8 (RFC 3551).
    Pcma,
}

impl Codec {
    /// The static payload type (RFC 3551 section 6).
    pub const fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
        }
    }

    /// Its name in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }
}

/// Loss in bursts (Gilbert 1960, Elliott 1963): two states, each with its own loss.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GilbertElliott {
    /// Chance per packet to go from good to bad.
    pub to_bad: f64,
    /// ... and back.
    pub to_good: f64,
    /// Loss in the bad state.
    #[serde(default = "one")]
    pub loss_in_bad: f64,
    /// Loss in the good state.
    #[serde(default)]
    pub loss_in_good: f64,
}

const fn one() -> f64 {
    1.0
}

/// Packets that others overtake.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reorder {
    /// Share of packets.
    pub share: f64,
    /// By so many at most; drawn from 1 on.
    #[serde(default = "two")]
    pub packets: u8,
}

const fn two() -> u8 {
    2
}

/// Packets that come very late, as after a change of route: beyond a recorder's horizon if so meant.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// Share of packets.
    pub share: f64,
    /// How late, in milliseconds.
    pub by_ms: u32,
}

/// Discontinuous transmission: talk and silence in turns, each drawn from half to one and a half times its mean.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dtx {
    /// Mean length of talk, in milliseconds.
    pub talk_ms: u32,
    /// Mean length of silence.
    pub silence_ms: u32,
    /// Comfort noise (RFC 3389) at the start of a silence and each 400 ms in it.
    #[serde(default)]
    pub comfort_noise: bool,
}

/// A hold of the whole call: nothing is sent for a while, and signalling says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// From so many milliseconds after the streams' start on ...
    pub after_ms: u32,
    /// ... for so long.
    pub for_ms: u32,
}

/// How the streams of a call behave. All shares are from 0 to 1; a member left out is a fault that does not happen.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// What reports call it.
    pub name: String,
    /// Weight among the profiles of a plan.
    pub share: f64,
    /// Codec of all tracks.
    pub codec: Codec,
    /// Audio per packet: 10, 20, 30, 40, 50 or 60 ms.
    pub ptime_ms: u16,
    /// Loss, each packet for itself.
    pub loss: f64,
    /// Loss in bursts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gilbert_elliott: Option<GilbertElliott>,
    /// Packets overtaken by others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Reorder>,
    /// Share of packets that are sent twice.
    pub duplicate: f64,
    /// Each packet is delayed by 0 up to so many milliseconds.
    pub jitter_ms: u32,
    /// Packets that come very late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late: Option<Late>,
    /// How much faster than 8,000 Hz the stream's clock runs, in millionths.
    pub drift_ppm: f64,
    /// Mean time between changes of the SSRC, in seconds: number and timestamp begin anew too, as when another device takes over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssrc_change_s: Option<f64>,
    /// Mean time between jumps of the RTP timestamp, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_jump_s: Option<f64>,
    /// Talk and silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtx: Option<Dtx>,
    /// Hold and resume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// A stream's first packet comes up to so many milliseconds after the call's media started, drawn per track.
    pub late_start_ms: u32,
    /// The client is gone after so many milliseconds of media: no packet and no word from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vanish_after_ms: Option<u32>,
    /// Share of packets after which a stranger sends one that looks like the next.
    pub wrong_source: f64,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            name: "clean".to_owned(),
            share: 1.0,
            codec: Codec::Pcmu,
            ptime_ms: 20,
            loss: 0.0,
            gilbert_elliott: None,
            reorder: None,
            duplicate: 0.0,
            jitter_ms: 0,
            late: None,
            drift_ppm: 0.0,
            ssrc_change_s: None,
            timestamp_jump_s: None,
            dtx: None,
            hold: None,
            late_start_ms: 0,
            vanish_after_ms: None,
            wrong_source: 0.0,
        }
    }
}

/// Longest delay of a packet: what a schedule keeps back is bounded by it.
pub const DELAY_MS_MAX: u32 = 5_000;
/// Shortest mean between two changes of a source.
const CHANGE_S_MIN: f64 = 0.1;

impl Profile {
    /// Audio of one packet, in samples.
    pub fn packet_samples(&self) -> u16 {
        self.ptime_ms.saturating_mul(8)
    }

    /// Whether every member is within its bounds; if not, which is not and what they are.
    pub fn check(&self) -> Result<(), String> {
        let fail = |what: &str| Err(format!("profile `{}`: {what}", self.name));
        if !(10..=60).contains(&self.ptime_ms) || !self.ptime_ms.is_multiple_of(10) {
            return fail("ptime_ms must be 10, 20, 30, 40, 50 or 60");
        }
        let burst = self.gilbert_elliott.map(|ge| [ge.to_bad, ge.to_good, ge.loss_in_bad, ge.loss_in_good]);
        let shares = [self.loss, self.duplicate, self.wrong_source].into_iter();
        let shares = shares.chain(burst.into_iter().flatten());
        let mut shares =
            shares.chain(self.reorder.map(|one| one.share)).chain(self.late.map(|one| one.share));
        if shares.any(|share| !(0.0..=1.0).contains(&share)) {
            return fail("shares and chances must be from 0 to 1");
        }
        if !(self.share.is_finite() && self.share >= 0.0) {
            return fail("share must be a number from 0 on");
        }
        if self.drift_ppm.is_nan() || self.drift_ppm.abs() > 50_000.0 {
            return fail("drift_ppm must be from -50000 to 50000");
        }
        if self.delay_ms_max() > u64::from(DELAY_MS_MAX) {
            return fail(&format!("jitter, reorder and late together must not exceed {DELAY_MS_MAX} ms"));
        }
        let mut changes = self.ssrc_change_s.into_iter().chain(self.timestamp_jump_s);
        if changes.any(|mean| !(CHANGE_S_MIN..=1e6).contains(&mean)) {
            return fail("ssrc_change_s and timestamp_jump_s must be from 0.1 to 1000000");
        }
        if self.dtx.is_some_and(|dtx| dtx.talk_ms < 100 || dtx.silence_ms < 100) {
            return fail("dtx.talk_ms and dtx.silence_ms must be at least 100");
        }
        if self.reorder.is_some_and(|reorder| reorder.packets == 0) {
            return fail("reorder.packets must be at least 1");
        }
        Ok(())
    }

    /// The longest that a packet is kept back, in milliseconds.
    pub fn delay_ms_max(&self) -> u64 {
        let reorder = self.reorder.map_or(0, |one| (u64::from(one.packets) + 1) * u64::from(self.ptime_ms));
        u64::from(self.jitter_ms) + reorder + self.late.map_or(0, |late| u64::from(late.by_ms))
    }
}

/// Which of `profiles` a call has, by their weights. `None` if there is none of any weight.
pub fn profile_of(profiles: &[Profile], seed: u64, call: u64) -> Option<&Profile> {
    let total: f64 = profiles.iter().map(|profile| profile.share).sum();
    let drawn = (mix(mix(seed ^ 0x7072_6f66_696c_6573) ^ call) >> 11) as f64 / (1u64 << 53) as f64 * total;
    let mut below = 0.0;
    let mut weighted = profiles.iter().filter(|profile| profile.share > 0.0).peekable();
    while let Some(profile) = weighted.next() {
        below += profile.share;
        if drawn < below || weighted.peek().is_none() {
            return Some(profile);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_from_what_it_was_written_as() {
        let text = "
            name = 'all'
            codec = 'pcma'
            loss = 0.01
            gilbert_elliott = { to_bad = 0.01, to_good = 0.3 }
            dtx = { talk_ms = 1200, silence_ms = 1800, comfort_noise = true }
            hold = { after_ms = 4000, for_ms = 2000 }
        ";
        let profile: Profile = toml::from_str(text).unwrap();
        assert_eq!((profile.codec, profile.ptime_ms, profile.loss), (Codec::Pcma, 20, 0.01));
        assert_eq!(profile.gilbert_elliott.map(|ge| ge.loss_in_bad), Some(1.0));
        profile.check().unwrap();
        assert_eq!(toml::from_str::<Profile>(&toml::to_string(&profile).unwrap()).unwrap(), profile);
        let json = serde_json::to_string(&profile).unwrap();
        assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
    }

    #[test]
    fn what_is_out_of_bounds_or_misspelt_is_refused_with_its_name() {
        for (text, named) in [
            ("ptime_ms = 25", "ptime_ms"),
            ("loss = 1.5", "from 0 to 1"),
            ("loss = nan", "from 0 to 1"),
            ("drift_ppm = 1e9", "drift_ppm"),
            ("late = { share = 0.1, by_ms = 99999 }", "5000 ms"),
            ("ssrc_change_s = 0.0", "ssrc_change_s"),
            ("dtx = { talk_ms = 1, silence_ms = 1000 }", "dtx"),
            ("reorder = { share = 0.1, packets = 0 }", "reorder"),
        ] {
            let profile: Profile = toml::from_str(text).unwrap();
            assert!(profile.check().unwrap_err().contains(named), "{text}");
        }
        assert!(toml::from_str::<Profile>("losss = 0.1").is_err());
    }

    #[test]
    fn calls_take_their_profiles_by_weight_and_always_the_same() {
        let of = |name: &str, share| Profile { name: name.to_owned(), share, ..Profile::default() };
        let profiles = [of("a", 3.0), of("none", 0.0), of("b", 1.0)];
        let count =
            |name| (0..40_000).filter(|call| profile_of(&profiles, 7, *call).unwrap().name == name).count();
        assert!((29_400..30_600).contains(&count("a")));
        assert_eq!(count("a") + count("b"), 40_000);
        assert_eq!(profile_of(&profiles[1..2], 7, 1), None);
    }
}
