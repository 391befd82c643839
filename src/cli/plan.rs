//! `tapehead plan`: what so many calls need of machines, networks, disks and money.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::exit::Exit;
use super::output;
use crate::sizing::{Asked, Coefficients, Demand, Prices, Report, TIERS, number, page, size};

/// Longest report or price list that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Arguments of `plan`.
#[derive(clap::Args)]
#[command(after_help = "\
Each figure says whether it is exact (format, protocols), measured (the report given) or assumed. Prices: copy tuning/prices.toml.")]
pub struct Args {
    /// Calls at once in the busiest hour
    #[arg(long)]
    calls: u64,
    /// Mean length of a call, in minutes
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// pcmu or pcma
    #[arg(long, default_value = "pcmu")]
    codec: String,
    /// Streams per call
    #[arg(long, default_value_t = 2)]
    tracks: u32,
    /// Milliseconds of audio per packet
    #[arg(long, default_value_t = 20)]
    ptime: u32,
    /// How long recordings are kept: 90d, 12w, 7y
    #[arg(long, default_value = "90d")]
    retention: String,
    /// Calls of a day [default: those of the busiest hour are 12 % of them]
    #[arg(long)]
    calls_per_day: Option<u64>,
    /// The receive tier that costs are reckoned with
    #[arg(long, default_value = "sockets", value_parser = TIERS)]
    tier: String,
    /// A load report with coefficients measured on the machine in question
    #[arg(long, value_name = "FILE")]
    measured: Option<PathBuf>,
    /// A price list [default: the one built in]
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Print JSON
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Overwrite that page
    #[arg(long, requires = "html")]
    force: bool,
}

/// Sizes, and prints or writes the report.
pub fn run(args: Args) -> ExitCode {
    let report = match plan(&args) {
        Ok(report) => report,
        Err(why) => {
            eprintln!("tapehead: {why}");
            return Exit::Usage.into();
        }
    };
    if let Some(path) = &args.html {
        let written = output::create(path, args.force).and_then(|mut file| file.write_all(page(&report).as_bytes()));
        if let Err(why) = written {
            eprintln!("tapehead: {}: {why}", path.display());
            return Exit::Failed.into();
        }
    }
    let text = if args.json {
        serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
    } else {
        human(&report)
    };
    // A closed pipe is nobody's fault.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Exit::Ok.into()
}

fn plan(args: &Args) -> Result<Report, String> {
    let asked = Asked {
        calls: args.calls,
        minutes: args.minutes,
        codec: &args.codec,
        tracks: args.tracks,
        ptime_ms: args.ptime,
        retention: &args.retention,
        calls_per_day: args.calls_per_day,
    };
    let demand = Demand::check(&asked).map_err(|why| why.to_string())?;
    let coefficients = match &args.measured {
        None => Coefficients::default(),
        Some(path) => named(path, Coefficients::from_report)?,
    };
    let prices = args.prices.as_deref().map_or_else(|| Ok(Prices::built_in()), |path| named(path, Prices::read))?;
    let tier = TIERS.iter().position(|tier| *tier == args.tier).unwrap_or(0);
    Ok(size(&demand, &coefficients.basis(), &prices, tier))
}

/// What a file holds; an error names the file.
fn named<T>(path: &Path, read: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
    let name = path.display();
    let size = std::fs::metadata(path).map_err(|why| format!("{name}: {why}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{name} has {size} bytes: that is something else"));
    }
    let text = std::fs::read_to_string(path).map_err(|why| format!("{name}: {why}"))?;
    read(&text).map_err(|why| format!("{name} {why}"))
}

fn human(report: &Report) -> String {
    let mut out = format!("{}\ncoefficients: {}\n", report.demand, report.measured);
    for group in &report.groups {
        out += &format!("\n{}\n", group.title);
        for figure in &group.figures {
            let amount = format!("{} {}", number(figure.value), figure.unit);
            out += &format!("  {:<27}{amount:>22}  {:<9} {}\n", figure.name, figure.grade.word(), figure.how);
        }
    }
    let cost = &report.cost;
    out += &format!("\nCost per month with the {} tier ({}; {})\n", report.tier, cost.date, cost.source);
    for item in &cost.items {
        let amount = format!("{} {}", number(item.monthly), cost.currency);
        out += &format!("  {:<27}{amount:>22}  assumed   {}\n", item.what, item.how);
    }
    let total = format!("{} {}", number(cost.total), cost.currency);
    out += &format!("  {:<27}{total:>22}            {} per 1,000 minutes\n\n", "in all", number(cost.per_1000_minutes));
    report.remarks.iter().for_each(|remark| out += &format!("{remark}\n"));
    out
}
