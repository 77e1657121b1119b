//! The certificates of the client listeners.
//!
//! Owns making TLS settings from the files that the configuration names, and putting them in the place of those
//! before: of all listeners, or of none. Connections keep the certificate that they began with. Does not handle the
//! handshake (see `handshake`), nor when files have changed (see `file_watch`). Fails with what is wrong with a file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use pingora::listeners::tls::Acceptor;

use super::StartError;
use super::handshake::{self, Acceptors, Handshake};
use crate::clock;
use crate::config::{Config, ListenAddress, Tls, certificate};
use crate::tls::clients::Trust;

/// The certificates in use.
#[derive(Default)]
pub struct Certificates(Vec<Arc<Used>>);

/// The certificates of one listener.
struct Used {
    /// The configured address of the listener.
    address: ListenAddress,
    handshake: Arc<Handshake>,
    /// Who vouches for its clients.
    trust: Arc<Trust>,
    /// When each of them ceases to be valid.
    ends: Mutex<Ends>,
}

/// When the certificates of a listener cease to be valid, by their files; `None` where that is not known.
type Ends = HashMap<PathBuf, Option<Timestamp>>;

/// Certificates that can be used, and are not in use yet.
pub struct Loaded(Vec<(Arc<Used>, Acceptors, Ends)>);

impl Certificates {
    /// Loads the certificates of a listener at its configured address. `None` for a cleartext listener.
    ///
    /// # Errors
    /// A certificate or its key cannot be used.
    pub fn add(
        &mut self,
        address: &ListenAddress,
        tls: Option<&Tls>,
    ) -> Result<Option<Arc<Handshake>>, StartError> {
        let Some(tls) = tls else { return Ok(None) };
        let trust = Arc::default();
        let acceptors = acceptors(tls, &trust).map_err(StartError::Tls)?;
        trust.replace(acceptors.clients.clone());
        let handshake = Arc::new(Handshake::new(acceptors));
        self.0.push(Arc::new(Used {
            address: address.clone(),
            handshake: Arc::clone(&handshake),
            trust,
            ends: Mutex::new(ends(tls)),
        }));
        Ok(Some(handshake))
    }

    /// Loads the certificates that a configuration names for the listeners that there are.
    ///
    /// # Errors
    /// One cannot be used, or has expired where the one in use has not. Those in use stay.
    pub fn load(&self, config: &Config) -> Result<Loaded, String> {
        let mut loaded = Vec::new();
        for listener in &config.server.listen {
            let Some(tls) = &listener.tls else { continue };
            let address = &listener.address.value;
            let Some(used) = self.0.iter().find(|used| used.address == *address) else {
                continue;
            };
            let ends = ends(tls);
            refuse_expired(&ends, &used.ends.lock())?;
            loaded.push((Arc::clone(used), acceptors(tls, &used.trust)?, ends));
        }
        Ok(Loaded(loaded))
    }
}

impl Loaded {
    /// Puts them in use.
    pub fn put_in_use(self) {
        for (used, acceptors, ends) in self.0 {
            used.trust.replace(acceptors.clients.clone());
            used.handshake.replace(acceptors);
            *used.ends.lock() = ends;
        }
    }
}

fn ends(tls: &Tls) -> Ends {
    let files = certificate::all(tls);
    let ends = files.map(|(files, _)| (files.cert.value.clone(), certificate::end(files)));
    ends.collect()
}

/// Fails for a certificate that has expired, unless it is in use and had done so before.
fn refuse_expired(ends: &Ends, before: &Ends) -> Result<(), String> {
    let had_expired = |file| before.get(file).is_some_and(|end| is_over(*end));
    let expired = ends
        .iter()
        .find(|(file, end)| is_over(**end) && !had_expired(*file));
    match expired {
        Some((file, _)) => Err(format!("the certificate in {} has expired", file.display())),
        None => Ok(()),
    }
}

fn is_over(end: Option<Timestamp>) -> bool {
    let now = clock::timestamp();
    end.is_some_and(|end| end <= now)
}

fn acceptors(tls: &Tls, trust: &Arc<Trust>) -> Result<Acceptors, String> {
    let loaded = certificate::load_all(tls).map_err(|fault| fault.message)?;
    let usual = loaded.usual.map(|config| match &loaded.clients {
        Some(_) => handshake::keeping_certificates(config, trust),
        None => Ok(Acceptor::from_server_config(Arc::new(config))),
    });
    Ok(Acceptors {
        usual: usual.transpose()?,
        sm: loaded
            .sm
            .map(|config| Acceptor::from_server_config(Arc::new(config))),
        clients: loaded.clients,
    })
}
