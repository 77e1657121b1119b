//! The journals that a lost node has left, and its name.
//!
//! Owns loading them into the database that the node has shared, from another machine: once, under the name of the
//! node, as its restart would have done. With PostgreSQL, webhooks are told of what is loaded, and what waits in the
//! outbox of the folder is moved into the one that gateways share. A ledger's folder has the name in a file. Does not
//! handle what a running process finds in its own folder (see `others`). Fails where the folder has no journal, where a
//! process still records in it, or where the database is away; what is loaded stays, and can be loaded again.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::journal;
use super::journals::{self, NUMBERS};
use super::load::Loader;
use super::store::{Database, Teller};
use super::webhooks::{self, OfPlan, WebhookPlan};
use super::{LedgerError, make_folder, positions};
use crate::config;

/// The file with the name of the node that records in a folder.
const NAME: &str = "node";
/// How long the loading of one journal may take.
const WITHIN: Duration = Duration::from_secs(24 * 3600);
/// A longer name is none.
const MAX_NAME_BYTES: u64 = 64;

/// What was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The node that has recorded it.
    pub node: String,
    /// How many journals it has left.
    pub journals: usize,
    /// How many events for webhooks were moved from its outbox.
    pub events: u64,
}

/// Writes the name of the node that records in a folder.
///
/// # Errors
/// It cannot be written.
#[expect(clippy::disallowed_methods, reason = "at the start")]
pub(super) fn note_name(folder: &Path, node: &str) -> io::Result<()> {
    let path = folder.join(NAME);
    match name(folder) {
        Ok(Some(known)) if known == node => Ok(()),
        _ => fs::write(path, node),
    }
}

/// The name of the node that records in a folder, if one has.
#[expect(clippy::disallowed_methods, reason = "at the start, and in a command")]
fn name(folder: &Path) -> io::Result<Option<String>> {
    let path = folder.join(NAME);
    match path.metadata() {
        Ok(file) if file.len() > MAX_NAME_BYTES => Ok(None),
        Ok(_) => Ok(Some(fs::read_to_string(path)?.trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Loads what a node has left in a folder into the database of `config`, and has the webhooks of `plan` told of it
/// where the database has an outbox. `node` is its name, if the folder does not have it. Blocks.
///
/// # Errors
/// There is nothing to load, it is in use, or the database cannot be written.
pub fn load(
    folder: &Path,
    node: Option<&str>,
    config: &config::Ledger,
    plan: &WebhookPlan,
) -> Result<Loaded, LedgerError> {
    let of_folder = |e| LedgerError::Folder(folder.display().to_string(), e);
    let known = match node {
        Some(node) => Some(node.to_owned()),
        None => name(folder).map_err(of_folder)?,
    };
    let mut found = Vec::new();
    for number in NUMBERS {
        let path = journals::folder(folder, number);
        let failed = |e| LedgerError::Folder(path.display().to_string(), e);
        if path.is_dir() && journal::end_in(&path).map_err(failed)?.is_some() {
            found.push(number);
        }
    }
    if found.is_empty() {
        return Err(LedgerError::NoJournal(folder.display().to_string()));
    }
    let node = known.filter(|node| config::is_plain_name(node));
    let node = node.ok_or_else(|| LedgerError::Nameless(folder.display().to_string()))?;
    make_folder(&config.path.value)?;
    let database = Database::of(config);
    let mut store = database.open(config).map_err(LedgerError::Store)?;
    let loaded = positions(Some(&mut *store), &node)?;
    drop(store);
    let teller = config.postgres.as_ref().map(|_| -> Arc<dyn Teller> {
        // Sent by a gateway that runs.
        Arc::new(OfPlan::new(plan))
    });
    for number in &found {
        let position = loaded.get(number - 1).copied().unwrap_or_default();
        let opened = journals::open(folder, *number, position)?;
        let own = config::Ledger {
            node: journals::node(&node, *number),
            ..config.clone()
        };
        let loader = Loader::start(Arc::clone(&opened.journal), &own, None, teller.clone());
        let loader = loader.map_err(LedgerError::Thread)?;
        if !loader.stop(WITHIN) {
            let why = loader.failure().unwrap_or_default();
            return Err(LedgerError::NotLoaded(why));
        }
    }
    let events = match &config.postgres {
        Some(url) => webhooks::move_left(folder, url).map_err(LedgerError::Store)?,
        None => 0,
    };
    Ok(Loaded {
        node,
        journals: found.len(),
        events,
    })
}
