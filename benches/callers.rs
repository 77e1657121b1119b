//! What finding a caller costs, by each method, on one core.
//!
//! Owns the measurements of `auth` through a snapshot, without I/O. Does not handle what a request costs as a whole
//! (see `benches/gateway`), nor handshakes (see `benches/tls`). `cargo bench --bench callers -- [FILTER]`; Criterion
//! keeps its figures under `target/criterion` and compares with the last ones there.
//!
//! ```text
//! key              a client key
//! token, cached    a token that has been accepted before
//! token, RS256     one that has not: a key of RSA, 2048 bits
//! signature        a signed request: its headers, its nonce and a body of 1 KB
//! address          a list of 1,000 networks that does not have the address
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark fails by panicking"
)]

use std::hint::black_box;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use criterion::{BatchSize, Criterion};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, Method, Uri};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use sha2::{Digest, Sha256};
use tollgate::auth::{CallerState, Shown};
use tollgate::clock;
use tollgate::config::{Config, Variables};
use tollgate::limits::Limits;
use tollgate::runtime::Runtime;
use tollgate::signature::BodyCheck;
use tollgate::upstreams::Registry;

/// The gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const KEY: &str = "a-key-of-the-benchmark";
const PRIVATE: &[u8] = include_bytes!("../tests/fixtures/keys/rsa.pem");

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = runtime();
    keys(&mut criterion, &runtime);
    tokens(&mut criterion, &runtime);
    signatures(&mut criterion, &runtime);
    addresses(&mut criterion);
    criterion.final_summary();
}

fn runtime() -> Runtime {
    let public = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/keys/rsa.pub.pem"
    );
    let denied: Vec<String> = (0..1_000)
        .map(|n| format!("'10.{}.{}.0/24'", n / 256, n % 256))
        .collect();
    let yaml = format!(
        "
server: {{ listen: ['127.0.0.1:0'] }}
upstreams: {{ a: {{ base_url: 'http://127.0.0.1:1', keys: [k] }} }}
models: [{{ match: '*', targets: [{{ upstream: a }}] }}]
auth:
  jwt:
    - {{ issuer: i, audience: tollgate, algorithms: [RS256], public_key: {public}, tenant: tokens }}
tenants:
  - {{ id: keys, keys: [{KEY}] }}
  - {{ id: tokens }}
  - {{ id: signatures, hmac: [{{ id: k1, secret: {SECRET} }}] }}
  - {{ id: addresses, keys: [denied], addresses: {{ deny: [{}] }} }}
",
        denied.join(", ")
    );
    let config = Config::parse("bench.yaml", &yaml, &Variables::default());
    let config = config.map_err(|problems| problems.to_string()).unwrap();
    let (registry, limits, state) = (Registry::default(), Limits::new(), CallerState::default());
    Runtime::new(&config, None, &registry, &limits, &state)
}

/// A request with these headers and this key.
fn shown<'r>(uri: &'r Uri, headers: &'r HeaderMap, key: Option<&'r str>) -> Shown<'r> {
    Shown {
        method: &Method::POST,
        uri,
        headers,
        key: key.map(str::as_bytes),
        certificate: None,
        certificate_counts: true,
        listener: 0,
        address: "10.9.9.9".parse().ok(),
    }
}

fn now_s() -> i64 {
    clock::now_unix_seconds()
}

fn keys(criterion: &mut Criterion, runtime: &Runtime) {
    let (uri, headers) = (Uri::from_static("/v1/chat/completions"), HeaderMap::new());
    let shown = shown(&uri, &headers, Some(KEY));
    criterion.bench_function("key", |bench| {
        bench.iter(|| black_box(runtime.principal(black_box(&shown)).unwrap()));
    });
}

fn token(id: u64, private: &EncodingKey) -> String {
    let claims = json!({
        "iss": "i", "aud": "tollgate", "sub": "bench", "exp": now_s() + 36_000, "jti": id.to_string(),
    });
    encode(&Header::new(Algorithm::RS256), &claims, private).unwrap()
}

fn tokens(criterion: &mut Criterion, runtime: &Runtime) {
    let private = EncodingKey::from_rsa_pem(PRIVATE).unwrap();
    let (uri, headers) = (Uri::from_static("/v1/chat/completions"), HeaderMap::new());
    let known = token(0, &private);
    let request = shown(&uri, &headers, Some(&known));
    criterion.bench_function("token, cached", |bench| {
        bench.iter(|| black_box(runtime.principal(black_box(&request)).unwrap()));
    });
    let mut id = 0;
    criterion.bench_function("token, RS256", |bench| {
        bench.iter_batched(
            || {
                id += 1;
                token(id, &private)
            },
            |token| {
                let request = shown(&uri, &headers, Some(&token));
                black_box(runtime.principal(&request).unwrap())
            },
            BatchSize::SmallInput,
        );
    });
}

/// The headers of a signed request with a nonce of its own.
fn signed(nonce: u64, body: &[u8]) -> HeaderMap {
    let digest = format!("sha-256=:{}:", BASE64.encode(Sha256::digest(body)));
    let input = format!(
        "(\"@method\" \"@path\" \"@query\" \"content-digest\");created={};nonce=\"{nonce:032}\";keyid=\"k1\";alg=\"hmac-sha256\"",
        now_s()
    );
    let base = format!(
        "\"@method\": POST\n\"@path\": /v1/chat/completions\n\"@query\": ?\n\"content-digest\": {digest}\n\
         \"@signature-params\": {input}"
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(base.as_bytes());
    let tag = BASE64.encode(mac.finalize().into_bytes());
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-digest", digest),
        ("signature-input", format!("sig={input}")),
        ("signature", format!("sig=:{tag}:")),
    ] {
        headers.insert(name, HeaderValue::from_str(&value).unwrap());
    }
    headers
}

fn signatures(criterion: &mut Criterion, runtime: &Runtime) {
    let uri = Uri::from_static("/v1/chat/completions");
    let body = vec![b'x'; 1024];
    let mut nonce = 0;
    criterion.bench_function("signature", |bench| {
        bench.iter_batched(
            || {
                nonce += 1;
                signed(nonce, &body)
            },
            |headers| {
                let principal = runtime.principal(&shown(&uri, &headers, None)).unwrap();
                let signature = principal.signature.unwrap();
                // There is no room for the nonces of a long run, which costs the same.
                let _ = black_box(signature.take(now_s()));
                let mut check = BodyCheck::new(signature.body.clone());
                check.push(black_box(&body));
                assert!(check.fits());
                headers
            },
            BatchSize::SmallInput,
        );
    });
}

fn addresses(criterion: &mut Criterion) {
    let networks = (0..1_000).map(|n: u32| format!("10.{}.{}.0/24", n / 256, n % 256));
    let networks = networks.map(|network| network.parse().unwrap());
    let list: tollgate::networks::Networks = networks.collect();
    let address: IpAddr = "10.9.9.9".parse().unwrap();
    criterion.bench_function("address", |bench| {
        bench.iter(|| black_box(list.contain(black_box(address))));
    });
}
