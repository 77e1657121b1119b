//! What other processes record in the same folder, as their records come.
//!
//! Owns from where on each of their journals is read, and what the records in it add up to. Quotas count it, so that
//! processes which serve at the same time know of each other. Does not handle whose quota it is (see
//! `runtime::accounts`), or the loading of these journals, which goes on beside it (see `load`, `others`). A journal
//! that cannot be read is tried again with the next call, and the log says so once a minute.

use std::path::Path;

use rustc_hash::FxHashMap;

use super::journal::{Position, Tail};
use super::journals::{self, NUMBERS};
use super::record::Record;
use super::store::{Balance, Used};
use crate::observe::log_interval::LogInterval;

/// What was used, by the tenant, its key, which is empty for the tenant's own quota, and the start of the period.
type UsedInPeriods = FxHashMap<(String, String, i64), Used>;

/// About as much is read of each journal at once.
const BATCH_BYTES: usize = 1 << 20;

/// The reading of all journals but one.
pub struct Following {
    tails: Vec<Tail>,
    logged: LogInterval,
}

/// What was used elsewhere since the last call.
#[derive(Debug, Default)]
pub struct Elsewhere {
    /// By tenants, keys and periods, in any order.
    pub used: Vec<Balance>,
    /// Whether there is more to be read at once.
    pub is_more: bool,
}

impl Following {
    /// Begins to read the journals of a ledger from these positions on, in the order of their numbers. The one with the
    /// number `own` is left out. Returns whether all is there that was written behind the positions.
    pub fn begin(ledger: &Path, own: usize, positions: &[Option<Position>]) -> (Self, bool) {
        let mut following = Self {
            tails: Vec::new(),
            logged: LogInterval::default(),
        };
        let mut is_whole = true;
        for (number, position) in NUMBERS.zip(positions) {
            if number == own {
                continue;
            }
            let folder = journals::folder(ledger, number);
            let mut tail = Tail::new(folder, position.unwrap_or_default());
            is_whole &= tail.hold().unwrap_or(false);
            following.tails.push(tail);
        }
        (following, is_whole)
    }

    /// Reads what has been recorded since the last call, up to a bound of one megabyte of each journal.
    pub fn read(&mut self) -> Elsewhere {
        let mut used = UsedInPeriods::default();
        let mut elsewhere = Elsewhere::default();
        let mut failure = None;
        for tail in &mut self.tails {
            match tail.read(BATCH_BYTES) {
                Ok(Some(batch)) => {
                    elsewhere.is_more |= tail.is_behind();
                    for (_, record) in batch.records() {
                        add(&mut used, &record);
                    }
                }
                Ok(None) => {}
                Err(e) => failure = Some(format!("{}: {e}", tail.folder().display())),
            }
        }
        if let Some(failure) = failure {
            self.log(&failure);
        }
        elsewhere.used = used
            .into_iter()
            .map(|((tenant, key, period_start), used)| Balance {
                tenant,
                key,
                node: String::new(),
                period_start,
                tokens: u64::try_from(used.tokens).unwrap_or(0),
                charge_nanos: u64::try_from(used.charge_nanos).unwrap_or(0),
            })
            .collect();
        elsewhere
    }

    fn log(&mut self, failure: &str) {
        if self.logged.has_passed() {
            log::error!(
                "ledger: quotas do not know what another process uses, whose journal cannot be read: {failure}"
            );
        }
    }
}

/// Adds what a record counts in the quota of its tenant, and in that of its key.
fn add(used: &mut UsedInPeriods, record: &Record<'_>) {
    for (period, key) in [(record.period, ""), (record.key_period, record.key)] {
        if let Some(period) = period {
            let of = (record.tenant.to_owned(), key.to_owned(), period);
            used.entry(of).or_default().add(record);
        }
    }
}
