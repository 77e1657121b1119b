//! The paths that we serve.
//!
//! Owns which path is which endpoint, its methods, and which paths open a WebSocket. This is decided once,
//! from the path as it was sent: nothing is normalised, and a path that others might normalise is refused.
//! Does not handle operations that pass unread (see `privileges`). An unknown path gives `None`.

use http::Method;
use percent_encoding::percent_decode_str;

use super::stream_state::Stream;

/// Something that a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint<'p> {
    /// A request that we read and pass on.
    Exchange(&'static Exchange),
    /// `GET /v1/models`.
    Models,
    /// `GET /v1/models/{id}`, with the id as the path has it.
    Model(&'p str),
    /// `GET /health`.
    Health,
}

/// An endpoint of the exchange.
#[derive(Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its name in metrics.
    pub name: &'static str,
    /// The path under `/v1`, which goes after the upstream's base path.
    pub path: &'static str,
    /// What the events of its streams are.
    pub stream: Stream,
    /// The form of an error in a stream of this endpoint.
    pub stream_error: StreamError,
    /// Whether its answer is a stream or not, as the request wants it, and either can be made of the
    /// other.
    pub has_both_forms: bool,
    /// Whether its input is text, so that its tokens can be estimated.
    pub takes_text: bool,
    /// Whether its answer is JSON, an object or an array, for every request.
    pub answers_json: bool,
    /// Whether its body may be a form.
    pub takes_form: bool,
    /// Whether `stop` words are among its fields.
    pub takes_stop: bool,
    /// Whether the account stores its result by default, to be fetched by its id.
    pub is_stored: bool,
    /// Whether an equal request has an equal answer.
    pub repeats: Repeats,
    /// The keys of `server.default_models` that name its model where a request does not; the first that is
    /// set counts. Empty where the API requires a model in each request.
    pub default_models: &'static [&'static str],
}

/// Whether an equal request has an equal answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Always: nothing is drawn by lot.
    Always,
    /// Where the request says so.
    IfAsked,
    /// It is never used again.
    Never,
}

/// The form of an error within a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// `data: {"error":{…}}`, as in chat completions.
    Data,
    /// `event: error`, as in responses.
    Event,
}

/// A path at which a WebSocket is opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its name in metrics.
    pub name: &'static str,
    /// The path under `/v1`.
    pub path: &'static str,
    /// Whether the model is named in its query and nowhere else. Otherwise it may also be named in
    /// the messages, which are not read.
    pub model_in_query: bool,
}

const PREFIX: &str = "/v1";
const MODELS: &str = "/v1/models";
const HEALTH: &str = "/health";

const fn exchange(name: &'static str, path: &'static str) -> Exchange {
    Exchange {
        name,
        path,
        stream: Stream::Other,
        stream_error: StreamError::Data,
        has_both_forms: false,
        takes_text: false,
        answers_json: true,
        takes_form: false,
        takes_stop: false,
        is_stored: false,
        repeats: Repeats::Never,
        default_models: &[],
    }
}

/// Whose answers may be used again.
const fn repeating(repeats: Repeats, exchange: Exchange) -> Exchange {
    Exchange {
        repeats,
        ..exchange
    }
}

const fn form(name: &'static str, path: &'static str) -> Exchange {
    Exchange {
        takes_form: true,
        ..exchange(name, path)
    }
}

const fn transcripts(name: &'static str, path: &'static str) -> Exchange {
    Exchange {
        answers_json: false,
        ..form(name, path)
    }
}

const fn completions(name: &'static str, path: &'static str, stream: Stream) -> Exchange {
    Exchange {
        stream,
        has_both_forms: true,
        takes_text: true,
        takes_stop: true,
        repeats: Repeats::IfAsked,
        ..exchange(name, path)
    }
}

const fn responses(name: &'static str, path: &'static str) -> Exchange {
    Exchange {
        stream: Stream::Responses,
        stream_error: StreamError::Event,
        is_stored: true,
        ..exchange(name, path)
    }
}

static EXCHANGES: [Exchange; 14] = [
    completions("chat_completions", "/chat/completions", Stream::Chat),
    completions("completions", "/completions", Stream::Completions),
    Exchange {
        takes_text: true,
        ..repeating(Repeats::Always, exchange("embeddings", "/embeddings"))
    },
    Exchange {
        has_both_forms: true,
        takes_text: true,
        default_models: &["responses"],
        ..repeating(Repeats::IfAsked, responses("responses", "/responses"))
    },
    Exchange {
        default_models: &["responses_input_tokens", "responses"],
        ..responses("responses_input_tokens", "/responses/input_tokens")
    },
    Exchange {
        default_models: &["responses_compact", "responses"],
        ..responses("responses_compact", "/responses/compact")
    },
    Exchange {
        default_models: &["moderations"],
        ..repeating(Repeats::Always, exchange("moderations", "/moderations"))
    },
    Exchange {
        default_models: &["images_generations", "images"],
        ..repeating(
            Repeats::IfAsked,
            exchange("images_generations", "/images/generations"),
        )
    },
    Exchange {
        default_models: &["images_edits", "images"],
        ..form("images_edits", "/images/edits")
    },
    Exchange {
        default_models: &["images_variations", "images"],
        ..form("images_variations", "/images/variations")
    },
    Exchange {
        answers_json: false,
        ..repeating(Repeats::IfAsked, exchange("audio_speech", "/audio/speech"))
    },
    transcripts("audio_transcriptions", "/audio/transcriptions"),
    transcripts("audio_translations", "/audio/translations"),
    repeating(Repeats::Always, exchange("rerank", "/rerank")),
];

