//! Quotas: how much a tenant may use in a period, or may be used with a key.
//!
//! Owns the keys of a `quota`. Does not handle whether what it names in dollars has a price (see
//! `validate`), nor how it is kept (see `limits`). What cannot be read is reported with its place.

use jiff::tz::{self, TimeZone};

use super::document::{Node, Section};
use super::problem::nearest;

/// Shares at which a warning is given, at most as many.
const MOST_WARNINGS: usize = 10;
/// Where nothing is written, a warning is given at this share.
const WARN_AT: u8 = 80;
/// Keys that would be an amount in another currency.
const CURRENCIES: [&str; 24] = [
    "aud", "brl", "cad", "chf", "cny", "czk", "dkk", "eur", "gbp", "hkd", "huf", "ils", "inr",
    "jpy", "krw", "mxn", "nok", "nzd", "pln", "rmb", "sek", "sgd", "try", "zar",
];

/// How much may be used in a period; at least one of tokens and money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Tokens of input and output.
    pub tokens: Option<u64>,
    /// Money, in nano-dollars.
    pub nanos: Option<u64>,
    /// In which period.
    pub per: Period,
    /// Where the periods begin at midnight. UTC by default.
    pub timezone: TimeZone,
    /// Shares in percent at which a warning is given, in ascending order, each once.
    pub warn_at: Vec<u8>,
}

/// The period of a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// A month of the calendar.
    #[default]
    Month,
    /// For ever.
    Total,
}

impl Period {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Total];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }
}

/// Reads a quota: a mapping, or a number of tokens a month.
pub fn read(node: &Node<'_>) -> Option<Quota> {
    if !node.is_mapping() {
        let tokens = node.limit()?;
        return Some(Quota {
            tokens: Some(tokens),
            nanos: None,
            per: Period::Month,
            timezone: TimeZone::UTC,
            warn_at: vec![WARN_AT],
        });
    }
    let mut section = node.section()?;
    let (tokens, usd) = (section.take("tokens"), section.take("usd"));
    let has_amount = tokens.is_some() || usd.is_some();
    let tokens = tokens.and_then(|n| n.limit());
    let nanos = usd.and_then(|n| read_usd(&n));
    let per = section.take("per").and_then(|n| read_period(&n));
    let timezone = section.take("timezone").and_then(|n| read_timezone(&n));
    let warn_at = section.take("warn_at").map(|n| read_warnings(&n));
    let is_all_dollars = refuse_currencies(&mut section);
    // An unknown key may be meant for an amount.
    if section.finish() && is_all_dollars && !has_amount {
        node.report(
            "neither `tokens` nor `usd` is written",
            Some("as in quota: { tokens: 500000, per: month }"),
        );
    }
    (tokens.is_some() || nanos.is_some()).then(|| Quota {
        tokens,
        nanos,
        per: per.unwrap_or_default(),
        timezone: timezone.unwrap_or(TimeZone::UTC),
        warn_at: warn_at.unwrap_or_else(|| vec![WARN_AT]),
    })
}

fn read_usd(node: &Node<'_>) -> Option<u64> {
    let nanos = node.nanos()?;
    if nanos == 0 {
        node.report("must be above 0", Some("for no limit, leave it out"));
        return None;
    }
    Some(nanos)
}

/// Reports each amount in another currency. Whether there is none.
fn refuse_currencies(section: &mut Section<'_>) -> bool {
    let mut is_all_dollars = true;
    for currency in CURRENCIES {
        for key in [currency.to_owned(), currency.to_ascii_uppercase()] {
            if let Some(node) = section.take_unlisted(&key) {
                is_all_dollars = false;
                let hint = "convert it, and write usd: AMOUNT";
                node.report("amounts are in US dollars, as the prices are", Some(hint));
            }
        }
    }
    is_all_dollars
}

fn read_period(node: &Node<'_>) -> Option<Period> {
    let name = node.text()?;
    let mut all = Period::ALL.into_iter();
    let found = all.find(|period| period.name() == name);
    if found.is_none() {
        let hint = "one of: day, week, month, total; for shorter times there are `limits`";
        node.report(format!("no period is called `{name}`"), Some(hint));
    }
    found
}

fn read_timezone(node: &Node<'_>) -> Option<TimeZone> {
    let name = node.name()?;
    let found = TimeZone::get(&name).ok();
    if found.is_none() {
        let hint = match nearest_timezone(&name) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "as in Europe/Berlin, or UTC".to_owned(),
        };
        node.report(format!("no time zone is called `{name}`"), Some(&hint));
    }
    found
}

/// The zone that was probably meant: the one of a city, or one with a similar name.
fn nearest_timezone(name: &str) -> Option<String> {
    let known: Vec<String> = tz::db().available().map(|n| n.to_string()).collect();
    let city = name.replace(' ', "_");
    let mut of_city = known.iter().filter(|known| {
        let last = known.rsplit('/').next();
        last.is_some_and(|last| last.eq_ignore_ascii_case(&city))
    });
    let near = || nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    of_city.next().cloned().or_else(near)
}

