//! Answers in a Redis that several gateways share.
//!
//! A machine that is busy may take longer to answer than a request waits for Redis. So a gateway that is to find an
//! answer there is asked with `only-if-cached` until it has found it, which asks no upstream.

use super::{answer, ask, ask_with, certain, configured, counting, is, told};
use crate::support::authority::Authority;
use crate::support::client::{Response, post};
use crate::support::gateway::{Folder, Gateway};
use crate::support::redis::Redis;
use crate::support::upstream::Upstream;
use crate::support::{CLIENT_KEY, soon};

const ONLY: &str = "cache-control: only-if-cached\r\n";
const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const OTHER: &str = "  - { id: other, keys: [key-of-other-1234] }\n";

fn yaml(upstream: &Upstream, url: &str, keys: &str) -> String {
    let cache = format!("{OTHER}cache: {{ redis: '{url}'{keys} }}\n");
    configured(upstream, "cache: true", &cache)
}

fn node(upstream: &Upstream, redis: &Redis, keys: &str) -> Gateway {
    Gateway::start(&yaml(upstream, &redis.url(), keys))
}

fn series(result: &str) -> String {
    format!("tollgate_cache_redis_requests_total{{result=\"{result}\"}}")
}

async fn counted(gateway: &Gateway, result: &str, times: f64) {
    gateway.metric_becomes(&series(result), times).await;
}

/// Waits until it has been counted at least once more than so often.
async fn counted_above(gateway: &Gateway, result: &str, times: f64) {
    let series = series(result);
    let asking = async { while gateway.metric(&series).await <= times {} };
    soon(&series, asking).await;
}

/// Asks with `only-if-cached`.
async fn look(gateway: &Gateway, key: &str, body: &str) -> Response {
    let mut client = gateway.connect().await;
    let request = post(super::CHAT, ONLY, body).replace(CLIENT_KEY, key);
    client.send(request).await;
    client.response().await
}

/// Asks until there is an answer in Redis.
async fn find(gateway: &Gateway, body: &str) -> Response {
    let asking = async {
        loop {
            let response = look(gateway, CLIENT_KEY, body).await;
            if response.status == 200 {
                return response;
            }
            response.assert_error(504, "invalid_request_error", Some("not_cached"), None);
        }
    };
    soon("an answer in Redis", asking).await
}

/// Asks until Redis has given this result, and no answer.
async fn find_nothing(gateway: &Gateway, key: &str, body: &str, result: &str) {
    let before = gateway.metric(&series(result)).await;
    let asking = async {
        while gateway.metric(&series(result)).await <= before {
            assert_eq!(look(gateway, key, body).await.status, 504);
        }
    };
    soon(result, asking).await;
}

#[tokio::test]
async fn what_one_node_has_got_another_gives_and_no_other_tenant_gets_it() {
    let Some(redis) = Redis::start() else { return };
    let upstream = counting().await;
    let [a, b] = [(); 2].map(|()| node(&upstream, &redis, ""));
    let first = ask(&mut a.connect().await, &certain("a")).await;
    is(&first, "answer 1", "miss");
    counted(&a, "stored", 1.0).await;
    let found = find(&b, &certain("a")).await;
    is(&found, "answer 1", "hit");
    assert_eq!(found.text(), first.text(), "byte for byte");
    assert_eq!(
        found.header("x-tollgate-cache-id"),
        first.header("x-request-id")
    );
    let age: u64 = found.header("age").unwrap().parse().unwrap();
    assert!(age < 60, "{age}");
    // From now on it is in memory, and accounted for like any other.
    let hits = b.metric(&series("hit")).await;
    is(
        &ask(&mut b.connect().await, &certain("a")).await,
        "answer 1",
        "hit",
    );
    assert_eq!((hits, b.metric(&series("hit")).await), (1.0, 1.0));
    find_nothing(&b, "key-of-other-1234", &certain("a"), "miss").await;
    find_nothing(&b, CLIENT_KEY, &certain("b"), "miss").await;
    assert_eq!(upstream.requests(), 1);

    // One name, which begins with the tenant's hash, and ends by itself.
    let names = redis.names();
    assert_eq!(names.len(), 1, "{names:?}");
    let name = &names[0];
    let of_tester = "tollgate:answer:1:9bba5c53a0545e0c80184b946153c9f5:";
    // As `printf tester | sha256sum` has it.
    assert!(name.starts_with(of_tester), "{name}");
    assert_eq!(name.len(), of_tester.len() + 64);
    let left: i64 = redis.say(&["pttl", name]).parse().unwrap();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    a.metric_becomes("tollgate_cache_redis_up", 1.0).await;
}

