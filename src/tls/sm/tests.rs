//! Handshakes in memory, between a client and a server of rustls with the provider.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, CommonState, ConnectionCommon, Error, HandshakeKind,
    InconsistentKeys, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection, SideData,
};

use super::*;

const AUTHORITY: &[u8] = include_bytes!("../../../tests/fixtures/sm/ca.pem");
const SERVER: &[u8] = include_bytes!("../../../tests/fixtures/sm/server.pem");
const ANOTHER_ID: &[u8] = include_bytes!("../../../tests/fixtures/sm/another-id.pem");
const KEY: &[u8] = include_bytes!("../../../tests/fixtures/sm/server.key");

/// Seconds of a year in which the fixtures are valid.
const VALID: u64 = 1_830_000_000;

/// The server's private key.
pub(super) fn sm2_key() -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(KEY).unwrap()
}

#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

fn server(certificate: &[u8]) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(certificate).unwrap()];
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(VERSIONS).unwrap();
    let config = builder
        .with_no_client_auth()
        .with_single_cert(chain, sm2_key());
    Arc::new(config.unwrap())
}

fn client_at(provider: Arc<CryptoProvider>, authority: &[u8], seconds: u64) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_details(provider, Arc::new(At(seconds)));
    let builder = builder.with_protocol_versions(VERSIONS).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn client() -> Arc<ClientConfig> {
    client_at(provider(), AUTHORITY, VALID)
}

struct Ends {
    client: ClientConnection,
    server: ServerConnection,
}

/// Passes records on until neither end has any, or one fails.
fn pass_on(ends: &mut Ends) -> Result<(), Error> {
    while ends.client.wants_write() || ends.server.wants_write() {
        hand_over(&mut ends.client, &mut ends.server)?;
        hand_over(&mut ends.server, &mut ends.client)?;
    }
    Ok(())
}

