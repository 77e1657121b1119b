//! What logs and the ledger are written to: files and folders that can be made and written.
//!
//! Owns the checks, and what to change where one fails. Folders that are missing are made at the start, so the
//! nearest one that exists is checked. Does not handle the folder of forms (see `validate`). Every mistake is
//! reported.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::document::{Context, Located};

/// Checks the chat log's file, the folder of the log and that of the questions.
pub fn check(config: &Config, context: &Context<'_>) {
    check_chat_log(config, context);
    if let Some(files) = &config.server.log.files {
        let names = ("the log files", "server: { log: { files: { path: … } } }");
        check_folder(&files.path, names, context);
    }
    let questions = config.vector_cache.as_ref();
    let file = questions.and_then(|section| Some((section, section.value.file.as_ref()?)));
    if let Some((section, folder)) =
        file.and_then(|(section, file)| Some((section, file.parent()?)))
    {
        let folder = Located {
            value: folder.to_owned(),
            place: section.place.clone(),
        };
        check_folder(
            &folder,
            ("the questions", "vector_cache: { file: … }"),
            context,
        );
    }
}

fn check_chat_log(config: &Config, context: &Context<'_>) {
    let Some(log) = &config.chat_log else { return };
    let path = &log.path.value;
    let (message, hint) = match path.symlink_metadata() {
        Ok(found) if !found.is_file() => (
            format!("{} is not a file", path.display()),
            "the chat log must be a file itself, not a folder, a device or a link",
        ),
        _ => match check_writable(path) {
            Ok(()) => return,
            Err((refused, e)) => (
                format!("{} cannot be written: {e}", refused.display()),
                if lacks_permission(&e) {
                    "give write permission for it and its folder to the user that runs Tollgate"
                } else {
                    "name a file in another folder"
                },
            ),
        },
    };
    context.report(&log.path.place, message, Some(hint.to_owned()));
}

/// Checks that a folder can be written, or made. `whose` is what it is for, and how another one is named.
pub fn check_folder(path: &Located<PathBuf>, (whose, other): (&str, &str), context: &Context<'_>) {
    let Some(nearest) = nearest(path.value.ancestors()) else {
        return;
    };
    let shown = nearest.display();
    let (message, hint) = if !nearest.is_dir() {
        (
            format!("{shown} is not a folder"),
            format!("name the folder of {whose}, which is made where it is missing"),
        )
    } else if let Err(e) = tempfile::tempfile_in(nearest) {
        let another = format!("name another folder under {other}");
        (
            format!("{shown} cannot be written: {e}"),
            if lacks_permission(&e) {
                format!("give write permission to the user that runs Tollgate, or {another}")
            } else {
                another
            },
        )
    } else {
        return;
    };
    context.report(&path.place, message, Some(hint));
}

/// Whether it is for a missing permission that something cannot be written. Where it is not, as in `/proc`, a
/// permission does not help.
fn lacks_permission(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    )
}

/// Checks that a file can be written, and another beside it.
fn check_writable(path: &Path) -> Result<(), (&Path, io::Error)> {
    if let Err(e) = File::options().append(true).open(path)
        && !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
    {
        return Err((path, e));
    }
    match nearest(path.ancestors().skip(1)) {
        Some(folder) => tempfile::tempfile_in(folder)
            .map(drop)
            .map_err(|e| (folder, e)),
        None => Ok(()),
    }
}

/// The first of these that exists.
fn nearest<'p>(folders: impl Iterator<Item = &'p Path>) -> Option<&'p Path> {
    let mut folders = folders.map(|folder| match folder {
        here if here.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    });
    folders.find(|folder| folder.exists())
}