static SOCKETS: [Socket; 3] = [
    Socket {
        name: "realtime",
        path: "/realtime",
        model_in_query: true,
    },
    Socket {
        name: "realtime_translations",
        path: "/realtime/translations",
        model_in_query: true,
    },
    Socket {
        name: "responses_socket",
        path: "/responses",
        model_in_query: false,
    },
];

impl<'p> Endpoint<'p> {
    /// The endpoint at a path, without its query.
    pub fn find(path: &'p str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix(PREFIX)
            && let Some(exchange) = EXCHANGES.iter().find(|e| e.path == rest)
        {
            return Some(Self::Exchange(exchange));
        }
        match path {
            MODELS => Some(Self::Models),
            HEALTH => Some(Self::Health),
            _ => path
                .strip_prefix(MODELS)?
                .strip_prefix('/')
                .filter(|id| !id.is_empty())
                .map(Self::Model),
        }
    }

    /// The one method it takes.
    pub fn method(&self) -> Method {
        match self {
            Self::Exchange(_) => Method::POST,
            Self::Models | Self::Model(_) | Self::Health => Method::GET,
        }
    }

    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exchange(exchange) => exchange.name,
            Self::Models | Self::Model(_) => "models",
            Self::Health => "health",
        }
    }
}

/// The names of all endpoints that have a model, the most usual first; WebSockets last.
pub fn names_with_models() -> impl Iterator<Item = &'static str> {
    let exchanges = EXCHANGES.iter().map(|exchange| exchange.name);
    exchanges.chain(SOCKETS.iter().map(|socket| socket.name))
}

/// The names of all endpoints.
pub fn names() -> impl Iterator<Item = &'static str> {
    let others = [Endpoint::Models, Endpoint::Health];
    names_with_models().chain(others.map(|other| other.name()))
}

/// The keys that `server.default_models` may have, each once.
pub fn default_model_keys() -> Vec<&'static str> {
    let mut keys: Vec<&str> = EXCHANGES
        .iter()
        .flat_map(|exchange| exchange.default_models)
        .copied()
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

impl Socket {
    /// The socket that is opened at a path.
    pub fn find(path: &str) -> Option<&'static Self> {
        let rest = path.strip_prefix(PREFIX)?;
        SOCKETS.iter().find(|socket| socket.path == rest)
    }
}

/// The operation of a path below `/v1`, without `/v1`.
pub fn operation(path: &str) -> Option<&str> {
    path.strip_prefix(PREFIX)
        .filter(|rest| rest.starts_with('/'))
}

/// Whether a path can be read in one way only: an upstream may decode and shorten it, and must come to the
/// same operation. So each segment, once decoded, has only letters, digits and a few marks, and does not
/// end in a mark that a server may drop. Some servers begin parameters at a `;`, others decode a `%` twice.
pub fn is_plain(path: &str) -> bool {
    let Ok(decoded) = percent_decode_str(path).decode_utf8() else {
        return false;
    };
    let is_mark = |c: char| "-._~:@!$&'()*+,=".contains(c);
    let is_segment = |segment: &str| {
        let ends_well = !segment.is_empty() && !segment.ends_with('.');
        ends_well && segment.chars().all(|c| c.is_alphanumeric() || is_mark(c))
    };
    let within = decoded.strip_prefix('/').unwrap_or(&decoded);
    let within = within.strip_suffix('/').unwrap_or(within);
    within.split('/').all(is_segment)
}

/// Whether a path is that of an exchange, written in another way. An upstream that decodes it, or ignores
/// case or a slash at the end, would serve a request that we have not read.
pub fn is_disguised(path: &str) -> bool {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let lower = decoded.to_ascii_lowercase();
    let plain = lower.trim_end_matches('/');
    plain != path && matches!(Endpoint::find(plain), Some(Endpoint::Exchange(_)))
}

/// How many letters of a path may be wrong, missing or too many.
const MAX_TYPOS: usize = 2;

