//! An answer as bytes that may lie elsewhere: a value in Redis, an entry of a file.
//!
//! Owns their form, and that a value is taken for nothing but what was written under its key:
//!
//! version u8 · flags u8 · guard · text      guard: a check of 16 bytes, or with a key a nonce of 12
//!
//! The text is the head as postcard writes it, then the body, as zstd compresses them where that makes them smaller.
//! Without a key the check is a part of a SHA-256 over everything and the key of the answer: it finds damage, and a
//! value that lies under another's name. With a key the text is encrypted by AES-256-GCM with a random nonce, and the
//! key of the answer, the version and the flags are authenticated with it: a writer to Redis cannot make a value
//! or move one. A value that is not encrypted is then refused. Does not handle where values are kept (see `second` and
//! `meaning`). What cannot be opened is a [`Fault`].

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aes_gcm::aead::{AeadInOut, Generate, Nonce};
use aes_gcm::{Aes256Gcm, KeyInit};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::cache::{Entry, Head, Key};
use crate::openai::rewrite::Rewrites;
use crate::openai::usage::Usage;
use crate::secret::Secret;

/// The form of values. Another one is not read.
const VERSION: u8 = 1;
/// The text is compressed.
const COMPRESSED: u8 = 1;
/// The text is encrypted.
const ENCRYPTED: u8 = 2;
/// The version and the flags.
const LABEL_BYTES: usize = 2;
/// What finds damage where there is no key.
const CHECK_BYTES: usize = 16;
/// What tells two encryptions with one key apart.
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// The most that all of a head takes. A longer one is not written.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Half the time of zstd's usual level, and nearly as small.
const LEVEL: i32 = 1;

/// Why a value cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is larger than an answer may be.
    TooLarge,
    /// It is none of ours, or of another release.
    Foreign,
    /// It is not encrypted although there is a key, or the other way round.
    Encryption,
    /// It was changed, is cut, lies under another's name, or was encrypted with another key.
    Damaged,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "it is larger than max_answer allows",
            Self::Foreign => "it is not a value of this release",
            Self::Encryption => {
                "it is not encrypted although there is a key, or the other way round"
            }
            Self::Damaged => "it is damaged, was moved, or was encrypted with another key",
        })
    }
}

/// How values are written and read.
pub struct Sealing {
    cipher: Option<Aes256Gcm>,
}

/// All of an entry except its body.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    /// When it was stored, in milliseconds since the Unix epoch.
    stored_ms: u64,
    ttl_ms: u64,
    #[serde(borrow)]
    tenant: Cow<'a, str>,
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    content_type: Cow<'a, str>,
    is_stream: bool,
    model_in_answer: Option<String>,
    prefix: Option<String>,
    #[serde(borrow)]
    upstream: Cow<'a, str>,
    #[serde(borrow)]
    model: Cow<'a, str>,
    usage: Option<WrittenUsage>,
}

/// The counts of a usage, in the order of its members.
#[derive(Serialize, Deserialize)]
struct WrittenUsage {
    counts: [u64; 12],
    tier: Option<String>,
    is_estimated: bool,
}

impl Sealing {
    /// With a key of 32 bytes, or without one.
    pub fn new(key: Option<&Secret>) -> Self {
        let key = key.and_then(Secret::to_key);
        Self {
            cipher: key.map(|key| Aes256Gcm::new(&key.into())),
        }
    }

    /// The most bytes of a value whose body has so many.
    pub fn most_bytes(max_answer_bytes: usize) -> usize {
        // What does not get smaller is not compressed.
        LABEL_BYTES + CHECK_BYTES.max(NONCE_BYTES + TAG_BYTES) + MAX_HEAD_BYTES + max_answer_bytes
    }

    /// The value of an entry under its key; `None` where its head is too long or nothing random can be had.
    pub fn seal(&self, key: &Key, entry: &Entry) -> Option<Vec<u8>> {
        let mut text = postcard::to_extend(&Written::of(entry), Vec::new()).ok()?;
        if text.len() > MAX_HEAD_BYTES {
            return None;
        }
        text.extend_from_slice(&entry.body);
        self.wrap(key, text)
    }

