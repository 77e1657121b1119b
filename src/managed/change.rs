//! What can be asked for, what comes of it, and why it is refused.
//!
//! Owns their form. Does not handle what is allowed (see `rules`), nor how it is written in HTTP (see
//! `admin::managed`). Cannot fail.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::row::{Definition, KeyRow};
use super::set::{KeyEntry, TenantEntry};
use crate::secret::{KeyHash, Secret};
use crate::store::StoreError;

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Change {
    /// A tenant with this id.
    CreateTenant(String, Definition),
    /// Another definition of a tenant: what is in the patch, and null removes.
    ChangeTenant(String, Definition),
    /// A tenant and all of its keys are gone.
    DeleteTenant(String),
    /// A key of this tenant.
    CreateKey(String, Definition),
    /// Another definition of a key: what is in the patch, and null removes.
    ChangeKey(String, Definition),
    /// Another text of a key; the one before holds for a while.
    RotateKey(String, Duration),
    /// A key holds no more.
    RevokeKey(String),
    /// Keys that clients have already: all of them, or none.
    Import(Vec<Imported>),
}

/// A key that clients have already.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The line that it stands in, from 1.
    pub line: usize,
    /// The id of its tenant.
    pub tenant: String,
    /// The key.
    pub key: ImportedKey,
    /// What is said of it.
    pub definition: Definition,
}

/// A key, or what stands for it.
#[derive(Clone, Debug)]
pub enum ImportedKey {
    /// Its text, which is not kept.
    Plain(Secret),
    /// Its hash.
    Hash(KeyHash),
}

/// What has come of a change.
#[derive(Debug)]
pub enum Outcome {
    /// The tenant, as it is now.
    Tenant(Arc<TenantEntry>),
    /// The key, as it is now.
    Key(Arc<KeyEntry>),
    /// The key, as it is now, and its text, which is told here and nowhere else.
    Shown(Arc<KeyEntry>, Secret),
    /// So many keys of a tenant were revoked.
    Deleted(usize),
    /// The key, as it was.
    Revoked(Box<KeyRow>),
    /// Keys were imported; these are their ids, in the order of the lines.
    Imported(Vec<String>),
}

/// Why nothing was changed.
#[derive(Debug)]
pub enum Refused {
    /// A field is wrong.
    Invalid {
        /// The path of the field; empty for the whole.
        field: String,
        /// What is wrong, and what to write.
        message: String,
    },
    /// There is none.
    NotFound(String),
    /// It is defined in the configuration file.
    OfTheFile(String),
    /// The file has no `tenants`, so that every caller is served.
    Open,
    /// Something has its name, its hash or its prefix already.
    Taken {
        /// The path of the field.
        field: &'static str,
        /// What has it.
        message: String,
    },
    /// There are as many as there may be.
    Full(String),
    /// The system has no random numbers.
    NoRandom,
    /// The database cannot be asked.
    Store(StoreError),
}

impl Refused {
    /// A field that is wrong.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { field, message } if field.is_empty() => f.write_str(message),
            Self::Invalid { field, message } => write!(f, "{field}: {message}"),
            Self::Taken { field, message } => write!(f, "{field}: {message}"),
            Self::NotFound(what) => write!(f, "there is no {what}"),
            Self::OfTheFile(what) => write!(
                f,
                "{what} is defined in the configuration file: change it there"
            ),
            Self::Open => f.write_str(
                "the configuration file has no `tenants`, so that every caller on this machine is served without a \
                 key; write `tenants: []` to make all tenants at run time",
            ),
            Self::Full(what) => f.write_str(what),
            Self::NoRandom => f.write_str("the system has no random numbers"),
            Self::Store(error) => write!(f, "the database of the keys cannot be used: {error}"),
        }
    }
}
