//! Figures against sums done by hand, and what has to hold for every demand.

use proptest::prelude::*;

use super::*;

fn asked() -> Asked<'static> {
    Asked {
        calls: 10_000,
        minutes: 5.0,
        codec: "pcmu",
        tracks: 2,
        ptime_ms: 20,
        retention: "90d",
        calls_per_day: None,
    }
}

fn report(asked: &Asked<'_>, coefficients: &Coefficients) -> Report {
    size(&Demand::check(asked).unwrap(), &coefficients.basis(), &Prices::built_in(), 0)
}

fn assumed(asked: &Asked<'_>) -> Report {
    report(asked, &Coefficients::default())
}

/// Equal but for the last digits.
fn close(report: &Report, name: &str, by_hand: f64) {
    let value = report.value(name);
    assert!((value - by_hand).abs() <= by_hand.abs() * 1e-9, "{name}: {value}, by hand {by_hand}");
}

#[test]
fn ten_thousand_calls_come_to_what_they_do_by_hand() {
    let report = assumed(&asked());
    // 20,000 streams: 50 RTP and a fifth of an RTCP packet per second each.
    close(&report, "packets received", 1_004_000.0);
    close(&report, "packets sent", 4_000.0);
    // 160 + 12 + 8 + 20 + 14 + 4 + 20 = 238 bytes; RTCP 28 + 32 + 28 + 38 = 126.
    close(&report, "bandwidth received", (1e6 * 238.0 + 4e3 * 126.0) * 8.0 / 1e9);
    close(&report, "network card", 10.0);
    close(&report, "calls begun", 10_000.0 / 300.0);
    // 20,000 and those that rest: 33.3 calls x 2 streams x 2 s.
    close(&report, "port pairs", 20_134.0);
    close(&report, "addresses", 1.0);
    close(&report, "open files: sockets", 70_000.0);
    // 2 x 8,000 x 300 = 4,800,000 bytes in frames of 4,080: 1,177 of them; block 0, frame 0, the final tag.
    close(&report, "bytes of one call", 1177.0 * 4096.0 + 8192.0 + 16.0);
    // 120,000 calls in the busiest hour, which is 12 % of the day.
    close(&report, "calls per day", 1_000_000.0);
    close(&report, "stored per day", (4_829_200.0 + 16_384.0) / 1000.0);
    close(&report, "stored in all", (4_829_200.0 + 16_384.0) / 1000.0 * 90.0);
    close(&report, "objects in all", 180_000_000.0);
    close(&report, "PUT requests", 2_000_000.0);
    close(&report, "read again", 10_000.0 / 300.0 * 4.829_2);
    // A block of 4 frames is written in two goes: 16,000 / 4,080 frames per second and call, 2 each.
    close(&report, "writes", 10_000.0 * 16_000.0 / 4_080.0 / 2.0 + 10_000.0 / 300.0 * 5.0);
}

#[test]
fn measured_coefficients_count_and_say_so() {
    let text = r#"{"plan":"capacity","coefficients":{"machine":"lab 3","shard_ns_per_packet":{"sockets":700},
        "softirq_ns_per_packet":{"sockets":350},"control_us_per_call":210,"pool_us_per_call":1000,"user_bytes_per_call":65536}}"#;
    let coefficients = Coefficients::from_report(text).unwrap();
    let report = report(&asked(), &coefficients);
    // 1,004,000 x 700 ns = 0.7028 cores, 70 % busy: 1.004.
    close(&report, "shards: sockets", 2.0);
    close(&report, "interrupts: sockets", 1.004 * 0.35 / 0.7);
    close(&report, "control", 10_000.0 / 300.0 * 210e-6 / 0.7);
    close(&report, "all: sockets", 2.0 + 1.0 + 1.0);
    close(&report, "calls", 10_000.0 * 65_536.0 / f64::from(1 << 30));
    let grade = |name: &str| {
        report
            .groups
            .iter()
            .flat_map(|group| &group.figures)
            .find(|figure| figure.name == name)
            .unwrap()
            .grade
    };
    assert_eq!(grade("shards: sockets"), Grade::Measured);
    assert_eq!(grade("all: sockets"), Grade::Measured);
    assert_eq!(grade("shards: packet"), Grade::Assumed);
    assert_eq!(grade("packets received"), Grade::Exact);
    assert!(report.measured.contains("lab 3"));
    // A report as loadtest writes it is read back as it was.
    let again = Coefficients::from_report(&serde_json::to_string(&coefficients).unwrap()).unwrap();
    assert_eq!(again, coefficients);
}

