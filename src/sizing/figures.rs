//! Figures, and what they rest on.

use serde::Serialize;

use super::prices::Cost;

/// What a figure rests on, strongest first: of several the weakest counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Arithmetic: the file format, the protocols, the limits built in.
    Exact,
    /// A measurement, named beside it.
    Measured,
    /// Neither.
    Assumed,
}

impl Grade {
    /// As a word.
    pub fn word(self) -> &'static str {
        match self {
            Grade::Exact => "exact",
            Grade::Measured => "measured",
            Grade::Assumed => "assumed",
        }
    }
}

/// One figure.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figure {
    /// What it is; the same in every report.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it rests on.
    pub grade: Grade,
    /// How it came about.
    pub how: String,
}

/// Figures that belong together.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Group {
    /// What they are about.
    pub title: &'static str,
    /// In order.
    pub figures: Vec<Figure>,
}

/// All of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// What was asked, for people.
    pub demand: String,
    /// Where the coefficients come from, for people.
    pub measured: String,
    /// The receive tier that costs are reckoned with.
    pub tier: &'static str,
    /// The figures.
    pub groups: Vec<Group>,
    /// What it costs per month.
    pub cost: Cost,
    /// What the figures alone do not say.
    pub remarks: Vec<String>,
    /// Bytes stored at the end of each of the first days, in 25 steps from day 0 to twice the retention.
    pub growth: Vec<(f64, f64)>,
}

impl Report {
    /// A figure by its name; zero if there is none.
    pub fn value(&self, name: &str) -> f64 {
        let mut all = self.groups.iter().flat_map(|group| &group.figures);
        all.find(|figure| figure.name == name).map_or(0.0, |figure| figure.value)
    }
}

/// With a comma between thousands, and as many decimals as matter.
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        large if large >= 100.0 || large.fract() == 0.0 => 0,
        middling if middling >= 1.0 => 1,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text
        .split_once('.')
        .map_or((text.as_str(), String::new()), |(whole, rest)| (whole, format!(".{rest}")));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let group = |(at, digit): (usize, char)| {
        let comma = at > 0 && (digits.len() - at).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([digit])
    };
    sign.to_owned() + &digits.chars().enumerate().flat_map(group).collect::<String>() + &rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        for (value, text) in [
            (0.0, "0"),
            (1_234_567.4, "1,234,567"),
            (12.34, "12.3"),
            (0.0456, "0.046"),
            (-1000.0, "-1,000"),
            (999.0, "999"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
