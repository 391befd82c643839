//! The flags of a run, and what they come to: a [`Plan`], over the one of a plan file if there is one.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use tapehead::keys::LocalKeys;

use crate::figures::Source;
use crate::plan::{Plan, Signalling, TlsFiles};
use crate::profile::{Codec, Dtx, GilbertElliott, Hold, Late, Profile, Reorder};
use crate::ramp::Distribution;
use crate::verify::{Verification, Verified};

/// A share: `0.01` or `1%`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Share, String> {
        let (number, of) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
        let share = number.trim().parse::<f64>().ok().map(|number| number / of);
        share
            .filter(|share| (0.0..=1.0).contains(share))
            .map(Share)
            .ok_or("a share is 0.01 or 1%, from 0 to 1".to_owned())
    }
}

/// A time: `90`, `90s`, `1.5m`, `2h`, `250ms`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = String;
    fn from_str(text: &str) -> Result<Time, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let seconds = match unit.trim() {
            "" | "s" => 1.0,
            "ms" => 0.001,
            "m" => 60.0,
            "h" => 3600.0,
            _ => f64::NAN,
        };
        let seconds = number.parse::<f64>().unwrap_or(f64::NAN) * seconds;
        if (0.0..1e9).contains(&seconds) {
            return Ok(Time(Duration::from_secs_f64(seconds)));
        }
        Err("a time is 90, 90s, 1.5m, 2h or 250ms".to_owned())
    }
}

impl Time {
    fn seconds(self) -> f64 {
        self.0.as_secs_f64()
    }

    fn ms(self) -> u32 {
        self.0.as_millis().min(u128::from(u32::MAX)) as u32
    }
}

/// Two or more values with commas between.
fn values<T: FromStr, const N: usize>(text: &str, what: &str) -> Result<[T; N], String> {
    let parts: Vec<T> = text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    let given = text.split(',').count();
    <[T; N]>::try_from(parts).ok().filter(|_| given == N).ok_or_else(|| format!("it is {what}"))
}

fn reorder(text: &str) -> Result<Reorder, String> {
    let (share, packets) = text.split_once(',').unwrap_or((text, "2"));
    let packets = packets.trim().parse().map_err(|_| "it is SHARE or SHARE,PACKETS, as in 2%,3")?;
    Ok(Reorder { share: share.parse::<Share>()?.0, packets })
}

fn burst(text: &str) -> Result<GilbertElliott, String> {
    let [Share(to_bad), Share(to_good), Share(loss_in_bad)] = values(
        text,
        "TO_BAD,TO_GOOD,LOSS: chances per packet to enter and to leave the bad state, and the loss in it, as in 0.5%,30%,80%",
    )?;
    Ok(GilbertElliott { to_bad, to_good, loss_in_bad, loss_in_good: 0.0 })
}

fn late(text: &str) -> Result<Late, String> {
    let (share, by) = text.split_once(',').ok_or("it is SHARE,TIME, as in 0.1%,500ms")?;
    Ok(Late { share: share.parse::<Share>()?.0, by_ms: by.parse::<Time>()?.ms() })
}

fn dtx(text: &str) -> Result<Dtx, String> {
    let [talk, silence]: [Time; 2] =
        values(text, "TALK,SILENCE: the mean length of each, as in 1200ms,1800ms")?;
    Ok(Dtx { talk_ms: talk.ms(), silence_ms: silence.ms(), comfort_noise: true })
}

fn hold(text: &str) -> Result<Hold, String> {
    let [after, lasts]: [Time; 2] =
        values(text, "AFTER,FOR: when a call is put on hold and for how long, as in 10s,5s")?;
    Ok(Hold { after_ms: after.ms(), for_ms: lasts.ms() })
}

