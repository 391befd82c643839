//! The source rules as a test: layers, banned calls, file headers, lengths. Reads the tree's own text.
//!
//! Works on lines, not on syntax, because rustfmt fixes the shape of the lines. Test code (a file named `tests.rs` or
//! `*_tests.rs`, or what follows `#[cfg(test)]` to the end of a file) is free but for its header. Leaves out what
//! rustc and clippy enforce by themselves: `missing_docs`, `undocumented_unsafe_blocks`.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first. A module may use its own layer and those below. `link` stands among the cores because
/// its commands and events are plain words that cores speak.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &["limits", "base"]),
    (
        "cores",
        &[
            "rtp",
            "srtp",
            "sdp",
            "sip",
            "stun",
            "siprec",
            "media",
            "seal",
            "recording",
            "control",
            "sizing",
            "link",
        ],
    ),
    ("boundary", &["config", "sys", "ring"]),
    ("drivers", &["shard", "sip_net", "keys", "store", "admin", "recorder", "src_client", "tune", "doctor"]),
    ("simulator", &["sim"]),
    ("commands", &["cli", "demo", "manual", "lib", "main", "tidy"]),
];

/// Files that may use one module above them: the simulated ring stands on the simulated world.
const UP: &[(&str, &str)] = &[("ring/sim.rs", "sim")];

/// Modules that may hold `unsafe`.
const UNSAFE_IN: &[&str] = &["ring", "sys"];

/// Calls that a core must not make, with what to do instead.
const BANNED_IN_CORES: &[(&str, &str)] = &[
    ("std::fs", "take bytes; files belong to a driver"),
    ("std::thread", "threads belong to a driver"),
    ("std::env", "settings come in through `config`"),
    ("UdpSocket", "take datagrams; sockets belong to a driver"),
    ("TcpStream", "take bytes; sockets belong to a driver"),
    ("TcpListener", "take bytes; sockets belong to a driver"),
    ("tokio::", "cores are driven: `handle(input, now)`, then `poll()`"),
];

/// Calls banned everywhere but in the modules named, with what to use instead.
const BANNED: &[(&str, &[&str], &str)] = &[
    (
        "Instant::now",
        &["sys", "sip_net"],
        "take the instant as an argument, or read `sys::clock` in a driver",
    ),
    ("SystemTime::now", &["sys"], "take the instant as an argument, or read `sys::clock` in a driver"),
    ("println!", &["cli", "demo"], "log with `tracing`; only commands print"),
    ("process::exit", &["cli"], "return the failure, so that what is open gets closed"),
    (".unwrap()", &[], "say why it can't fail with `expect`, or return the error"),
    ("todo!", &[], "finish it, or return an error that says it is not there"),
    ("unimplemented!", &[], "finish it, or return an error that says it is not there"),
    ("dbg!", &[], "log with `tracing`"),
];

/// Lines of one file, without its tests, that still count as one subject.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function that fits in one look.
const FUNCTION_LINES: usize = 50;
/// No function is longer than this.
const FUNCTION_LINES_MAX: usize = 90;
/// The ratchet: how many functions are longer than [`FUNCTION_LINES`] today. Lower it when it falls; never raise it.
const LONG_FUNCTIONS: usize = 0;

struct Source {
    path: PathBuf,
    /// The top-level module: `sip` for `src/sip/uri.rs`.
    module: String,
    text: String,
    /// The lines in front of the tests, numbered from 1.
    product: Vec<String>,
}

