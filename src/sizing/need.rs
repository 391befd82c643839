//! The arithmetic: from a demand and coefficients to what is needed.

use super::coefficients::{Basis, Known, TIERS};
use super::demand::{BUSY_HOUR_SHARE, Demand};
use super::figures::{Figure, Grade, Group, Report, number};
use super::prices::{Cost, CostItem, Prices};
use crate::limits::*;
use crate::media::{SAMPLE_RATE, SampleFormat};
use crate::recording::wav;
use crate::seal::AudioParams;

/// A core is planned to be this busy at most: bursts, cold caches and the next release fit into the rest.
const BUSY: f64 = 0.70;
/// A network card is planned to be this full at most.
const CARD_FULL: f64 = 0.60;
/// Card speeds in Gbit/s.
const CARDS: [f64; 6] = [1.0, 2.5, 10.0, 25.0, 40.0, 100.0];
/// RTP 12 (RFC 3550), UDP 8 (RFC 768), IPv4 20 (RFC 791); Ethernet 14 and FCS 4, preamble 8 and gap 12 (IEEE 802.3).
const PACKET_OVERHEAD: f64 = 12.0 + 8.0 + 20.0 + 14.0 + 4.0 + 8.0 + 12.0;
/// A report with a description on the wire: RTCP sender report 28, SDES with a name of 20; the headers as above less RTP's.
const RTCP_BYTES: f64 = 28.0 + 32.0 + PACKET_OVERHEAD - 12.0;
/// UDP ports of one address from 1024 on, in pairs.
const PAIRS_PER_ADDRESS: f64 = 32_256.0;
/// Writes of one call besides its audio: block 0, final frame, frame 0, two manifests (`shard::segment`, `store::finalise`).
const WRITES_PER_CALL: f64 = 5.0;
/// Syncs of one call: the segment's two and its folder; two manifests with their folders; the day's two folders.
const SYNCS_PER_CALL: f64 = 9.0;
/// What the kernel reads at once of a file that is read from end to end: its usual read-ahead.
const READ_BYTES: f64 = 128.0 * 1024.0;
/// Kernel memory of one small packet that waits in a socket, at worst.
const WAITING_BYTES: f64 = 2304.0;
/// For how long packets may wait for a stalled shard.
const STALL_SECONDS: f64 = 0.5;
/// Memory of a process before its first call: code, TLS, tables.
const PROCESS_BYTES: f64 = 64.0 * 1024.0 * 1024.0;
/// An object larger than this is uploaded in parts of this size.
const PART_BYTES: f64 = 64.0 * 1024.0 * 1024.0;
/// Days of a month: a year's twelfth.
const MONTH_DAYS: f64 = 365.0 / 12.0;
const GB: f64 = 1e9;
const GIB: f64 = (1u64 << 30) as f64;

/// What the demand comes to, before it is put into words.
struct Load {
    /// RTP packets per second.
    packets: f64,
    /// RTCP packets per second, each way.
    reports: f64,
    calls_per_second: f64,
    calls_per_day: f64,
    /// Bytes of a call's segment files.
    sealed_bytes: f64,
    segments: f64,
    /// Bytes of sealed audio per second, all calls.
    audio_rate: f64,
    /// Frames that one write takes together.
    frames_per_write: f64,
}