#[tokio::test]
async fn a_request_that_wants_a_new_answer_does_not_get_it_from_there() {
    let Some(redis) = Redis::start() else { return };
    let upstream = counting().await;
    let [a, b] = [(); 2].map(|()| node(&upstream, &redis, ""));
    is(
        &ask(&mut a.connect().await, &certain("a")).await,
        "answer 1",
        "miss",
    );
    counted(&a, "stored", 1.0).await;
    let mut client = b.connect().await;
    let response = ask_with(&mut client, "cache-control: no-cache\r\n", &certain("a")).await;
    is(&response, "answer 2", "miss");
    counted(&b, "stored", 1.0).await;
    let c = node(&upstream, &redis, "");
    is(&find(&c, &certain("a")).await, "answer 2", "hit");
}

#[tokio::test]
async fn many_equal_requests_ask_it_once() {
    let Some(redis) = Redis::start() else { return };
    let upstream = counting().await;
    let a = node(&upstream, &redis, "");
    is(
        &ask(&mut a.connect().await, &certain("a")).await,
        "answer 1",
        "miss",
    );
    counted(&a, "stored", 1.0).await;
    let b = node(&upstream, &redis, "");
    b.metric_becomes("tollgate_cache_redis_up", 1.0).await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = b.connect().await;
        client.send(post(super::CHAT, "", &certain("a"))).await;
        clients.push(client);
    }
    let mut texts = std::collections::BTreeSet::new();
    for mut client in clients {
        let response = client.response().await;
        texts.insert(told(&response).0);
    }
    // It may have been too slow for the first of them, which then has asked the upstream.
    let asked = ["hit", "timeout"].map(series);
    let asked = b.metric(&asked[0]).await + b.metric(&asked[1]).await;
    assert!((1.0..=2.0).contains(&asked), "{asked}");
    assert_eq!(texts.len(), 1, "{texts:?}");
}

#[tokio::test]
async fn values_are_compressed_and_with_a_key_nobody_can_read_them() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::start(|_, mut reply| async move {
        let text = format!("answer {}", "of some length ".repeat(200));
        reply.json("200 OK", &answer(&text)).await;
        reply
    })
    .await;
    let has = |value: &[u8]| value.windows(14).any(|w| w == b"of some length");
    let plain = node(&upstream, &redis, "");
    let first = ask(&mut plain.connect().await, &certain("a")).await;
    counted(&plain, "stored", 1.0).await;
    let name = redis.names().remove(0);
    let value = redis.value(&name);
    assert!(value.len() < 600, "{}", value.len());
    // The version, the flags and the check come first.
    assert!(has(&zstd::decode_all(&value[18..]).unwrap()));

    let sealed = format!(", encryption_key: '{KEY}'");
    let [a, b] = [(); 2].map(|()| node(&upstream, &redis, &sealed));
    // What is not encrypted is not taken.
    find_nothing(&a, CLIENT_KEY, &certain("a"), "damaged").await;
    ask(&mut a.connect().await, &certain("a")).await;
    counted(&a, "stored", 1.0).await;
    assert_eq!(redis.names(), [name.as_str()]);
    let value = redis.value(&name);
    assert!(value.len() < 600, "{}", value.len());
    assert!(!has(&value) && zstd::decode_all(&value[14..]).is_err());
    assert_eq!(find(&b, &certain("a")).await.text(), first.text());
    // Another key opens nothing.
    let hex = format!(", encryption_key: '{}'", "02".repeat(32));
    let other = node(&upstream, &redis, &hex);
    find_nothing(&other, CLIENT_KEY, &certain("a"), "damaged").await;
    // The same one, in hexadecimal.
    let hex = format!(", encryption_key: '{}'", "01".repeat(32));
    let same = node(&upstream, &redis, &hex);
    assert_eq!(find(&same, &certain("a")).await.text(), first.text());
}