#[test]
fn costs_are_amounts_times_prices() {
    let text = include_str!("../../tuning/prices.toml").replace("object_gb = 0.023", "object_gb = 0.5");
    let prices = Prices::read(&text).unwrap();
    let demand = Demand::check(&Asked { calls_per_day: Some(100_000), retention: "30d", ..asked() }).unwrap();
    let report = size(&demand, &Coefficients::default().basis(), &prices, 2);
    let item = |what: &str| report.cost.items.iter().find(|item| item.what == what).unwrap().monthly;
    let stored = 100_000.0 * 30.0 * 4_845_584.0 / 1e9;
    assert!((item("object storage") - stored * 0.5).abs() < 1e-3, "{}", item("object storage"));
    assert!((item("cores") - report.value("all: packet") * 37.5).abs() < 1e-9);
    assert!((item("PUT requests") - 200.0 * 365.0 / 12.0 * 0.005).abs() < 1e-9);
    let sum: f64 = report.cost.items.iter().map(|item| item.monthly).sum();
    assert!((report.cost.total - sum).abs() < 1e-9);
    // 100,000 calls of 5 minutes on 365 / 12 days.
    assert!((report.cost.per_1000_minutes - sum / (500_000.0 * 365.0 / 12.0) * 1000.0).abs() < 1e-9);
}

#[test]
fn more_than_an_address_or_a_control_core_is_remarked_on() {
    let many = assumed(&Asked { calls: 100_000, minutes: 0.5, ..asked() });
    assert!(many.value("addresses") >= 7.0 && many.value("control") > 1.0);
    let said = many.remarks.join(" ");
    assert!(said.contains("each with an address of its own") && said.contains("control core"), "{said}");
    assert!(!assumed(&asked()).remarks.join(" ").contains("address"));
}

