//! What a listener and a client agree upon: the certificate by name, the version, the suite, and the state of the
//! certificate. The client is OpenSSL's.

use std::path::PathBuf;
use std::process::Command;

use crate::support::authority::Authority;
use crate::support::gateway::{Folder, Gateway, config, with_listener};
use crate::support::soon;
use crate::support::tools::require;

/// A gateway whose listener has these keys in `tls`.
fn gateway(tls: &str) -> Gateway {
    let nothing = "127.0.0.1:1".parse().unwrap();
    Gateway::start(&with_listener(
        &config(nothing, "", ""),
        &format!("tls: {{ {tls} }}"),
    ))
}

/// What OpenSSL says of a handshake with these arguments.
fn handshake(gateway: &Gateway, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.args(["20", "openssl", "s_client", "-brief", "-connect"]);
    command.arg(gateway.address.to_string()).args(arguments);
    command.stdin(std::process::Stdio::null());
    let output = tokio::task::block_in_place(|| command.output().unwrap());
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

fn subject(gateway: &Gateway, arguments: &[&str]) -> String {
    let said = handshake(gateway, arguments);
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("Peer certificate: "));
    line.unwrap_or(&said).replace(' ', "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_the_certificate_for_the_host_that_it_names() {
    if require(&["openssl"], "openssl").is_none() {
        return;
    }
    let authority = Authority::new("servers");
    let make = |file: &str, names: &str| authority.make(file, &format!("/CN={file}"), names);
    let (first, own) = (
        make("first", "DNS:first.example"),
        make("own", "DNS:a.example,DNS:c.example"),
    );
    let (wild, deep) = (
        make("wild", "DNS:*.example"),
        make("deep", "DNS:*.B.example"),
    );
    let rsa = authority.make_rsa("rsa", "/CN=rsa", "DNS:c.example");
    let more = [own, wild, deep, rsa]
        .map(|made| format!("{{ {} }}", made.files()))
        .join(", ");
    let gateway = gateway(&format!("{}, certificates: [{more}]", first.files()));
    for (host, wanted) in [
        ("first.example", "CN=first"),
        ("a.example", "CN=own"),
        ("A.Example", "CN=own"),
        ("b.example", "CN=wild"),
        ("x.b.example", "CN=deep"),
        ("x.y.b.example", "CN=first"),
        ("example", "CN=first"),
        ("elsewhere.test", "CN=first"),
    ] {
        assert_eq!(subject(&gateway, &["-servername", host]), wanted, "{host}");
    }
    assert_eq!(subject(&gateway, &["-noservername"]), "CN=first");
    // Of two for one host, the client gets the one that it can verify.
    let named = ["-servername", "c.example", "-sigalgs"];
    assert_eq!(
        subject(&gateway, &[&named[..], &["ECDSA+SHA256"]].concat()),
        "CN=own"
    );
    assert_eq!(
        subject(&gateway, &[&named[..], &["RSA-PSS+SHA256"]].concat()),
        "CN=rsa"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_speaks_the_versions_and_suites_that_are_chosen() {
    if require(&["openssl"], "openssl").is_none() {
        return;
    }
    let authority = Authority::new("servers");
    let files = authority.make("own", "/CN=own", "DNS:a.example").files();
    let speaks = |gateway: &Gateway, arguments: &[&str]| {
        handshake(gateway, arguments).contains("Peer certificate: CN = own")
    };
    let usual = gateway(&files);
    assert!(speaks(&usual, &["-tls1_2"]) && speaks(&usual, &["-tls1_3"]));
    let new = gateway(&format!("{files}, min_version: '1.3'"));
    assert!(!speaks(&new, &["-tls1_2"]) && speaks(&new, &["-tls1_3"]));
    let one = gateway(&format!("{files}, suites: [TLS_AES_128_GCM_SHA256]"));
    assert!(speaks(&one, &["-ciphersuites", "TLS_AES_128_GCM_SHA256"]));
    assert!(!speaks(
        &one,
        &["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"]
    ));
    assert!(!speaks(&one, &["-tls1_2"]), "no suite is of this version");
    let old = gateway(&format!(
        "{files}, suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]"
    ));
    assert!(speaks(&old, &["-tls1_2"]) && !speaks(&old, &["-tls1_3"]));
    assert!(!speaks(
        &old,
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"]
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_gets_the_state_of_the_certificate_and_a_newer_one_once_it_is_there() {
    if require(&["openssl"], "openssl").is_none() {
        return;
    }
    let (authority, folder) = (Authority::new("servers"), Folder::new());
    let made = authority.make("own", "/CN=own", "DNS:a.example");
    let state: PathBuf = folder.0.join("own.ocsp");
    authority.state(&made, &state);
    let gateway = gateway(&format!("{}, ocsp: '{}'", made.files(), state.display()));
    let asked = || {
        let mut command = Command::new("timeout");
        command.args(["20", "openssl", "s_client", "-status", "-connect"]);
        command
            .arg(gateway.address.to_string())
            .stdin(std::process::Stdio::null());
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = asked();
    assert!(said.contains("OCSP Response Status: successful"), "{said}");
    assert!(said.contains("Cert Status: good"), "{said}");
    authority.revoke(&made);
    authority.state(&made, &state);
    soon("the newer state", async {
        while !asked().contains("Cert Status: revoked") {}
    })
    .await;
}