impl Source {
    fn read(root: &Path, path: PathBuf) -> Source {
        let text = fs::read_to_string(&path).expect("sources are readable UTF-8");
        let relative = path.strip_prefix(root).expect("found below src").to_owned();
        let first = relative.components().next().expect("a file has a name").as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        let name = relative.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let all_tests = name == "tests.rs" || name.ends_with("_tests.rs") || module == "tidy";
        let in_product = |line: &&str| line.trim_end() != "#[cfg(test)]" && !all_tests;
        // `#[cfg(test)] mod x;` at the head of a file declares a test file; it does not end the product.
        let declares = |at: usize| {
            text.lines().nth(at + 1).is_some_and(|next| next.starts_with("mod ") && next.ends_with(';'))
        };
        let end = text.lines().enumerate().position(|(at, line)| !in_product(&line) && !declares(at));
        let product = text.lines().take(end.unwrap_or(usize::MAX)).map(str::to_owned).collect();
        Source { path: relative, module, text, product }
    }

    /// Product lines without comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.product.iter().enumerate().map(|(at, line)| (at + 1, line.as_str()));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn complaint(&self, line: usize, what: &str) -> String {
        format!("src/{}:{line}: {what}", self.path.display())
    }

    /// Name, first line and length of each function, by rustfmt's indentation.
    fn functions(&self) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for (number, line) in self.code() {
            let indent = line.len() - line.trim_start().len();
            let is_fn = line.trim_start().split('(').next().is_some_and(|head| {
                head.split(' ').rev().nth(1) == Some("fn") && !head.contains('"') && !head.contains("//")
            });
            if !is_fn || line.ends_with(';') || line.ends_with('}') {
                continue;
            }
            let close = format!("{}}}", " ".repeat(indent));
            let length = self.product[number - 1..].iter().position(|below| *below == close);
            found.extend(length.map(|length| (number, length + 1)));
        }
        found
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(end) if end == "rs" => found.push(Source::read(&root, path)),
                _ => (),
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 20, "the sources were found");
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, modules)| modules.contains(&module))
}

/// The modules named by `crate::module` in a line.
fn modules_used(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("crate::").filter_map(|(at, found)| {
        let rest = &line[at + found.len()..];
        let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        Some(&rest[..end]).filter(|name| layer(name).is_some())
    })
}

fn is_core(source: &Source) -> bool {
    layer(&source.module) == layer("sip")
}

fn layer_complaints(source: &Source) -> Vec<String> {
    let Some(own) = layer(&source.module) else {
        return vec![source.complaint(1, "the module is in no layer: add it to tidy.rs")];
    };
    if source.module == "lib" || source.module == "main" {
        return Vec::new();
    }
    let allowed = |name: &str| UP.iter().any(|(file, used)| source.path == Path::new(file) && *used == name);
    let up = |name: &str| layer(name).is_some_and(|layer| layer > own) && !allowed(name);
    let used = source.code().flat_map(|(number, line)| modules_used(line).map(move |name| (number, name)));
    used.filter(|(_, name)| up(name))
        .map(|(number, name)| {
            source
                .complaint(number, &format!("`{}` ({}) must not use `{name}`", source.module, LAYERS[own].0))
        })
        .collect()
}

fn call_complaints(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in source.code() {
        let is_unsafe = ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|word| line.contains(word));
        if is_unsafe && !UNSAFE_IN.contains(&source.module.as_str()) {
            complaints.push(source.complaint(number, "`unsafe` belongs in `ring` or `sys`"));
        }
        for (call, instead) in BANNED_IN_CORES {
            if is_core(source) && line.contains(call) {
                complaints.push(source.complaint(number, &format!("`{call}` in a core: {instead}")));
            }
        }
        for (call, allowed, instead) in BANNED {
            if line.contains(call) && !allowed.contains(&source.module.as_str()) {
                complaints.push(source.complaint(number, &format!("`{call}`: {instead}")));
            }
        }
    }
    complaints
}

fn none_of(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn dependencies_point_down_only() {
    none_of(sources().iter().flat_map(layer_complaints).collect());
}

#[test]
fn banned_calls_are_not_made() {
    none_of(sources().iter().flat_map(call_complaints).collect());
}

#[test]
fn every_file_says_what_it_is_for_and_stays_one_subject() {
    let mut complaints = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            complaints.push(source.complaint(1, "starts with no `//!`: say what it is for"));
        }
        if source.product.len() > FILE_LINES_MAX {
            let lines = source.product.len();
            complaints
                .push(source.complaint(lines, &format!("longer than {FILE_LINES_MAX} lines: split it")));
        }
    }
    none_of(complaints);
}

