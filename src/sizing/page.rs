//! The report as one HTML page: tables, and plots as inline SVG. Needs nothing from anywhere.

use std::fmt::Write;

use super::coefficients::TIERS;
use super::figures::{Report, number};
use super::svg::{curve, escape, shares, stacks};

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:1000px;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .4rem}table{border-collapse:collapse;width:100%}\
td,th{padding:.25rem .6rem .25rem 0;border-bottom:1px solid #e5e5e5;text-align:left;vertical-align:top}\
td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}td.how{color:#666;font-size:.85rem}\
.g{font-size:.75rem;padding:.1rem .4rem;border-radius:.6rem}.exact{background:#e3ecf7}.measured{background:#dcf1e7}.assumed{background:#fdeccd}\
figure{margin:1rem 0}figcaption{font-weight:600}svg{max-width:100%;height:auto}";

/// The page.
pub fn page(report: &Report) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Tapehead: sizing</title><style>{STYLE}</style>\n<h1>Sizing</h1>\n<p>{}.<br>Coefficients: {}. Costs with the <b>{}</b> tier.</p>\n",
        escape(&report.demand),
        escape(&report.measured),
        report.tier
    );
    html += "<p><span class=\"g exact\">exact</span> follows from the format and the protocols; <span class=\"g measured\">measured</span> \
             by the report given; <span class=\"g assumed\">assumed</span> otherwise, as said beside it.</p>\n";
    if !report.remarks.is_empty() {
        let items: String =
            report.remarks.iter().map(|remark| format!("<li>{}</li>", escape(remark))).collect();
        html = html + "<ul>" + &items + "</ul>\n";
    }
    plots(&mut html, report);
    tables(&mut html, report);
    bill(&mut html, report);
    html + "</html>\n"
}

fn plots(html: &mut String, report: &Report) {
    let terabytes: Vec<(f64, f64)> = report.growth.iter().map(|(day, bytes)| (*day, bytes / 1e12)).collect();
    let bars: Vec<(&str, Vec<f64>)> = TIERS
        .iter()
        .map(|tier| {
            let of = |name: String| report.value(&name);
            let shards = of(format!("shards: {tier}"));
            let interrupts = of(format!("interrupts: {tier}"));
            (*tier, vec![shards, interrupts, report.value("control"), report.value("background pool")])
        })
        .collect();
    let rows: Vec<(&str, f64)> = report.cost.items.iter().map(|item| (item.what, item.monthly)).collect();
    let cores = ["shards", "interrupts", "control", "background pool"];
    for (caption, svg) in [
        ("Stored, day by day", curve("Storage over retention", &terabytes, "days", "TB")),
        ("Cores by receive tier", stacks("Cores by tier", &cores, &bars, "cores")),
        ("What a month costs", shares("Cost shares", &rows, &report.cost.currency)),
    ] {
        // A string always takes it; so below.
        let _ = writeln!(html, "<figure><figcaption>{caption}</figcaption>{svg}</figure>");
    }
}

fn tables(html: &mut String, report: &Report) {
    for group in &report.groups {
        let _ = writeln!(html, "<h2>{}</h2><table>", group.title);
        for figure in &group.figures {
            let _ = writeln!(
                html,
                "<tr><td>{}</td><td class=\"n\">{} {}</td><td><span class=\"g {3}\">{3}</span></td><td class=\"how\">{4}</td></tr>",
                escape(&figure.name),
                number(figure.value),
                figure.unit,
                figure.grade.word(),
                escape(&figure.how)
            );
        }
        *html += "</table>\n";
    }
}

fn bill(html: &mut String, report: &Report) {
    let cost = &report.cost;
    let _ = writeln!(html, "<h2>Cost per month</h2><table>");
    for item in &cost.items {
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td class=\"n\">{} {}</td><td class=\"how\">{}</td></tr>",
            item.what,
            number(item.monthly),
            escape(&cost.currency),
            escape(&item.how)
        );
    }
    let _ = writeln!(
        html,
        "<tr><th>in all</th><th class=\"n\">{} {}</th><td class=\"how\">{} per 1,000 minutes</td></tr></table>",
        number(cost.total),
        escape(&cost.currency),
        number(cost.per_1000_minutes)
    );
    let _ =
        writeln!(html, "<p class=\"how\">Prices as of {}: {}.</p>", escape(&cost.date), escape(&cost.source));
}
