//! `GET /admin/usage`: a report of the ledger.
//!
//! Owns its parameters, which are those of `tollgate usage`, and how many reports are made at a time. Does not handle
//! how they are written (see `parameters`), who may ask (see `authorization`) or the report (see `ledger::report`).
//! Fails with a status and a message.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::Semaphore;

use super::parameters;
use crate::ledger::Ledger;
use crate::ledger::report::Query;

/// As many reports are made at a time: each reads the disk, and holds its rows.
const AT_ONCE: usize = 2;

static PERMITS: Semaphore = Semaphore::const_new(AT_ONCE);

/// An answer: its type and body, or a status and a message.
pub type Answer = Result<(&'static str, Vec<u8>), (StatusCode, String)>;

/// Makes the report that a query string asks for.
pub async fn usage(ledger: Option<Arc<Ledger>>, query: &str) -> Answer {
    let Some(ledger) = ledger else {
        let message = "There is no ledger: the configuration has no section `ledger`.";
        return Err((StatusCode::NOT_FOUND, message.to_owned()));
    };
    let asked = Asked::parse(query).map_err(|message| (StatusCode::BAD_REQUEST, message))?;
    let Ok(permit) = PERMITS.try_acquire() else {
        let message = format!("{AT_ONCE} reports are being made; try again in a moment.");
        return Err((StatusCode::SERVICE_UNAVAILABLE, message));
    };
    let made = tokio::task::spawn_blocking(move || {
        // Held by the work and not by the request, which may end before it.
        let _permit = permit;
        let report = ledger.report(asked.query)?;
        let mut body = Vec::new();
        // Writing into memory cannot fail.
        let _ = match asked.is_csv {
            true => report.write_csv(&mut body),
            false => report.write_json(&mut body),
        };
        Ok::<_, crate::ledger::store::StoreError>(body)
    });
    let failed = |error: String| {
        log::error!("the ledger cannot be read: {error}");
        let message = "The ledger cannot be read; the log says why.";
        (StatusCode::INTERNAL_SERVER_ERROR, message.to_owned())
    };
    match made.await {
        Ok(Ok(body)) if asked.is_csv => Ok(("text/csv; charset=utf-8", body)),
        Ok(Ok(body)) => Ok(("application/json", body)),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// What a query string asks for.
#[derive(Debug)]
struct Asked {
    query: Query,
    is_csv: bool,
}

impl Asked {
    fn parse(text: &str) -> Result<Self, String> {
        let names = ["by", "since", "until", "tenant", "format"];
        let [by, since, until, tenant, format] = parameters::read(text, names)?;
        let is_csv = match format.as_deref() {
            None | Some("json") => false,
            Some("csv") => true,
            Some(_) => return Err("format is json or csv".to_owned()),
        };
        let query = Query::parse(
            by.as_deref(),
            since.as_deref(),
            until.as_deref(),
            tenant.as_deref(),
        )?;
        Ok(Self { query, is_csv })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::report::Column;

    #[test]
    fn the_parameters_are_those_of_the_command() {
        let text = "by=day%2Ctenant&since=2026-11-01&until=2026-12-01T00:00:00+01:00&tenant=a%20b&format=csv";
        let asked = Asked::parse(text).unwrap();
        assert_eq!(asked.query.by, [Column::Day, Column::Tenant]);
        assert_eq!(asked.query.tenant.as_deref(), Some("a b"));
        assert_eq!(
            asked.query.until_ms - asked.query.since_ms,
            (30 * 24 - 1) * 3_600_000
        );
        assert!(asked.is_csv);
        assert_eq!(Asked::parse("").unwrap().query, Query::default());
    }

    #[test]
    fn what_is_wrong_is_told() {
        let wrong = [
            ("colour=red", "no others"),
            ("by=colour", "no column `colour`"),
            ("by=day&by=day", "by is given twice"),
            ("format=xml", "json or csv"),
            ("tenant=%ff", "no UTF-8"),
            ("since=2026-11-02&until=2026-11-01", "must come after"),
        ];
        for (text, message) in wrong {
            let told = Asked::parse(text).unwrap_err();
            assert!(told.contains(message), "{told}");
        }
    }
}
