//! Prices, from a file that the user can edit, and what a month costs by them.

use serde::{Deserialize, Serialize};

use super::figures::Grade;

/// A price list. Every price is per month unless its name says otherwise.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// In which money.
    pub currency: String,
    /// As of when.
    pub date: String,
    /// From where.
    pub source: String,
    /// A core, with its memory.
    pub core: f64,
    /// A GB (10^9 bytes) of local disk.
    pub disk_gb: f64,
    /// An operation per second of local disk, beyond `disk_iops_free`.
    pub disk_iops: f64,
    /// That many cost nothing.
    pub disk_iops_free: f64,
    /// A MB per second of local disk, beyond `disk_mb_s_free`.
    pub disk_mb_s: f64,
    /// That many cost nothing.
    pub disk_mb_s_free: f64,
    /// A GB of object storage.
    pub object_gb: f64,
    /// A thousand PUT requests.
    pub put_1000: f64,
    /// A thousand GET requests.
    pub get_1000: f64,
    /// Days of recordings that the local disk holds.
    pub local_days: f64,
}

impl Prices {
    /// The list that this program was built with.
    pub fn built_in() -> Prices {
        toml::from_str(include_str!("../../tuning/prices.toml")).expect("built in, and read by a test")
    }

    /// A list of the user's.
    pub fn read(text: &str) -> Result<Prices, String> {
        let prices: Prices = toml::from_str(text).map_err(|why| why.to_string())?;
        let all = [
            ("core", prices.core),
            ("disk_gb", prices.disk_gb),
            ("disk_iops", prices.disk_iops),
            ("disk_iops_free", prices.disk_iops_free),
            ("disk_mb_s", prices.disk_mb_s),
            ("disk_mb_s_free", prices.disk_mb_s_free),
            ("object_gb", prices.object_gb),
            ("put_1000", prices.put_1000),
            ("get_1000", prices.get_1000),
            ("local_days", prices.local_days),
        ];
        let wrong = all.iter().find(|(_, price)| !(0.0..=1e9).contains(price));
        wrong.map_or(Ok(prices.clone()), |(name, price)| Err(format!("{name} = {price} is no price")))
    }
}

/// One line of the bill.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CostItem {
    /// For what.
    pub what: &'static str,
    /// Per month.
    pub monthly: f64,
    /// How much of it, at which price.
    pub how: String,
}

/// The bill of a month, with all that is kept in its place.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Cost {
    /// In which money.
    pub currency: String,
    /// As of when.
    pub date: String,
    /// From where.
    pub source: String,
    /// Its lines.
    pub items: Vec<CostItem>,
    /// Their sum.
    pub total: f64,
    /// Per recorded minute of one call.
    pub per_1000_minutes: f64,
    /// Prices are never exact.
    pub grade: Grade,
}
