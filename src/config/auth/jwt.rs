//! The key `auth.jwt`: the issuers whose tokens are accepted.
//!
//! Owns what is accepted of an issuer, and where its keys are. Keys that stand in the configuration or in a file are
//! read here. Does not handle tokens (see `jwt` and `auth::jwt`), nor asking an issuer for its keys (see
//! `auth::jwt::remote`). What cannot be read is reported with its place; nothing of a secret is in a message.

use std::path::Path;
use std::time::Duration;

use crate::config::document::{Located, Node, Section};
use crate::config::files::FileKind;
use crate::https;
use crate::jwt::{Algorithm, Family, KeySet, MAX_SET_BYTES};
use crate::secret::Secret;

/// A shorter secret could be guessed.
const LEAST_SECRET_BYTES: usize = 32;
/// How far the clocks of an issuer and of this machine may differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// A longer leeway would make expiry meaningless.
const MOST_LEEWAY: Duration = Duration::from_secs(600);
/// How often keys are asked for.
const REFRESH: Duration = Duration::from_secs(900);
const REFRESH_BOUNDS: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(86_400)];

/// An issuer of tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Issuer {
    /// Its name, which its tokens have as `iss`.
    pub issuer: Located<String>,
    /// One of these has to be among a token's `aud`.
    pub audiences: Vec<String>,
    /// The algorithms that its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys are.
    pub keys: IssuerKeys,
    /// How far the clocks may differ.
    pub leeway: Duration,
    /// Which tenant a token belongs to.
    pub tenant: TenantOf,
    /// The claim with the models that a token may ask for.
    pub models_claim: Option<String>,
    /// The claim with limits for a token's subject.
    pub limits_claim: Option<String>,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq)]
pub enum IssuerKeys {
    /// Here: from a file, or a secret.
    Here(KeySet),
    /// At a URL.
    At(JwksUrl),
}

/// Keys at a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JwksUrl {
    /// The URL.
    pub url: String,
    /// How often it is asked.
    pub refresh: Duration,
    /// The certificates of the authority that vouches for it, in PEM; `None` for those of the system.
    pub ca: Option<Vec<u8>>,
}

/// Which tenant a token belongs to.
#[derive(Clone, Debug, PartialEq)]
pub enum TenantOf {
    /// The one that a claim names.
    Claim(String),
    /// Always this one.
    Id(Located<String>),
}

/// Reads the list.
pub(super) fn read(node: &Node<'_>) -> Vec<Issuer> {
    let items = node.list().unwrap_or_default();
    let issuers: Vec<Issuer> = items.iter().filter_map(read_issuer).collect();
    for (position, issuer) in issuers.iter().enumerate() {
        let mut before = issuers.iter().take(position);
        if before.any(|other| other.issuer.value == issuer.issuer.value) {
            let message = format!("another entry has the issuer `{}`", issuer.issuer.value);
            let hint = "write each issuer once".to_owned();
            node.context()
                .report(&issuer.issuer.place, message, Some(hint));
        }
    }
    issuers
}

fn read_issuer(node: &Node<'_>) -> Option<Issuer> {
    let mut section = node.section()?;
    let issuer = section
        .require("issuer")
        .and_then(|n| Some(n.locate(n.name()?)));
    let audiences = section.require("audience").and_then(|n| read_audiences(&n));
    let algorithms = section
        .require("algorithms")
        .and_then(|n| read_algorithms(&n));
    let leeway = section.take("leeway").and_then(|n| read_leeway(&n));
    let tenant = read_tenant(node, &mut section);
    let models_claim = section.take("models_claim").and_then(|n| n.name());
    let limits_claim = section.take("limits_claim").and_then(|n| n.name());
    let keys = read_keys(node, &mut section, algorithms.as_deref());
    section.finish();
    Some(Issuer {
        issuer: issuer?,
        audiences: audiences?,
        algorithms: algorithms?,
        keys: keys?,
        leeway: leeway.unwrap_or(LEEWAY),
        tenant: tenant?,
        models_claim,
        limits_claim,
    })
}

fn read_audiences(node: &Node<'_>) -> Option<Vec<String>> {
    let items = node.list_or_one()?;
    if items.is_empty() {
        node.report(
            "at least one audience is needed",
            Some("audience: tollgate"),
        );
        return None;
    }
    items.iter().map(Node::name).collect()
}