impl Load {
    fn of(demand: &Demand) -> Load {
        let params = AudioParams {
            format: SampleFormat::Mulaw,
            rate: SAMPLE_RATE,
            channels: demand.tracks as u16,
            start: 0,
        };
        let samples = (demand.minutes * 60.0 * f64::from(SAMPLE_RATE)).ceil() as u64;
        let frames = wav::frames(&params, samples);
        let segments = frames.div_ceil(u64::from(SEGMENT_FRAMES_MAX)).max(1);
        let bytes = segments * (AUDIO_OFFSET + TAG_BYTES as u64) + frames * FRAME_BYTES as u64;
        let frames_per_second = f64::from(demand.tracks) * f64::from(SAMPLE_RATE) / FRAME_PLAIN_BYTES as f64;
        // A write waits for a further frame for as long as a crash may not cost more than LOSS_AT_CRASH_MAX; the horizon is 200 ms by default.
        let patience = (LOSS_AT_CRASH_MAX - LOSS_AT_CRASH_MARGIN).as_secs_f64() - 0.2;
        let together = (patience * frames_per_second).floor().clamp(1.0, BLOCK_FRAMES as f64);
        let writes_per_block = (BLOCK_FRAMES as f64 / together).ceil();
        Load {
            packets: demand.streams() * 1000.0 / f64::from(demand.ptime_ms),
            reports: demand.streams() / RTCP_INTERVAL.as_secs_f64(),
            calls_per_second: demand.calls_per_second(),
            calls_per_day: demand.calls_of_a_day(),
            sealed_bytes: bytes as f64,
            segments: segments as f64,
            audio_rate: demand.calls as f64 * frames_per_second * FRAME_BYTES as f64,
            frames_per_write: BLOCK_FRAMES as f64 / writes_per_block,
        }
    }
}

/// Gathers figures of one group.
struct Page(Vec<Group>);

impl Page {
    fn group(&mut self, title: &'static str) {
        self.0.push(Group { title, figures: Vec::new() });
    }

    fn add(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        grade: Grade,
        how: impl Into<String>,
    ) {
        if let Some(group) = self.0.last_mut() {
            group.figures.push(Figure { name: name.into(), value, unit, grade, how: how.into() });
        }
    }
}

/// The weakest of several.
fn weakest(known: &[&Known]) -> Grade {
    known.iter().map(|known| known.grade).max().unwrap_or(Grade::Exact)
}

/// What `demand` needs. `tier` is the one that costs are reckoned with: an index of [`TIERS`].
pub fn size(demand: &Demand, basis: &Basis, prices: &Prices, tier: usize) -> Report {
    let load = Load::of(demand);
    let mut page = Page(Vec::new());
    traffic(&mut page, demand, &load);
    ports(&mut page, demand, &load);
    let cores = processors(&mut page, &load, basis);
    memory(&mut page, demand, &load, basis, cores.shards);
    disk(&mut page, demand, &load, basis);
    storage(&mut page, demand, &load, basis);
    let mut report = Report {
        demand: demand.to_string(),
        measured: if basis.machine.is_empty() { "no report given".to_owned() } else { basis.machine.clone() },
        tier: TIERS[tier],
        groups: page.0,
        cost: bill(prices, Vec::new(), 1.0),
        remarks: Vec::new(),
        growth: Vec::new(),
    };
    report.cost = cost(demand, &load, &report, prices, cores.total[tier]);
    report.growth = growth(demand, report.value("stored per day") * GB);
    report.remarks = remarks(demand, &report);
    report
}

fn traffic(page: &mut Page, demand: &Demand, load: &Load) {
    let payload = f64::from(SAMPLE_RATE) / 1000.0 * f64::from(demand.ptime_ms);
    let rate = load.packets * (payload + PACKET_OVERHEAD) + load.reports * RTCP_BYTES;
    let gigabits = rate * 8.0 / 1e9;
    page.group("Network");
    page.add(
        "packets received",
        load.packets + load.reports,
        "per second",
        Grade::Exact,
        "RTP by ptime, and a sender report per stream every 5 s",
    );
    page.add("bandwidth received", gigabits, "Gbit/s", Grade::Exact, format!("{} bytes per packet on the wire: payload, RTP, UDP, IPv4, Ethernet with preamble and gap; IPv6 has 20 more, SRTP 10 to 16", payload + PACKET_OVERHEAD));
    page.add(
        "packets sent",
        load.reports,
        "per second",
        Grade::Exact,
        "a receiver report per stream every 5 s",
    );
    let card = CARDS.iter().copied().find(|card| gigabits <= card * CARD_FULL);
    let (card, cards) = card.map_or((100.0, (gigabits / (100.0 * CARD_FULL)).ceil()), |card| (card, 1.0));
    page.add(
        "network card",
        card * cards,
        "Gbit/s",
        Grade::Assumed,
        format!("{cards} of {card} Gbit/s, at most 60 % full"),
    );
    page.add(
        "calls begun",
        load.calls_per_second,
        "per second",
        Grade::Exact,
        "calls at once over their length",
    );
}

