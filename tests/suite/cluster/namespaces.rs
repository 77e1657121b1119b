//! Gateways on hosts of their own, which are network namespaces, and a cable that is pulled out.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use super::{ask_at_once, know_each_other, node_yaml, with_status};
use crate::limits::ANSWER;
use crate::support::chat;
use crate::support::gateway::{BINARY, Folder, Gateway};
use crate::support::redis::Redis;
use crate::support::tools::{require, run, skip};
use crate::support::upstream::Upstream;

const RATE: &str = ", limits: { requests_per_minute: 30, window: sliding }";

/// A host with a cable to this one.
struct Host {
    name: String,
    cable: String,
    /// The address of this host at its end of the cable, and of the other one at its own.
    here: IpAddr,
    there: IpAddr,
}

fn ip(arguments: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(arguments.split(' '));
    command
}

impl Host {
    /// `None` where the test is to be skipped.
    fn new(number: u8) -> Option<Self> {
        require(&["ip"], "iproute2")?;
        if !rustix::process::geteuid().is_root() {
            skip("network namespaces need root");
            return None;
        }
        let id = std::process::id() % 0x1_0000;
        let [high, low] = u16::try_from(id).unwrap().to_be_bytes();
        // A network of 4 addresses for each cable, of its own for each test at a time.
        let net = |host: u8| IpAddr::from([10, high, low, 4 * number + host]);
        let host = Self {
            name: format!("tollgate-{id:x}-{number}"),
            cable: format!("tg{id:x}-{number}"),
            here: net(1),
            there: net(2),
        };
        let Self {
            name,
            cable,
            here,
            there,
        } = &host;
        run(&mut ip(&format!("netns add {name}")));
        run(&mut ip(&format!(
            "link add {cable} type veth peer name far netns {name}"
        )));
        run(&mut ip(&format!("addr add {here}/30 dev {cable}")));
        run(&mut ip(&format!("link set {cable} up")));
        run(&mut ip(&format!("-n {name} addr add {there}/30 dev far")));
        run(&mut ip(&format!("-n {name} link set far up")));
        run(&mut ip(&format!("-n {name} link set lo up")));
        Some(host)
    }

    /// Pulls the cable out, or puts it back.
    fn pull(&self, is_out: bool) {
        let state = if is_out { "down" } else { "up" };
        run(&mut ip(&format!("-n {} link set far {state}", self.name)));
    }

    /// Starts a gateway there.
    fn start(&self, name: &str, far: u16, redis: u16) -> Gateway {
        let folder = Folder::new();
        let far = SocketAddr::new(self.here, far);
        let redis = format!("redis://{}:{redis}", self.here);
        let yaml = node_yaml(name, far, &redis, (RATE, ""));
        let file = folder.write("tollgate.yaml", yaml.replace("127.0.0.1:0", "0.0.0.0:0"));
        let mut command = ip(&format!("netns exec {} {BINARY} run -c", self.name));
        command.arg(file).env("RUST_LOG", "info");
        let mut gateway = Gateway::spawn(command, folder);
        gateway.address.set_ip(self.there);
        gateway.admin.as_mut().unwrap().set_ip(self.there);
        gateway
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.name)).status();
        let _ = ip(&format!("link del {}", self.cable)).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_share_a_limit_and_one_whose_cable_is_out_serves_its_part_when_it_is_back() {
    let (Some(one), Some(two)) = (Host::new(1), Host::new(2)) else {
        return;
    };
    let port = crate::support::tools::free_port().port();
    let listen = ["--bind", "0.0.0.0", "--protected-mode", "no", "--port"];
    let listen: Vec<&str> = listen.into_iter().collect();
    let port_text = port.to_string();
    let Some(_redis) = Redis::start_with(&[listen.as_slice(), &[&port_text]].concat()) else {
        return;
    };
    let upstream = Upstream::start_at("0.0.0.0:0".parse().unwrap(), |_, mut reply| async move {
        reply.json("200 OK", ANSWER).await;
        reply
    })
    .await;
    let far = upstream.address.port();
    let gateways = [one.start("a", far, port), two.start("b", far, port)];
    know_each_other(&gateways).await;
    let answers = ask_at_once(&gateways, 10, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 200), 10);

    // Nothing says that it is out, and no client reaches its host.
    one.pull(true);
    gateways[1]
        .metric_becomes("tollgate_store_nodes", 1.0)
        .await;
    one.pull(false);
    for gateway in &gateways {
        gateway.metric_becomes("tollgate_store_up", 1.0).await;
        gateway.metric_becomes("tollgate_store_nodes", 2.0).await;
    }
    let answers = ask_at_once(&gateways, 60, &chat("gpt-4o")).join_all().await;
    assert_eq!(with_status(&answers, 200), 20);
}
