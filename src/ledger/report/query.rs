//! What a report is asked for: by which columns, of which time, of which tenant.
//!
//! Owns how it is written, on the command line and in the query of `GET /admin/usage`. Does not handle the
//! answer (see the head of this folder). Fails with a message for the caller.

use jiff::Timestamp;
use jiff::civil::Date;

use super::super::store::start_ms;

/// A column that usage is added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The tenant.
    Tenant,
    /// The tenant's key.
    Key,
    /// The model that the client asked for.
    Model,
    /// The upstream that was asked last.
    Upstream,
    /// The day, in UTC.
    Day,
}

/// All of them, with their names.
const COLUMNS: [(&str, Column); 5] = [
    ("tenant", Column::Tenant),
    ("key", Column::Key),
    ("model", Column::Model),
    ("upstream", Column::Upstream),
    ("day", Column::Day),
];

impl Column {
    /// Its name: in the database as well.
    pub fn name(self) -> &'static str {
        let found = COLUMNS.iter().find(|(_, column)| *column == self);
        found.map_or("", |(name, _)| name)
    }
}

/// What a report is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The columns that usage is added up by, in the order in which they are shown. None for one sum.
    pub by: Vec<Column>,
    /// From when on, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Before when, in milliseconds since the Unix epoch.
    pub until_ms: i64,
    /// Only usage of this tenant.
    pub tenant: Option<String>,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            by: vec![Column::Tenant],
            since_ms: i64::MIN,
            until_ms: i64::MAX,
            tenant: None,
        }
    }
}

impl Query {
    /// Reads what was asked for: `by` is a list with commas, the times are days in UTC or RFC 3339. The end does not
    /// count, but one day as both start and end is that day.
    ///
    /// # Errors
    /// A column or time that is none, a column twice, or an end that does not come after the start.
    pub fn parse(
        by: Option<&str>,
        since: Option<&str>,
        until: Option<&str>,
        tenant: Option<&str>,
    ) -> Result<Self, String> {
        let all = Self::default();
        let by = by.map(columns).transpose()?.unwrap_or(all.by);
        let since_ms = since.map(|text| time("since", text)).transpose()?;
        let mut until_ms = until.map(|text| time("until", text)).transpose()?;
        if let (Some(since_text), Some(until_text)) = (since, until)
            && since_ms >= until_ms
        {
            // The same day twice is how that one day is asked for.
            let day = day(until_text).filter(|_| since_text == until_text);
            let Some(after) = day.and_then(|day| day.tomorrow().ok()) else {
                return Err(format!(
                    "until ({until_text}) must come after since ({since_text}): until is the first moment \
                     that does not count; for one day, write that day as both"
                ));
            };
            until_ms = Some(start_ms(after));
        }
        Ok(Self {
            by,
            since_ms: since_ms.unwrap_or(all.since_ms),
            until_ms: until_ms.unwrap_or(all.until_ms),
            tenant: tenant.map(str::to_owned),
        })
    }
}

fn columns(text: &str) -> Result<Vec<Column>, String> {
    let mut columns = Vec::new();
    for name in text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let Some((_, column)) = COLUMNS.iter().find(|(known, _)| *known == name) else {
            let known = COLUMNS.map(|(name, _)| name).join(", ");
            return Err(format!(
                "by: there is no column `{name}`; there are {known}"
            ));
        };
        if columns.contains(column) {
            return Err(format!("by: `{name}` is named twice"));
        }
        columns.push(*column);
    }
    Ok(columns)
}

/// The day that a text names, if it names one.
fn day(text: &str) -> Option<Date> {
    text.parse::<Date>().ok().filter(|_| text.len() == 10)
}

/// The time that a day in UTC or a time means, in milliseconds since the Unix epoch.
///
/// # Errors
/// It is neither, with the name of what has it.
pub fn time(name: &str, text: &str) -> Result<i64, String> {
    if let Some(date) = day(text) {
        return Ok(start_ms(date));
    }
    let time = text.parse::<Timestamp>().map_err(|_| {
        format!(
            "{name}: `{text}` is neither a day as in 2026-11-01 nor a time with its zone as in \
             2026-11-01T08:00:00Z"
        )
    })?;
    Ok(time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(by: &str, since: &str, until: &str) -> Result<Query, String> {
        let [since, until] = [since, until].map(|text| Some(text).filter(|text| !text.is_empty()));
        Query::parse(Some(by), since, until, None)
    }

    #[test]
    fn columns_are_shown_in_the_order_in_which_they_are_named() {
        let query = parse("day, model", "2026-11-01", "2026-11-01T08:00:00.5+02:00").unwrap();
        assert_eq!(query.by, [Column::Day, Column::Model]);
        assert_eq!(query.since_ms, 1_793_491_200_000);
        assert_eq!(query.until_ms - query.since_ms, 6 * 3_600_000 + 500);
        assert_eq!(parse("", "", "").unwrap().by, []);
        assert_eq!(
            Query::parse(None, None, None, None).unwrap(),
            Query::default()
        );
    }

    #[test]
    fn a_day_that_is_written_as_both_ends_is_that_day() {
        let one = parse("day", "2026-11-30", "2026-11-30").unwrap();
        let usual = parse("day", "2026-11-30", "2026-12-01").unwrap();
        assert_eq!(one, usual);
        assert_eq!(one.until_ms - one.since_ms, 24 * 3_600_000);
    }

    #[test]
    fn what_cannot_be_asked_for_is_told() {
        let wrong = [
            (
                "tenant,colour",
                "",
                "",
                "no column `colour`; there are tenant, key, model, upstream, day",
            ),
            ("day,day", "", "", "`day` is named twice"),
            ("day", "yesterday", "", "since: `yesterday` is neither"),
            (
                "day",
                "",
                "2026-11-01T08:00:00",
                "until: `2026-11-01T08:00:00` is neither",
            ),
            (
                "day",
                "2026-11-02",
                "2026-11-01",
                "until (2026-11-01) must come after since (2026-11-02)",
            ),
            (
                "day",
                "2026-11-02T00:00:00Z",
                "2026-11-02T00:00:00Z",
                "must come after",
            ),
            (
                "day",
                "2026-11-02",
                "2026-11-02T00:00:00Z",
                "for one day, write that day as both",
            ),
        ];
        for (by, since, until, message) in wrong {
            let told = parse(by, since, until).unwrap_err();
            assert!(told.contains(message), "{told}");
        }
    }
}
