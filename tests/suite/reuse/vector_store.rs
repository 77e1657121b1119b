//! Questions in a Redis that searches vectors, which several gateways share.
//!
//! A question is written in the background. So a gateway that is to find it is asked with `only-if-cached` until it
//! has, which asks no upstream for an answer.

use super::meaning::{
    Provider, QUESTION, SECTION, SIMILAR, Vectors, asking, compared, gets, is_similar,
};
use super::{ask, ask_with, is, result};
use crate::support::client::{Response, post};
use crate::support::gateway::Gateway;
use crate::support::redis::Redis;
use crate::support::{CLIENT_KEY, soon, until};

const ONLY: &str = "cache-control: only-if-cached\r\n";
const OTHER: &str = "  - { id: other, keys: [key-of-other-1] }\n";
const KEY: &str = "cache: { encryption_key: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= }\n";

fn yaml(provider: &Provider, redis: &Redis, more: &str) -> String {
    let store = format!("timeout: 20s, provider: redis, url: '{}'", redis.url());
    let section = SECTION.replace("max_turns: 2", &store);
    provider.configured(&section, &[OTHER, more].concat())
}

fn node(provider: &Provider, redis: &Redis, more: &str) -> Gateway {
    Gateway::start(&yaml(provider, redis, more))
}

fn series(result: &str) -> String {
    format!("tollgate_cache_vector_store_requests_total{{result=\"{result}\"}}")
}

/// Asks until a question like this one is found.
async fn find(gateway: &Gateway, text: &str) -> Response {
    let mut client = gateway.connect().await;
    let asking = async {
        loop {
            let response = ask_with(&mut client, ONLY, &asking(text)).await;
            if response.status == 200 {
                return response;
            }
            response.assert_error(504, "invalid_request_error", Some("not_cached"), None);
        }
    };
    soon("an answer in the database", asking).await
}

/// A gateway that has answered the question, once that is in the database.
async fn answered(provider: &Provider, redis: &Redis, more: &str) -> Gateway {
    let gateway = node(provider, redis, more);
    let response = ask(&mut gateway.connect().await, &asking(QUESTION)).await;
    is(&response, "answer 1", "miss");
    gateway.metric_becomes(&series("stored"), 1.0).await;
    gateway
}

/// The name of the only question.
fn name(redis: &Redis) -> String {
    let names = redis.names();
    let [name] = names.as_slice() else {
        panic!("{names:?}");
    };
    name.clone()
}