#[test]
fn functions_fit_in_one_look() {
    let mut long = Vec::new();
    let mut functions = 0;
    for source in sources() {
        for (line, length) in source.functions() {
            functions += 1;
            assert!(
                length <= FUNCTION_LINES_MAX,
                "{}",
                source.complaint(line, &format!("a function of {length} lines"))
            );
            if length > FUNCTION_LINES {
                long.push(source.complaint(line, &format!("{length} lines")));
            }
        }
    }
    assert!(functions > 50, "functions were found");
    assert_eq!(
        long.len(),
        LONG_FUNCTIONS,
        "functions over {FUNCTION_LINES} lines (if there are fewer now, lower the ratchet):\n{}",
        long.join("\n")
    );
}

#[test]
fn the_rules_see_what_they_forbid() {
    let source = |module: &str, code: &str| Source {
        path: PathBuf::from(format!("{module}/x.rs")),
        module: module.to_owned(),
        text: code.to_owned(),
        product: code.lines().map(str::to_owned).collect(),
    };
    assert_eq!(
        layer_complaints(&source("sip", "use crate::{\n    limits,\n};\nuse crate::shard::X;")).len(),
        1
    );
    assert_eq!(layer_complaints(&source("shard", "use crate::sip::X; // crate::cli")).len(), 1);
    assert_eq!(layer_complaints(&source("nowhere", "")).len(), 1);
    assert_eq!(
        call_complaints(&source("sip", "use std::fs;\nInstant::now();\n// println!\nx.unwrap()")).len(),
        3
    );
    assert_eq!(call_complaints(&source("sys", "let x = unsafe { y };\nInstant::now();")).len(), 0);
    let body = format!("impl X {{\n    pub fn long(\n    ) {{\n{}    }}\n}}", "        f(1);\n".repeat(60));
    assert_eq!(source("sip", &body).functions(), [(2, 63)]);
}

/// Text of every file below a folder of the repository that ends so.
fn texts(folder: &str, end: &str) -> String {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut all = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                all += &fs::read_to_string(&path).expect("sources are readable UTF-8");
            }
        }
    }
    all
}

/// The words in backticks of a cell.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_row_of_the_interoperability_table_names_code_and_proofs_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("src/manual/interop.rs")).expect("the table is there");
    let tests = texts("src", ".rs") + &texts("tests", ".rs");
    let is_proof = |name: &str| {
        let scenario = root.join("sipp-scenarios").join(name).with_extension("toml");
        scenario.is_file() || tests.contains(&format!("fn {name}("))
    };
    let mut next = 1;
    let mut complaints = Vec::new();
    for row in table.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let Ok(number) = cells[0].parse::<u32>() else { continue };
        let [_, _, places, proofs] = cells[..] else { panic!("row {number} has not four cells") };
        if number != next {
            complaints.push(format!("row {next} is missing in front of row {number}"));
        }
        next = number + 1;
        let places = quoted(places);
        let lost = places.iter().filter(|path| !root.join(path).exists());
        complaints.extend(lost.map(|path| format!("row {number}: there is no {path}")));
        let unproved = quoted(proofs);
        if places.is_empty() || unproved.is_empty() {
            complaints.push(format!("row {number} names no code or no proof"));
        }
        let unproved = unproved.into_iter().filter(|name| !is_proof(name));
        complaints.extend(unproved.map(|name| format!("row {number}: there is no test or scenario {name}")));
    }
    if next != 50 {
        complaints.push(format!("rows {next} to 49 are missing"));
    }
    none_of(complaints);
}