#[tokio::test]
async fn foreign_and_damaged_values_are_no_answers_and_counted() {
    let Some(redis) = Redis::start() else { return };
    let upstream = counting().await;
    for keys in [
        "",
        ", encryption_key: 'AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE='",
    ] {
        redis.say(&["flushall"]);
        let [a, b] = [(); 2].map(|()| node(&upstream, &redis, keys));
        ask(&mut a.connect().await, &certain("a")).await;
        counted(&a, "stored", 1.0).await;
        let name = redis.names().remove(0);
        let value = redis.value(&name);
        ask(&mut a.connect().await, &certain("b")).await;
        counted(&a, "stored", 2.0).await;
        let of_b = redis
            .names()
            .into_iter()
            .find(|other| *other != name)
            .unwrap();
        let of_b = redis.value(&of_b);
        let mut flipped = value.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let mut newer = value.clone();
        newer[0] = 2;
        let huge = vec![b'x'; 2 << 20];
        for other in [&b"hello"[..], &flipped, &value[..30], &newer, &of_b, &huge] {
            redis.change(&name, other);
            find_nothing(&b, CLIENT_KEY, &certain("a"), "damaged").await;
        }
        redis.say(&["del", &name]);
        redis.say(&["rpush", &name, "a", "list"]);
        find_nothing(&b, CLIENT_KEY, &certain("a"), "damaged").await;
        redis.say(&["del", &name]);
        find_nothing(&b, CLIENT_KEY, &certain("a"), "miss").await;
        // It has been there all the time.
        assert_eq!(b.metric(&series("error")).await, 0.0);
        redis.say(&["set", &name, "hello"]);
        // A request that may be asked gets an answer, and that one takes the value's place.
        let response = ask(&mut b.connect().await, &certain("a")).await;
        assert_eq!(super::result(&response), "miss");
        counted(&b, "stored", 1.0).await;
        redis.change(&name, &redis.value(&name));
        let c = node(&upstream, &redis, keys);
        assert_eq!(find(&c, &certain("a")).await.text(), response.text());
    }
}

#[tokio::test]
async fn one_that_is_slow_or_away_costs_no_request_and_is_used_again_when_it_is_back() {
    // Each future has a place of its own: together they are too much for the stack of a test.
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let upstream = Box::pin(counting()).await;
    let [a, b] = [(); 2].map(|()| node(&upstream, &redis, ""));
    let mut client = Box::pin(a.connect()).await;
    let mut number = 0;
    let mut ask_new = async || {
        number += 1;
        let body = certain(&format!("new {number}"));
        let response = Box::pin(ask(&mut client, &body)).await;
        assert_eq!(response.status, 200, "{response:?}");
    };
    for (bad, result) in [("slow", "timeout"), ("away", "error")] {
        ask_new().await;
        Box::pin(counted_above(&a, "stored", 0.0)).await;
        match bad {
            "slow" => redis.freeze(),
            _ => redis.stop(),
        }
        let before = Box::pin(a.metric(&series(result))).await;
        let skipped = Box::pin(a.metric(&series("skipped"))).await;
        while Box::pin(a.metric(&series("skipped"))).await <= skipped {
            ask_new().await;
        }
        Box::pin(counted_above(&a, result, before)).await;
        Box::pin(a.metric_becomes("tollgate_cache_redis_up", 0.0)).await;
        match bad {
            "slow" => redis.thaw(),
            _ => redis.resume(),
        }
        let stored = Box::pin(a.metric(&series("stored"))).await;
        // Each of them costs no more than its time, until one tries it.
        let back = async {
            while Box::pin(a.metric(&series("stored"))).await <= stored {
                ask_new().await;
            }
        };
        soon("Redis is used again", Box::pin(back)).await;
        Box::pin(a.metric_becomes("tollgate_cache_redis_up", 1.0)).await;
    }
    let last = certain("the last one");
    let text = Box::pin(ask(&mut client, &last)).await.text().to_owned();
    assert_eq!(Box::pin(find(&b, &last)).await.text(), text);
    a.output().wait_for("requests go on without it");
}

#[tokio::test]
async fn one_that_is_away_at_the_start_is_a_warning_and_tried_again() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    redis.stop();
    let upstream = counting().await;
    let gateway = node(&upstream, &redis, "");
    let said = gateway.output().wait_for("cannot be reached");
    assert!(
        said.contains("WARN") && said.contains("redis.sock/0"),
        "{said}"
    );
    assert_eq!(gateway.metric("tollgate_cache_redis_up").await, 0.0);
    is(
        &ask(&mut gateway.connect().await, &certain("a")).await,
        "answer 1",
        "miss",
    );
    redis.resume();
    // Nobody has to ask for that.
    gateway
        .output()
        .wait_for("connected to the Redis of answers");
}