fn ports(page: &mut Page, demand: &Demand, load: &Load) {
    let resting = load.calls_per_second * f64::from(demand.tracks) * PORT_REST.as_secs_f64();
    let pairs = (demand.streams() + resting).ceil();
    page.group("Ports and addresses");
    page.add(
        "port pairs",
        pairs,
        "pairs",
        Grade::Exact,
        "an even one for RTP and the next for RTCP, per stream; a freed pair rests for 2 s",
    );
    page.add("addresses", (pairs / PAIRS_PER_ADDRESS).ceil(), "addresses", Grade::Exact, "ports are numbers up to 65,535: 32,256 pairs from 1024 on, if all are reserved for this. A recorder has one address");
    let files = f64::from(FILES_PER_CALL) * demand.calls as f64;
    page.add(
        "open files: sockets",
        2.0 * demand.streams() + files,
        "descriptors",
        Grade::Exact,
        "two sockets per stream, up to three files per call",
    );
    page.add("open files: steered, packet", files, "descriptors", Grade::Exact, "up to three files per call");
}

/// What comes of the processors, for others to use.
struct Cores {
    shards: [f64; 3],
    total: [f64; 3],
}

fn processors(page: &mut Page, load: &Load, basis: &Basis) -> Cores {
    page.group("Cores");
    let packets = load.packets + load.reports;
    let control = load.calls_per_second * basis.control_us.value / 1e6 / BUSY;
    let pool = load.calls_per_second * basis.pool_us.value / 1e6 / BUSY;
    let mut cores = Cores { shards: [0.0; 3], total: [0.0; 3] };
    page.add(
        "control",
        control.max(0.01),
        "cores",
        basis.control_us.grade,
        format!(
            "{} µs per call ({}), 70 % busy; one recorder has one such core",
            number(basis.control_us.value),
            basis.control_us.source
        ),
    );
    page.add(
        "background pool",
        pool.max(0.01),
        "cores",
        basis.pool_us.grade,
        format!("{} µs per call ({}), 70 % busy", number(basis.pool_us.value), basis.pool_us.source),
    );
    for at in 0..TIERS.len() {
        (cores.shards[at], cores.total[at]) = tier_cores(page, at, packets, basis, control, pool);
    }
    cores
}

/// Shards, and all cores, with one tier.
fn tier_cores(
    page: &mut Page,
    at: usize,
    packets: f64,
    basis: &Basis,
    control: f64,
    pool: f64,
) -> (f64, f64) {
    let (tier, shard, softirq) = (TIERS[at], &basis.shard_ns[at], &basis.softirq_ns[at]);
    let shards = (packets * shard.value / 1e9 / BUSY).ceil().max(1.0);
    let interrupts = packets * softirq.value / 1e9 / BUSY;
    let total = shards + (interrupts + pool).ceil().max(1.0) + control.ceil().max(1.0);
    let how = |known: &Known| format!("{} ns per packet ({}), 70 % busy", number(known.value), known.source);
    page.add(format!("shards: {tier}"), shards, "cores", shard.grade, how(shard));
    page.add(format!("interrupts: {tier}"), interrupts, "cores", softirq.grade, how(softirq));
    let grade = weakest(&[shard, softirq, &basis.control_us, &basis.pool_us]);
    let how = "shards, control, and interrupts with the pool, each rounded up";
    page.add(format!("all: {tier}"), total, "cores", grade, how);
    (shards, total)
}

