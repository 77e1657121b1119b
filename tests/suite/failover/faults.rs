//! A provider that fails before it has said anything: the client gets a whole answer of the next,
//! and is told the truth where there is none.

use std::time::Duration;

use super::{
    CHAT, GENEROUS, RESPONSES, assert_whole, at, error, gateway, healthy, nobody, one_then_other,
    outcomes, role, rule, typed,
};
use crate::support::client::Response;
use crate::support::upstream::{Received, Reply, Upstream};
use crate::support::{chat, streamed_chat};

/// How a provider fails.
#[derive(Clone)]
enum Fault {
    /// Status, header lines, body.
    Answer(&'static str, &'static str, String),
    /// A page in place of an answer.
    Page,
    /// A reset.
    Reset,
    /// These bytes, and the connection is closed.
    Close(&'static str),
    /// The header of a stream, then a reset.
    HeaderOfAStream,
    /// The header of a stream, then its proper end.
    EmptyStream,
    /// A stream that begins with these events.
    Events(Vec<String>),
    /// A responses stream that begins, and then tells of an error of this kind.
    ComplaintAfterCreated(&'static str),
    /// Nothing.
    Silence,
    /// The header of a stream, and nothing.
    SilentStream,
    /// The first event of a stream, and comments for ever.
    RoleAndComments,
    /// A responses stream that begins, and says nothing.
    SilenceAfterCreated,
}

impl Fault {
    async fn play(self, _: Received, mut reply: Reply) -> Reply {
        match self {
            Self::Answer(status, headers, body) => reply.json_with(status, headers, &body).await,
            Self::Page => {
                let page = "<!DOCTYPE html><html><body>Please log in</body></html>";
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: ";
                reply
                    .raw(format!("{head}{}\r\n\r\n{page}", page.len()))
                    .await;
            }
            Self::Reset => reply.reset(),
            Self::Close(bytes) => {
                reply.raw(bytes).await;
                reply.close();
            }
            Self::HeaderOfAStream => {
                reply.begin_stream().await;
                reply.reset();
            }
            Self::EmptyStream => {
                reply.begin_stream().await;
                reply.end_stream().await;
            }
            Self::Events(events) => {
                reply.begin_stream().await;
                for event in events {
                    reply.event(&event).await;
                }
                reply.end_stream().await;
            }
            Self::ComplaintAfterCreated(code) => {
                reply.begin_stream().await;
                let begun = r#""response":{"id":"resp_1","status":"in_progress","usage":null}"#;
                typed(&mut reply, "response.created", begun).await;
                typed(&mut reply, "response.in_progress", begun).await;
                let told = format!(r#""code":"{code}","message":"It cannot be.","param":null"#);
                typed(&mut reply, "error", &told).await;
                reply.end_stream().await;
            }
            Self::SilenceAfterCreated => {
                reply.begin_stream().await;
                let begun = r#""response":{"id":"resp_1","status":"in_progress","usage":null}"#;
                typed(&mut reply, "response.created", begun).await;
                typed(&mut reply, "response.in_progress", begun).await;
                reply.wait_for_close().await;
            }
            Self::Silence => reply.wait_for_close().await,
            Self::SilentStream => {
                reply.begin_stream().await;
                reply.wait_for_close().await;
            }
            Self::RoleAndComments => {
                reply.begin_stream().await;
                reply.event(&role()).await;
                let every = Duration::from_millis(20);
                reply
                    .chunks_until_close(": still thinking\n\n", every)
                    .await;
            }
        }
        reply
    }
}

/// A fault, and what is to come of it.
struct Case {
    /// The upstream's address and settings.
    first: String,
    /// The upstream, where one is there.
    upstream: Option<Upstream>,
    path: &'static str,
    /// The name of the failure in the trail.
    reason: &'static str,
    /// Status, type and code where nobody else can be asked.
    told: (u16, &'static str, Option<&'static str>),
    /// How often one that is alone may be asked.
    most: usize,
    /// Whether it is asked once more before another is.
    is_asked_again: bool,
    /// Whether asking again is left to the client.
    is_left_to_client: bool,
    body: String,
}

impl Case {
    async fn of(fault: Fault, more: &str) -> Self {
        let script = move |request, reply| fault.clone().play(request, reply);
        let upstream = Upstream::start(script).await;
        let mut case = Self::at(at("first", upstream.address, more));
        case.upstream = Some(upstream);
        case
    }

    fn at(first: String) -> Self {
        Self {
            first,
            upstream: None,
            path: CHAT,
            reason: "",
            told: (0, "", None),
            most: 4,
            is_asked_again: false,
            is_left_to_client: false,
            body: chat("gpt-4o"),
        }
    }

    fn streamed(mut self) -> Self {
        self.body = streamed_chat("gpt-4o");
        self
    }

    fn path(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    fn reason(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }

    /// It may have been charged for: the same is not asked again.
    fn once(mut self) -> Self {
        self.most = 1;
        self
    }

    /// The same is asked once more, and then another.
    fn once_more(mut self) -> Self {
        self.most = 2;
        self.is_asked_again = true;
        self
    }

    fn left_to_client(mut self) -> Self {
        self.is_left_to_client = true;
        self
    }

    fn told(mut self, status: u16, kind: &'static str, code: Option<&'static str>) -> Self {
        self.told = (status, kind, code);
        self
    }

    fn asked(&self) -> usize {
        self.upstream.as_ref().map_or(0, Upstream::requests)
    }

    /// With a second target behind it, then alone.
    async fn holds(self) -> Response {
        let second = healthy("second").await;
        let front = one_then_other(&self.first, &second);
        let response = front.post(self.path, &self.body).await;
        assert_whole(&response, "second");
        let times = if self.is_asked_again { 2 } else { 1 };
        assert_eq!(attempts(&response), times + 1);
        assert_eq!(second.requests(), 1);
        assert_eq!(self.asked(), times * usize::from(self.upstream.is_some()));
        let first = format!("first:{} ", self.reason).repeat(times);
        let expected = format!("{first}second:ok");
        assert_eq!(outcomes(&front, &response), expected);
        self.alone().await
    }

    async fn alone(&self) -> Response {
        let before = self.asked();
        let target = "{ upstream: first }";
        let upstreams = [self.first.clone()];
        let front = gateway(GENEROUS, &upstreams, &[rule("gpt-4o", target, "")]);
        let response = front.post(self.path, &self.body).await;
        let (status, kind, code) = self.told;
        response.assert_error(status, kind, code, None);
        // A client that is told when to come again is not told not to.
        if response.header("retry-after").is_none() {
            let expected = (!self.is_left_to_client).then_some("false");
            assert_eq!(response.header("x-should-retry"), expected);
        }
        let tried: usize = attempts(&response);
        if self.upstream.is_some() {
            assert_eq!(self.asked() - before, tried);
        }
        assert!((1..=self.most).contains(&tried), "{tried} attempts");
        let trail = outcomes(&front, &response);
        let expected = vec![format!("first:{}", self.reason); tried];
        assert_eq!(trail, expected.join(" "));
        response
    }
}

fn attempts(response: &Response) -> usize {
    let attempts = response.header("x-tollgate-attempts");
    attempts.expect("x-tollgate-attempts").parse().unwrap()
}

fn rate_limited() -> String {
    error(
        "Rate limit reached. Please try again in 30s.",
        "requests",
        Some("rate_limit_exceeded"),
    )
}

#[tokio::test]
async fn a_429_that_asks_for_a_long_wait() {
    let fault = Fault::Answer(
        "429 Too Many Requests",
        "retry-after: 30\r\n",
        rate_limited(),
    );
    let case = Case::of(fault, "").await.reason("rate_limited").once();
    let told = case.told(429, "requests", Some("rate_limit_exceeded"));
    let response = told.holds().await;
    let wait = response.header("retry-after").unwrap();
    assert!((1..=30).contains(&wait.parse::<u32>().unwrap()), "{wait}");
}

#[tokio::test]
async fn a_429_that_asks_for_nothing() {
    let fault = Fault::Answer("429 Too Many Requests", "", rate_limited());
    let case = Case::of(fault, "").await.reason("rate_limited");
    let told = case.told(429, "requests", Some("rate_limit_exceeded"));
    told.holds().await;
}

#[tokio::test]
async fn a_500() {
    let body = error("The server had an error.", "server_error", None);
    let fault = Fault::Answer("500 Internal Server Error", "", body);
    let case = Case::of(fault.clone(), "").await.reason("server_error");
    case.told(500, "server_error", None).holds().await;
    let case = Case::of(fault, "").await.reason("server_error");
    case.told(500, "server_error", None)
        .streamed()
        .holds()
        .await;
}

#[tokio::test]
async fn a_503_of_one_that_is_overloaded() {
    let (kind, code) = ("service_unavailable_error", Some("server_is_overloaded"));
    let body = error("The server is overloaded.", kind, code);
    let fault = Fault::Answer("503 Service Unavailable", "", body);
    let case = Case::of(fault, "").await.reason("overloaded");
    case.told(503, kind, code).holds().await;
}

#[tokio::test]
async fn a_529() {
    let body = error("Overloaded, as it says.", "overloaded_error", None);
    let fault = Fault::Answer("529 Overloaded", "", body);
    let case = Case::of(fault, "").await.reason("overloaded");
    case.told(529, "overloaded_error", None).holds().await;
}

#[tokio::test]
async fn a_connection_that_is_refused() {
    let case = Case::at(at("first", nobody(), "")).reason("unreachable");
    let told = case.told(502, "server_error", Some("upstream_unreachable"));
    told.holds().await;
}

#[tokio::test]
async fn a_name_that_is_gone() {
    // Nobody can be asked there, so nobody is.
    let first = at("first", "nowhere.invalid:1", "");
    let second = healthy("second").await;
    let front = one_then_other(&first, &second);
    let response = front.post(CHAT, &chat("gpt-4o")).await;
    assert_whole(&response, "second");
    let front = gateway(
        GENEROUS,
        &[first],
        &[rule("gpt-4o", "{ upstream: first }", "")],
    );
    let response = front.post(CHAT, &chat("gpt-4o")).await;
    let code = response.json()["error"]["code"].clone();
    match response.status {
        502 => assert_eq!(code, "upstream_unreachable"),
        status => assert_eq!((status, code), (503, "upstream_unavailable".into())),
    }
}

#[tokio::test]
async fn tls_that_is_none() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        }
    });
    let first = at("first", address, "").replace("http://", "https://");
    let case = Case::at(first).reason("tls");
    let told = case.told(502, "server_error", Some("upstream_tls"));
    told.holds().await;
}

