//! The parts of a WebSocket that we read and write ourselves.
//!
//! Owns the opening handshake of RFC 6455, the subprotocols in which browsers send a key, and the frames that
//! we send. `frames` knows where one frame ends and the next begins, `messages` reads what a server's messages
//! report of their usage. Neither changes a byte. Fails for a handshake that is not as the RFC has it.

mod frames;
mod messages;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION};
use http::{HeaderMap, HeaderName};
use sha1::{Digest, Sha1};

pub use frames::{Frame, Frames};
pub use messages::{Message, Messages};

/// The subprotocol of the realtime API, and the only one that is ever chosen.
pub const REALTIME: &str = "realtime";
/// The prefix of a key among the subprotocols.
const KEY_PROTOCOL: &str = "openai-insecure-api-key.";
/// Subprotocols that name the client's account: as with headers, the provider must not see it.
const ACCOUNT_PROTOCOLS: [&str; 2] = ["openai-organization.", "openai-project."];
/// The text that RFC 6455 adds to the client's key.
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A control frame holds no more than this.
const MAX_CONTROL_BYTES: usize = 125;

/// Why a WebSocket is closed, with its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// It has been open, or idle, for too long.
    GoingAway = 1001,
    /// The other side broke off.
    Broken = 1011,
    /// The gateway ends; the client may come back at once.
    Restart = 1012,
    /// The key is not ours: what the realtime API says of it.
    Unauthorized = 3000,
}

/// Why a socket cannot be opened.
#[derive(Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Another version than 13.
    Version,
    /// Against RFC 6455; what is wrong.
    Malformed(&'static str),
}

/// Checks what RFC 6455 asks of a client's header.
///
/// # Errors
/// See [`OpenError`].
pub fn check(headers: &HeaderMap) -> Result<(), OpenError> {
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(OpenError::Malformed(
            "the Connection header does not say `Upgrade`",
        ));
    }
    match headers.get(SEC_WEBSOCKET_VERSION) {
        Some(version) if version == "13" => {}
        Some(_) => return Err(OpenError::Version),
        None => return Err(OpenError::Malformed("Sec-WebSocket-Version is missing")),
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(OpenError::Malformed("there must be one Sec-WebSocket-Key"));
    };
    match STANDARD.decode(key.as_bytes()) {
        Ok(nonce) if nonce.len() == 16 => Ok(()),
        _ => Err(OpenError::Malformed(
            "Sec-WebSocket-Key is not 16 bytes in base64",
        )),
    }
}

/// Whether one of a header's comma-separated values is `token`, in any case.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    let mut tokens = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
}

/// The `Sec-WebSocket-Accept` for a client's key.
pub fn accept(key: &[u8]) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(ACCEPT_SUFFIX);
    STANDARD.encode(digest.finalize())
}

/// The subprotocols that a client offers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offer<'h> {
    /// The key among them.
    pub key: Option<&'h str>,
    /// Whether `realtime` is among them, and so may be chosen.
    pub has_realtime: bool,
    /// The subprotocols that the upstream may see.
    pub forwarded: Vec<&'h str>,
}

impl<'h> Offer<'h> {
    /// Reads `Sec-WebSocket-Protocol`.
    pub fn read(headers: &'h HeaderMap) -> Self {
        let mut offer = Self::default();
        let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
        let protocols = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        for protocol in protocols.map(str::trim).filter(|p| !p.is_empty()) {
            // Servers may ignore case here, so a key in another case must not pass either.
            if let Some(key) = after(protocol, KEY_PROTOCOL) {
                offer.key = offer.key.or(Some(key));
            } else if !ACCOUNT_PROTOCOLS
                .iter()
                .any(|p| after(protocol, p).is_some())
            {
                offer.has_realtime |= protocol == REALTIME;
                offer.forwarded.push(protocol);
            }
        }
        offer
    }
}

/// What follows a prefix, which may be written in any case.
fn after<'p>(protocol: &'p str, prefix: &str) -> Option<&'p str> {
    let (head, rest) = protocol.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The frame with which a server closes a socket.
pub fn close_frame(close: Close, reason: &str) -> Vec<u8> {
    let code = (close as u16).to_be_bytes();
    let mut cut = reason.len().min(MAX_CONTROL_BYTES - code.len());
    while !reason.is_char_boundary(cut) {
        cut -= 1;
    }
    let reason = reason.get(..cut).unwrap_or_default().as_bytes();
    frame(0x8, &[&code, reason].concat())
}

/// A server's text message of one frame.
pub fn text_frame(text: &[u8]) -> Vec<u8> {
    frame(0x1, text)
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(entries: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in entries {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const VERSION: (&str, &str) = ("sec-websocket-version", "13");
    const UPGRADE: (&str, &str) = ("connection", "keep-alive, Upgrade");

    #[test]
    fn the_accept_of_the_rfcs_example() {
        assert_eq!(accept(KEY.1.as_bytes()), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn an_opening_is_held_to_the_rfc() {
        assert_eq!(check(&headers(&[KEY, VERSION, UPGRADE])), Ok(()));
        let old = ("sec-websocket-version", "8");
        assert_eq!(
            check(&headers(&[KEY, old, UPGRADE])),
            Err(OpenError::Version)
        );
        for bad in [
            &[KEY, VERSION][..],
            &[KEY, UPGRADE],
            &[VERSION, UPGRADE],
            &[KEY, KEY, VERSION, UPGRADE],
            &[("sec-websocket-key", "c2hvcnQ="), VERSION, UPGRADE],
            &[("sec-websocket-key", "?"), VERSION, UPGRADE],
        ] {
            let outcome = check(&headers(bad));
            assert!(matches!(outcome, Err(OpenError::Malformed(_))), "{bad:?}");
        }
    }

    #[test]
    fn the_key_is_taken_out_of_the_subprotocols() {
        let offered = headers(&[
            (
                "sec-websocket-protocol",
                "realtime, openai-insecure-api-key.k1",
            ),
            (
                "sec-websocket-protocol",
                "openai-project.p,openai-beta.realtime-v1",
            ),
        ]);
        let offer = Offer::read(&offered);
        assert_eq!(offer.key, Some("k1"));
        assert!(offer.has_realtime);
        assert_eq!(offer.forwarded, ["realtime", "openai-beta.realtime-v1"]);
        assert_eq!(Offer::read(&HeaderMap::new()), Offer::default());
        let odd = headers(&[(
            "sec-websocket-protocol",
            "OpenAI-Insecure-Api-Key.K2, Openai-Organization.o",
        )]);
        let offer = Offer::read(&odd);
        assert_eq!((offer.key, offer.forwarded), (Some("K2"), Vec::new()));
    }

    #[test]
    fn a_close_frame_is_short_whatever_its_reason() {
        assert_eq!(
            close_frame(Close::Unauthorized, "no"),
            b"\x88\x04\x0b\xb8no"
        );
        let long = close_frame(Close::GoingAway, &"é".repeat(100));
        assert_eq!((long[0], usize::from(long[1])), (0x88, long.len() - 2));
        assert!(long.len() <= 127 && std::str::from_utf8(&long[4..]).is_ok());
    }
}
