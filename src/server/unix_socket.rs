//! Unix sockets that the process listens on, and their files.
//!
//! Owns the file of a socket: one that a process has left behind is replaced, one that is served or is no socket is
//! not; its permissions; and its removal at the end, by the last process that serves it. A file that systemd has made
//! is systemd's to remove. Does not handle what is served (see `protocol`). Fails with a text for the operator.

use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The permissions of a file that we make, where none are configured: for its owner and its group.
const DEFAULT_MODE: u32 = 0o660;
/// Connections that wait to be accepted; the system has a bound of its own.
const BACKLOG: i32 = 65_535;

/// The file of a socket that this process has to remove.
#[derive(Debug)]
pub struct SocketFile {
    path: Arc<str>,
    /// The device and the number of the file.
    identity: (u64, u64),
}

impl SocketFile {
    /// The file that is at a path now.
    ///
    /// # Errors
    /// There is none that can be looked at.
    pub fn at(path: &Arc<str>) -> io::Result<Self> {
        Ok(Self {
            path: Arc::clone(path),
            identity: identity(&fs::symlink_metadata(&**path)?),
        })
    }

    /// Removes it, unless another one is in its place.
    pub fn remove(&self) {
        let found = fs::symlink_metadata(&*self.path);
        if found.is_ok_and(|found| identity(&found) == self.identity)
            && let Err(e) = fs::remove_file(&*self.path)
        {
            log::warn!("{} cannot be removed: {e}", self.path);
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Listens at a path. No connection is accepted before the file has its permissions.
///
/// # Errors
/// What stands in the way, and what to do about it.
pub fn bind(path: &str, mode: Option<u32>) -> io::Result<UnixListener> {
    clear(path)?;
    let kind = (
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
    );
    let socket = rustix::net::socket_with(kind.0, kind.1, kind.2, None)?;
    let bound = rustix::net::bind(&socket, &SocketAddrUnix::new(path)?);
    bound.map_err(|e| {
        let hint =
            "its folder must be there, and the user that runs Tollgate must be able to write to it";
        explained(e.into(), hint)
    })?;
    fs::set_permissions(path, Permissions::from_mode(mode.unwrap_or(DEFAULT_MODE)))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Gives the file of a socket that another process has made the permissions that are configured. Returns those that it
/// has.
///
/// # Errors
/// They cannot be set.
pub fn adopt(path: &str, mode: Option<u32>) -> io::Result<Permissions> {
    let permissions = match mode {
        Some(mode) => Permissions::from_mode(mode),
        None => fs::metadata(path)?.permissions(),
    };
    // Pingora sets them again, whatever they are, and would fail later.
    fs::set_permissions(path, permissions.clone()).map_err(|e| {
        let hint =
            "the file must belong to the user that runs Tollgate; in a .socket unit: SocketUser=";
        explained(e, hint)
    })?;
    Ok(permissions)
}

/// Removes what a process has left at a path.
fn clear(path: &str) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let text = "there is a file that is no socket: remove it, or choose another path";
        return Err(io::Error::other(text));
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(e) => Err(explained(
            e,
            "whether its socket is in use cannot be found out",
        )),
        Ok(_) => Err(io::Error::other(
            "another process serves it: stop that one, or choose another path",
        )),
    }
}

fn explained(error: io::Error, hint: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{error} ({hint})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_in(folder: &tempfile::TempDir) -> Arc<str> {
        folder.path().join("t.sock").to_str().unwrap().into()
    }

    fn mode(path: &str) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_left_behind_is_replaced_and_what_is_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_in(&folder);
        let first = bind(&path, None).unwrap();
        assert_eq!(mode(&path), DEFAULT_MODE);
        UnixStream::connect(&*path).unwrap();
        let error = bind(&path, None).unwrap_err().to_string();
        assert!(error.contains("another process serves it"), "{error}");
        drop(first);
        let _second = bind(&path, Some(0o600)).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(adopt(&path, None).unwrap().mode() & 0o777, 0o600);
        adopt(&path, Some(0o666)).unwrap();
        assert_eq!(mode(&path), 0o666);
    }

    #[test]
    fn what_is_no_socket_stays_and_a_folder_has_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_in(&folder);
        drop(
            fs::OpenOptions::new()
                .create_new(true)
                .write(true)
                .open(&*path),
        );
        let error = bind(&path, None).unwrap_err().to_string();
        assert!(error.contains("no socket"), "{error}");
        assert!(fs::symlink_metadata(&*path).unwrap().is_file());
        let error = bind(&format!("{path}.d/t.sock"), None).unwrap_err();
        assert!(error.to_string().contains("its folder"), "{error}");
    }

    #[test]
    fn only_the_file_of_the_socket_itself_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = path_in(&folder);
        let first = bind(&path, None).unwrap();
        let file = SocketFile::at(&path).unwrap();
        fs::rename(&*path, folder.path().join("elsewhere")).unwrap();
        let _second = bind(&path, None).unwrap();
        file.remove();
        assert!(fs::symlink_metadata(&*path).is_ok());
        SocketFile::at(&path).unwrap().remove();
        assert!(fs::symlink_metadata(&*path).is_err());
        drop(first);
    }
}