fn hand_over<A, B>(
    from: &mut ConnectionCommon<A>,
    to: &mut ConnectionCommon<B>,
) -> Result<(), Error>
where
    A: SideData,
    B: SideData,
{
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut rest = wire.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<Ends, Error> {
    shake_for("localhost", client, server)
}

fn shake_for(
    name: &str,
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<Ends, Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut ends = Ends {
        client: ClientConnection::new(Arc::clone(client), name)?,
        server: ServerConnection::new(Arc::clone(server))?,
    };
    pass_on(&mut ends)?;
    Ok(ends)
}

/// What both ends agreed on.
fn agreed(ends: &Ends) -> (CipherSuite, NamedGroup, ProtocolVersion) {
    let of = |common: &CommonState| {
        (
            common.negotiated_cipher_suite().unwrap().suite(),
            common.negotiated_key_exchange_group().unwrap().name(),
            common.protocol_version().unwrap(),
        )
    };
    assert_eq!(of(&ends.client), of(&ends.server));
    of(&ends.client)
}

const STRICT: (CipherSuite, NamedGroup, ProtocolVersion) = (SUITE, GROUP, ProtocolVersion::TLSv1_3);

#[test]
fn both_ends_agree_on_the_suite_the_group_and_the_version() {
    let mut ends = shake(&client(), &server(SERVER)).unwrap();
    assert_eq!(agreed(&ends), STRICT);
    assert_eq!(ends.server.handshake_kind(), Some(HandshakeKind::Full));
    // Many records in both directions.
    for _ in 0..30 {
        let (mut question, mut answer) = (vec![b'q'; 15_000], vec![b'a'; 15_000]);
        ends.client.writer().write_all(&question).unwrap();
        ends.server.writer().write_all(&answer).unwrap();
        pass_on(&mut ends).unwrap();
        ends.server.reader().read_exact(&mut question).unwrap();
        ends.client.reader().read_exact(&mut answer).unwrap();
        assert!(question.iter().all(|byte| *byte == b'q'));
        assert!(answer.iter().all(|byte| *byte == b'a'));
    }
}

#[test]
fn keys_change_within_a_connection() {
    let mut ends = shake(&client(), &server(SERVER)).unwrap();
    for side in 0..4 {
        match side % 2 {
            0 => ends.client.refresh_traffic_keys().unwrap(),
            _ => ends.server.refresh_traffic_keys().unwrap(),
        }
        ends.client.writer().write_all(b"text").unwrap();
        pass_on(&mut ends).unwrap();
        let mut read = [0; 4];
        ends.server.reader().read_exact(&mut read).unwrap();
        assert_eq!(&read, b"text");
    }
}

#[test]
fn a_session_is_resumed_with_the_suite() {
    let (client, server) = (client(), server(SERVER));
    shake(&client, &server).unwrap();
    let resumed = shake(&client, &server).unwrap();
    assert_eq!(agreed(&resumed), STRICT);
    assert_eq!(
        resumed.server.handshake_kind(),
        Some(HandshakeKind::Resumed)
    );
}

/// A provider that has the suites, groups and schemes of `ring` too, and prefers its groups.
fn mixed() -> CryptoProvider {
    let mut mixed = ring::default_provider();
    mixed.cipher_suites.extend(provider().cipher_suites.clone());
    mixed.kx_groups.extend(provider().kx_groups.clone());
    mixed.signature_verification_algorithms = verify::ALGORITHMS;
    mixed
}

#[test]
fn a_client_that_has_begun_with_another_group_is_told_to_begin_again() {
    let client = client_at(Arc::new(mixed()), AUTHORITY, VALID);
    let ends = shake(&client, &server(SERVER)).unwrap();
    assert_eq!(agreed(&ends), STRICT);
    let kind = ends.server.handshake_kind();
    assert_eq!(kind, Some(HandshakeKind::FullWithHelloRetryRequest));
}

#[test]
fn a_client_without_the_suite_or_the_group_or_the_scheme_is_refused() {
    let mut no_suite = mixed();
    no_suite.cipher_suites = ring::default_provider().cipher_suites;
    let mut no_group = mixed();
    no_group.kx_groups = ring::default_provider().kx_groups;
    let mut no_scheme = mixed();
    no_scheme.signature_verification_algorithms =
        ring::default_provider().signature_verification_algorithms;
    for lacking in [no_suite, no_group, no_scheme, ring::default_provider()] {
        let client = client_at(Arc::new(lacking), AUTHORITY, VALID);
        let failed = shake(&client, &server(SERVER)).err();
        assert!(
            matches!(failed, Some(Error::PeerIncompatible(_))),
            "{failed:?}"
        );
    }
}

#[test]
fn a_certificate_that_does_not_hold_is_refused() {
    let refused = |name: &str, authority: &[u8], certificate: &[u8], seconds: u64| {
        let client = client_at(provider(), authority, seconds);
        match shake_for(name, &client, &server(certificate)).err() {
            Some(Error::InvalidCertificate(why)) => format!("{why:?}"),
            other => unreachable!("{other:?}"),
        }
    };
    let tests = [
        ("localhost", SERVER, SERVER, VALID, "UnknownIssuer"),
        ("localhost", AUTHORITY, ANOTHER_ID, VALID, "BadSignature"),
        (
            "localhost",
            AUTHORITY,
            SERVER,
            VALID + 4_000_000_000,
            "Expired",
        ),
        ("localhost", AUTHORITY, SERVER, 1_000_000_000, "NotValidYet"),
        ("example", AUTHORITY, SERVER, VALID, "NotValidForName"),
    ];
    for (name, authority, certificate, seconds, expected) in tests {
        let why = refused(name, authority, certificate, seconds);
        assert!(why.starts_with(expected), "{why} is not {expected}");
    }
}

#[test]
fn a_key_must_belong_to_its_certificate() {
    let chain = vec![CertificateDer::from_pem_slice(AUTHORITY).unwrap()];
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(VERSIONS).unwrap();
    let config = builder
        .with_no_client_auth()
        .with_single_cert(chain, sm2_key());
    let mismatch = Error::InconsistentKeys(InconsistentKeys::KeyMismatch);
    assert_eq!(config.err(), Some(mismatch));
    assert!(is_sm2_key(&sm2_key()));
    assert!(!is_sm2_key(&PrivateKeyDer::Pkcs8(vec![0x30, 0].into())));
}
