//! What can go wrong with a database.
//!
//! Owns the error and its text for the operator. Does not handle what is done about it (see
//! `ledger::load`, `managed` and `cli`). Cannot fail.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;

/// Why a database could not be read or written.
#[derive(Debug)]
pub enum StoreError {
    /// It was written by a newer release. Nothing was changed.
    Newer {
        /// The file or the database.
        place: String,
        /// The version of its tables.
        found: i64,
        /// The newest version that this release knows.
        known: i64,
    },
    /// SQLite failed.
    Sqlite {
        /// The file.
        place: String,
        /// What SQLite says.
        error: rusqlite::Error,
    },
    /// There is no connection to PostgreSQL.
    Away {
        /// Where it was looked for: `host:port/database`.
        place: String,
        /// Why there is none.
        error: Box<StoreError>,
    },
    /// PostgreSQL failed.
    Postgres(tokio_postgres::Error),
    /// PostgreSQL did not answer in time.
    Silent,
    /// The connection to PostgreSQL has ended.
    Ended,
    /// Another process uses the files of the folder for too long; this is the lock.
    Busy(String),
    /// The journal could not be read, or not to its end.
    Journal(String),
    /// A file or folder failed.
    File {
        /// The file or folder.
        place: String,
        /// What the system says.
        error: io::Error,
    },
    /// The certificates that PostgreSQL's is checked against could not be read.
    Certificates(io::Error),
    /// A runtime could not be started.
    Runtime(io::Error),
    /// What was copied is not what was there. The original is untouched.
    NotVerified(String),
    /// What it has does not fit together.
    Damaged(String),
    /// The reader of the rows takes no more.
    Stopped(io::Error),
}

impl StoreError {
    /// An error of SQLite with a file.
    pub fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self + use<> {
        let place = path.display().to_string();
        move |error| Self::Sqlite {
            place: place.clone(),
            error,
        }
    }

    /// Whether it is PostgreSQL's, and may end by itself.
    pub fn is_of_postgres(&self) -> bool {
        matches!(
            self,
            Self::Away { .. } | Self::Postgres(_) | Self::Silent | Self::Ended
        )
    }

    /// Whether the data is damaged: trying again, or giving a permission, does not help.
    pub fn is_damage(&self) -> bool {
        use rusqlite::Error as Sqlite;
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            Self::Damaged(_) => true,
            Self::Sqlite { error, .. } => match error {
                Sqlite::SqliteFailure(failure, _) => {
                    matches!(failure.code, DatabaseCorrupt | NotADatabase)
                }
                // What is read there is always there and of one type.
                Sqlite::QueryReturnedNoRows
                | Sqlite::InvalidColumnType(..)
                | Sqlite::FromSqlConversionFailure(..)
                | Sqlite::IntegralValueOutOfRange(..) => true,
                _ => false,
            },
            _ => false,
        }
    }

    /// An error of the system with a file.
    pub fn file(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let place = path.display().to_string();
        move |error| Self::File {
            place: place.clone(),
            error,
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer {
                place,
                found,
                known,
            } => write!(
                f,
                "{place} was written by a newer release: its tables have version {found}, this release knows \
                 {known}. Nothing was changed"
            ),
            Self::Sqlite { place, error } => write!(f, "{place}: {error}"),
            Self::Away { place, error } => {
                write!(
                    f,
                    "no connection to {place}, which ledger.postgres names: {error}"
                )
            }
            Self::Postgres(error) => {
                write!(f, "PostgreSQL: {error}")?;
                // Its own text says what was done, and its sources why that failed.
                let mut source = error.source();
                while let Some(error) = source {
                    write!(f, ": {error}")?;
                    source = error.source();
                }
                Ok(())
            }
            Self::Silent => f.write_str("PostgreSQL: no answer in time"),
            Self::Ended => f.write_str("PostgreSQL: the connection has ended"),
            Self::Busy(lock) => write!(
                f,
                "another process has had {lock} for a while: it moves a month, for instance"
            ),
            Self::File { place, error } => write!(f, "{place}: {error}"),
            Self::Certificates(error) => {
                write!(f, "the system's certificates cannot be read: {error}")
            }
            Self::Runtime(error) => write!(f, "no runtime can be started: {error}"),
            Self::NotVerified(what) => {
                write!(f, "{what} is not what was copied; the original was kept")
            }
            Self::Journal(error) => write!(f, "the journal: {error}"),
            Self::Damaged(what) => f.write_str(what),
            Self::Stopped(error) => write!(f, "rows cannot be passed on: {error}"),
        }
    }
}

impl Error for StoreError {}