/// Calls: how many, how they come and go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Calls")]
pub struct CallArgs {
    /// Calls at once [default: 10]
    #[arg(long, value_name = "N")]
    calls: Option<usize>,
    /// New calls per second while there are fewer than that [default: 10]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// For how long calls are begun and kept; then they are ended at the same rate [default: 30s]
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<Time>,
    /// Mean length of a call; one that ends is replaced by another [default: to the end of the run]
    #[arg(long, value_name = "TIME")]
    duration: Option<Time>,
    /// How lengths lie about their mean [default: fixed]
    #[arg(long, value_name = "SHAPE")]
    distribution: Option<Distribution>,
    /// So many calls altogether; the run ends with the last of them
    #[arg(long, value_name = "N")]
    total: Option<u64>,
    /// What all that is drawn is drawn from: the same seed makes the same calls [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Signalling.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Signalling")]
pub struct SipArgs {
    /// Over what [default: udp]
    #[arg(long, value_name = "TRANSPORT")]
    signalling: Option<Signalling>,
    /// Our own address [default: what the routing table chooses]
    #[arg(long, value_name = "IP")]
    local_ip: Option<IpAddr>,
    /// Our certificate (PEM), for TLS
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "tls_ca")]
    tls_certificate: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Who signs the recorder's certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_ca: Option<PathBuf>,
    /// The name in it, if that is not its address; `*` is any
    #[arg(long, value_name = "NAME", requires = "tls_certificate")]
    tls_name: Option<String>,
}

/// Media.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Media")]
pub struct MediaArgs {
    /// Streams of a call [default: 2]
    #[arg(long, value_name = "N")]
    tracks: Option<u32>,
    /// pcmu or pcma [default: pcmu]
    #[arg(long, value_name = "CODEC")]
    codec: Option<Codec>,
    /// Audio per packet, in milliseconds: 10, 20, 30, 40, 50 or 60 [default: 20]
    #[arg(long, value_name = "MS")]
    ptime: Option<u16>,
    /// Secure the media with this crypto suite, as in AES_CM_128_HMAC_SHA1_80 or AEAD_AES_256_GCM
    #[arg(long, value_name = "SUITE")]
    srtp: Option<String>,
    /// Threads that send [default: 1]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Sockets that each of them sends from [default: 4]
    #[arg(long, value_name = "N")]
    sockets: Option<usize>,
    /// Cores to pin them to, as in 2,3 [default: wherever the system puts them]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// How late the latest packet in a hundred may go out before the run proves nothing [default: 10ms]
    #[arg(long, value_name = "TIME")]
    late_max: Option<Time>,
}

/// What is wrong with streams.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Faults (all drawn from the seed)")]
pub struct FaultArgs {
    /// The share of calls that have these faults; the others have none [default: all]
    #[arg(long, value_name = "SHARE")]
    faulty: Option<Share>,
    /// Lose packets, each for itself
    #[arg(long, value_name = "SHARE")]
    loss: Option<Share>,
    /// Lose packets in bursts (Gilbert-Elliott): TO_BAD,TO_GOOD,LOSS per packet, as in 0.5%,30%,80%
    #[arg(long, value_name = "CHANCES", value_parser = burst)]
    burst_loss: Option<GilbertElliott>,
    /// Let packets be overtaken by up to 2 others, or by so many: 2%,3
    #[arg(long, value_name = "SHARE[,N]", value_parser = reorder)]
    reorder: Option<Reorder>,
    /// Send packets twice
    #[arg(long, value_name = "SHARE")]
    duplicate: Option<Share>,
    /// Delay each packet by 0 up to so many milliseconds
    #[arg(long, value_name = "MS")]
    jitter_ms: Option<u32>,
    /// Delay packets a lot: SHARE,TIME, as in 0.1%,500ms
    #[arg(long, value_name = "SHARE,TIME", value_parser = late)]
    late: Option<Late>,
    /// Let the streams' clocks run fast by so many millionths, or slow
    #[arg(long, value_name = "PPM", allow_negative_numbers = true)]
    drift_ppm: Option<f64>,
    /// Change the SSRC about this often
    #[arg(long, value_name = "TIME")]
    ssrc_change: Option<Time>,
    /// Let timestamps jump about this often
    #[arg(long, value_name = "TIME")]
    timestamp_jump: Option<Time>,
    /// Send nothing but comfort noise in silences: TALK,SILENCE, the mean length of each, as in 1200ms,1800ms
    #[arg(long, value_name = "TIME,TIME", value_parser = dtx)]
    dtx: Option<Dtx>,
    /// Put calls on hold: AFTER,FOR, as in 10s,5s
    #[arg(long, value_name = "TIME,TIME", value_parser = hold)]
    hold: Option<Hold>,
    /// Let streams begin up to so much later than their call
    #[arg(long, value_name = "TIME")]
    late_start: Option<Time>,
    /// Let clients vanish after so long: no packet and no BYE
    #[arg(long, value_name = "TIME")]
    vanish: Option<Time>,
    /// After so many packets a stranger sends what looks like the next
    #[arg(long, value_name = "SHARE")]
    wrong_source: Option<Share>,
}

