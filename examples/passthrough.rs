//! A Pingora proxy that does nothing: what Tollgate's cost is compared with.
//!
//! Owns nothing but the one hook that Pingora demands. Same profile and allocator as the binary,
//! everything else as Pingora comes. `passthrough LISTEN_PORT UPSTREAM_PORT THREADS`, both ports on
//! 127.0.0.1; ends with words when an argument is missing or the port is taken. Used by
//! `benches/gateway`; never meant to serve anybody.

#![allow(
    clippy::print_stderr,
    reason = "a program of its own, which says on stderr why it ends"
)]

use std::net::SocketAddr;
use std::process::ExitCode;

use async_trait::async_trait;
use pingora::modules::http::HttpModules;
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Passthrough {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Passthrough {
    type CTX = ();

    fn new_ctx(&self) {}

    /// Pingora would add its compression module here.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _context: &mut (),
    ) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn main() -> ExitCode {
    let arguments: Vec<u16> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let [listen, upstream, threads] = arguments[..] else {
        eprintln!("usage: passthrough LISTEN_PORT UPSTREAM_PORT THREADS");
        return ExitCode::FAILURE;
    };
    let configuration = ServerConf {
        threads: usize::from(threads),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let proxy = Passthrough {
        upstream: SocketAddr::from(([127, 0, 0, 1], upstream)),
    };
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.add_tcp(&format!("127.0.0.1:{listen}"));
    server.add_service(service);
    server.run_forever()
}
