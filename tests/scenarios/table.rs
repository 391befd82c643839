//! The table in `sipp-scenarios/README.md`, made from the expectations.

use std::fmt::Write;

use super::expectation::Scenario;

const BEGIN: &str = "<!-- made from the .toml files: WRITE_TABLE=1 cargo test --test scenarios table -->\n";
const END: &str = "<!-- end of the table -->\n";

/// The text with its table made anew.
pub fn renew(text: &str, scenarios: &[Scenario]) -> String {
    let (head, rest) = text.split_once(BEGIN).expect("the README marks where the table begins");
    let (_, tail) = rest.split_once(END).expect("the README marks where the table ends");
    let mut table = String::from("| scenario | imitates | what it does | interop |\n|---|---|---|---|\n");
    for one in scenarios {
        let items: Vec<String> = one.interop.iter().map(u8::to_string).collect();
        let by = if one.raw.is_some() { "raw" } else { "" };
        let sep = if by.is_empty() { "" } else { " " };
        let row =
            format!("| `{}`{sep}{by} | {} | {} | {} |", one.name, one.imitates, one.shows, items.join(", "));
        writeln!(table, "{row}").expect("a string takes it");
    }
    format!("{head}{BEGIN}{table}{END}{tail}")
}
