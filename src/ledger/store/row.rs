//! A record as a row of the database, and what rows add up to.
//!
//! Owns the columns, which both databases have under the same names, and how a record's members become
//! numbers. Does not handle how numbers stand for names (see `names`) or SQL (see `sqlite`, `postgres`).
//! Cannot fail: what is larger than a column counts as the largest that fits.

use rustc_hash::FxHashMap;

use super::month::Days;
use crate::ledger::record::{Record, Source};

/// The columns of a request that have the number of a name.
pub const NAMES: [&str; 8] = [
    "tenant",
    "key",
    "endpoint",
    "rule",
    "model",
    "served_model",
    "upstream",
    "outcome",
];

/// The other columns of a request, beside its time, its id and its periods.
pub const NUMBERS: [&str; 21] = [
    "status",
    "attempts",
    "streamed",
    "multimodal",
    "tools",
    "client_gone",
    "unpriced",
    "source",
    "input",
    "cache_read",
    "cache_write",
    "output",
    "reasoning",
    "audio",
    "image",
    "audio_ms",
    "searches",
    "cached_answer",
    "cost_nanos",
    "charge_nanos",
    "first_byte_ms",
];

/// Where the sums of a request begin among [`NUMBERS`].
const FIRST_SUM: usize = 8;

/// What is added up by day.
pub const SUMS: [&str; 14] = [
    "requests",
    "errors",
    "input",
    "cache_read",
    "cache_write",
    "output",
    "reasoning",
    "audio",
    "image",
    "audio_ms",
    "searches",
    "cached_answer",
    "cost_nanos",
    "charge_nanos",
];

/// What sums are kept for, beside the day.
pub const GROUPS: [&str; 4] = ["tenant", "key", "model", "upstream"];

/// Where the sources of figures stand among their numbers.
pub const SOURCES: [&str; 4] = ["none", "upstream", "estimate", "cache"];

/// The outcome of a request that is no error.
const OK: &str = "ok";
/// A figure of one request is not larger: 10^15 tokens, or a million dollars. So no sum of a day overflows.
const MAX_FIGURE: u64 = 1_000_000_000_000_000;

/// The texts of a record that become numbers, in the order of [`NAMES`].
pub fn names<'a>(record: &Record<'a>) -> [&'a str; 8] {
    [
        record.tenant,
        record.key,
        record.endpoint,
        record.rule,
        record.model,
        record.served_model,
        record.upstream,
        record.outcome,
    ]
}

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// When the request came, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Its id.
    pub id: u128,
    /// The numbers of its names.
    pub names: [i64; 8],
    /// The other numbers.
    pub numbers: [i64; 21],
    /// How long it took, in milliseconds.
    pub total_ms: i64,
    /// When the period of its tenant's quota began.
    pub period: Option<i64>,
    /// When the period of its key's quota began.
    pub key_period: Option<i64>,
}

impl Row {
    /// The row of a record.
    pub fn of(record: &Record<'_>, names: [i64; 8]) -> Self {
        let (marks, tokens) = (&record.marks, &record.tokens);
        let source = match record.source {
            Source::None => 0,
            Source::Upstream => 1,
            Source::Estimate => 2,
            Source::Cache => 3,
        };
        Self {
            at_ms: record.at_ms,
            id: record.id,
            names,
            numbers: [
                i64::from(record.status),
                i64::from(record.attempts),
                i64::from(marks.streamed),
                i64::from(marks.multimodal),
                i64::from(marks.tools),
                i64::from(marks.client_gone),
                i64::from(marks.unpriced),
                source,
                figure(tokens.input),
                figure(tokens.cache_read),
                figure(tokens.cache_write),
                figure(tokens.output),
                figure(tokens.reasoning),
                figure(tokens.audio),
                figure(tokens.image),
                figure(tokens.audio_ms),
                figure(tokens.searches),
                figure(tokens.cached_answer),
                figure(record.cost_nanos),
                figure(record.charge_nanos),
                i64::from(record.first_byte_ms),
            ],
            total_ms: i64::from(record.total_ms),
            period: record.period,
            key_period: record.key_period,
        }
    }

    fn group(&self, days: &mut Days) -> Group {
        let [tenant, key, _, _, model, _, upstream, _] = self.names;
        [days.of(self.at_ms), tenant, key, model, upstream]
    }

    fn sums(&self, is_error: bool) -> [i64; 14] {
        let mut sums = [0; 14];
        let [requests, errors, figures @ ..] = &mut sums;
        *requests = 1;
        *errors = i64::from(is_error);
        for (figure, number) in figures.iter_mut().zip(self.numbers.iter().skip(FIRST_SUM)) {
            *figure = *number;
        }
        sums
    }
}

fn figure(figure: u64) -> i64 {
    i64::try_from(figure.min(MAX_FIGURE)).unwrap_or(i64::MAX)
}

/// The day, and the numbers of the names that sums are kept for.
pub type Group = [i64; 5];

/// What has been used in a period of a quota: tokens, and nano-dollars that are charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Tokens of input and output.
    pub tokens: i64,
    /// Nano-dollars.
    pub charge_nanos: i64,
}

impl Used {
    /// Adds what a request has used. Saturates.
    pub fn add(&mut self, record: &Record<'_>) {
        let tokens = figure(record.tokens.total());
        self.tokens = self.tokens.saturating_add(tokens);
        let charge_nanos = figure(record.charge_nanos);
        self.charge_nanos = self.charge_nanos.saturating_add(charge_nanos);
    }
}

