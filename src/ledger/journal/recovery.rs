//! What is done at the start: the journal of a process that has ended is read through.
//!
//! Owns what becomes of segments that a crash or a disk has damaged. Bytes at the end of the last segment that
//! are no record were being written when the process or the machine stopped: they are cut off. Bytes
//! anywhere else that are no record are damage: the segment stays as it is, readers skip these bytes, and
//! records go to a new segment. Both are told in a warning. Does not handle what is loaded already (the
//! ledger knows its position). Fails if a file cannot be read or is of another version, before it changes any.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;

use super::contents::{Contents, Segment, Stretch};
use super::reading::read_part;
use super::segment::{self, Folder, HEADER_BYTES, Header};
use super::writer::Writer;
use super::{JournalError, Options, Position};

/// How much of a segment is in memory at a time.
const PART_BYTES: usize = 1024 * 1024;
/// The most warnings; further ones are counted.
const MAX_WARNINGS: usize = 64;

/// What was found at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// How many records there are, loaded or not.
    pub records: u64,
    /// Where the first segment begins.
    pub from: Position,
    /// Behind the last record.
    pub end: Position,
    /// Bytes that cannot be read: those that were cut off, and damage.
    pub unreadable_bytes: u64,
    /// What the operator should know, a sentence each.
    pub warnings: Vec<String>,
    /// How many more warnings there were.
    pub more_warnings: u64,
}

/// What goes on from here.
pub struct Start {
    /// What there is.
    pub contents: Contents,
    /// The current segment.
    pub writer: Writer,
    /// The salt of new segments.
    pub salt: u32,
}

impl Recovered {
    fn warn(&mut self, warning: String) {
        match self.warnings.len() < MAX_WARNINGS {
            true => self.warnings.push(warning),
            false => self.more_warnings += 1,
        }
    }
}

/// A segment that was read through.
struct Found {
    records: u64,
    /// Behind its last record.
    end: u64,
    /// Bytes between its records that are none.
    gaps: u64,
    /// Bytes behind its last record.
    tail: u64,
}

/// Reads the journal through. Numbers of new segments follow those there are, and `loaded`.
///
/// # Errors
/// See [`JournalError`].
pub fn recover(
    folder: &Folder,
    options: &Options,
    loaded: Position,
) -> Result<(Recovered, Start), JournalError> {
    let failed = |number| move |source| JournalError::segment(folder, number, source);
    let mut headers = BTreeMap::new();
    let of_folder = |e| JournalError::Io(folder.path().to_owned(), e);
    for number in folder.segments().map_err(of_folder)? {
        let header = folder
            .open_segment(number)
            .and_then(|file| Ok((segment::read_header(&file)?, file)));
        let (header, file) = header.map_err(failed(number))?;
        if let Header::Version(version) = header {
            let path = folder.path().join(segment::segment_name(number));
            return Err(JournalError::Version { path, version });
        }
        headers.insert(number, (header, file));
    }
    // From here on, files may change.
    folder.remove_prepared().map_err(of_folder)?;
    let mut recovered = Recovered::default();
    let mut contents = Contents::default();
    let mut current = None;
    let last = headers.keys().next_back().copied();
    for (number, (header, file)) in headers {
        let is_last = Some(number) == last;
        if contents.end().segment + 1 != number && contents.end().segment != 0 {
            recovered.warn(format!(
                "segments are missing before {}",
                segment::segment_name(number)
            ));
        }
        let found = read_through(number, header, &file).map_err(failed(number))?;
        let found = settle(&mut recovered, number, header, found, is_last);
        contents.add(number, found);
        if is_last && !found.is_damaged {
            cut(&file, found.end).map_err(failed(number))?;
            current = Some((number, file, found));
        }
    }
    let start = begin(folder, options, loaded, contents, current, &mut recovered)?;
    recovered.from = start.contents.start();
    recovered.end = start.contents.end();
    Ok((recovered, start))
}