#[test]
fn what_makes_no_sense_is_said_to_make_none() {
    for (asked, why) in [
        (Asked { calls: 0, ..asked() }, "--calls"),
        (Asked { calls: u64::MAX, ..asked() }, "--calls"),
        (Asked { minutes: 0.0, ..asked() }, "--minutes"),
        (Asked { minutes: f64::NAN, ..asked() }, "--minutes"),
        (Asked { minutes: 1e9, ..asked() }, "--minutes"),
        (Asked { codec: "opus", ..asked() }, "not recorded yet"),
        (Asked { tracks: 0, ..asked() }, "--tracks"),
        (Asked { tracks: 9, ..asked() }, "--tracks"),
        (Asked { ptime_ms: 21, ..asked() }, "--ptime"),
        (Asked { calls_per_day: Some(0), ..asked() }, "--calls-per-day"),
        (Asked { calls_per_day: Some(u64::MAX), ..asked() }, "--calls-per-day"),
        (Asked { calls_per_day: Some(3_000_000), ..asked() }, "24 hours"),
    ] {
        let said = Demand::check(&asked).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
    for retention in ["", "90", "0d", "d", "-1d", "1.5d", "5000000000d", "101y", "4294967295w", "90µ"] {
        let said = retention_days(retention).unwrap_err().to_string();
        assert!(said.starts_with("--retention"), "{retention}: {said}");
    }
    assert_eq!(["1d", "12w", "7y"].map(|text| retention_days(text).unwrap()), [1, 84, 2555]);
}

#[test]
fn reports_and_prices_that_make_no_sense_are_refused() {
    for (text, why) in [
        ("", "is not JSON"),
        ("{}", "has no coefficients"),
        (r#"{"coefficients":{"shard_ns":5}}"#, "unknown field"),
        (r#"{"coefficients":{"control_us_per_call":-1}}"#, "can't be"),
        (r#"{"coefficients":{"shard_ns_per_packet":{"steered":1e300}}}"#, "shard_ns_per_packet"),
        (r#"{"steps":[]}"#, "if the recorder has told"),
    ] {
        let said = Coefficients::from_report(text).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    let built_in = include_str!("../../tuning/prices.toml");
    assert_eq!(Prices::read(built_in).unwrap(), Prices::built_in());
    assert!(Prices::read(&built_in.replace("37.50", "-1")).unwrap_err().contains("core"));
    assert!(Prices::read("currency = 1").is_err());
}

#[test]
fn the_page_is_whole_and_shows_every_figure() {
    let report = assumed(&asked());
    let html = page(&report);
    assert_eq!(html.matches("<svg ").count(), 3);
    assert_eq!(html.matches("</svg>").count(), 3);
    for figure in report.groups.iter().flat_map(|group| &group.figures) {
        assert!(html.contains(&svg::escape(&figure.name)), "{}", figure.name);
    }
    assert!(!html.contains("NaN") && !html.contains("inf"));
    assert_eq!(report.growth.len(), 25);
    assert_eq!(report.growth[0].1, 0.0);
    assert_eq!(report.growth[12].1, report.growth[24].1, "after the retention it stays as it is");
}

prop_compose! {
    fn demands()(
        calls in 1u64..=200_000, minutes in 0.05f64..=600.0, tracks in 1u32..=8, ptime in 0usize..5, days in 1u32..=4000,
    ) -> Demand {
        let asked = Asked {
            calls, minutes, codec: "PCMA", tracks, ptime_ms: [10, 20, 30, 40, 60][ptime], retention: &format!("{days}d"), calls_per_day: None,
        };
        Demand::check(&asked).unwrap()
    }
}

proptest! {
    /// More of anything never needs less of anything; and every figure is a number.
    #[test]
    fn more_calls_tracks_or_days_never_need_less(demand in demands(), more in 1u64..100_000) {
        let basis = Coefficients::default().basis();
        let of = |demand: &Demand| size(demand, &basis, &Prices::built_in(), 0);
        let less = of(&demand);
        for larger in [
            Demand { calls: demand.calls + more, ..demand },
            Demand { tracks: (demand.tracks + 1).min(8), ..demand },
            Demand { retention_days: demand.retention_days + more as u32, ..demand },
        ] {
            let report = of(&larger);
            for (a, b) in less.groups.iter().zip(&report.groups).flat_map(|(a, b)| a.figures.iter().zip(&b.figures)) {
                prop_assert_eq!(&a.name, &b.name);
                prop_assert!(a.value.is_finite() && a.value >= 0.0, "{}: {}", a.name, a.value);
                // More tracks fill frames faster, so that a write may take more of them together.
                let falls = larger.tracks > demand.tracks && ["writes", "operations"].contains(&a.name.as_str());
                prop_assert!(falls || b.value >= a.value * (1.0 - 1e-12), "{}: {} then {}", a.name, a.value, b.value);
            }
            let falls = larger.tracks > demand.tracks;
            prop_assert!(falls || report.cost.total >= less.cost.total * (1.0 - 1e-12));
        }
    }

    /// Names are unique, so that a figure found by name is the one meant.
    #[test]
    fn figures_have_names_of_their_own(demand in demands()) {
        let report = size(&demand, &Coefficients::default().basis(), &Prices::built_in(), 1);
        let mut names: Vec<&str> = report.groups.iter().flat_map(|group| &group.figures).map(|figure| figure.name.as_str()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), all);
    }
}
