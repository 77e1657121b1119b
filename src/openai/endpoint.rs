//! The paths that we serve.
//!
//! Owns which path is which endpoint and which methods it takes. Decided once, from the path as it
//! was sent: nothing is rebuilt or normalised. Unknown paths give `None`.

use http::Method;

/// Something that a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint<'p> {
    /// A request that we read and pass on.
    Exchange(&'static Exchange),
    /// `GET /v1/models`.
    Models,
    /// `GET /v1/models/{id}`, with the id as it stands in the path.
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
    /// How an answer of this endpoint tells, in a stream, that something broke.
    pub stream_error: StreamError,
}

/// The form of an error within a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// `data: {"error":{…}}`, as in chat completions.
    Data,
    /// `event: error`, as in responses.
    Event,
}

const PREFIX: &str = "/v1";
const MODELS: &str = "/v1/models";
const HEALTH: &str = "/health";

const fn exchange(name: &'static str, path: &'static str) -> Exchange {
    Exchange {
        name,
        path,
        stream_error: StreamError::Data,
    }
}

static EXCHANGES: [Exchange; 8] = [
    exchange("chat_completions", "/chat/completions"),
    exchange("completions", "/completions"),
    exchange("embeddings", "/embeddings"),
    Exchange {
        stream_error: StreamError::Event,
        ..exchange("responses", "/responses")
    },
    exchange("moderations", "/moderations"),
    exchange("images_generations", "/images/generations"),
    exchange("audio_speech", "/audio/speech"),
    exchange("rerank", "/rerank"),
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

/// The path that was probably meant by one that we do not serve.
pub fn suggestion(path: &str) -> Option<String> {
    let trimmed = path.trim_end_matches('/');
    let bare = trimmed.strip_prefix(PREFIX).unwrap_or(trimmed);
    let bare = bare.strip_prefix(PREFIX).unwrap_or(bare);
    let candidate = format!("{PREFIX}{bare}");
    (candidate != path && Endpoint::find(&candidate).is_some()).then_some(candidate)
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
        ] {
            assert_eq!(Endpoint::find(path), None, "{path}");
            assert_eq!(suggestion(path).as_deref(), Some(meant));
        }
        for path in ["/", "/v1", "/v1/models/", "/V1/chat/completions", "/v2/x"] {
            assert_eq!(Endpoint::find(path), None, "{path}");
        }
        assert_eq!(suggestion("/nothing"), None);
    }
}