    /// The value of any text under a key; `None` where nothing random can be had.
    pub fn wrap(&self, key: &Key, mut text: Vec<u8>) -> Option<Vec<u8>> {
        let mut flags = 0;
        if let Ok(smaller) = zstd::bulk::compress(&text, LEVEL)
            && smaller.len() < text.len()
        {
            (text, flags) = (smaller, COMPRESSED);
        }
        if self.cipher.is_some() {
            flags |= ENCRYPTED;
        }
        let label = [VERSION, flags];
        let mut value = Vec::with_capacity(Self::most_bytes(0) + text.len());
        value.extend_from_slice(&label);
        match &self.cipher {
            None => value.extend_from_slice(&check(key, label, &text)),
            Some(cipher) => {
                let nonce = Nonce::<Aes256Gcm>::try_generate().ok()?;
                let associated = associated(key, label);
                cipher
                    .encrypt_in_place(&nonce, &associated, &mut text)
                    .ok()?;
                value.extend_from_slice(&nonce);
            }
        }
        value.extend_from_slice(&text);
        Some(value)
    }

    /// The entry in a value that was read under a key.
    ///
    /// # Errors
    /// Why the value cannot be used.
    pub fn open(&self, key: &Key, value: &[u8], max_answer_bytes: usize) -> Result<Entry, Fault> {
        if value.len() > Self::most_bytes(max_answer_bytes) {
            return Err(Fault::TooLarge);
        }
        let text = self.unwrap(key, value, MAX_HEAD_BYTES + max_answer_bytes)?;
        read(text, max_answer_bytes)
    }

    /// The text in such a value, of so many bytes at most.
    ///
    /// # Errors
    /// Why the value cannot be used.
    pub fn unwrap(&self, key: &Key, value: &[u8], most_bytes: usize) -> Result<Vec<u8>, Fault> {
        let (label, rest) = value.split_first_chunk().ok_or(Fault::Foreign)?;
        let &[version, flags] = label;
        if version != VERSION || flags & !(COMPRESSED | ENCRYPTED) != 0 {
            return Err(Fault::Foreign);
        }
        if (flags & ENCRYPTED != 0) != self.cipher.is_some() {
            return Err(Fault::Encryption);
        }
        let text = match &self.cipher {
            None => Cow::Borrowed(checked(key, *label, rest)?),
            Some(cipher) => Cow::Owned(decrypted(cipher, key, *label, rest)?),
        };
        let text = match flags & COMPRESSED {
            0 => text.into_owned(),
            // The frame says its size; it is given no more memory than that, and never more than the bound.
            _ => zstd::bulk::decompress(&text, most_bytes).map_err(|_| Fault::TooLarge)?,
        };
        match text.len() > most_bytes {
            true => Err(Fault::TooLarge),
            false => Ok(text),
        }
    }
}

/// Nothing of it can be printed.
impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").finish_non_exhaustive()
    }
}

fn read(text: Vec<u8>, max_answer_bytes: usize) -> Result<Entry, Fault> {
    let (written, body) =
        postcard::take_from_bytes::<Written<'_>>(&text).map_err(|_| Fault::Damaged)?;
    if body.len() > max_answer_bytes {
        return Err(Fault::TooLarge);
    }
    let head_bytes = text.len() - body.len();
    let mut entry = written.entry().ok_or(Fault::Damaged)?;
    entry.body = Bytes::from(text).slice(head_bytes..);
    Ok(entry)
}

/// What a key vouches for beside the text.
fn associated(key: &Key, label: [u8; LABEL_BYTES]) -> [u8; LABEL_BYTES + 32] {
    let mut all = [0; LABEL_BYTES + 32];
    let parts = label.iter().chain(&key.0);
    all.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
    all
}

