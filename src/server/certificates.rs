//! The certificates of the client listeners.
//!
//! Owns making TLS settings from the files that the configuration names, and putting them in the place of those
//! before: of all listeners, or of none. Connections keep the certificate that they began with. Does not handle the
//! handshake (see `handshake`), nor when files have changed (see `file_watch`). Fails with what is wrong with a file.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora::listeners::tls::{Acceptor, TlsSettings};

use super::StartError;
use super::handshake::Handshake;
use crate::config::{Config, Tls, certificate};

/// The certificates in use, each with the configured address of its listener.
#[derive(Default)]
pub struct Certificates(Vec<(SocketAddr, Arc<Handshake>)>);

/// Certificates that can be used, and are not in use yet.
pub struct Loaded(Vec<(Arc<Handshake>, Acceptor)>);

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
        self.0.push((address, Arc::clone(&handshake)));
        Ok(Some(handshake))
    }

    /// Loads the certificates that a configuration names for the listeners that there are.
    ///
    /// # Errors
    /// One cannot be used. Those in use stay.
    pub fn load(&self, config: &Config) -> Result<Loaded, String> {
        let mut loaded = Vec::new();
        for listener in &config.server.listen {
            let Some(tls) = &listener.tls else { continue };
            let address = listener.address.value;
            if let Some((_, handshake)) = self.0.iter().find(|(known, _)| *known == address) {
                loaded.push((Arc::clone(handshake), acceptor(tls)?));
            }
        }
        Ok(Loaded(loaded))
    }
}

impl Loaded {
    /// Puts them in use.
    pub fn put_in_use(self) {
        for (handshake, acceptor) in self.0 {
            handshake.replace(acceptor);
        }
    }
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
