//! Values with their sources: defaults, then the file, then the environment. Kinds and names are checked here, meaning in `plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::de::{DeTable, DeValue};

use super::settings::{
    Default, PEER_SETTINGS, SETTINGS, Setting, VARIABLE_PREFIX, Value, find, is_peer_name, nearest, peer_key,
    peer_of_variable, variable,
};

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nothing was said.
    Default,
    /// A line (from 1) of the configuration file.
    File(String, usize),
    /// An environment variable.
    Variable(String),
    /// The program itself (the demonstration, a test).
    Program,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(name, line) => write!(f, "{name}:{line}"),
            Source::Variable(name) => write!(f, "environment variable {name}"),
            Source::Program => f.write_str("set by the program"),
        }
    }
}

/// What is wrong with the configuration, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where it was said.
    pub source: Source,
    /// What is wrong and what to do, naming the key.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.what)
    }
}

/// Everything that is wrong, not only the first thing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// A value for each setting, with its source.
#[derive(Clone, Debug)]
pub struct Raw {
    values: BTreeMap<String, (Value, Source)>,
    peers: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl std::default::Default for Raw {
    fn default() -> Raw {
        let values = SETTINGS.iter().map(|s| (s.key.to_owned(), (s.default_value(), Source::Default)));
        Raw { values: values.collect(), peers: BTreeSet::new(), problems: Vec::new() }
    }
}

impl Raw {
    /// Takes in a TOML file's text; `name` is for messages.
    pub fn file(mut self, name: &str, text: &str) -> Raw {
        let line_of =
            |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
        let source = |at: usize| Source::File(name.to_owned(), line_of(at));
        match DeTable::parse(text) {
            Ok(table) => self.table("", table.get_ref(), &source),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                self.problem(source(at), format!("not TOML: {}", error.message()));
            }
        }
        self
    }

    /// Takes in a table: at the top, of settings, of peers, or of one peer.
    fn table(&mut self, prefix: &str, table: &DeTable<'_>, source: &dyn Fn(usize) -> Source) {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let source_here = source(name.span().start);
            match (find(&key), value.get_ref()) {
                (Some(setting), value) => match of_toml(setting, value) {
                    Some(value) => self.put(&key, value, source_here),
                    None => self.problem(
                        source_here,
                        format!("{key} takes {}, not {}", setting.kind(), value.type_str()),
                    ),
                },
                (None, DeValue::Table(inner)) if is_table(&key) || prefix == PEERS => {
                    if prefix == PEERS {
                        self.peer(name.get_ref(), source_here);
                    }
                    self.table(&format!("{key}."), inner, source);
                }
                (None, _) => {
                    let near = nearest(&key, self.keys().into_iter());
                    self.problem(source_here, unknown(&key, "a setting", near));
                }
            }
        }
    }

    /// Takes in the environment; of variables that are not ours nothing is looked at but the name.
    pub fn environment(mut self, variables: impl Iterator<Item = (String, String)>) -> Raw {
        for (name, text) in variables.filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)) {
            let source = Source::Variable(name.clone());
            let key = self.keys().into_iter().find(|key| variable(key) == name);
            match key.or_else(|| peer_of_variable(&name)) {
                Some(key) => self.text(&key, &text, source),
                None => {
                    let near = nearest(&name, self.keys().iter().map(|key| variable(key)));
                    self.problem(source, unknown(&name, "a variable of Tapehead", near));
                }
            }
        }
        self
    }

    /// Sets `key` from the program, written as in an environment variable.
    pub fn with(mut self, key: &str, text: &str) -> Raw {
        self.text(key, text, Source::Program);
        self
    }

    fn text(&mut self, key: &str, text: &str, source: Source) {
        let Some(setting) = find(key) else { return self.problem(source, unknown(key, "a setting", None)) };
        match of_text(setting, text) {
            Some(value) => self.put(key, value, source),
            None => self.problem(source, format!("{key} takes {}, not {text:?}", setting.kind())),
        }
    }

    fn put(&mut self, key: &str, value: Value, source: Source) {
        if let Some((peer, _)) = peer_key(key) {
            self.peer(peer, source.clone());
        }
        self.values.insert(key.to_owned(), (value, source));
    }

    /// Makes a peer known, all its settings at their defaults.
    fn peer(&mut self, name: &str, source: Source) {
        if !is_peer_name(name) {
            let what =
                format!("peers.{name}: the name of a peer is made of up to 64 letters, digits, - and _");
            return self.problem(source, what);
        }
        if self.peers.insert(name.to_owned()) {
            let values =
                PEER_SETTINGS.iter().map(|s| (format!("{PEERS}{name}.{}", s.key), s.default_value()));
            self.values.extend(values.map(|(key, value)| (key, (value, Source::Default))));
        }
    }

    fn problem(&mut self, source: Source, what: String) {
        self.problems.push(Problem { source, what });
    }

    /// What went wrong so far.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The value of a declared setting and its source.
    pub fn value(&self, key: &str) -> &(Value, Source) {
        self.values.get(key).expect("every key read is declared in SETTINGS, which a test proves")
    }

    /// The names of the peers that anything is said of.
    pub fn peers(&self) -> impl Iterator<Item = &str> {
        self.peers.iter().map(String::as_str)
    }

    /// Every key there is, those of known peers among them.
    fn keys(&self) -> Vec<String> {
        let of_peer = |name: &str| -> Vec<String> {
            PEER_SETTINGS.iter().map(|s| format!("{PEERS}{name}.{}", s.key)).collect()
        };
        let settings = SETTINGS.iter().map(|s| s.key.to_owned());
        settings.chain(self.peers().flat_map(of_peer)).collect()
    }

    /// Commented TOML with every key, its present value and where that came from. Reads back as the same configuration.
    pub fn to_toml(&self) -> String {
        let mut out = String::from("# Tapehead's configuration: every setting with its present value.\n");
        let mut table = "";
        for setting in SETTINGS {
            let (prefix, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
            if prefix != table {
                out.push_str(&format!("\n[{prefix}]\n"));
                table = prefix;
            }
            self.print(&mut out, setting, setting.key, name);
        }
        for peer in self.peers() {
            out.push_str(&format!("\n[{PEERS}{peer}]\n"));
            for setting in PEER_SETTINGS {
                self.print(&mut out, setting, &format!("{PEERS}{peer}.{}", setting.key), setting.key);
            }
        }
        if self.peers.is_empty() {
            out.push_str(&peers_explained());
        }
        out
    }

    fn print(&self, out: &mut String, setting: &Setting, key: &str, name: &str) {
        let (value, source) = self.value(key);
        out.push('\n');
        setting.help.lines().for_each(|line| out.push_str(&format!("# {line}\n")));
        out.push_str(&format!("# Variable: {}. Default: {}.", variable(key), setting.default_value()));
        match source {
            Source::Default => out.push('\n'),
            source => out.push_str(&format!(" Now from: {source}.\n")),
        }
        out.push_str(&format!("{name} = {value}\n"));
    }
}

