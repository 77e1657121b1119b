//! A stream of responses that breaks, as the SDKs tell it to an application.

use serde_json::json;

use super::{ask, node, python};
use crate::broken_responses::{beginning, event};
use crate::support::gateway::{Folder, Gateway};
use crate::support::upstream::Upstream;

/// A provider that breaks off: in the middle of a response, or of one that it never said that it had created.
async fn breaking() -> Upstream {
    Upstream::start(|request, mut reply| async move {
        reply.begin_stream().await;
        match request.text().contains("same-begun") {
            true => reply.chunk(&beginning().concat()).await,
            false => {
                let said = json!({"item_id": "m", "output_index": 0, "content_index": 0, "delta": "x", "logprobs": []});
                let delta = event("response.output_text.delta", 5, said);
                reply.chunk(&delta).await;
            }
        }
        reply.close();
        reply
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_tells_why_a_response_broke() {
    let Some(command) = python("broken.py") else {
        return;
    };
    let upstream = breaking().await;
    let gateway = Gateway::before(&upstream);
    ask(command, &format!("http://{}/v1", gateway.address));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_tells_why_a_response_broke() {
    let folder = Folder::new();
    let Some(command) = node("broken.mjs", &folder) else {
        return;
    };
    let upstream = breaking().await;
    let gateway = Gateway::before(&upstream);
    ask(command, &format!("http://{}/v1", gateway.address));
}
