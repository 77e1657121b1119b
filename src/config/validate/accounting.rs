//! What prices, quotas and the ledger must be like.
//!
//! Owns that the dates of a price leave no gap and do not overlap, that a quota in dollars has prices, and
//! that the ledger's folder can be written. Does not handle models without a price, which are served (see
//! `warnings`). Every mistake is reported.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::Unread;
use super::folders::check_folder;
use crate::config::document::Context;
use crate::config::{Config, Price};

/// Notes what is wrong.
pub fn check(config: &Config, unread: &Unread, context: &Context<'_>) {
    check_dates(&config.prices, context);
    for tenant in &config.tenants {
        check_dates(&tenant.prices, context);
        if unread.prices || !config.prices.is_empty() || !tenant.prices.is_empty() {
            continue;
        }
        let of_keys = tenant.keys.iter().filter_map(|key| key.quota.as_ref());
        for quota in tenant.quota.iter().chain(of_keys) {
            if quota.value.nanos.is_some() {
                let message = "a quota in dollars needs prices, and there are none";
                let hint = "add prices: { file: prices.yaml }, or limit `tokens`";
                context.report(&quota.place, message, Some(hint.to_owned()));
            }
        }
    }
    if let Some(ledger) = &config.ledger {
        check_folder(&ledger.path, ("the ledger", "ledger: { path: … }"), context);
    }
}

/// The prices of one model at one upstream follow each other without a gap.
fn check_dates(prices: &[Price], context: &Context<'_>) {
    let mut same: BTreeMap<(&str, Option<&str>), Vec<&Price>> = BTreeMap::new();
    for price in prices {
        let upstream = price.upstream.as_ref().map(|u| u.value.as_str());
        let key = (price.model.value.as_str(), upstream);
        same.entry(key).or_default().push(price);
    }
    for ((model, upstream), mut prices) in same {
        prices.sort_by_key(|price| price.from);
        let name = match upstream {
            Some(upstream) => format!("`{model}` of `{upstream}`"),
            None => format!("`{model}`"),
        };
        for (one, next) in prices.iter().zip(prices.iter().skip(1)) {
            let (message, hint) = match (one.until, next.from) {
                (Some(until), Some(from)) if until == from => continue,
                (Some(until), Some(from)) if until < from => (
                    format!(
                        "{name} has no price from {} until {}",
                        shown(until),
                        shown(from)
                    ),
                    "end one where the next begins".to_owned(),
                ),
                (_, Some(from)) => (
                    format!("{name} has two prices from {} on", shown(from)),
                    format!("write until: {} in the earlier one", shown(from)),
                ),
                (_, None) => (
                    format!("{name} has a price above already"),
                    "remove one of them, or write from when each holds".to_owned(),
                ),
            };
            context.report(&next.model.place, message, Some(hint));
        }
    }
}

/// A moment as it would be written.
fn shown(moment: Timestamp) -> String {
    let zoned = moment.to_zoned(TimeZone::UTC);
    match zoned.time() == Time::midnight() {
        true => zoned.date().to_string(),
        false => moment.to_string(),
    }
}
