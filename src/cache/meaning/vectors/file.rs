//! All entries in a file, from one start to the next.
//!
//! ```text
//! header   magic 8 bytes · version u32 · number of entries u64 · checksum u32
//! entries  length u32 · checksum u32 · scope, vector and entry, as postcard writes them
//! ```
//!
//! Owns this form; integers are little-endian, a checksum is the CRC-32 of what stands with it. A file is
//! written beside its place, and renamed when it is complete. Does not decide when that is done, and blocks
//! while it is. Fails with a [`FileError`]; of a file that is damaged nothing is taken, because answers are
//! easily asked for again.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use bytes::Bytes;
use crc32fast::Hasher;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::{Bounds, ScopeKey, Stored, Vector, Vectors};

/// The form that this release writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"TGQUEST\n";
const HEADER_BYTES: usize = 24;
const HEAD_BYTES: usize = 8;
/// An entry that is larger is not kept in the file.
const MAX_RECORD_BYTES: usize = 64 << 20;

/// Why a file is not written or read.
#[derive(Debug)]
pub enum FileError {
    /// The system refuses it; `NotFound` where there is none yet.
    Io(io::Error),
    /// It is another file.
    Foreign,
    /// Another release wrote it, in this version of the form.
    Version(u32),
    /// It is cut short or changed; the number of entries before that.
    Damaged(u64),
}

/// An entry as it stands in the file.
#[derive(Serialize, Deserialize)]
struct Record<'e> {
    scope: ScopeKey,
    /// The numbers of the vector, each as four bytes.
    numbers: &'e [u8],
    tenant: &'e str,
    rule: &'e str,
    id: &'e str,
    text: &'e str,
    answer: &'e [u8],
    expires: i64,
}

impl Vectors {
    /// Writes all entries that have not expired, and says how many. The file is readable by its owner alone.
    ///
    /// # Errors
    /// What the system says. An earlier file is as it was then.
    pub fn save(&self, path: &Path, now: i64) -> Result<u64, FileError> {
        let mut entries = self.all();
        entries.retain(|(_, entry)| entry.stored.expires > now && entry.bytes() < MAX_RECORD_BYTES);
        let count = entries.len() as u64;
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        let mut out = BufWriter::new(file.as_file_mut());
        out.write_all(&header(count))?;
        for (scope, entry) in entries {
            let numbers = entry.vector.numbers().iter();
            let numbers: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
            let record = Record::of(scope, &numbers, &entry.stored);
            let record = postcard::to_extend(&record, Vec::new()).map_err(io::Error::other)?;
            let length = u32::try_from(record.len()).map_err(io::Error::other)?;
            out.write_all(&length.to_le_bytes())?;
            out.write_all(&crc32fast::hash(&record).to_le_bytes())?;
            out.write_all(&record)?;
        }
        out.flush()?;
        drop(out);
        file.as_file().sync_all()?;
        file.persist(path).map_err(|failed| failed.error)?;
        Ok(count)
    }

    /// Reads the entries that have not expired, as far as the bounds allow: the oldest are left out first.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn load(path: &Path, bounds: Bounds, now: i64) -> Result<Self, FileError> {
        let mut file = BufReader::new(OpenOptions::new().read(true).open(path)?);
        let count = read_header(&mut file)?;
        let vectors = Self::new(bounds);
        for read in 0..count {
            let damaged = || FileError::Damaged(read);
            let bytes = read_record(&mut file, read)?;
            let record = Record::read(&bytes).ok_or_else(damaged)?;
            let vector = record.vector().ok_or_else(damaged)?;
            if record.expires > now {
                // What does not fit into smaller bounds than before is left out.
                let _ = vectors.insert(record.scope, vector, record.stored());
            }
        }
        match file.read(&mut [0])? {
            0 => Ok(vectors),
            _ => Err(FileError::Damaged(count)),
        }
    }
}

impl<'e> Record<'e> {
    fn of(scope: ScopeKey, numbers: &'e [u8], stored: &'e Stored) -> Self {
        Self {
            scope,
            numbers,
            tenant: &stored.tenant,
            rule: &stored.rule,
            id: &stored.id,
            text: &stored.text,
            answer: &stored.answer,
            expires: stored.expires,
        }
    }

    fn read(bytes: &'e [u8]) -> Option<Self> {
        let (record, rest) = postcard::take_from_bytes(bytes).ok()?;
        rest.is_empty().then_some(record)
    }

    fn vector(&self) -> Option<Vector> {
        let (numbers, rest) = self.numbers.as_chunks::<4>();
        let numbers: Vec<f32> = numbers.iter().copied().map(f32::from_le_bytes).collect();
        let vector = Vector::new(&numbers).ok()?;
        rest.is_empty().then_some(vector)
    }

    fn stored(&self) -> Stored {
        Stored {
            tenant: self.tenant.into(),
            rule: self.rule.into(),
            id: self.id.into(),
            text: self.text.into(),
            answer: Bytes::copy_from_slice(self.answer),
            expires: self.expires,
        }
    }
}

fn header(count: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    header.extend_from_slice(&count.to_le_bytes());
    let checksum = crc32fast::hash(&header).to_le_bytes();
    header.extend_from_slice(&checksum);
    header
}

/// Reads the header, and gives the number of entries.
fn read_header(file: &mut impl Read) -> Result<u64, FileError> {
    let magic =
        read_bytes::<{ MAGIC.len() }>(file).map_err(|e| cut_short(e, FileError::Foreign))?;
    if magic != MAGIC {
        return Err(FileError::Foreign);
    }
    let damaged = |e| cut_short(e, FileError::Damaged(0));
    let version = read_bytes::<4>(file).map_err(damaged)?;
    let count = read_bytes::<8>(file).map_err(damaged)?;
    let checksum = read_bytes::<4>(file).map_err(damaged)?;
    let mut hasher = Hasher::new();
    for part in [&magic[..], &version, &count] {
        hasher.update(part);
    }
    if hasher.finalize() != u32::from_le_bytes(checksum) {
        return Err(FileError::Damaged(0));
    }
    match u32::from_le_bytes(version) {
        FORMAT_VERSION => Ok(u64::from_le_bytes(count)),
        other => Err(FileError::Version(other)),
    }
}

/// Reads the bytes of the entry behind so many others.
fn read_record(file: &mut impl Read, read: u64) -> Result<Vec<u8>, FileError> {
    let damaged = || FileError::Damaged(read);
    let head = read_bytes::<HEAD_BYTES>(file).map_err(|e| cut_short(e, damaged()))?;
    let head = u64::from_le_bytes(head);
    let (length, checksum) = (head & u64::from(u32::MAX), head >> 32);
    if length > MAX_RECORD_BYTES as u64 {
        return Err(damaged());
    }
    // The buffer grows with what is there, not with what a damaged length promises.
    let mut record = Vec::new();
    let got = file.take(length).read_to_end(&mut record)?;
    if got as u64 != length || u64::from(crc32fast::hash(&record)) != checksum {
        return Err(damaged());
    }
    Ok(record)
}

fn read_bytes<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).map(|()| bytes)
}

/// The error of a file that ends too early is `then`.
fn cut_short(error: io::Error, then: FileError) -> FileError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => then,
        _ => FileError::Io(error),
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Foreign => f.write_str("it is no file of cached questions"),
            Self::Version(version) => {
                write!(
                    f,
                    "it has version {version} of the form, and {FORMAT_VERSION} is read"
                )
            }
            Self::Damaged(read) => write!(f, "it is damaged behind {read} entries"),
        }
    }
}

impl std::error::Error for FileError {}
