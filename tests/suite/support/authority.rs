//! An authority that makes certificates for clients and servers, and revokes them, with OpenSSL.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::gateway::Folder;
use super::tools::run;

/// An authority with files of its own.
pub struct Authority {
    folder: Folder,
    /// Its certificate.
    pub cert: PathBuf,
    key: PathBuf,
}

/// A certificate that it has made, and its key.
pub struct Made {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Made {
    /// The keys of a listener that has it.
    pub fn files(&self) -> String {
        let (cert, key) = (self.cert.display(), self.key.display());
        format!("cert: '{cert}', key: '{key}'")
    }
}

/// A command that makes a certificate with a key of ECDSA.
fn request(program: &[&str]) -> Command {
    let (program, before) = program.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(before);
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]);
    command
}

/// Has it make this key, and a certificate for two days.
fn own<'c>(command: &'c mut Command, subject: &str, key: &Path) -> &'c mut Command {
    command
        .args(["-utf8", "-nodes", "-days", "2", "-subj", subject, "-keyout"])
        .arg(key)
}

impl Authority {
    /// Makes one.
    pub fn new(name: &str) -> Self {
        let folder = Folder::new();
        let (cert, key) = (folder.0.join("ca.pem"), folder.0.join("ca-key.pem"));
        let subject = format!("/CN={name}");
        let mut made = request(&["openssl"]);
        run(own(&mut made, &subject, &key).arg("-out").arg(&cert));
        folder.write("index.txt", "");
        folder.write("crlnumber", "01\n");
        folder.write(
            "ca.cnf",
            format!(
                "[ca]\ndefault_ca = tests\n[tests]\ndatabase = {0}/index.txt\ncrlnumber = {0}/crlnumber\n\
                 default_md = sha256\ndefault_crl_days = 2\nunique_subject = no\n",
                folder.0.display()
            ),
        );
        Self { folder, cert, key }
    }

    /// Makes a certificate with this subject, as in `/CN=a`, and these alternative names, as in `DNS:a`.
    pub fn make(&self, file: &str, subject: &str, names: &str) -> Made {
        self.make_by(&["openssl"], file, subject, names)
    }

    /// One that has expired.
    pub fn make_expired(&self, file: &str, subject: &str) -> Made {
        self.make_by(
            &["faketime", "-10 days", "openssl"],
            file,
            subject,
            "DNS:expired",
        )
    }

    /// One with a key of RSA.
    pub fn make_rsa(&self, file: &str, subject: &str, names: &str) -> Made {
        let key = self.folder.0.join(format!("{file}-key.pem"));
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "rsa:2048"]);
        self.finish(command, file, (subject, names), key)
    }

    fn make_by(&self, program: &[&str], file: &str, subject: &str, names: &str) -> Made {
        let key = self.folder.0.join(format!("{file}-key.pem"));
        self.finish(request(program), file, (subject, names), key)
    }

    fn finish(
        &self,
        mut request: Command,
        file: &str,
        (subject, names): (&str, &str),
        key: PathBuf,
    ) -> Made {
        let cert = self.folder.0.join(format!("{file}.pem"));
        run(own(&mut request, subject, &key)
            .args(["-addext", &format!("subjectAltName={names}")])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-CA")
            .arg(&self.cert)
            .arg("-CAkey")
            .arg(&self.key)
            .arg("-out")
            .arg(&cert));
        let made = Made { cert, key };
        self.note(&made);
        made
    }

    fn ca(&self) -> Command {
        let mut command = Command::new("openssl");
        command
            .arg("ca")
            .arg("-config")
            .arg(self.folder.0.join("ca.cnf"));
        command
            .arg("-cert")
            .arg(&self.cert)
            .arg("-keyfile")
            .arg(&self.key);
        command
    }

    /// Revokes a certificate, which the next list tells.
    pub fn revoke(&self, made: &Made) {
        run(self.ca().arg("-revoke").arg(&made.cert));
    }

    /// Writes the list of revoked certificates to a file, whole at once.
    pub fn list(&self, file: &Path) {
        let unfinished = self.folder.0.join("crl.new");
        run(self.ca().arg("-gencrl").arg("-out").arg(&unfinished));
        std::fs::rename(unfinished, file).unwrap();
    }

    /// Writes what it says of a certificate's state (OCSP) to a file, whole at once.
    pub fn state(&self, made: &Made, file: &Path) {
        let unfinished = self.folder.0.join("ocsp.new");
        let mut command = Command::new("openssl");
        command
            .args(["ocsp", "-ndays", "1", "-index"])
            .arg(self.folder.0.join("index.txt"));
        command
            .arg("-rsigner")
            .arg(&self.cert)
            .arg("-rkey")
            .arg(&self.key);
        command
            .arg("-CA")
            .arg(&self.cert)
            .arg("-issuer")
            .arg(&self.cert);
        command
            .arg("-cert")
            .arg(&made.cert)
            .arg("-respout")
            .arg(&unfinished);
        run(&mut command);
        std::fs::rename(unfinished, file).unwrap();
    }

    /// Notes a certificate among those that it has made, so that it can say that it is good.
    fn note(&self, made: &Made) {
        run(self.ca().arg("-valid").arg(&made.cert));
    }
}
