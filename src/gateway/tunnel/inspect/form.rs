//! Which model a form names that passes through.
//!
//! Owns reading such a form, up to a bound in memory, and which forms are not read since they hold files and
//! name no model. Does not handle how a form is scanned (see `openai::form`), nor what follows from the model
//! (see `inspect`). Fails with what the client is told; a form that cannot be read is no failure here.

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::Read;
use crate::gateway::client_body::{self, Pace};
use crate::gateway::failure::{Failure, Unreadable};
use crate::gateway::session::ClientSession;
use crate::openai::form::Scanner;

/// The operations whose forms are files, and name no model; `*` stands for an id. They may be of any size, and
/// pass as they come.
const FILES: [&[&str]; 5] = [
    &["files"],
    &["uploads", "*", "parts"],
    &["containers", "*", "files"],
    &["skills"],
    &["skills", "*", "versions"],
];

/// Whether a form may name a model that is sent for this operation, the path below `/v1`.
pub fn may_name_a_model(operation: &str) -> bool {
    let segments = || operation.trim_start_matches('/').split('/');
    !FILES.iter().any(|files| {
        segments().count() == files.len()
            && segments()
                .zip(*files)
                .all(|(segment, file)| *file == "*" || segment == *file)
    })
}

/// Reads a form to its end, as far as it is well-formed, and up to a limit. What has been read is in `ahead`.
pub async fn read(
    client: &mut ClientSession,
    ahead: &mut Vec<Bytes>,
    pace: &mut Pace,
    limit: usize,
) -> Result<Read, Failure> {
    let content_type = client.request().headers.get(CONTENT_TYPE);
    let content_type = content_type.map_or(&b""[..], HeaderValue::as_bytes);
    let mut scanner = match Scanner::new(content_type, false) {
        Ok(scanner) => scanner,
        Err(error) => return Ok(Read::NoForm(error)),
    };
    let too_large = Read::Unreadable(Unreadable::TooLarge { limit });
    if client_body::declared_length(client).is_some_and(|length| length > limit) {
        return Ok(too_large);
    }
    client_body::invite(client).await?;
    let mut length = 0;
    while let Some(chunk) = client_body::next(client, pace).await? {
        // Over HTTP/2 an empty one may be the last.
        if chunk.is_empty() {
            continue;
        }
        length += chunk.len();
        let scanned = scanner.push(&chunk);
        ahead.push(chunk);
        if let Err(error) = scanned {
            return Ok(Read::NoForm(error));
        }
        if length > limit {
            return Ok(too_large);
        }
    }
    Ok(match scanner.finish() {
        Ok(form) => Read::Form(form),
        Err(error) => Read::NoForm(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_with_files_alone_are_not_read() {
        for files in ["/files", "/uploads/upload_1/parts", "/containers/c/files"] {
            assert!(!may_name_a_model(files), "{files}");
        }
        for other in [
            "/videos",
            "/files/",
            "/files/f/x",
            "/uploads/u",
            "/v/c/files",
            "/",
        ] {
            assert!(may_name_a_model(other), "{other}");
        }
    }
}