fn memory(page: &mut Page, demand: &Demand, load: &Load, basis: &Basis, shards: [f64; 3]) {
    page.group("Memory");
    // Measured with two tracks; a call of one is not taken for less.
    let user = demand.calls as f64 * basis.user_bytes.value * (f64::from(demand.tracks) / 2.0).max(1.0);
    let buffers = shards[0] * (RECEIVE_BUFFERS_MAX * RECEIVE_BUFFER_BYTES) as f64;
    let sockets = 2.0 * demand.streams() * basis.socket_bytes.value;
    let waiting = load.packets * STALL_SECONDS * WAITING_BYTES;
    page.add(
        "calls",
        user / GIB,
        "GiB",
        basis.user_bytes.grade,
        format!(
            "{} KiB per two-track call ({})",
            number(basis.user_bytes.value / 1024.0),
            basis.user_bytes.source
        ),
    );
    page.add("receive buffers", buffers / GIB, "GiB", Grade::Exact, "20 MiB per shard at most");
    page.add(
        "sockets in the kernel",
        sockets / GIB,
        "GiB",
        basis.socket_bytes.grade,
        format!(
            "{} KiB each ({}); `sockets` alone",
            number(basis.socket_bytes.value / 1024.0),
            basis.socket_bytes.source
        ),
    );
    page.add(
        "packets waiting in a stall",
        waiting / GIB,
        "GiB",
        Grade::Assumed,
        "half a second of packets, 2.3 KiB each at worst",
    );
    let all = user + buffers + sockets + waiting + PROCESS_BYTES;
    page.add(
        "all of it",
        all / GIB,
        "GiB",
        Grade::Assumed,
        "these, and 64 MiB for the process; files are written past the page cache",
    );
}

fn disk(page: &mut Page, demand: &Demand, load: &Load, basis: &Basis) {
    page.group("Disk");
    let amplification = &basis.amplification;
    let per_call = AUDIO_OFFSET as f64 + 2.0 * basis.manifest_bytes.value;
    let written = (load.audio_rate + load.calls_per_second * per_call) * amplification.value / 1e6;
    let read = load.calls_per_second * load.sealed_bytes;
    let grade = weakest(&[amplification, &basis.manifest_bytes]);
    let how = format!(
        "sealed frames of 4,096 bytes for 4,080 of audio, heads, manifests; times {} ({})",
        amplification.value, amplification.source
    );
    page.add("written", written, "MB/s", grade, how);
    let how = "each segment once, for the hash in its manifest";
    page.add("read again", read / 1e6, "MB/s", Grade::Exact, how);
    operations(page, load, read);
    let how = format!(
        "{} minutes: block 0, frame 0, whole frames and a final one, in {} files",
        demand.minutes, load.segments
    );
    page.add("bytes of one call", load.sealed_bytes, "bytes", Grade::Exact, how);
}

fn operations(page: &mut Page, load: &Load, read: f64) {
    let audio = load.audio_rate / FRAME_BYTES as f64 / load.frames_per_write;
    let writes = audio + load.calls_per_second * WRITES_PER_CALL;
    let syncs = load.calls_per_second * SYNCS_PER_CALL;
    let how = format!(
        "{} frames each: a block, or what a crash may not cost; counted in the source, not measured",
        load.frames_per_write
    );
    page.add("writes", writes, "per second", Grade::Assumed, how);
    page.add("syncs", syncs, "per second", Grade::Assumed, "9 per call, counted in the source");
    let how = "writes, syncs, and reads of 128 KiB";
    page.add("operations", writes + syncs + read / READ_BYTES, "per second", Grade::Assumed, how);
}

fn storage(page: &mut Page, demand: &Demand, load: &Load, basis: &Basis) {
    page.group("Storage");
    let days = f64::from(demand.retention_days);
    let given = demand.calls_per_day.is_some();
    let day_grade = if given { Grade::Exact } else { Grade::Assumed };
    let how = if given {
        "as given".to_owned()
    } else {
        format!(
            "{} % of them in the busiest hour, which has all calls at once throughout (--calls-per-day says otherwise)",
            BUSY_HOUR_SHARE * 100.0
        )
    };
    let per_call = load.sealed_bytes + basis.manifest_bytes.value;
    let grade = day_grade.max(basis.manifest_bytes.grade);
    let per_day = load.calls_per_day * per_call;
    let objects = load.calls_per_day * (load.segments + 1.0);
    page.add("calls per day", load.calls_per_day, "calls", day_grade, how);
    page.add(
        "stored per day",
        per_day / GB,
        "GB",
        grade,
        format!(
            "{} bytes per call: sealed audio, and a manifest of {} ({})",
            number(per_call),
            number(basis.manifest_bytes.value),
            basis.manifest_bytes.source
        ),
    );
    page.add("stored in all", per_day * days / GB, "GB", grade, format!("{days} days of it"));
    page.add("objects in all", objects * days, "objects", day_grade, "segments and a manifest per call");
    requests(page, load);
}

