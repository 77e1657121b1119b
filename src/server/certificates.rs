//! The certificates of the client listeners.
//!
//! Owns making TLS settings from the files that the configuration names, and putting them in the place of those
//! before: of all listeners, or of none. Connections keep the certificate that they began with. Does not handle the
//! handshake (see `handshake`), nor when files have changed (see `file_watch`). Fails with what is wrong with a file.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use pingora::listeners::tls::Acceptor;

use super::StartError;
use super::handshake::{Acceptors, Handshake};
use crate::clock;
use crate::config::{CertificateFiles, Config, ListenAddress, Tls, certificate};
use crate::tls::server::Suites;

/// The certificates in use.
#[derive(Default)]
pub struct Certificates(Vec<Arc<Used>>);

/// The certificates of one listener.
struct Used {
    /// The configured address of the listener.
    address: ListenAddress,
    handshake: Arc<Handshake>,
    /// When each of them ceases to be valid.
    ends: Mutex<Ends>,
}

/// When the certificates of a listener cease to be valid, where that is known.
#[derive(Clone, Copy)]
struct Ends {
    usual: Option<Timestamp>,
    sm: Option<Timestamp>,
}

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
        let handshake = Arc::new(Handshake::new(acceptors(tls).map_err(StartError::Tls)?));
        self.0.push(Arc::new(Used {
            address: address.clone(),
            handshake: Arc::clone(&handshake),
            ends: Mutex::new(Ends::of(tls)),
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
            let (ends, before) = (Ends::of(tls), *used.ends.lock());
            for (files, end, before) in [
                (&tls.usual, ends.usual, before.usual),
                (&tls.sm, ends.sm, before.sm),
            ] {
                refuse_expired(files.as_ref(), end, before)?;
            }
            loaded.push((Arc::clone(used), acceptors(tls)?, ends));
        }
        Ok(Loaded(loaded))
    }
}

impl Loaded {
    /// Puts them in use.
    pub fn put_in_use(self) {
        for (used, acceptors, ends) in self.0 {
            used.handshake.replace(acceptors);
            *used.ends.lock() = ends;
        }
    }
}

impl Ends {
    fn of(tls: &Tls) -> Self {
        Self {
            usual: tls.usual.as_ref().and_then(certificate::end),
            sm: tls.sm.as_ref().and_then(certificate::end),
        }
    }
}

/// Fails for a certificate that has expired where the one before has not.
fn refuse_expired(
    files: Option<&CertificateFiles>,
    end: Option<Timestamp>,
    before: Option<Timestamp>,
) -> Result<(), String> {
    match files {
        Some(files) if is_over(end) && !is_over(before) => {
            let file = files.cert.value.display();
            Err(format!("the certificate in {file} has expired"))
        }
        _ => Ok(()),
    }
}

fn is_over(end: Option<Timestamp>) -> bool {
    let now = Timestamp::try_from(clock::now()).unwrap_or(Timestamp::UNIX_EPOCH);
    end.is_some_and(|end| end <= now)
}

fn acceptors(tls: &Tls) -> Result<Acceptors, String> {
    let load = |files: &CertificateFiles, suites| {
        let config = certificate::load(files, suites).map_err(|fault| fault.message)?;
        Ok::<_, String>(Acceptor::from_server_config(Arc::new(config)))
    };
    let load = |files: Option<&CertificateFiles>, suites| {
        files.map(|files| load(files, suites)).transpose()
    };
    Ok(Acceptors {
        usual: load(tls.usual.as_ref(), Suites::Usual)?,
        sm: load(tls.sm.as_ref(), Suites::Sm)?,
    })
}