/// Stands for no key where a tenant's own quota counts: no name has this number.
pub const NO_KEY: i64 = 0;

/// The start of a period, the number of the tenant's name, and that of its key's, or [`NO_KEY`].
pub type OfPeriod = (i64, i64, i64);

/// What the rows of one transaction add up to. It has two entries for each row at most.
#[derive(Debug, Default)]
pub struct Additions {
    /// The sums by day and group.
    pub daily: FxHashMap<Group, [i64; 14]>,
    /// What was used, of the quotas of tenants and of keys.
    pub periods: FxHashMap<OfPeriod, Used>,
    days: Days,
}

impl Additions {
    /// Adds a row that is new in the database.
    pub fn add(&mut self, row: &Row, record: &Record<'_>) {
        let sums = self.daily.entry(row.group(&mut self.days)).or_default();
        add(sums, &row.sums(record.outcome != OK));
        let [tenant, key, ..] = row.names;
        for (period, key) in [(row.period, NO_KEY), (row.key_period, key)] {
            if let Some(period) = period {
                let used = self.periods.entry((period, tenant, key)).or_default();
                used.add(record);
            }
        }
    }

    /// The sums in a fixed order. Two nodes that write the same ones then never wait for each other.
    pub fn sorted_daily(&self) -> Vec<(Group, [i64; 14])> {
        let mut sorted: Vec<_> = self.daily.iter().map(|(g, s)| (*g, *s)).collect();
        sorted.sort_unstable();
        sorted
    }

    /// What was used, in a fixed order.
    pub fn sorted_periods(&self) -> Vec<(OfPeriod, Used)> {
        let mut sorted: Vec<_> = self.periods.iter().map(|(p, u)| (*p, *u)).collect();
        sorted.sort_unstable_by_key(|(period, _)| *period);
        sorted
    }
}

/// Adds sums to sums. Saturates.
pub fn add(sums: &mut [i64; 14], more: &[i64; 14]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum = sum.saturating_add(*more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::record::Tokens;
    use crate::ledger::store::day_of;

    fn record(id: u128) -> Record<'static> {
        Record {
            id,
            at_ms: 1_800_000_000_000,
            tenant: "t",
            outcome: "ok",
            tokens: Tokens {
                input: 10,
                cache_read: 3,
                output: 5,
                cached_answer: 40,
                ..Tokens::default()
            },
            cost_nanos: 7,
            charge_nanos: 9,
            period: Some(100),
            ..Record::default()
        }
    }

    #[test]
    fn the_sums_of_a_day_are_those_of_its_rows() {
        let mut additions = Additions::default();
        let failed = Record {
            outcome: "upstream_error",
            ..record(2)
        };
        for record in [record(1), failed] {
            let row = Row::of(&record, [1, 2, 3, 4, 5, 6, 7, 8]);
            additions.add(&row, &record);
        }
        let group = [day_of(1_800_000_000_000), 1, 2, 5, 7];
        let sums = [2, 1, 20, 6, 0, 10, 0, 0, 0, 0, 0, 80, 14, 18];
        assert_eq!(additions.sorted_daily(), [(group, sums)]);
        let used = Used {
            tokens: 36,
            charge_nanos: 18,
        };
        assert_eq!(additions.sorted_periods(), [((100, 1, NO_KEY), used)]);
    }

    #[test]
    fn a_request_counts_in_the_period_of_its_tenant_and_in_that_of_its_key() {
        let mut additions = Additions::default();
        let with_both = Record {
            key_period: Some(90),
            ..record(1)
        };
        let of_its_key_alone = Record {
            period: None,
            key_period: Some(90),
            ..record(2)
        };
        for record in [with_both, of_its_key_alone] {
            let row = Row::of(&record, [1, 2, 3, 4, 5, 6, 7, 8]);
            additions.add(&row, &record);
        }
        let used = |times: i64| Used {
            tokens: 18 * times,
            charge_nanos: 9 * times,
        };
        let expected = [((90, 1, 2), used(2)), ((100, 1, NO_KEY), used(1))];
        assert_eq!(additions.sorted_periods(), expected);
    }

    #[test]
    fn the_columns_that_are_added_up_have_the_same_names_in_both_tables() {
        assert_eq!(NUMBERS[FIRST_SUM..FIRST_SUM + 12], SUMS[2..]);
    }

    #[test]
    fn each_source_has_the_name_at_its_number() {
        let named = [
            (Source::None, "none"),
            (Source::Upstream, "upstream"),
            (Source::Estimate, "estimate"),
            (Source::Cache, "cache"),
        ];
        assert_eq!(named.map(|(_, name)| name), SOURCES);
        let place = NUMBERS.iter().position(|column| *column == "source");
        for (source, name) in named {
            let record = Record {
                source,
                ..record(1)
            };
            let number = Row::of(&record, [0; 8]).numbers[place.unwrap()];
            assert_eq!(SOURCES[usize::try_from(number).unwrap()], name);
        }
    }

    #[test]
    fn a_figure_that_no_request_can_have_is_cut_and_never_negative() {
        let record = Record {
            cost_nanos: u64::MAX,
            ..record(1)
        };
        let row = Row::of(&record, [0; 8]);
        assert!(row.numbers.contains(&1_000_000_000_000_000));
        let mut sums = [i64::MAX; 14];
        add(&mut sums, &row.sums(false));
        assert_eq!(sums, [i64::MAX; 14]);
    }
}
