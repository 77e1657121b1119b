//! Certificates made for a test, with OpenSSL.

use std::path::PathBuf;
use std::process::Command;

use super::gateway::Folder;
use super::tools::run;

/// A certificate for localhost, and the authority that vouches for it.
pub struct Certificate {
    pub authority: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// The `tls` of a listener that has it.
    pub fn tls(&self) -> String {
        let (cert, key) = (self.cert.display(), self.key.display());
        format!("tls: {{ cert: '{cert}', key: '{key}' }}")
    }
}

/// Makes one in `folder`.
pub fn certificate(folder: &Folder) -> Certificate {
    let path = |name: &str| folder.0.join(name);
    let (authority, authority_key) = (path("ca.pem"), path("ca-key.pem"));
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let request = |subject: &str, key: &PathBuf| {
        let mut command = Command::new("openssl");
        command
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ])
            .args(["-nodes", "-days", "2", "-subj", subject, "-keyout"])
            .arg(key);
        command
    };
    run(request("/CN=tests", &authority_key)
        .arg("-out")
        .arg(&authority));
    run(request("/CN=localhost", &key)
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-CA")
        .arg(&authority)
        .arg("-CAkey")
        .arg(&authority_key)
        .arg("-out")
        .arg(&cert));
    Certificate {
        authority,
        cert,
        key,
    }
}