/// The settings of a peer as a comment, for there is none to show them with.
fn peers_explained() -> String {
    let mut out = String::from(
        "\n# What is particular to one client, as often as needed; NAME is of your choice.\n#[peers.NAME]\n",
    );
    for setting in PEER_SETTINGS {
        out.push_str("#\n");
        setting.help.lines().for_each(|line| out.push_str(&format!("# {line}\n")));
        let variable = variable(&format!("{PEERS}NAME.{}", setting.key));
        out.push_str(&format!("# Variable: {variable}.\n#{} = {}\n", setting.key, setting.default_value()));
    }
    out
}

/// In front of the name of a peer.
const PEERS: &str = "peers.";

fn is_table(key: &str) -> bool {
    key == "peers" || SETTINGS.iter().any(|s| s.key.split_once('.').is_some_and(|(table, _)| table == key))
}

fn unknown(name: &str, what: &str, near: Option<String>) -> String {
    match near {
        Some(near) => format!("{name} is not {what}; did you mean {near}?"),
        None => format!("{name} is not {what}; `tapehead serve --print-config` lists them all"),
    }
}

fn of_toml(setting: &Setting, value: &DeValue<'_>) -> Option<Value> {
    Some(match setting.default {
        Default::Text(_) => Value::Text(value.as_str()?.to_owned()),
        Default::Number(_) => {
            let integer = value.as_integer()?;
            Value::Number(i64::from_str_radix(integer.as_str(), integer.radix()).ok()?)
        }
        Default::Switch(_) => Value::Switch(value.as_bool()?),
        Default::List(_) => {
            let texts = value.as_array()?.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            Value::List(texts.collect::<Option<_>>()?)
        }
    })
}

fn of_text(setting: &Setting, text: &str) -> Option<Value> {
    Some(match setting.default {
        Default::Text(_) => Value::Text(text.to_owned()),
        Default::Number(_) => Value::Number(text.trim().parse().ok()?),
        Default::Switch(_) => Value::Switch(text.trim().parse().ok()?),
        Default::List(_) => {
            let items = text.split(',').map(|item| item.trim().to_owned());
            Value::List(items.filter(|item| !item.is_empty()).collect())
        }
    })
}
