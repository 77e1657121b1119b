//! What is signed of a request: its components and parameters, and the bytes that the signature is made of.
//!
//! Owns which components a signature must cover and may cover: `@method`, `@path` and `@query`, `content-digest`
//! unless there is no body, and any other header by its name. Owns its parameters, of which `created`, `keyid` and
//! `nonce` are needed, and the limits of all of them. Does not handle what the parameters amount to. Fails with
//! [`Fault`].

use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{Dictionary, InnerList, Item, ListEntry, ListSerializer, Parser};

use super::digest::{self, BodyDigest};
use super::{CONTENT_DIGEST, Fault, Message, SIGNATURE, SIGNATURE_INPUT, SigningKey};

/// What a signature has to be like, as the header `Accept-Signature` tells it.
pub const ACCEPTED: &str =
    r#"sig=("@method" "@path" "@query" "content-digest");created;keyid;nonce;alg="hmac-sha256""#;

/// The only algorithm.
const ALGORITHM: &str = "hmac-sha256";
/// A longer header is not read.
const MAX_HEADER_BYTES: usize = 4 << 10;
/// A signature covers no more components.
const MAX_COMPONENTS: usize = 16;
/// A nonce and the id of a key are no longer.
const MAX_TEXT_BYTES: usize = 128;
/// What has to be covered in every request.
const NEEDED: [&str; 3] = ["@method", "@path", "@query"];

/// What a signature says, which is not verified yet.
#[derive(Debug)]
pub struct Signed {
    /// The id of the key.
    pub key_id: String,
    /// When it was made, in seconds since the epoch.
    pub created_s: i64,
    /// From when on it says that it is not valid any more.
    pub expires_s: Option<i64>,
    /// What makes it unlike every other signature of the key.
    pub nonce: String,
    /// What the body has to be.
    pub body: BodyDigest,
    base: String,
    tag: Vec<u8>,
}

impl Signed {
    /// Reads the signature of a request.
    ///
    /// # Errors
    /// What keeps it from being one.
    pub fn read(message: &Message<'_>) -> Result<Self, Fault> {
        let (label, covered) = covered(message.headers)?;
        let mut signed = Self {
            key_id: text(&covered, "keyid")?,
            nonce: text(&covered, "nonce")?,
            created_s: second(&covered, "created")?.ok_or(Fault::Parameter("created"))?,
            expires_s: second(&covered, "expires")?,
            body: BodyDigest::Empty,
            base: String::with_capacity(512),
            tag: tag(message.headers, &label)?,
        };
        match covered.params.get("alg").map(|alg| alg.as_string()) {
            None => {}
            Some(Some(alg)) if alg.as_str() == ALGORITHM => {}
            Some(_) => return Err(Fault::Algorithm),
        }
        let names = names(&covered.items)?;
        if let Some(missing) = NEEDED.iter().find(|needed| !names.contains(needed)) {
            return Err(Fault::NotCovered(missing));
        }
        for name in &names {
            add_line(&mut signed.base, name, message)?;
        }
        if names.contains(&CONTENT_DIGEST) {
            signed.body = digest::read(one(message.headers, CONTENT_DIGEST)?)?;
        }
        signed.base.push_str("\"@signature-params\": ");
        signed.base.push_str(&serialized(&covered));
        Ok(signed)
    }

    /// Whether a key has made it.
    pub fn is_by(&self, key: &SigningKey) -> bool {
        key.has_signed(self.base.as_bytes(), &self.tag)
    }
}

/// The name of the signature, and what it says that it covers.
fn covered(headers: &HeaderMap) -> Result<(String, InnerList), Fault> {
    let fault = Fault::Header(SIGNATURE_INPUT);
    let input = dictionary(headers, SIGNATURE_INPUT)?;
    if input.len() > 1 {
        return Err(Fault::Several);
    }
    match input.into_iter().next().ok_or(fault)? {
        (label, ListEntry::InnerList(covered)) => Ok((label.into(), covered)),
        _ => Err(fault),
    }
}

/// The bytes of the signature.
fn tag(headers: &HeaderMap, label: &str) -> Result<Vec<u8>, Fault> {
    let mut tags = dictionary(headers, SIGNATURE)?;
    if tags.len() > 1 {
        return Err(Fault::Several);
    }
    let tag = tags.swap_remove(label).and_then(digest::bytes_of);
    tag.ok_or(Fault::Header(SIGNATURE))
}

/// The names of what is covered, each once.
fn names(items: &[Item]) -> Result<Vec<&str>, Fault> {
    if items.len() > MAX_COMPONENTS {
        return Err(Fault::Unsupported);
    }
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        let name = item.bare_item.as_string().ok_or(Fault::Unsupported)?;
        // A parameter would make another value of it.
        if !item.params.is_empty() || names.contains(&name.as_str()) {
            return Err(Fault::Unsupported);
        }
        names.push(name.as_str());
    }
    Ok(names)
}

/// Adds the line of a component to what is signed.
fn add_line(base: &mut String, name: &str, message: &Message<'_>) -> Result<(), Fault> {
    base.push('"');
    base.push_str(name);
    base.push_str("\": ");
    match name {
        "@method" => base.push_str(message.method.as_str()),
        "@path" => base.push_str(message.path),
        "@query" => {
            base.push('?');
            base.push_str(message.query.unwrap_or_default());
        }
        name => base.push_str(&header_of(name, message.headers)?),
    }
    base.push('\n');
    Ok(())
}

/// The value of a header that is covered. One that stands twice has all of its values.
fn header_of(name: &str, headers: &HeaderMap) -> Result<String, Fault> {
    // The name of a component is in lower case; another spelling would be another component.
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Fault::Unsupported);
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Fault::Unsupported)?;
    let values = headers.get_all(name).iter();
    let values = values.map(|value| value.to_str().map(|text| text.trim_matches([' ', '\t'])));
    let values: Result<Vec<&str>, _> = values.collect();
    match values {
        Ok(values) if !values.is_empty() => Ok(values.join(", ")),
        _ => Err(Fault::Unsupported),
    }
}

/// What a signature covers, as RFC 9651 has it written, however the client has written it.
fn serialized(covered: &InnerList) -> String {
    let mut list = ListSerializer::new();
    let mut inner = list.inner_list();
    inner.items(&covered.items);
    inner.finish().parameters(&covered.params);
    list.finish().unwrap_or_default()
}

fn text(covered: &InnerList, name: &'static str) -> Result<String, Fault> {
    let value = covered.params.get(name).and_then(|value| value.as_string());
    match value.map(|text| text.as_str()) {
        Some(text) if !text.is_empty() && text.len() <= MAX_TEXT_BYTES => Ok(text.to_owned()),
        _ => Err(Fault::Parameter(name)),
    }
}

fn second(covered: &InnerList, name: &'static str) -> Result<Option<i64>, Fault> {
    let Some(value) = covered.params.get(name) else {
        return Ok(None);
    };
    let second = value.as_integer().ok_or(Fault::Parameter(name))?;
    Ok(Some(i64::from(second)))
}

fn dictionary(headers: &HeaderMap, name: &'static str) -> Result<Dictionary, Fault> {
    let read = Parser::new(one(headers, name)?).parse();
    read.map_err(|_| Fault::Header(name))
}

/// The value of a header that stands once.
fn one<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<&'h [u8], Fault> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    match (values.next(), values.next()) {
        (Some(value), None) if value.len() <= MAX_HEADER_BYTES => Ok(value),
        _ => Err(Fault::Header(name)),
    }
}