fn requests(page: &mut Page, load: &Load) {
    let objects = load.calls_per_day * (load.segments + 1.0);
    let parts = (load.sealed_bytes / load.segments / PART_BYTES).ceil();
    let puts = if parts > 1.0 { load.segments * (parts + 2.0) + 1.0 } else { load.segments + 1.0 };
    let note = "Upload is not part of this version: as it is meant to be";
    let how = format!("one per object, above 64 MiB one per part and two around them. {note}");
    page.add("PUT requests", load.calls_per_day * puts, "per day", Grade::Assumed, how);
    let how = format!("each object is read back before the local one goes. {note}");
    page.add("GET requests", objects, "per day", Grade::Assumed, how);
}

fn bill(prices: &Prices, items: Vec<CostItem>, minutes_per_month: f64) -> Cost {
    let total = items.iter().map(|item| item.monthly).sum();
    Cost {
        currency: prices.currency.clone(),
        date: prices.date.clone(),
        source: prices.source.clone(),
        items,
        total,
        per_1000_minutes: total / minutes_per_month * 1000.0,
        grade: Grade::Assumed,
    }
}

fn cost(demand: &Demand, load: &Load, report: &Report, prices: &Prices, cores: f64) -> Cost {
    let item = |what, amount: f64, unit: &str, price: f64| CostItem {
        what,
        monthly: amount * price,
        how: format!("{} {unit} at {price}", number(amount)),
    };
    let local = report.value("stored per day") * prices.local_days.min(f64::from(demand.retention_days));
    let iops = (report.value("operations") - prices.disk_iops_free).max(0.0);
    let speed = (report.value("written") + report.value("read again") - prices.disk_mb_s_free).max(0.0);
    let items = vec![
        item("cores", cores, "cores", prices.core),
        item("local disk: room", local, "GB", prices.disk_gb),
        item("local disk: operations", iops, "per second beyond what is free", prices.disk_iops),
        item("local disk: speed", speed, "MB/s beyond what is free", prices.disk_mb_s),
        item("object storage", report.value("stored in all"), "GB", prices.object_gb),
        item(
            "PUT requests",
            report.value("PUT requests") * MONTH_DAYS / 1000.0,
            "thousands",
            prices.put_1000,
        ),
        item(
            "GET requests",
            report.value("GET requests") * MONTH_DAYS / 1000.0,
            "thousands",
            prices.get_1000,
        ),
    ];
    bill(prices, items, load.calls_per_day * MONTH_DAYS * demand.minutes)
}

/// What is stored, day by day: it grows until the first day is deleted.
fn growth(demand: &Demand, per_day: f64) -> Vec<(f64, f64)> {
    let days = f64::from(demand.retention_days);
    let at = |step: u32| days * 2.0 * f64::from(step) / 24.0;
    (0..=24).map(|step| (at(step), at(step).min(days) * per_day)).collect()
}

fn remarks(demand: &Demand, report: &Report) -> Vec<String> {
    let mut remarks = Vec::new();
    let addresses = report.value("addresses");
    if addresses > 1.0 {
        remarks.push(format!("One address has ports for 32,256 streams: {addresses} recorders, each with an address of its own."));
    }
    let control = report.value("control");
    if control > 1.0 {
        remarks.push(format!(
            "One control core is not enough at {} calls per second: {} recorders.",
            number(report.value("calls begun")),
            control.ceil()
        ));
    }
    if demand.calls > u64::from(CALLS_MAX) {
        remarks.push(format!("One recorder holds at most {} calls.", number(f64::from(CALLS_MAX))));
    }
    let spread = report.value("shards: sockets");
    if spread > SHARDS_MAX as f64 {
        remarks.push(format!("One recorder has at most {SHARDS_MAX} shards."));
    }
    remarks.push("Nothing is set aside for the loss of a machine: plan one more than is needed.".to_owned());
    remarks
}
