//! One of two real servers is killed in the middle of traffic, and comes back: no request is lost
//! that could be served, and none is sent twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{CHAT, GENEROUS, among, answer, assert_whole, gateway, rule};
use crate::support::client::{Client, Response};
use crate::support::gateway::Folder;
use crate::support::tools::require;
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, chat, until};

/// How many tasks send requests, and how many each.
const TASKS: usize = 6;
const EACH: usize = 100;

/// An nginx of one process, which ends as a whole when it is killed.
struct Nginx {
    child: Child,
    folder: Folder,
    address: SocketAddr,
}

impl Nginx {
    /// Starts one that asks `behind`.
    fn start(program: &Path, behind: SocketAddr) -> Self {
        // nginx takes no port 0, so another process may be faster: then another port is tried.
        for _ in 0..5 {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            if let Some(nginx) = Self::start_at(program, address, behind) {
                return nginx;
            }
        }
        panic!("nginx does not start");
    }

    fn start_at(program: &Path, address: SocketAddr, behind: SocketAddr) -> Option<Self> {
        let folder = Folder::new();
        let prefix = folder.0.display();
        let config = format!(
            "daemon off; master_process off; pid {prefix}/pid; error_log {prefix}/error.log;
             events {{ worker_connections 256; }}
             http {{ access_log {prefix}/access.log; client_body_temp_path {prefix}/body;
               proxy_temp_path {prefix}/proxy; fastcgi_temp_path {prefix}/fastcgi;
               uwsgi_temp_path {prefix}/uwsgi; scgi_temp_path {prefix}/scgi;
               server {{ listen {address}; keepalive_requests 100000;
                 location / {{ proxy_pass http://{behind}; proxy_next_upstream off;
                   proxy_set_header x-through {address}; }} }} }}"
        );
        let file = folder.write("nginx.conf", config);
        let mut command = Command::new(program);
        command.arg("-p").arg(&folder.0).arg("-c").arg(file);
        let null = || (Stdio::null(), Stdio::null(), Stdio::null());
        let (stdin, stdout, stderr) = null();
        let child = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn();
        let mut nginx = Self {
            child: child.unwrap(),
            folder,
            address,
        };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if nginx.child.try_wait().unwrap().is_some() {
                return None;
            }
            if std::net::TcpStream::connect(address).is_ok() {
                return Some(nginx);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Kills it, and waits until it is gone.
    fn kill(&mut self) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-9", &pid]).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap();
    }

    /// How many requests it has logged.
    fn logged(&self) -> usize {
        let log = std::fs::read_to_string(self.folder.0.join("access.log"));
        log.unwrap_or_default().lines().count()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What has come to the provider behind both: how often each request, and through whom the last.
type Seen = Arc<Mutex<BTreeMap<String, (usize, String)>>>;

async fn recording(seen: &Seen) -> Upstream {
    let seen = Arc::clone(seen);
    Upstream::start(move |request, mut reply| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let id = body["user"].as_str().unwrap().to_owned();
        let through = request.header("x-through")[0].to_owned();
        let mut seen = seen.lock().unwrap();
        let count = seen.get(&id).map_or(0, |(count, _)| *count);
        seen.insert(id, (count + 1, through));
        drop(seen);
        async move {
            reply.json("200 OK", &answer("far")).await;
            reply
        }
    })
    .await
}

/// One request, and what became of it.
struct Sent {
    id: String,
    /// Whether the server was gone for certain when it was sent.
    is_after: bool,
    response: Response,
}

async fn traffic(
    task: usize,
    mut client: Client,
    is_dead: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> Vec<Sent> {
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    let mut sent = Vec::new();
    for n in 0..EACH {
        pace.tick().await;
        let id = format!("request-{task}-{n}");
        let body = chat("gpt-4o").replacen('{', &format!(r#"{{"user":"{id}","#), 1);
        let is_after = is_dead.load(Ordering::SeqCst);
        let response = client.post(CHAT, &body).await;
        answered.fetch_add(1, Ordering::SeqCst);
        sent.push(Sent {
            id,
            is_after,
            response,
        });
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_takes_nothing_with_it_but_what_it_was_serving() {
    let Some(program) = require(&["nginx"], "nginx") else {
        return;
    };
    let seen = Seen::default();
    let provider = recording(&seen).await;
    let mut first = Nginx::start(&program, provider.address);
    let second = Nginx::start(&program, provider.address);
    let more = ", ejection: { consecutive: 3, base: 200ms, longest: 400ms, trials: 1 }, \
                health_check: { interval: 100ms, unhealthy_after: 2, healthy_after: 2 }";
    let far = among("far", &[(first.address, 1), (second.address, 1)], more);
    let front = gateway(GENEROUS, &[far], &[rule("gpt-4o", "{ upstream: far }", "")]);
    let (is_dead, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let client = front.connect().await;
        tasks.spawn(traffic(
            task,
            client,
            Arc::clone(&is_dead),
            Arc::clone(&answered),
        ));
    }
    until("a part of the traffic", || {
        answered.load(Ordering::SeqCst) >= 200
    })
    .await;
    assert!(first.logged() > 50, "it has had its share");
    first.kill();
    is_dead.store(true, Ordering::SeqCst);
    let mut sent = Vec::new();
    while let Some(task) = tasks.join_next().await {
        sent.extend(task.unwrap());
    }
    assert_eq!(sent.len(), TASKS * EACH);
    // What the server had when it was killed may have been charged for: its client is told. There
    // is at most one for each task, and none that was sent later.
    let mut lost = 0;
    for Sent {
        id,
        is_after,
        response,
    } in &sent
    {
        let arrived = seen.lock().unwrap().get(id).map_or(0, |(count, _)| *count);
        if response.status == 200 {
            assert_whole(response, "far");
            assert_eq!(arrived, 1, "{id}");
        } else {
            lost += 1;
            assert!(!is_after, "{id}: {response:?}");
            assert_eq!(response.status, 502, "{id}: {response:?}");
            let code = &response.json()["error"]["code"];
            assert!(
                code == "upstream_reset" || code == "upstream_cut",
                "{id}: {code}"
            );
            assert!(arrived <= 1, "{id}");
        }
    }
    assert!(lost <= TASKS, "{lost} requests were lost");
    // It comes back, and gets traffic again.
    let back = Nginx::start_at(&program, first.address, provider.address);
    let back = back.expect("nginx at its old address");
    let mut client = front.connect().await;
    let deadline = Instant::now() + PATIENCE;
    let mut n = 0;
    while back.logged() < 10 {
        assert!(Instant::now() < deadline, "it gets no traffic");
        n += 1;
        let body = chat("gpt-4o").replacen('{', &format!(r#"{{"user":"later-{n}","#), 1);
        assert_whole(&client.post(CHAT, &body).await, "far");
    }
    let seen = seen.lock().unwrap();
    assert!(
        seen.values().all(|(count, _)| *count == 1),
        "none came twice"
    );
    let through = back.address.to_string();
    let later = seen.iter().filter(|(id, _)| id.starts_with("later"));
    assert!(later.filter(|(_, (_, by))| *by == through).count() >= 10);
}