/// What a run does.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// Where the recorder takes SIP
    #[arg(long, value_name = "IP:PORT")]
    pub target: Option<SocketAddr>,
    /// Read the run from this file; flags go before it
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    #[command(flatten)]
    calls: CallArgs,
    #[command(flatten)]
    sip: SipArgs,
    #[command(flatten)]
    media: MediaArgs,
    #[command(flatten)]
    faults: FaultArgs,
}

/// Where the recorder tells its figures.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The recorder's own figures")]
pub struct FigureArgs {
    /// Tapehead's control socket
    #[arg(long, value_name = "FILE", conflicts_with = "metrics")]
    control_socket: Option<PathBuf>,
    /// A metrics address in the format of Prometheus, as in http://127.0.0.1:9100/metrics
    #[arg(long, value_name = "URL")]
    metrics: Option<String>,
}

impl FigureArgs {
    /// The source asked for.
    pub fn source(self) -> Option<Source> {
        self.control_socket.map(Source::Control).or(self.metrics.map(Source::Http))
    }
}

/// What lets a run be verified at its end.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
#[command(next_help_heading = "Verification")]
pub struct VerifyArgs {
    /// Verify the recordings at the end; this is the recorder's folder of them
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,
    /// The recorder's master key file
    #[arg(long, value_name = "FILE", default_value = "tapehead.key")]
    key: PathBuf,
}

/// How long recordings may take to be complete after their calls.
const COMPLETE: Duration = Duration::from_secs(20);
/// What the recorder's reorder horizon is unless it is configured otherwise, in milliseconds.
const HORIZON_MS: u64 = 200;
/// How far tracks may lie from where they belong, in milliseconds.
const MISPLACED_MS: u64 = 40;

impl VerifyArgs {
    /// Whether there will be something to verify with, before anything is sent.
    pub fn check(&self) -> Result<(), String> {
        if self.recordings.is_some() {
            LocalKeys::open(&self.key).map_err(|why| why.to_string())?;
        }
        Ok(())
    }

    /// The verdict on the run in `folder`, if it is asked for.
    pub fn verify(&self, folder: &Path) -> Result<Option<Verified>, String> {
        let Some(recordings) = &self.recordings else { return Ok(None) };
        let keys = LocalKeys::open(&self.key).map_err(|why| why.to_string())?;
        let verification = Verification {
            recordings,
            run: folder,
            keys: &keys,
            wait: COMPLETE,
            horizon_ms: HORIZON_MS,
            misplaced_ms: MISPLACED_MS,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        };
        verification.verify().map(Some)
    }
}

fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

