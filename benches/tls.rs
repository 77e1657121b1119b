//! What TLS costs: a handshake, and records in bulk, with the usual suites and with those of RFC 8998, on one core.
//!
//! Owns the measurements of both sides of TLS in memory, without sockets. Does not handle what a request costs as a
//! whole (see `benches/gateway`). `cargo bench --bench tls -- [FILTER]`; Criterion keeps its figures under
//! `target/criterion` and compares with the last ones there.
//!
//! ```text
//! handshake    the server's side of a full handshake, its certificate being one of P-256 or of SM2
//! seal         what a server encrypts for a client
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark fails by panicking"
)]

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig,
    ServerConnection, SideData, version,
};
use tollgate::tls::Suites;
use tollgate::tls::server::{self, Choice};
use tollgate::tls::sm;

/// The gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of one write of a stream's source.
const WRITE: usize = 16 << 10;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../tests/fixtures/sm/", $name))
    };
}

/// Both sides with one kind of suites.
struct Sides {
    name: &'static str,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let usual = sides(
        "usual",
        (
            fixture!("usual.pem"),
            fixture!("usual.pem"),
            fixture!("usual.key"),
        ),
        (Arc::new(ring::default_provider()), Suites::Usual),
    );
    let sm = sides(
        "sm",
        (
            fixture!("ca.pem"),
            fixture!("server.pem"),
            fixture!("server.key"),
        ),
        (sm::provider(), Suites::Sm),
    );
    for sides in [usual, sm] {
        handshake(&mut criterion, &sides);
        seal(&mut criterion, &sides);
    }
    criterion.final_summary();
}

fn sides(
    name: &'static str,
    (authority, cert, key): (&[u8], &[u8], &[u8]),
    (provider, suites): (Arc<CryptoProvider>, Suites),
) -> Sides {
    let chain = vec![CertificateDer::from_pem_slice(cert).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key).unwrap();
    let server = match suites {
        Suites::Usual => {
            let certified = server::certified(chain, key, None, suites).unwrap();
            server::usual(vec![certified], &Choice::default(), None)
        }
        Suites::Sm => server::sm(chain, key),
    }
    .unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&version::TLS13]).unwrap();
    let mut client = builder.with_root_certificates(roots).with_no_client_auth();
    client.resumption = Resumption::disabled();
    Sides {
        name,
        client: Arc::new(client),
        server: Arc::new(server),
    }
}

fn hand_over<A: SideData, B: SideData>(
    from: &mut ConnectionCommon<A>,
    to: &mut ConnectionCommon<B>,
) {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut rest = wire.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets().unwrap();
    }
}

/// A connection, and the time that the server's side of its handshake took.
fn shake(sides: &Sides) -> (ServerConnection, Duration) {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::clone(&sides.client), name).unwrap();
    let mut taken = Duration::ZERO;
    let mut wire = Vec::new();
    let begun = Instant::now();
    let mut server = ServerConnection::new(Arc::clone(&sides.server)).unwrap();
    taken += begun.elapsed();
    while client.is_handshaking() || server.is_handshaking() {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let begun = Instant::now();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
        }
        taken += begun.elapsed();
        hand_over(&mut server, &mut client);
    }
    (server, taken)
}

fn handshake(criterion: &mut Criterion, sides: &Sides) {
    let mut group = criterion.benchmark_group("handshake");
    group.bench_function(sides.name, |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| shake(sides).1).sum());
    });
    group.finish();
}

fn seal(criterion: &mut Criterion, sides: &Sides) {
    let (mut server, _) = shake(sides);
    server.set_buffer_limit(None);
    let bytes = vec![b'x'; WRITE];
    let mut wire = Vec::new();
    let mut group = criterion.benchmark_group("seal");
    group.throughput(Throughput::Bytes(WRITE as u64));
    group.bench_function(sides.name, |bencher| {
        bencher.iter(|| {
            server.writer().write_all(&bytes).unwrap();
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
        });
    });
    group.finish();
}