fn read_algorithms(node: &Node<'_>) -> Option<Vec<Algorithm>> {
    let items = node.list()?;
    if items.is_empty() {
        node.report(
            "at least one algorithm is needed",
            Some("algorithms: [RS256]"),
        );
        return None;
    }
    let algorithms: Option<Vec<Algorithm>> = items.iter().map(read_algorithm).collect();
    let algorithms = algorithms?;
    let secrets = algorithms.iter().filter(|a| a.family() == Family::Secret);
    let secrets = secrets.count();
    if secrets > 0 && secrets < algorithms.len() {
        // A token would be verified with a public key as its secret, which everyone has.
        node.report(
            "algorithms of secrets (HS…) and of public keys do not go together",
            Some("write the one kind that the issuer signs with"),
        );
        return None;
    }
    Some(algorithms)
}

fn read_algorithm(node: &Node<'_>) -> Option<Algorithm> {
    let name = node.name()?;
    let algorithm = Algorithm::named(&name);
    if algorithm.is_none() {
        let known = Algorithm::ALL.map(Algorithm::name).join(", ");
        let hint = format!("one of {known}");
        node.report(
            format!("`{name}` is not an algorithm that is accepted"),
            Some(&hint),
        );
    }
    algorithm
}

fn read_leeway(node: &Node<'_>) -> Option<Duration> {
    let leeway = node.duration_or_zero()?;
    if leeway > MOST_LEEWAY {
        node.report("a leeway is at most 10m", Some("leeway: 60s"));
        return None;
    }
    Some(leeway)
}

fn read_tenant(node: &Node<'_>, section: &mut Section<'_>) -> Option<TenantOf> {
    let (claim, id) = (section.take("tenant_claim"), section.take("tenant"));
    match (claim, id) {
        (Some(_), Some(id)) => {
            id.report(
                "`tenant` and `tenant_claim` exclude each other",
                Some("write `tenant` where every token of the issuer is one tenant's"),
            );
            None
        }
        (None, Some(id)) => Some(TenantOf::Id(id.locate(id.name()?))),
        (Some(claim), None) => Some(TenantOf::Claim(claim.name()?)),
        (None, None) => {
            node.report(
                "nothing says which tenant a token belongs to",
                Some("tenant_claim: tenant, the claim that has a tenant's id; or tenant: ID"),
            );
            None
        }
    }
}

/// The keys: exactly one of `jwks`, `public_key` and `secret`.
fn read_keys(
    node: &Node<'_>,
    section: &mut Section<'_>,
    algorithms: Option<&[Algorithm]>,
) -> Option<IssuerKeys> {
    let (jwks, public_key, secret) = (
        section.take("jwks"),
        section.take("public_key"),
        section.take("secret"),
    );
    let written = [&jwks, &public_key, &secret];
    if written.into_iter().flatten().count() != 1 {
        node.report(
            "exactly one of `jwks`, `public_key` and `secret` is needed",
            Some("jwks: { url: https://idp.example/jwks.json }"),
        );
        return None;
    }
    // They have been reported.
    let algorithms = algorithms?;
    let takes_secret = algorithms.iter().any(|a| a.family() == Family::Secret);
    if takes_secret != secret.is_some() {
        let message = match takes_secret {
            true => "algorithms of secrets (HS…) are verified with a `secret`",
            false => "a `secret` is for algorithms of secrets: HS256, HS384, HS512",
        };
        node.report(message, Some("change `algorithms`, or where the keys are"));
        return None;
    }
    if let Some(secret) = secret {
        return read_secret(&secret).map(IssuerKeys::Here);
    }
    if let Some(jwks) = jwks {
        return read_jwks(&jwks);
    }
    let families: Vec<Family> = algorithms.iter().map(|a| a.family()).collect();
    let node = public_key?;
    let read = |text: &[u8]| KeySet::from_pem(text, &families);
    read_file(&node, read).map(IssuerKeys::Here)
}

fn read_secret(node: &Node<'_>) -> Option<KeySet> {
    let secret = Secret::new(node.text()?);
    if secret.expose().len() < LEAST_SECRET_BYTES {
        let message = format!("the secret is shorter than {LEAST_SECRET_BYTES} bytes");
        node.report(
            message,
            Some("take a longer one, as of openssl rand -hex 32"),
        );
        return None;
    }
    KeySet::from_secret(secret.expose().as_bytes())
}