#[tokio::test]
async fn what_one_node_was_asked_another_answers_and_no_other_tenant_gets_it() {
    let Some(redis) = Redis::start_searching() else {
        return;
    };
    let provider = Provider::start(Vectors::Good).await;
    let a = answered(&provider, &redis, "").await;
    let b = node(&provider, &redis, "");
    is_similar(&find(&b, SIMILAR).await, "answer 1");
    assert_eq!(provider.answers(), 1);
    assert!(b.metric(&series("hit")).await >= 1.0);
    let mut client = b.connect().await;
    let others = post(super::CHAT, ONLY, &asking(SIMILAR)).replace(CLIENT_KEY, "key-of-other-1");
    client.send(others).await;
    assert_eq!(client.response().await.status, 504);
    let negated = "How do I not reset my password?";
    let other = ask_with(&mut client, ONLY, &asking(negated)).await;
    assert_eq!(other.status, 504, "its words disagree");
    // A name tells nothing, and the time to live is that of the answer.
    let name = name(&redis);
    assert!(name.starts_with("tollgate:question:1:2:"), "{name}");
    let ttl: i64 = redis.say(&["ttl", &name]).parse().unwrap();
    assert!((3500..=3600).contains(&ttl), "{ttl}");
    for member in ["tenant", "rule", "request"] {
        let value = redis.say(&["hget", &name, member]);
        assert_eq!(value.len(), 32, "{member}: {value}");
    }
    let up = a.metric("tollgate_cache_vector_store_up").await;
    assert!((up - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn with_a_key_neither_question_nor_answer_can_be_read_there() {
    let Some(redis) = Redis::start_searching() else {
        return;
    };
    let provider = Provider::start(Vectors::Good).await;
    let _a = answered(&provider, &redis, KEY).await;
    let shown = redis.say(&["hgetall", &name(&redis)]);
    for secret in ["password", "answer 1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let same = node(&provider, &redis, KEY);
    is_similar(&find(&same, SIMILAR).await, "answer 1");
    let without = node(&provider, &redis, "");
    let response = ask_with(&mut without.connect().await, ONLY, &asking(SIMILAR)).await;
    assert_eq!(response.status, 504);
    assert!(without.metric(&series("damaged")).await >= 1.0);
}

#[tokio::test]
async fn what_was_changed_there_is_counted_and_not_given() {
    let Some(redis) = Redis::start_searching() else {
        return;
    };
    let provider = Provider::start(Vectors::Good).await;
    let a = answered(&provider, &redis, "").await;
    let name = name(&redis);
    let b = node(&provider, &redis, "");
    is_similar(&find(&b, SIMILAR).await, "answer 1");
    let text = redis.say(&["--no-raw", "hget", &name, "text"]);
    // Another text under the same name, and then no value.
    redis.say(&["hset", &name, "text", "other"]);
    let other = "How could I reset my password?";
    let mut client = b.connect().await;
    gets(&mut client, other, "answer 2", "miss").await;
    assert!(b.metric(&series("damaged")).await >= 1.0, "{text}");
    // A foreign value under a name of ours.
    redis.say(&["del", &name]);
    redis.say(&["set", &name, "foreign"]);
    let last = "How might I reset my password?";
    is_similar(&find(&b, last).await, "answer 2");
    drop(a);
}

#[tokio::test]
async fn a_database_that_is_away_or_slow_fails_no_request() {
    let Some(mut redis) = Redis::start_searching() else {
        return;
    };
    let provider = Provider::start(Vectors::Good).await;
    let yaml = yaml(&provider, &redis, "").replace("timeout: 20s", "timeout: 2s");
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.connect().await;
    redis.freeze();
    gets(&mut client, QUESTION, "answer 1", "miss").await;
    redis.thaw();
    redis.stop();
    gets(&mut client, SIMILAR, "answer 2", "miss").await;
    gets(&mut client, SIMILAR, "answer 2", "hit").await;
    compared(&gateway, "store_failed", 2.0).await;
    // It is used again once it is back, and makes its index anew.
    redis.resume();
    let mut number = 0;
    let asking_on = async {
        loop {
            number += 1;
            let text = format!("How do I reset my password {number}?");
            assert_eq!(result(&ask(&mut client, &asking(&text)).await), "miss");
            if gateway.metric(&series("stored")).await >= 1.0 {
                return;
            }
        }
    };
    soon("the database", asking_on).await;
}

#[tokio::test]
async fn questions_are_removed_there_too() {
    let Some(redis) = Redis::start_searching() else {
        return;
    };
    let provider = Provider::start(Vectors::Good).await;
    let gateway = answered(&provider, &redis, "").await;
    redis.say(&["hset", "tollgate:question:1:2:foreign", "a", "b"]);
    let mut admin = gateway.connect_admin().await;
    let remove = "DELETE /admin/cache?tenant=tester HTTP/1.1\r\nHost: localhost\r\n\r\n";
    admin.send(remove).await;
    assert_eq!(admin.response().await.status, 200);
    until("the removal", || redis.names().len() == 1).await;
    assert_eq!(name(&redis), "tollgate:question:1:2:foreign");
    let remove = "DELETE /admin/cache HTTP/1.1\r\nHost: localhost\r\n\r\n";
    admin.send(remove).await;
    assert_eq!(admin.response().await.status, 200);
    until("the removal of all", || redis.names().is_empty()).await;
}