/// The path that was probably meant, for a path that we do not serve.
pub fn suggestion(path: &str) -> Option<String> {
    let trimmed = path.trim_end_matches('/');
    let bare = trimmed.strip_prefix(PREFIX).unwrap_or(trimmed);
    let bare = bare.strip_prefix(PREFIX).unwrap_or(bare);
    let candidate = format!("{PREFIX}{bare}");
    if candidate != path && Endpoint::find(&candidate).is_some() {
        return Some(candidate);
    }
    let is_near = |known: &&Exchange| {
        known.path != bare
            && known.path.split('/').count() == bare.split('/').count()
            && strsim::damerau_levenshtein(known.path, bare) <= MAX_TYPOS
    };
    let near = EXCHANGES.iter().find(is_near)?;
    Some(format!("{PREFIX}{}", near.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_its_endpoint() {
        let chat = Endpoint::find("/v1/chat/completions").unwrap();
        assert_eq!(
            (chat.name(), chat.method()),
            ("chat_completions", Method::POST)
        );
        assert_eq!(Endpoint::find("/v1/models"), Some(Endpoint::Models));
        assert_eq!(
            Endpoint::find("/v1/models/org/model"),
            Some(Endpoint::Model("org/model"))
        );
        assert_eq!(Endpoint::find("/health"), Some(Endpoint::Health));
    }

    #[test]
    fn near_misses_are_not_served_but_suggested() {
        for (path, meant) in [
            ("/chat/completions", "/v1/chat/completions"),
            ("/v1/chat/completions/", "/v1/chat/completions"),
            ("/v1/v1/embeddings", "/v1/embeddings"),
            ("/v1/chat/completion", "/v1/chat/completions"),
            ("/v1/chat/compeltions", "/v1/chat/completions"),
            ("/embedding", "/v1/embeddings"),
        ] {
            assert_eq!(Endpoint::find(path), None, "{path}");
            assert_eq!(suggestion(path).as_deref(), Some(meant));
        }
        for path in ["/", "/v1", "/v1/models/", "/V1/chat/completions", "/v2/x"] {
            assert_eq!(Endpoint::find(path), None, "{path}");
        }
        for path in ["/nothing", "/v1/files", "/v1/responses/x", "/v1/batches"] {
            assert_eq!(suggestion(path), None, "{path}");
        }
    }

    #[test]
    fn a_model_may_be_left_out_where_the_api_allows_it() {
        let optional = EXCHANGES.iter().filter(|e| !e.default_models.is_empty());
        let paths: Vec<&str> = optional.map(|exchange| exchange.path).collect();
        assert_eq!(
            paths,
            [
                "/responses",
                "/responses/input_tokens",
                "/responses/compact",
                "/moderations",
                "/images/generations",
                "/images/edits",
                "/images/variations",
            ]
        );
        let keys = default_model_keys();
        assert!(
            ["moderations", "responses", "images"]
                .iter()
                .all(|k| keys.contains(k))
        );
    }

    #[test]
    fn a_socket_is_opened_at_its_path_alone() {
        assert_eq!(Socket::find("/v1/realtime").unwrap().name, "realtime");
        assert!(!Socket::find("/v1/responses").unwrap().model_in_query);
        assert_eq!(Socket::find("/v1/chat/completions"), None);
        assert_eq!(Socket::find("/realtime"), None);
    }

    #[test]
    fn a_path_that_could_be_shortened_is_not_plain() {
        for plain in [
            "/v1/files",
            "/v1/files/",
            "/v1/a..b/c.d",
            "/v1/models/org%2Fname",
            "/v1/models/ft:gpt-4o:org",
            "/v1beta/models/gemini:generateContent",
            "/v1/files/caf%C3%A9",
        ] {
            assert!(is_plain(plain), "{plain}");
        }
        for odd in [
            "/v1/files/../x",
            "/v1/./x",
            "/v1//x",
            "/v1/%2e%2E/x",
            "/v1/a%2f..%2fx",
            "/v1/a\\x",
            "/v1/a%5cx",
            "/v1/a%00",
            "/v1/files;x",
            "/v1/realtime;x/client_secrets",
            "/v1/a/..;/x",
            "/v1/a%3bx",
            "/v1/a%2520x",
            "/v1/a%2e",
            "/v1/files.",
            "/v1/files%20",
            "/v1/a b",
            "/v1/a%09",
            "/v1/a%c0%af",
            "/v1/a%23",
            "/v1/a%3fx",
            "/v1/a|b",
            "/v1/a%",
            "/v1/files//",
        ] {
            assert!(!is_plain(odd), "{odd}");
        }
    }

    #[test]
    fn the_path_of_an_exchange_is_known_however_it_is_written() {
        for path in [
            "/v1/chat/completions/",
            "/v1/Chat/Completions",
            "/v1/chat%2fcompletion%73",
            "/%761/embeddings",
        ] {
            assert!(is_disguised(path), "{path}");
        }
        for path in [
            "/v1/chat/completions",
            "/v1/chat/completions/chatcmpl-1",
            "/v1/models/",
            "/v1/files%2F",
        ] {
            assert!(!is_disguised(path), "{path}");
        }
    }
}
