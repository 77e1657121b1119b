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
    certificate_for(folder, &[], "DNS:localhost,IP:127.0.0.1")
}

/// The same for other names, with a program before OpenSSL.
pub fn certificate_for(folder: &Folder, before: &[&str], names: &str) -> Certificate {
    let path = |name: &str| folder.0.join(name);
    let (authority, authority_key) = (path("ca.pem"), path("ca-key.pem"));
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let request = |before: &[&str], subject: &str, key: &PathBuf| {
        let mut words = before.iter().copied().chain(["openssl"]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
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
    // No two of them have one name.
    let authority_name = folder.0.file_name().unwrap().to_string_lossy();
    run(
        request(&[], &format!("/CN={authority_name}"), &authority_key)
            .arg("-out")
            .arg(&authority),
    );
    run(request(before, "/CN=localhost", &key)
        .args(["-addext", &format!("subjectAltName={names}")])
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
