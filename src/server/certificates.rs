//! The certificates of the client listeners.
//!
//! Owns making TLS settings from the files that the configuration names, and putting them in the place of those
//! before: of all listeners, or of none. Connections keep the certificate that they began with. Does not handle the
//! handshake (see `handshake`), nor when files have changed (see `file_watch`). Fails with what is wrong with a file.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use pingora::listeners::tls::{Acceptor, TlsSettings};

use super::StartError;
use super::handshake::Handshake;
use crate::clock;
use crate::config::{Config, Tls, certificate};

/// The certificates in use.
#[derive(Default)]
pub struct Certificates(Vec<Arc<Used>>);

/// The certificate of one listener.
struct Used {
    /// The configured address of the listener.
    address: SocketAddr,
    handshake: Arc<Handshake>,
    /// When it ceases to be valid, where that is known.
    end: Mutex<Option<Timestamp>>,
}

/// Certificates that can be used, and are not in use yet.
pub struct Loaded(Vec<(Arc<Used>, Acceptor, Option<Timestamp>)>);

impl Certificates {
    /// Loads the certificate of a listener at its configured address. `None` for a cleartext listener.
    ///
    /// # Errors
    /// The certificate or its key cannot be used.
    pub fn add(
        &mut self,
        address: SocketAddr,
        tls: Option<&Tls>,
    ) -> Result<Option<Arc<Handshake>>, StartError> {
        let Some(tls) = tls else { return Ok(None) };
        let handshake = Arc::new(Handshake::new(acceptor(tls).map_err(StartError::Tls)?));
        self.0.push(Arc::new(Used {
            address,
            handshake: Arc::clone(&handshake),
            end: Mutex::new(certificate::end(tls)),
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
            let address = listener.address.value;
            let Some(used) = self.0.iter().find(|used| used.address == address) else {
                continue;
            };
            let end = certificate::end(tls);
            if is_over(end) && !is_over(*used.end.lock()) {
                let file = tls.cert.value.display();
                return Err(format!("the certificate in {file} has expired"));
            }
            loaded.push((Arc::clone(used), acceptor(tls)?, end));
        }
        Ok(Loaded(loaded))
    }
}

impl Loaded {
    /// Puts them in use.
    pub fn put_in_use(self) {
        for (used, acceptor, end) in self.0 {
            used.handshake.replace(acceptor);
            *used.end.lock() = end;
        }
    }
}

fn is_over(end: Option<Timestamp>) -> bool {
    let now = Timestamp::try_from(clock::now()).unwrap_or(Timestamp::UNIX_EPOCH);
    end.is_some_and(|end| end <= now)
}

fn acceptor(tls: &Tls) -> Result<Acceptor, String> {
    // Pingora panics on a certificate that it cannot use, and the files may have changed since the
    // configuration was read.
    certificate::check(tls).map_err(|fault| fault.message)?;
    let (cert, key) = (&tls.cert.value, &tls.key.value);
    let (Some(cert), Some(key)) = (cert.to_str(), key.to_str()) else {
        return Err("a path is not UTF-8".to_owned());
    };
    let mut settings = TlsSettings::intermediate(cert, key).map_err(|e| e.to_string())?;
    settings.enable_h2();
    Ok(settings.build())
}
