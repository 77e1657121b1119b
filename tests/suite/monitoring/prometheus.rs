//! A real Prometheus with the rules that we ship, which scrapes one gateway.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::client::Client;
use crate::support::gateway::Folder;
use crate::support::soon;
use crate::support::tools::root;

/// How often it scrapes and evaluates: often, so that a rate is known after a second.
const INTERVAL: &str = "500ms";

/// A running Prometheus, ended with the test.
pub struct Prometheus {
    child: Child,
    folder: Folder,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts it with the configuration that we ship, at the address of a gateway.
    pub async fn scraping(program: &Path, gateway: SocketAddr) -> Self {
        let shipped = root().join("deploy/prometheus");
        let text = std::fs::read_to_string(shipped.join("prometheus.yml")).unwrap();
        let text = replaced(&text, "gateway:9464", &gateway.to_string());
        let text = replaced(&text, "interval: 15s", &format!("interval: {INTERVAL}"));
        let text = replaced(
            &text,
            "scrape_timeout: 10s",
            &format!("scrape_timeout: {INTERVAL}"),
        );
        let rules = format!("{}/rules/*.yaml", shipped.display());
        let text = replaced(&text, "rules/*.yaml", &rules);
        // It takes no port 0, so another process may be faster: then another port is tried.
        for _ in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            drop(listener);
            if let Some(prometheus) = Self::try_start(program, address, &text).await {
                return prometheus;
            }
        }
        panic!("Prometheus does not start");
    }

    async fn try_start(program: &Path, address: SocketAddr, config: &str) -> Option<Self> {
        let folder = Folder::new();
        let file = folder.write("prometheus.yml", config);
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}/data", folder.0.display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.0.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut prometheus = Self {
            child,
            folder,
            address,
        };
        let is_ready = async {
            loop {
                if prometheus.child.try_wait().unwrap().is_some() {
                    return false;
                }
                if TcpStream::connect(address).await.is_ok()
                    && prometheus.get("/-/ready").await.0 == 200
                {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("the start of Prometheus", is_ready)
            .await
            .then_some(prometheus)
    }

    /// What a query gives: a value for each series, `NaN` ones too.
    ///
    /// # Errors
    /// What Prometheus says of the query.
    pub async fn query(&self, query: &str) -> Result<Vec<f64>, String> {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let (_, answer) = self.get(&format!("/api/v1/query?query={query}")).await;
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let result = answer["data"]["result"].as_array().unwrap();
        let values = result.iter().map(|series| {
            let value = series["value"][1].as_str().unwrap();
            value.parse().unwrap()
        });
        Ok(values.collect())
    }

    /// Every rule, as Prometheus has it.
    pub async fn rules(&self) -> Vec<Value> {
        let (_, answer) = self.get("/api/v1/rules").await;
        let groups = answer["data"]["groups"].as_array().unwrap();
        let rules = groups.iter().flat_map(|g| g["rules"].as_array().unwrap());
        rules.cloned().collect()
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let mut client = Client::connect(self.address).await;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        client.send(request).await;
        let answer = client.response().await;
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        (answer.status, body)
    }

    /// What it logged, for a test that fails.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "`{from}` is not in\n{text}");
    text.replace(from, to)
}