fn read_jwks(node: &Node<'_>) -> Option<IssuerKeys> {
    let mut section = node.section()?;
    let (url, file, ca) = (
        section.take("url"),
        section.take("file"),
        section.take("ca"),
    );
    let refresh = section.take("refresh").map(|n| read_refresh(&n));
    section.finish();
    match (url, file) {
        (Some(url), None) => Some(IssuerKeys::At(JwksUrl {
            url: read_url(&url)?,
            refresh: refresh.unwrap_or(Some(REFRESH))?,
            ca: match ca {
                Some(ca) => Some(read_authority(&ca)?),
                None => None,
            },
        })),
        (None, Some(_)) if ca.is_some() => {
            node.report("`ca` is for a `url`", Some("remove it"));
            None
        }
        (None, Some(file)) => read_file(&file, KeySet::from_jwks).map(IssuerKeys::Here),
        _ => {
            node.report(
                "exactly one of `url` and `file` is needed",
                Some("as in url: https://idp.example/jwks.json"),
            );
            None
        }
    }
}

/// Reads the certificates of an authority.
fn read_authority(node: &Node<'_>) -> Option<Vec<u8>> {
    let path = node.path_beside()?;
    node.context().note_file(&path, FileKind::Configuration);
    let shown = path.display();
    let read = read_bytes(&path).and_then(|pem| match https::roots(&pem).is_empty() {
        true => Err("it holds no certificate".to_owned()),
        false => Ok(pem),
    });
    match read {
        Ok(pem) => Some(pem),
        Err(why) => {
            let hint = "name a file in PEM with the certificates of the authority";
            node.report(format!("{shown}: {why}"), Some(hint));
            None
        }
    }
}

fn read_refresh(node: &Node<'_>) -> Option<Duration> {
    let refresh = node.duration()?;
    let [least, most] = REFRESH_BOUNDS;
    if refresh < least || refresh > most {
        node.report("expected 30s to 24h", Some("refresh: 15m"));
        return None;
    }
    Some(refresh)
}

fn read_url(node: &Node<'_>) -> Option<String> {
    let url = node.name()?;
    let parsed = url.parse::<http::Uri>().ok();
    let host = parsed.as_ref().and_then(http::Uri::host);
    let scheme = parsed.as_ref().and_then(http::Uri::scheme_str);
    let has_password = url.split('/').nth(2).is_some_and(|part| part.contains('@'));
    match (scheme, host) {
        _ if has_password => node.report(
            "the URL has a name or a password in it",
            Some("the keys of an issuer are public: remove it"),
        ),
        (Some("https"), Some(_)) => return Some(url),
        (Some("http"), Some(host)) => {
            if !matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
                let hint =
                    "use https: a machine on the way could put keys of its own in their place";
                node.warn("the keys are asked for without TLS", hint);
            }
            return Some(url);
        }
        _ => node.report(
            "this is not a URL of https or http",
            Some("as in https://idp.example/jwks.json"),
        ),
    }
    None
}

/// Reads keys from a file, whose path is relative to the folder of the configuration.
fn read_file(
    node: &Node<'_>,
    read: impl Fn(&[u8]) -> Result<KeySet, crate::jwt::KeyFault>,
) -> Option<KeySet> {
    let path = node.path_beside()?;
    node.context().note_file(&path, FileKind::Configuration);
    let shown = path.display();
    let keys = read_bytes(&path).and_then(|bytes| read(&bytes).map_err(|e| e.to_string()));
    match keys {
        Ok(keys) => Some(keys),
        Err(why) => {
            let hint = "name a file that Tollgate may read: a JWK set, or a public key in PEM";
            node.report(format!("{shown}: {why}"), Some(hint));
            None
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a configuration is read before anything is served by it"
)]
fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let about = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if !about.is_file() {
        return Err("it is not a file".to_owned());
    }
    if about.len() > MAX_SET_BYTES as u64 {
        return Err("it has more than 1 MiB".to_owned());
    }
    std::fs::read(path).map_err(|e| e.to_string())
}