/// The shares at which a warning is given: a list of them, or one.
fn read_warnings(node: &Node<'_>) -> Vec<u8> {
    if !node.is_list() {
        return node.percent().into_iter().collect();
    }
    let items = node.list().unwrap_or_default();
    if items.len() > MOST_WARNINGS {
        let message = format!("more than {MOST_WARNINGS} warnings");
        node.report(message, Some("remove some"));
    }
    let mut shares: Vec<u8> = items.iter().filter_map(Node::percent).collect();
    shares.sort_unstable();
    shares.dedup();
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Variables};

    fn parse(quota: &str) -> Result<Quota, Vec<String>> {
        let text = format!(
            "upstreams: {{ a: {{ base_url: http://a }} }}\n\
             models: [{{ match: m, targets: [{{ upstream: a }}] }}]\n\
             prices: [{{ model: '*', input: 1 }}]\n\
             tenants: [{{ id: t, keys: [k], quota: {quota} }}]\n"
        );
        match Config::parse("t.yaml", &text, &Variables::default()) {
            Ok(config) => Ok(config.tenants[0].quota.clone().unwrap().value),
            Err(problems) => Err(problems.0.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn a_number_alone_is_tokens_a_month() {
        let quota = parse("120000").unwrap();
        assert_eq!(quota, parse("'120000'").unwrap());
        assert_eq!(quota.tokens, Some(120_000));
        assert_eq!(quota.nanos, None);
        assert_eq!(quota.per, Period::Month);
        assert_eq!(quota.timezone, TimeZone::UTC);
        assert_eq!(quota.warn_at, [80]);
    }

    #[test]
    fn everything_can_be_said() {
        let quota = parse(
            "{ tokens: 500000, usd: 0.1, per: week, timezone: europe/berlin, warn_at: [95%, 80, '80%'] }",
        )
        .unwrap();
        assert_eq!(quota.tokens, Some(500_000));
        assert_eq!(quota.nanos, Some(100_000_000));
        assert_eq!(quota.per, Period::Week);
        assert_eq!(quota.timezone.iana_name(), Some("Europe/Berlin"));
        assert_eq!(quota.warn_at, [80, 95]);
        assert_eq!(parse("{ usd: 5, warn_at: [] }").unwrap().warn_at, [0; 0]);
        assert_eq!(parse("{ usd: 5, warn_at: 100% }").unwrap().warn_at, [100]);
        for (written, period) in [
            ("day", Period::Day),
            ("month", Period::Month),
            ("total", Period::Total),
        ] {
            let quota = parse(&format!("{{ usd: '5.000000001', per: {written} }}")).unwrap();
            assert_eq!(quota.per, period);
            assert_eq!(quota.nanos, Some(5_000_000_001));
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_cannot_be_meant_is_refused() {
        for (quota, expected) in [
            ("0", ": must be above 0 (for no limit, leave it out)"),
            ("-1", ": must be above 0"),
            ("lots", ": expected a whole number from 1 to"),
            (
                "{ per: day }",
                ": neither `tokens` nor `usd` is written (as in quota: { tokens: 500000, per: month })",
            ),
            (
                "{ eur: 5 }",
                ".eur: amounts are in US dollars, as the prices are (convert it, and write usd: AMOUNT)",
            ),
            ("{ usd: 1, GBP: 5 }", ".GBP: amounts are in US dollars"),
            ("{ usd: 0 }", ".usd: must be above 0"),
            ("{ usd: -1.5 }", ".usd: must not be negative"),
            ("{ usd: $5 }", ".usd: expected an amount of US dollars"),
            ("{ usd: .inf }", ".usd: expected an amount of US dollars"),
            ("{ usd: 0.0000000001 }", ".usd: has more than 9 decimals"),
            (
                "{ usd: 1000000000 }",
                ".usd: must be below 1000000000 dollars",
            ),
            ("{ tokens: 0, usd: 1 }", ".tokens: must be above 0"),
            (
                "{ usd: 1, per: hour }",
                ".per: no period is called `hour` (one of: day, week, month, total; for shorter times there are `limits`)",
            ),
            (
                "{ usd: 1, timezone: Europe/Berln }",
                ".timezone: no time zone is called `Europe/Berln` (did you mean `Europe/Berlin`?)",
            ),
            (
                "{ usd: 1, timezone: new york }",
                ".timezone: no time zone is called `new york` (did you mean `America/New_York`?)",
            ),
            (
                "{ usd: 1, timezone: '+25' }",
                ".timezone: no time zone is called `+25`",
            ),
            (
                "{ usd: 1, warn_at: [0%] }",
                ".warn_at[0]: expected a whole number of percent from 1 to 100 (as in 80%)",
            ),
            (
                "{ usd: 1, warn_at: [101] }",
                ".warn_at[0]: expected a whole number",
            ),
            (
                "{ usd: 1, warn_at: 0.8 }",
                ".warn_at: expected a whole number",
            ),
            (
                "{ usd: 1, warn_at: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] }",
                ".warn_at: more than 10 warnings",
            ),
            (
                "{ usd: 1, period: day }",
                ".period: unknown key (did you mean `per`?)",
            ),
        ] {
            let found = parse(quota).unwrap_err();
            let expected = format!("t.yaml:4: tenants[0].quota{expected}");
            assert!(
                found.len() == 1 && found[0].starts_with(&expected),
                "{quota}: {found:?}"
            );
        }
    }
}