#[tokio::test]
async fn a_stream_that_is_reset_before_it_has_said_anything() {
    // Nothing can have been charged for.
    for fault in [
        Fault::Reset,
        Fault::Close(""),
        Fault::Close("HTTP/1.1 200 OK\r\ncontent-ty"),
        Fault::HeaderOfAStream,
        // Its end would be that of the connection.
        Fault::Close("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"),
        Fault::Close("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n"),
    ] {
        let case = Case::of(fault, "").await.reason("cut").once_more();
        let told = case.told(502, "server_error", Some("upstream_reset"));
        told.streamed().holds().await;
    }
}

#[tokio::test]
async fn silence_and_comments_are_no_first_token() {
    for fault in [Fault::Silence, Fault::SilentStream, Fault::RoleAndComments] {
        let times = ", timeouts: { first_token: 300ms }";
        let case = Case::of(fault, times).await.reason("silent").once();
        let told = case.told(504, "server_error", Some("upstream_timeout"));
        told.streamed().holds().await;
    }
}

#[tokio::test]
async fn a_response_that_is_created_has_said_nothing_yet() {
    let times = ", timeouts: { first_token: 300ms }";
    let case = Case::of(Fault::SilenceAfterCreated, times).await.once();
    let case = case.reason("silent").path(RESPONSES).streamed();
    let told = case.told(504, "server_error", Some("upstream_timeout"));
    told.holds().await;
}