fn check(key: &Key, label: [u8; LABEL_BYTES], text: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hash = Sha256::new();
    hash.update(associated(key, label));
    hash.update(text);
    let hash: [u8; 32] = hash.finalize().into();
    hash.first_chunk().copied().unwrap_or_default()
}

fn checked<'v>(key: &Key, label: [u8; LABEL_BYTES], rest: &'v [u8]) -> Result<&'v [u8], Fault> {
    let (found, text) = rest
        .split_first_chunk::<CHECK_BYTES>()
        .ok_or(Fault::Damaged)?;
    let is_right: bool = check(key, label, text).ct_eq(found).into();
    is_right.then_some(text).ok_or(Fault::Damaged)
}

fn decrypted(
    cipher: &Aes256Gcm,
    key: &Key,
    label: [u8; LABEL_BYTES],
    rest: &[u8],
) -> Result<Vec<u8>, Fault> {
    let (nonce, text) = rest
        .split_first_chunk::<NONCE_BYTES>()
        .ok_or(Fault::Damaged)?;
    let mut text = text.to_vec();
    let opened = cipher.decrypt_in_place(&(*nonce).into(), &associated(key, label), &mut text);
    opened.map(|()| text).map_err(|_| Fault::Damaged)
}

impl<'a> Written<'a> {
    fn of(entry: &'a Entry) -> Self {
        let head = &*entry.head;
        let since = entry.stored.duration_since(SystemTime::UNIX_EPOCH);
        Self {
            stored_ms: milliseconds(since.unwrap_or_default()),
            ttl_ms: milliseconds(entry.ttl),
            tenant: Cow::Borrowed(&head.tenant),
            rule: Cow::Borrowed(&head.rule),
            id: Cow::Borrowed(&head.id),
            content_type: Cow::Borrowed(&head.content_type),
            is_stream: head.is_stream,
            model_in_answer: head.rewrites.model.clone(),
            prefix: head.rewrites.prefix.clone(),
            upstream: Cow::Borrowed(&head.upstream),
            model: Cow::Borrowed(&head.model),
            usage: entry.usage.as_ref().map(WrittenUsage::of),
        }
    }

    /// The entry without its body; `None` where it says a time that there is not.
    fn entry(self) -> Option<Entry> {
        let head = Head {
            tenant: self.tenant.into(),
            rule: self.rule.into(),
            id: self.id.into(),
            content_type: self.content_type.into(),
            is_stream: self.is_stream,
            rewrites: Rewrites {
                model: self.model_in_answer,
                prefix: self.prefix,
            },
            upstream: self.upstream.into(),
            model: self.model.into(),
        };
        let stored = Duration::from_millis(self.stored_ms);
        Some(Entry {
            head: Arc::new(head),
            body: Bytes::new(),
            usage: self.usage.map(WrittenUsage::usage),
            stored: SystemTime::UNIX_EPOCH.checked_add(stored)?,
            ttl: Duration::from_millis(self.ttl_ms),
            similarity: None,
        })
    }
}

impl WrittenUsage {
    fn of(usage: &Usage) -> Self {
        Self {
            counts: [
                usage.input,
                usage.cache_read,
                usage.cache_write,
                usage.cache_write_1h,
                usage.output,
                usage.reasoning,
                usage.input_audio,
                usage.input_image,
                usage.output_audio,
                usage.output_image,
                usage.audio_ms,
                usage.searches,
            ],
            tier: usage.tier.clone(),
            is_estimated: usage.is_estimated,
        }
    }

    fn usage(self) -> Usage {
        let [
            input,
            cache_read,
            cache_write,
            cache_write_1h,
            output,
            reasoning,
            input_audio,
            input_image,
            output_audio,
            output_image,
            audio_ms,
            searches,
        ] = self.counts;
        Usage {
            input,
            cache_read,
            cache_write,
            cache_write_1h,
            output,
            reasoning,
            input_audio,
            input_image,
            output_audio,
            output_image,
            audio_ms,
            searches,
            tier: self.tier,
            is_estimated: self.is_estimated,
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