#[tokio::test]
async fn another_redis_and_another_key_take_effect_at_a_reload() {
    let (Some(first), Some(second)) = (Redis::start(), Redis::start()) else {
        return;
    };
    let upstream = counting().await;
    let gateway = Gateway::start(&configured(&upstream, "cache: true", ""));
    let mut client = gateway.connect().await;
    let metrics = gateway.get_admin("/metrics").await;
    assert!(!metrics.text().contains("tollgate_cache_redis"));
    let sealed = format!(", encryption_key: '{KEY}'");
    for (number, (redis, keys)) in [(&first, ""), (&second, ""), (&second, &sealed)]
        .into_iter()
        .enumerate()
    {
        let yaml = yaml(&upstream, &redis.url(), keys);
        gateway.folder().write("tollgate.yaml", &yaml);
        gateway.signal("HUP");
        let reloads = "tollgate_config_reloads_total{outcome=\"applied\"}";
        counted_reloads(&gateway, reloads, number).await;
        let body = certain(&format!("number {number}"));
        let before = redis.names().len();
        assert_eq!(ask(&mut client, &body).await.status, 200);
        crate::support::until("it is stored there", || redis.names().len() > before).await;
        let other = Gateway::start(&yaml);
        assert_eq!(find(&other, &body).await.status, 200);
    }
    assert_eq!((first.names().len(), second.names().len()), (1, 2));
}

async fn counted_reloads(gateway: &Gateway, series: &str, number: usize) {
    let wanted = f64::from(u32::try_from(number + 1).unwrap());
    gateway.metric_becomes(series, wanted).await;
}

#[tokio::test]
async fn it_is_reached_over_tls_with_a_password_that_is_never_shown() {
    let authority = Authority::new("tests");
    let made = authority.make("redis", "/CN=localhost", "DNS:localhost");
    // Free a moment ago: the listener has ended.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = free.unwrap().port().to_string();
    let (cert, key) = (made.cert.to_str().unwrap(), made.key.to_str().unwrap());
    let Some(redis) = Redis::start_with(&[
        "--bind",
        "127.0.0.1",
        "--tls-port",
        &port,
        "--tls-cert-file",
        cert,
        "--tls-key-file",
        key,
        "--tls-auth-clients",
        "no",
        "--user",
        "gate",
        "on",
        ">s3cret-of-redis",
        "~tollgate:*",
        "+@all",
    ]) else {
        return;
    };
    let upstream = counting().await;
    let url = format!("rediss://gate:s3cret-of-redis@localhost:{port}/2");
    // Nobody has vouched for it: refused, and the request is served.
    let yaml = yaml(&upstream, &url, "");
    let gateway = Gateway::start(&yaml);
    gateway.output().wait_for("cannot be reached");
    is(
        &ask(&mut gateway.connect().await, &certain("a")).await,
        "answer 1",
        "miss",
    );
    let folder = Folder::new();
    let trusted = folder.write("ca.pem", std::fs::read(&authority.cert).unwrap());
    let [a, b] = [(); 2].map(|()| {
        Gateway::start_with(&yaml, |command| {
            command.env("SSL_CERT_FILE", &trusted);
        })
    });
    is(
        &ask(&mut a.connect().await, &certain("a")).await,
        "answer 2",
        "miss",
    );
    counted(&a, "stored", 1.0).await;
    is(&find(&b, &certain("a")).await, "answer 2", "hit");
    assert_eq!(redis.say(&["-n", "2", "dbsize"]), "1");
    let wrong = yaml.replace("s3cret", "wr0ng");
    let wrong = Gateway::start_with(&wrong, |command| {
        command.env("SSL_CERT_FILE", &trusted);
    });
    wrong.output().wait_for("cannot be reached");
    for gateway in [&gateway, &a, &b, &wrong] {
        let said = gateway.output().text();
        assert!(
            !said.contains("s3cret-of") && !said.contains("wr0ng-of"),
            "{said}"
        );
    }
}