impl PlanArgs {
    /// The plan asked for.
    pub fn plan(self) -> Result<Plan, String> {
        let mut plan = self.plan.as_deref().map_or_else(|| Ok(Plan::default()), Plan::read)?;
        plan.target = self.target.or(plan.target);
        let PlanArgs { calls, sip, media, faults, .. } = self;
        set(&mut plan.calls, calls.calls);
        set(&mut plan.rate, calls.rate);
        set(&mut plan.for_s, calls.lasts.map(Time::seconds));
        plan.duration_s = calls.duration.map(Time::seconds).or(plan.duration_s);
        set(&mut plan.distribution, calls.distribution);
        plan.total = calls.total.or(plan.total);
        set(&mut plan.seed, calls.seed);
        set(&mut plan.signalling, sip.signalling);
        plan.local_ip = sip.local_ip.or(plan.local_ip);
        let tls = sip.tls_certificate.zip(sip.tls_key).zip(sip.tls_ca);
        let files = tls.map(|((certificate, key), ca)| TlsFiles { certificate, key, ca, name: sip.tls_name });
        plan.tls = files.or(plan.tls);
        set(&mut plan.tracks, media.tracks);
        plan.srtp = media.srtp.or(plan.srtp);
        set(&mut plan.threads, media.threads);
        set(&mut plan.sockets, media.sockets);
        set(&mut plan.cores, Some(media.cores).filter(|cores| !cores.is_empty()));
        set(&mut plan.late_ms_max, media.late_max.map(|time| time.seconds() * 1e3));
        if let Some(profiles) = faults.profiles() {
            plan.profiles = profiles;
        }
        for profile in &mut plan.profiles {
            set(&mut profile.codec, media.codec);
            set(&mut profile.ptime_ms, media.ptime);
        }
        plan.check()?;
        Ok(plan)
    }
}

impl FaultArgs {
    /// The profiles of calls with and without these faults; `None` if there is no fault.
    fn profiles(self) -> Option<Vec<Profile>> {
        let share = |given: Option<Share>| given.map_or(0.0, |share| share.0);
        let faulty = Profile {
            loss: share(self.loss),
            gilbert_elliott: self.burst_loss,
            reorder: self.reorder,
            duplicate: share(self.duplicate),
            jitter_ms: self.jitter_ms.unwrap_or(0),
            late: self.late,
            drift_ppm: self.drift_ppm.unwrap_or(0.0),
            ssrc_change_s: self.ssrc_change.map(Time::seconds),
            timestamp_jump_s: self.timestamp_jump.map(Time::seconds),
            dtx: self.dtx,
            hold: self.hold,
            late_start_ms: self.late_start.map_or(0, Time::ms),
            vanish_after_ms: self.vanish.map(Time::ms),
            wrong_source: share(self.wrong_source),
            ..Profile::default()
        };
        if faulty == Profile::default() {
            return None;
        }
        let of = self.faulty.map_or(1.0, |share| share.0);
        let faulty = Profile { name: "faulty".to_owned(), share: of, ..faulty };
        let clean = Profile { share: 1.0 - of, ..Profile::default() };
        Some(if of < 1.0 { vec![faulty, clean] } else { vec![faulty] })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        plan: PlanArgs,
    }

    fn plan(flags: &str) -> Result<Plan, String> {
        let line = Line::try_parse_from(["x"].into_iter().chain(flags.split_whitespace()))
            .map_err(|why| why.to_string())?;
        line.plan.plan()
    }

    #[test]
    fn shares_and_times_are_read_as_people_write_them() {
        let share = |text: &str| text.parse::<Share>().map(|share| share.0);
        assert_eq!((share("1%"), share("0.25"), share("100%")), (Ok(0.01), Ok(0.25), Ok(1.0)));
        assert!(["2", "101%", "x", "", "-1%"].iter().all(|text| share(text).is_err()));
        let time = |text: &str| text.parse::<Time>().map(|time| time.0.as_millis());
        assert_eq!(
            (time("90"), time("1.5m"), time("2h"), time("250ms")),
            (Ok(90_000), Ok(90_000), Ok(7_200_000), Ok(250))
        );
        assert!(["", "s", "5x", "-1s", "1e3"].iter().all(|text| time(text).is_err()));
    }

