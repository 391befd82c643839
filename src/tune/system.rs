//! The two programs that are asked on the machine itself: `nft`, and `systemctl` after units have changed.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

fn run(program: &str, arguments: &[&str]) -> Result<Output, String> {
    Command::new(program).args(arguments).output().map_err(|why| match why.kind() {
        ErrorKind::NotFound => format!("`{program}` is not installed"),
        _ => format!("`{program}` can't be run: {why}"),
    })
}

fn done(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = run(program, arguments)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{program} {}`: {}", arguments.join(" "), said.lines().next().unwrap_or("it failed").trim()))
}

/// Whether nftables has a table, named as `inet tapehead`. An error says why that can't be seen.
pub fn table_is_loaded(table: &str) -> Result<bool, String> {
    let mut arguments = vec!["list", "tables"];
    arguments.extend(table.split_whitespace().next());
    let output = run("nft", &arguments)?;
    if !output.status.success() {
        return Err("only root sees the tables of nftables".to_owned());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.lines().any(|line| line.trim() == format!("table {table}")))
}

/// Loads a file of nftables, whole or not at all.
pub fn load_table(file: &Path) -> Result<(), String> {
    done("nft", &["-f", &file.display().to_string()])
}

/// Deletes a table.
pub fn delete_table(table: &str) -> Result<(), String> {
    let mut arguments = vec!["delete", "table"];
    arguments.extend(table.split_whitespace());
    done("nft", &arguments)
}

/// Has systemd read its units again.
pub fn reload_units() -> Result<(), String> {
    done("systemctl", &["daemon-reload"])
}
