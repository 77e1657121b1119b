//! TLS by RFC 8998 as OpenSSL speaks it: its certificates, and a relay between it and clear text.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use super::gateway::{Folder, Output};
use super::tools::run;
use crate::sdk;

/// The identifier of a signer that all sides assume.
const ID: &str = "distid:1234567812345678";

/// What a relay says of a handshake by RFC 8998.
pub const STRICT: &str = "TLS_SM4_GCM_SM3 curveSM2";

/// A certificate for localhost, and the authority that vouches for it.
pub struct SmCertificate {
    pub authority: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Makes one in `folder`: `sm-ca.pem`, `sm-cert.pem`, `sm-key.pem`.
pub fn sm_certificate(folder: &Folder) -> SmCertificate {
    sm_certificate_by(folder, &[], ID)
}

/// The same, with a program before OpenSSL and an identifier in the authority's signature.
pub fn sm_certificate_by(folder: &Folder, before: &[&str], id: &str) -> SmCertificate {
    let path = |name: &str| folder.0.join(name);
    let openssl = |line: &str| {
        let words = before.iter().copied().chain(["openssl"]);
        let mut words = words.chain(line.split(' '));
        let mut command = Command::new(words.next().unwrap());
        run(command.args(words).current_dir(&folder.0))
    };
    for name in ["sm-ca-key.pem", "sm-key.pem"] {
        openssl(&format!("genpkey -algorithm SM2 -out {name}"));
    }
    openssl(&format!(
        "req -x509 -new -key sm-ca-key.pem -subj /CN=tests -days 2 -sm3 -sigopt {ID} -out sm-ca.pem"
    ));
    openssl(&format!(
        "req -new -key sm-key.pem -subj /CN=localhost -sm3 -sigopt {ID} -out request"
    ));
    folder.write("extensions", "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    openssl(&format!(
        "x509 -req -in request -vfyopt {ID} -CA sm-ca.pem -CAkey sm-ca-key.pem -set_serial 7 \
         -days 2 -extfile extensions -sm3 -sigopt {id} -out sm-cert.pem"
    ));
    SmCertificate {
        authority: path("sm-ca.pem"),
        cert: path("sm-cert.pem"),
        key: path("sm-key.pem"),
    }
}

/// A process that carries connections between clear text and TLS.
pub struct Relay {
    child: Child,
    output: Arc<Output>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Relay {
    /// Clear text comes in, and TLS goes out to `target`, whose certificate `authority` vouches for. `None` where what
    /// it needs is not installed.
    pub fn client(target: SocketAddr, authority: &Path, more: &[&str]) -> Option<Self> {
        Self::start("client", target, &[authority], more)
    }

    /// TLS comes in, with this certificate, and clear text goes out to `target`.
    pub fn server(target: SocketAddr, certificate: &SmCertificate) -> Option<Self> {
        let files = [certificate.cert.as_path(), certificate.key.as_path()];
        Self::start("server", target, &files, &[])
    }

    fn start(role: &str, target: SocketAddr, files: &[&Path], more: &[&str]) -> Option<Self> {
        let mut command = sdk::python("sm_relay.py")?;
        command.args([role, &target.port().to_string()]);
        let mut child = command
            .args(files)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new(Output::default());
        output.collect(child.stdout.take().unwrap());
        let port = output.wait_for("port ");
        let port: u16 = port.trim_start_matches("port ").parse().unwrap();
        Some(Self {
            child,
            output,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        })
    }

    /// Waits for a handshake of which this is said.
    pub fn wait_for(&self, wanted: &str) -> String {
        self.output.wait_for(wanted)
    }

    /// All that was said of handshakes.
    pub fn text(&self) -> String {
        self.output.text()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
