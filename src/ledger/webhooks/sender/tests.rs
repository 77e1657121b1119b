//! One request: to which addresses, over TLS, and what is told of its failures.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use super::*;
use crate::ledger::webhooks::tests::far_end::FarEnd;
use crate::ledger::webhooks::tests::webhook;

const END: Duration = Duration::from_secs(30);

/// Why a message was not delivered.
fn cause_of(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed { cause, .. } => cause,
        outcome => format!("{outcome:?}"),
    }
}

/// Says the same to each connection, without reading anything.
fn answering_at_once(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(text.as_bytes()).unwrap_or_default();
            // Closed with unread bytes, it would be reset.
            kept.push(stream);
        }
    });
    address
}

/// A receiver with a certificate for `localhost`, which is its own authority.
struct TlsEnd {
    process: Child,
    port: String,
}

impl TlsEnd {
    fn start(folder: &Path) -> Self {
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ])
            .args([
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
                "-keyout",
                "key.pem",
            ])
            .args([
                "-addext",
                "subjectAltName=DNS:localhost",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-out",
                "cert.pem",
            ])
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut process = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-cert",
                "cert.pem",
                "-key",
                "key.pem",
            ])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let accepts = lines.find(|line| line.starts_with("ACCEPT ")).unwrap();
        // It says more than a pipe holds.
        thread::spawn(move || lines.for_each(drop));
        let port = accepts.rsplit(':').next().unwrap().to_owned();
        Self { process, port }
    }
}

impl TlsEnd {
    /// Has it answer the next connection that stays.
    fn answer(&self) {
        // What it reads is what it sends.
        let mut input = self.process.stdin.as_ref().unwrap();
        input.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    }
}

impl Drop for TlsEnd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_certificate_is_checked_against_the_host_of_the_url() {
    let folder = tempfile::tempdir().unwrap();
    let far_end = TlsEnd::start(folder.path());
    let pem = std::fs::read(folder.path().join("cert.pem")).unwrap();
    let trusted = Certificate::from_pem(&pem).unwrap();
    let sender = Sender::trusting(END, vec![trusted]);
    let stranger = Sender::new(END);
    let url = |host: &str| webhook(&format!("https://{host}:{}/", far_end.port));
    for (sender, host) in [(&sender, "127.0.0.1"), (&stranger, "localhost")] {
        let cause = cause_of(sender.post(&url(host), "msg_1", "{}"));
        assert!(
            cause.starts_with("TLS failed: invalid peer certificate"),
            "{cause}"
        );
    }
    far_end.answer();
    let outcome = sender.post(&url("localhost"), "msg_1", "{}");
    assert_eq!(outcome, Outcome::Delivered);
}

#[test]
fn a_private_address_is_not_connected_to_and_no_url_is_in_the_error() {
    let sender = Sender::new(END);
    for url in [
        "https://10.0.0.1/?s3cret",
        "https://169.254.169.254/",
        "https://[fd00::1]/",
    ] {
        let cause = cause_of(sender.post(&webhook(url), "msg_1", "{}"));
        assert!(
            cause.contains("not allowed") && !cause.contains("s3cret"),
            "{cause}"
        );
    }
}

#[test]
fn what_can_go_wrong_with_a_connection_is_told_without_the_url() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let no_tls = answering_at_once("HTTP/1.1 400 Bad Request\r\n\r\n");
    let no_http = FarEnd::scripted(|_, _| Some("what?\r\n\r\n".to_owned()));
    let hangs = FarEnd::scripted(|_, _| None);
    let endless =
        FarEnd::scripted(|_, _| Some(format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(9_000))));
    let sender = Sender::new(Duration::from_millis(500));
    for (url, expected) in [
        (format!("http://{address}/?s3cret"), "connection"),
        (format!("https://{no_tls}/?s3cret"), "TLS"),
        (no_http.url(), "cannot be read"),
        (hangs.url(), "in time"),
        (endless.url(), "cannot be read"),
    ] {
        let cause = cause_of(sender.post(&webhook(&url), "msg_1", "{}"));
        let is_told = cause.contains(expected) && !cause.contains("s3cret");
        assert!(is_told && !cause.contains("127.0.0.1"), "{url}: {cause}");
    }
}

#[test]
fn an_answer_with_a_large_body_counts_as_its_status() {
    let far_end = FarEnd::scripted(|_, _| {
        let body = "x".repeat(1 << 20);
        Some(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    });
    let sender = Sender::new(END);
    let outcome = sender.post(&webhook(&far_end.url()), "msg_1", "{}");
    assert_eq!(outcome, Outcome::Delivered);
}