fn read_through(number: u64, header: Header, file: &File) -> io::Result<Found> {
    let end = file.metadata()?.len();
    let Header::Salt(salt) = header else {
        return Ok(Found {
            records: 0,
            end: 0,
            gaps: 0,
            tail: end,
        });
    };
    let mut found = Found {
        records: 0,
        end: HEADER_BYTES,
        gaps: 0,
        tail: 0,
    };
    let mut offset = HEADER_BYTES;
    while offset < end {
        let from = Position {
            segment: number,
            offset,
        };
        let part = read_part(file, &Stretch { from, end, salt }, PART_BYTES)?;
        for frame in &part.frames {
            found.records += 1;
            found.gaps += offset + frame.start as u64 - found.end;
            found.end = offset + frame.end as u64;
        }
        offset += part.scanned as u64;
    }
    found.tail = end - found.end;
    Ok(found)
}

fn cut(file: &File, end: u64) -> io::Result<()> {
    // A cut that changes nothing would still give back the segment's room.
    match file.metadata()?.len() > end {
        true => file.set_len(end),
        false => Ok(()),
    }
}

/// Says what becomes of a segment.
fn settle(
    recovered: &mut Recovered,
    number: u64,
    header: Header,
    found: Found,
    is_last: bool,
) -> Segment {
    let name = segment::segment_name(number);
    let unreadable = found.gaps + found.tail;
    recovered.records += found.records;
    recovered.unreadable_bytes += unreadable;
    let salt = match header {
        Header::Salt(salt) => Some(salt),
        _ => None,
    };
    let is_cut = is_last && found.gaps == 0 && salt.is_some();
    if is_cut && found.tail > 0 {
        recovered.warn(format!(
            "the last {} bytes of {name} are no whole record, as a crash leaves them: they were cut off",
            found.tail
        ));
    } else if !is_cut && (unreadable > 0 || salt.is_none()) {
        recovered.warn(format!(
            "{unreadable} bytes of {name} cannot be read: they are skipped, its other {} records are not, and it \
             is kept as {} when they are loaded",
            found.records,
            segment::aside_name(number)
        ));
    }
    Segment {
        // Readers look for records as far as there are bytes.
        end: match is_cut {
            true => found.end,
            false => found.end + found.tail,
        },
        salt,
        is_damaged: !is_cut && (unreadable > 0 || salt.is_none()),
    }
}

/// Goes on with the last segment if it is whole, or begins another one.
fn begin(
    folder: &Folder,
    options: &Options,
    loaded: Position,
    mut contents: Contents,
    current: Option<(u64, File, Segment)>,
    recovered: &mut Recovered,
) -> Result<Start, JournalError> {
    let end = contents.end();
    if loaded > end {
        recovered.warn(format!(
            "the database has loaded segment {} up to byte {}, and the journal ends at segment {}, byte {}: some of \
             it was removed, or it is another database's",
            loaded.segment, loaded.offset, end.segment, end.offset
        ));
    } else if let Some((number, file, found)) = current
        && let Some(salt) = found.salt
    {
        // If there is no room, the next segment is the alarm.
        let _ = segment::allocate(&file, options.segment_bytes);
        return Ok(Start {
            contents,
            writer: Writer::new(number, file, found.end),
            salt,
        });
    }
    let number = end.segment.max(loaded.segment) + 1;
    // Clients cannot guess it: see `frame`.
    let salt = RandomState::new().hash_one(number).to_le_bytes();
    let salt = u32::from_le_bytes([salt[0], salt[1], salt[2], salt[3]]);
    let file = folder
        .prepare(number, salt, options.segment_bytes)
        .or_else(|_| folder.prepare(number, salt, 0))
        .and_then(|file| folder.begin(number).map(|()| file))
        .and_then(|file| folder.sync().map(|()| file))
        .map_err(|e| JournalError::segment(folder, number, e))?;
    contents.add(
        number,
        Segment {
            end: HEADER_BYTES,
            salt: Some(salt),
            is_damaged: false,
        },
    );
    Ok(Start {
        contents,
        writer: Writer::new(number, file, HEADER_BYTES),
        salt,
    })
}
