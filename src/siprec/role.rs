//! Who called whom, and what says so (interop 30).
//!
//! Nothing in RFC 7865 tells. Each rule below speaks only where the ones before were silent, and the evidence is kept beside the
//! role, for the last rules are guesses.

use serde::{Deserialize, Serialize};

use super::extension::{Known, KnownKind};
use super::history::History;
use super::{Flag, Vendor, aor};
use crate::sip::NameAddr;

/// Caller or callee.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Who began the call.
    Caller,
    /// Who was called.
    Callee,
}

/// A role and its evidence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RoleOf {
    /// The role.
    pub role: Role,
    /// What says so: `calling_party`, `broadworks`, `call_data`, `jambonz_numbers`, `label`, `order`.
    pub evidence: String,
}

impl Role {
    fn other(self) -> Role {
        match self {
            Role::Caller => Role::Callee,
            Role::Callee => Role::Caller,
        }
    }
}

/// What a rule says: participants by index, and their roles.
type Said = Vec<(usize, Role)>;

struct Case<'a> {
    history: &'a History,
    vendor: Option<Vendor>,
    known: &'a [Known],
    /// The first participants: those of the first document that had any.
    first: Vec<usize>,
}

/// A name for the evidence, and the rule.
type Rule = (&'static str, fn(&Case<'_>) -> Said);

const RULES: [Rule; 6] = [
    ("calling_party", calling_party),
    ("broadworks", broadworks),
    ("call_data", call_data),
    ("jambonz_numbers", jambonz),
    ("label", labels),
    ("order", order),
];

/// The role of each participant, as far as there is evidence.
pub(super) fn roles(history: &History, vendor: Option<Vendor>, known: &[Known]) -> Vec<Option<RoleOf>> {
    let people = &history.participants;
    let start = people.first().map(|one| one.span.since.as_str());
    let first = (0..people.len()).filter(|at| Some(people[*at].span.since.as_str()) == start).collect();
    let case = Case { history, vendor, known, first };
    let mut roles = vec![None; people.len()];
    for (evidence, rule) in RULES {
        let mut said = rule(&case);
        // Where two talk, what one is not the other is.
        if let (&[a, b], &[(who, role)]) = (&case.first[..], &said[..])
            && [a, b].contains(&who)
        {
            said.push((if who == a { b } else { a }, role.other()));
        }
        for (who, role) in said {
            roles[who].get_or_insert_with(|| RoleOf { role, evidence: evidence.to_owned() });
        }
    }
    // Who takes a stand-in's place takes its role.
    for (place, who) in people.iter().enumerate() {
        if let Some(new) = who.replaced_by.map(|new| new as usize).filter(|new| roles[*new].is_none()) {
            roles[new] = roles[place].clone();
        }
    }
    roles
}

impl Case<'_> {
    fn of_kind(&self, kind: KnownKind) -> impl Iterator<Item = &Known> {
        self.known.iter().filter(move |known| known.kind == kind)
    }

    /// The value of a vendor's field, by the last name of its path.
    fn field(&self, kind: KnownKind, names: &[&str]) -> Option<&str> {
        let last = |known: &Known| known.name.rsplit('/').next().unwrap_or("").to_ascii_lowercase();
        let named = |name: &&str| self.of_kind(kind).find(|known| last(known) == **name);
        names.iter().find_map(named).map(|known| known.value.reveal().as_str())
    }

    /// The participant whose address this is, in whatever form.
    fn whose(&self, address: &str) -> Option<usize> {
        let wanted = aor::key(address);
        let people = self.history.participants.iter();
        let mut found = people.enumerate().filter(|(_, who)| {
            !wanted.is_empty() && who.aors.iter().any(|aor| aor::key(aor.reveal()) == wanted)
        });
        found.next().map(|(at, _)| at)
    }

    fn pair(&self, caller: Option<&str>, callee: Option<&str>) -> Said {
        let of = |address: Option<&str>, role| Some((self.whose(address?)?, role));
        of(caller, Role::Caller).into_iter().chain(of(callee, Role::Callee)).collect()
    }
}

/// Oracle marks the calling participant, and the others as not calling.
fn calling_party(case: &Case<'_>) -> Said {
    let people = &case.history.participants;
    let one = |known: &Known| {
        let who = people.iter().position(|who| Some(&who.id) == known.of.as_ref())?;
        let calls = known.value.reveal().eq_ignore_ascii_case("true") || known.value.reveal() == "1";
        Some((who, if calls { Role::Caller } else { Role::Callee }))
    };
    case.of_kind(KnownKind::CallingParty).filter_map(one).collect()
}

/// BroadWorks tells both numbers; where they fit nobody, whether its own user made the call or took it.
fn broadworks(case: &Case<'_>) -> Said {
    let field = |names: &[&str]| case.field(KnownKind::Broadworks, names);
    let said = case.pair(field(&["callingpartynumber"]), field(&["calledpartynumber"]));
    if !said.is_empty() {
        return said;
    }
    let made = case.of_kind(KnownKind::Broadworks).any(|known| known.name.contains("origCall"));
    let took = case.of_kind(KnownKind::Broadworks).any(|known| known.name.contains("termCall"));
    let user = field(&["userid"]).and_then(|user| case.whose(user));
    match user {
        Some(user) if made => vec![(user, Role::Caller)],
        Some(user) if took => vec![(user, Role::Callee)],
        _ => Vec::new(),
    }
}

/// Ribbon repeats From and To of the recorded call.
fn call_data(case: &Case<'_>) -> Said {
    let address = |names: &[&str]| {
        let value = case.field(KnownKind::CallData, names)?;
        Some(NameAddr::parse(value).map_or(value.to_owned(), |parsed| parsed.uri().as_str().to_owned()))
    };
    let (from, to) = (address(&["fromhdr", "from", "fromheader"]), address(&["tohdr", "to", "toheader"]));
    case.pair(from.as_deref(), to.as_deref())
}

/// jambonz writes the calling number into the field for the called one, and the other way round.
fn jambonz(case: &Case<'_>) -> Said {
    let field = |name| case.field(KnownKind::Jambonz, &[name]);
    case.pair(field("callednumber"), field("callingnumber"))
}

/// Labels that are words. `inbound` is the media that comes in from the caller.
fn labels(case: &Case<'_>) -> Said {
    const CALLER: [&str; 6] = ["caller", "calling", "inbound", "inbound_track", "a_leg", "aleg"];
    const CALLEE: [&str; 6] = ["callee", "called", "outbound", "outbound_track", "b_leg", "bleg"];
    let role = |label: &str| {
        let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(label));
        is(&CALLER).then_some(Role::Caller).or_else(|| is(&CALLEE).then_some(Role::Callee))
    };
    let mut said = Said::new();
    for link in case.history.links.iter().filter(|link| link.sends) {
        let mut streams = case.history.streams.iter().filter(|stream| stream.id == link.stream);
        if let Some(role) = streams.find_map(|stream| role(stream.label.as_deref()?)) {
            said.push((link.participant as usize, role));
        }
    }
    said
}

/// The first of two is the caller, but with Cisco's border element, where the first is the leg that recording is anchored to, and
/// where header fields tell of near and far end.
fn order(case: &Case<'_>) -> Said {
    let told = !case.history.flags.contains(&Flag::FromHeaders);
    match case.first[..] {
        [a, b] if told && case.vendor != Some(Vendor::Cube) => vec![(a, Role::Caller), (b, Role::Callee)],
        _ => Vec::new(),
    }
}