#[tokio::test]
async fn a_stream_that_ends_without_a_word() {
    for fault in [Fault::EmptyStream, Fault::Events(vec![role()])] {
        let case = Case::of(fault, "").await.reason("empty").once();
        let case = case.left_to_client();
        let told = case.told(502, "server_error", Some("upstream_empty"));
        told.streamed().holds().await;
    }
}

#[tokio::test]
async fn a_stream_whose_first_event_is_an_error() {
    let (kind, code) = ("service_unavailable_error", Some("server_is_overloaded"));
    let event = error("The server is overloaded.", kind, code);
    for events in [vec![event.clone()], vec![role(), event]] {
        let case = Case::of(Fault::Events(events), "").await;
        let case = case.reason("overloaded").streamed();
        case.told(503, kind, code).holds().await;
    }
}

#[tokio::test]
async fn a_responses_stream_that_runs_out_of_money_once_it_is_created() {
    let fault = Fault::ComplaintAfterCreated("insufficient_quota");
    let case = Case::of(fault, "").await.reason("out_of_credit").once();
    // Whose account it is, is not the client's affair.
    let told = case.told(503, "service_unavailable_error", Some("upstream_account"));
    told.path(RESPONSES).streamed().holds().await;
}

#[tokio::test]
async fn a_page_under_200() {
    let case = Case::of(Fault::Page, "").await.once();
    let case = case.reason("invalid_response");
    let told = case.told(502, "server_error", Some("upstream_invalid_response"));
    told.holds().await;
    let case = Case::of(Fault::Page, "").await.once().streamed();
    let case = case.reason("invalid_response");
    let told = case.told(502, "server_error", Some("upstream_invalid_response"));
    told.holds().await;
}

#[tokio::test]
async fn a_redirect() {
    for body in ["", r#"{"choices":[]}"#] {
        let headers = "location: https://elsewhere.invalid/\r\n";
        let fault = Fault::Answer("307 Temporary Redirect", headers, body.to_owned());
        let case = Case::of(fault, "").await.once().reason("invalid_response");
        let told = case.told(502, "server_error", Some("upstream_invalid_response"));
        told.holds().await;
    }
}

#[tokio::test]
async fn an_error_under_200() {
    let (kind, code) = ("service_unavailable_error", Some("server_is_overloaded"));
    let body = error("The server is overloaded.", kind, code);
    let case = Case::of(Fault::Answer("200 OK", "", body.clone()), "").await;
    case.reason("overloaded")
        .told(503, kind, code)
        .holds()
        .await;
    // The same where a stream was asked for.
    let case = Case::of(Fault::Answer("200 OK", "", body), "").await;
    let case = case.reason("overloaded").streamed();
    case.told(503, kind, code).holds().await;
}

#[tokio::test]
async fn a_model_that_is_missing() {
    let (kind, code) = ("invalid_request_error", Some("model_not_found"));
    let body = error("The model does not exist.", kind, code);
    let fault = Fault::Answer("404 Not Found", "", body);
    let case = Case::of(fault, "").await.reason("model_missing").once();
    case.told(404, kind, code).holds().await;
}
