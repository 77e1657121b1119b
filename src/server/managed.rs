//! Tenants and keys that are made at run time, with the process.
//!
//! Owns when they begin to be known, and that what other processes change of them comes in force. Does not handle how
//! (see `runtime::managed`), nor what is known (see `managed`). Fails where their database cannot be used at all; one
//! that is away is waited for.

use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use crate::config::Config;
use crate::managed::Managed;
use crate::runtime::{Keys, Shared};

/// How long after a failure it is tried again to learn what quotas have been used of.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Begins to know them, where there is a ledger beside which they are kept.
///
/// # Errors
/// Their database cannot be used.
pub async fn start(config: &Config, shared: &Arc<Shared>) -> Result<(), StartError> {
    let Some(ledger) = config.ledger.clone() else {
        return Ok(());
    };
    let (joining, config) = (Arc::clone(shared), config.clone());
    let starting = move || {
        let managed = Managed::start(&ledger)?;
        joining.make_keys_in(Keys::new(managed, &config));
        joining.follow_keys();
        Ok(())
    };
    let started = tokio::task::spawn_blocking(starting).await;
    let started = started.map_err(|e| StartError::Internal(e.to_string()))?;
    started.map_err(StartError::Keys)?;
    tokio::spawn(follow(Arc::clone(shared)));
    Ok(())
}

/// Puts in force what other processes change, until the process ends.
async fn follow(shared: Arc<Shared>) {
    let Some(mut versions) = shared.keys().map(|keys| keys.managed().versions()) else {
        return;
    };
    loop {
        // First of all: something may have changed before it was looked for.
        let following = Arc::clone(&shared);
        let followed = tokio::task::spawn_blocking(move || following.follow_keys()).await;
        let has_balances = followed.unwrap_or(false);
        let seen = match has_balances {
            true => Ok(versions.changed().await),
            false => tokio::time::timeout(ASK_AGAIN, versions.changed()).await,
        };
        // It ends with the process alone.
        if matches!(seen, Ok(Err(_))) {
            return;
        }
    }
}