    #[test]
    fn every_flag_reaches_the_plan() {
        let all = plan(
            "--target 127.0.0.1:5060 --calls 5 --rate 2.5 --for 1m --duration 10s --distribution exponential --total 9 --seed 77 --signalling tcp \
             --local-ip 127.0.0.2 --tracks 3 --codec pcma --ptime 30 --srtp AEAD_AES_128_GCM --threads 2 --sockets 8 --cores 0,1 --late-max 20ms \
             --faulty 25% --loss 1% --burst-loss 0.5%,30%,80% --reorder 2%,3 --duplicate 1% --jitter-ms 30 --late 0.1%,500ms --drift-ppm -100 \
             --ssrc-change 30s --timestamp-jump 40s --dtx 1200ms,1.8s --hold 10s,5s --late-start 2s --vanish 1m --wrong-source 3%",
        )
        .unwrap();
        let faulty = Profile {
            name: "faulty".to_owned(),
            share: 0.25,
            codec: Codec::Pcma,
            ptime_ms: 30,
            loss: 0.01,
            gilbert_elliott: Some(GilbertElliott {
                to_bad: 0.005,
                to_good: 0.3,
                loss_in_bad: 0.8,
                loss_in_good: 0.0,
            }),
            reorder: Some(Reorder { share: 0.02, packets: 3 }),
            duplicate: 0.01,
            jitter_ms: 30,
            late: Some(Late { share: 0.001, by_ms: 500 }),
            drift_ppm: -100.0,
            ssrc_change_s: Some(30.0),
            timestamp_jump_s: Some(40.0),
            dtx: Some(Dtx { talk_ms: 1200, silence_ms: 1800, comfort_noise: true }),
            hold: Some(Hold { after_ms: 10_000, for_ms: 5_000 }),
            late_start_ms: 2000,
            vanish_after_ms: Some(60_000),
            wrong_source: 0.03,
        };
        let clean = Profile { share: 0.75, codec: Codec::Pcma, ptime_ms: 30, ..Profile::default() };
        let wanted = Plan {
            seed: 77,
            target: Some(([127, 0, 0, 1], 5060).into()),
            signalling: Signalling::Tcp,
            local_ip: Some([127, 0, 0, 2].into()),
            calls: 5,
            rate: 2.5,
            for_s: 60.0,
            total: Some(9),
            duration_s: Some(10.0),
            distribution: Distribution::Exponential,
            tracks: 3,
            srtp: Some("AEAD_AES_128_GCM".to_owned()),
            threads: 2,
            sockets: 8,
            cores: vec![0, 1],
            late_ms_max: 20.0,
            tls: None,
            profiles: vec![faulty, clean],
        };
        assert_eq!(all, wanted);
    }

    #[test]
    fn flags_go_before_the_plan_file_and_leave_its_rest_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        std::fs::write(&path, "calls = 7\nrate = 3.0\n[[profile]]\nname = 'a'\nloss = 0.5\n").unwrap();
        let read = plan(&format!("--plan {} --calls 8 --ptime 10", path.display())).unwrap();
        assert_eq!((read.calls, read.rate, read.profiles.len()), (8, 3.0, 1));
        assert_eq!((read.profiles[0].loss, read.profiles[0].ptime_ms), (0.5, 10));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (flags, named) in [
            ("--loss 2", "--loss"),
            ("--hold 5s", "--hold"),
            ("--burst-loss 1%,2%", "--burst-loss"),
            ("--ptime 25", "ptime_ms"),
            ("--signalling tls", "--tls-ca"),
            ("--tls-certificate x", "--tls-key"),
            ("--plan /nowhere/at/all", "/nowhere/at/all"),
        ] {
            assert!(plan(flags).unwrap_err().contains(named), "{flags}");
        }
    }
}
