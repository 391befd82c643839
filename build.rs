//! Tells the program which commit it is built from (`SOURCE_COMMIT`), for metrics and load reports. A builder without the repository sets it in the
//! environment; no name of a setting (`TAPEHEAD_...`), for Cargo hands it to tests. Leaves out builds for development: each commit would compile all
//! of them anew.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_COMMIT");
    let given = std::env::var("SOURCE_COMMIT").ok();
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let found = given.or_else(|| is_release.then(commit)?);
    println!("cargo:rustc-env=SOURCE_COMMIT={}", found.as_deref().unwrap_or("unknown"));
}

/// The commit, with `-dirty` if the source is another. What it follows from is watched.
fn commit() -> Option<String> {
    for watched in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={watched}");
    }
    println!("cargo:rerun-if-changed={}", git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    git(&["describe", "--always", "--dirty", "--exclude=*"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let told = Command::new("git").args(arguments).output().ok().filter(|told| told.status.success())?;
    String::from_utf8(told.stdout).ok().map(|text| text.trim().to_owned())
}
