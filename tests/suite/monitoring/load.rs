//! A gateway to which everything happens that the boards show: failover, limits, quotas, broken streams, prices.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::client::{Client, post};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Received, Reply, Upstream};
use crate::support::{DONE, FINISHED, PROVIDER_KEY, chat, delta, streamed_chat};

/// Keys of tenants: one within its limits, one with a limit of one request an hour, one whose quota is too small.
const FREE: &str = "key-of-the-free-tenant";
const LIMITED: &str = "key-of-the-limited-tenant";
const POOR: &str = "key-of-the-poor-tenant";

/// What is asked again and again: the tenant's key, the model, and whether as a stream.
const ASKED: [(&str, &str, bool); 12] = [
    (FREE, "good", false),
    (FREE, "good", true),
    (FREE, "saved", false),
    (FREE, "saved", true),
    (FREE, "broken", false),
    (FREE, "busy", false),
    (FREE, "locked", false),
    (FREE, "cut", true),
    (FREE, "unpriced", false),
    (FREE, "unheard-of", false),
    (LIMITED, "good", false),
    (POOR, "good", false),
];

const USAGE: &str = r#""usage":{"prompt_tokens":20,"completion_tokens":7,"total_tokens":27,"prompt_tokens_details":{"cached_tokens":8}}"#;

/// The gateway, and its provider.
pub struct Scene {
    pub gateway: Arc<Gateway>,
    _provider: Upstream,
}

impl Scene {
    pub async fn new() -> Self {
        let provider = Upstream::start(answer).await;
        let gateway = Arc::new(Gateway::start_quietly(&yaml(&provider)));
        Self {
            gateway,
            _provider: provider,
        }
    }

    /// Asks until the set is dropped.
    pub fn keep_asking(&self) -> JoinSet<()> {
        let mut asking = JoinSet::new();
        for (key, model, streams) in ASKED {
            let gateway = Arc::clone(&self.gateway);
            let body = if streams {
                streamed_chat(model)
            } else {
                chat(model)
            };
            asking.spawn(async move {
                loop {
                    ask(&gateway, key, &body).await;
                    // The pace, not a wait: fast enough for a rate, and slow enough for the tests beside this one.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
        asking
    }
}

async fn ask(gateway: &Gateway, key: &str, body: &str) {
    let mut client: Client = gateway.connect().await;
    let request = post("/v1/chat/completions", "", body);
    let request = request.replace(crate::support::CLIENT_KEY, key);
    client.send(request).await;
    client.response().await;
}

/// The provider: the model's name says what it does.
async fn answer(request: Received, mut reply: Reply) -> Reply {
    let text = request.text();
    let is = |model: &str| text.contains(&format!(r#""model":"{model}""#));
    let streams = text.contains(r#""stream":true"#);
    if is("fails") {
        let error =
            r#"{"error":{"message":"broken","type":"server_error","param":null,"code":null}}"#;
        reply.json("500 Internal Server Error", error).await;
    } else if is("refuses") {
        let error = r#"{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
        reply
            .json_with("429 Too Many Requests", "retry-after: 1\r\n", error)
            .await;
    } else if is("denies") {
        let error = r#"{"error":{"message":"Incorrect API key","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;
        reply.json("401 Unauthorized", error).await;
    } else if !streams {
        let body = format!(
            r#"{{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"hello"}},"finish_reason":"stop"}}],{USAGE}}}"#
        );
        reply.json("200 OK", &body).await;
    } else {
        reply.begin_stream().await;
        reply.chunk(&delta("one")).await;
        if is("cuts") {
            reply.close();
            return reply;
        }
        // So that there is time between two tokens.
        tokio::time::sleep(Duration::from_millis(5)).await;
        reply.chunk(&delta("two")).await;
        reply.chunk(FINISHED).await;
        reply
            .chunk(&format!("data: {{\"choices\":[],{USAGE}}}\n\n"))
            .await;
        reply.chunk(DONE).await;
        reply.end_stream().await;
    }
    reply
}

fn yaml(provider: &Upstream) -> String {
    let url = format!("http://{}/v1", provider.address);
    format!(
        "server:
  listen: ['127.0.0.1:0']
  admin: '127.0.0.1:0'
upstreams:
  steady: {{ base_url: '{url}', keys: ['{PROVIDER_KEY}'], max_concurrent: 100 }}
  shaky: {{ base_url: '{url}', keys: ['{PROVIDER_KEY}-2'], ejection: {{ consecutive: 2, base: 100ms, longest: 200ms }} }}
  locked: {{ base_url: '{url}', keys: ['{PROVIDER_KEY}-3'] }}
models:
  - {{ match: good, targets: [{{ upstream: steady }}] }}
  - match: saved
    targets: [{{ upstream: shaky, model: fails, priority: 0 }}, {{ upstream: steady, priority: 1 }}]
  - {{ match: broken, targets: [{{ upstream: shaky, model: fails }}] }}
  - {{ match: busy, targets: [{{ upstream: shaky, model: refuses }}] }}
  - {{ match: locked, targets: [{{ upstream: locked, model: denies }}] }}
  - {{ match: cut, targets: [{{ upstream: steady, model: cuts }}] }}
  - {{ match: unpriced, targets: [{{ upstream: steady, model: unknown }}] }}
tenants:
  - {{ id: free, keys: ['{FREE}'], markup: 50% }}
  - {{ id: limited, keys: ['{LIMITED}'], limits: {{ requests_per_hour: 1 }} }}
  - {{ id: poor, keys: ['{POOR}'], quota: {{ tokens: 5, per: day }} }}
prices:
  - {{ model: good, input: 2, output: 8 }}
  - {{ model: saved, input: 2, output: 8 }}
  - {{ model: fails, input: 2, output: 8 }}
  - {{ model: refuses, input: 2, output: 8 }}
  - {{ model: denies, input: 2, output: 8 }}
  - {{ model: cuts, input: 2, output: 8 }}
ledger: {{ path: ledger }}
"
    )
}
