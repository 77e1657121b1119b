//! The process of the service is replaced under the real systemd: by an upgrade, and by a restart.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::service::{CHAT, INSTALL, RELOAD, Service, Steady, UPGRADE};
use crate::support::client::{Client, post};
use crate::support::tools::free_port;
use crate::support::upstream::Upstream;
use crate::support::{DONE, delta, streamed_chat, until};

/// An upstream that answers chats, and holds streams after their first event.
async fn upstream(step: &Arc<Semaphore>) -> Upstream {
    let step = Arc::clone(step);
    Upstream::start(move |request, mut reply| {
        let step = Arc::clone(&step);
        async move {
            if !request.text().contains("\"stream\":true") {
                reply.json("200 OK", "{}").await;
                return reply;
            }
            reply.begin_stream().await;
            reply.chunk(&delta("one")).await;
            step.acquire().await.unwrap().forget();
            reply.chunk(&[&delta("two"), DONE].concat()).await;
            reply.end_stream().await;
            reply
        }
    })
    .await
}

/// A stream that has begun.
async fn begin_stream(service: &Service) -> Client {
    let mut client = Client::connect(service.address).await;
    client.send(post(CHAT, "", &streamed_chat("gpt-4o"))).await;
    assert_eq!(client.head().await.0, 200);
    assert_eq!(client.chunk().await.as_deref(), Some(delta("one").as_str()));
    client
}

/// Lets it go on to its end.
async fn end_stream(mut client: Client, step: &Semaphore) {
    step.add_permits(1);
    assert_eq!(client.chunk().await, Some([&delta("two"), DONE].concat()));
    assert_eq!(client.chunk().await.as_deref(), Some(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_followed_by_systemd_and_refuses_no_connection() {
    let step = Arc::new(Semaphore::new(0));
    let far = upstream(&step).await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    service.drop_in(
        "tollgate.service",
        "[Service]\nWatchdogSec=2\nRestartSec=0\n",
    );
    service.start();
    let steady = Steady::against(service.address);
    let stream = begin_stream(&service).await;
    steady.more(20).await;
    // The new binary is another file, as after an installation.
    service.machine.expect(INSTALL);
    let new = service.upgrade();
    steady.more(20).await;
    assert_eq!(service.processes(), 2);
    end_stream(stream, &step).await;
    until("one process", || service.processes() == 1).await;
    assert_eq!(service.property("MainPID"), new);
    steady.more(20).await;
    steady.assert_none_failed().await;
    // The new process feeds the watchdog, again and again.
    for _ in 0..2 {
        let fed = service.property("WatchdogTimestampMonotonic");
        service.wait_for("WatchdogTimestampMonotonic", |now| now != fed);
    }
    assert_eq!(service.property("ActiveState"), "active");
    assert_eq!(service.property("NRestarts"), "0");
    service.machine.expect(RELOAD);
    // systemd knows the new process well enough to start another when it dies.
    service
        .machine
        .expect("systemctl kill --signal KILL tollgate");
    service.wait_for("NRestarts", |count| count == "1");
    service.wait_for("ActiveState", |state| state == "active");
    assert_eq!(service.ask("gpt-4o").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_binary_that_does_not_start_changes_nothing() {
    let far = Upstream::answering("{}").await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    service.start();
    let pid = service.property("MainPID");
    service
        .machine
        .expect("install -m 0755 /bin/false /usr/local/bin/tollgate");
    service.machine.expect(UPGRADE);
    let told = || {
        service
            .machine
            .journal()
            .contains("upgrade: this process serves on")
    };
    until("the failure is told", told).await;
    assert_eq!(service.property("MainPID"), pid);
    assert_eq!(service.property("ActiveState"), "active");
    assert_eq!(service.ask("gpt-4o").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_that_dies_while_the_old_one_drains_is_started_again() {
    let step = Arc::new(Semaphore::new(0));
    let far = upstream(&step).await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    service.drop_in("tollgate.service", "[Service]\nRestartSec=0\n");
    service.start();
    let stream = begin_stream(&service).await;
    let new = service.upgrade();
    service.machine.expect(&format!("kill -s KILL {new}"));
    end_stream(stream, &step).await;
    service.wait_for("NRestarts", |count| count == "1");
    service.wait_for("ActiveState", |state| state == "active");
    assert_eq!(service.ask("gpt-4o").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_the_socket_unit_refuses_no_connection() {
    let step = Arc::new(Semaphore::new(0));
    let far = upstream(&step).await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    let listen = format!(
        "[Socket]\nListenStream=\nListenStream={}\n",
        service.address
    );
    service.drop_in("tollgate.socket", &listen);
    // With the socket of systemd's, it needs no privilege.
    service.drop_in(
        "tollgate.service",
        "[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=\nPrivateUsers=yes\n",
    );
    service.machine.expect("systemctl start tollgate.socket");
    assert_eq!(service.property("ActiveState"), "inactive");
    // The first connection starts the service.
    assert_eq!(service.ask("gpt-4o").await, 200);
    let before = service.property("MainPID");
    let steady = Steady::against(service.address);
    let stream = begin_stream(&service).await;
    steady.more(20).await;
    service
        .machine
        .expect("systemctl restart --no-block tollgate");
    service.wait_for("ActiveState", |state| state == "deactivating");
    // Of the old process, there is only this stream left.
    end_stream(stream, &step).await;
    service.wait_for("MainPID", |pid| pid != "0" && pid != before);
    steady.more(20).await;
    steady.assert_none_failed().await;
    // A socket that is no address of the configuration.
    service
        .machine
        .expect("systemctl stop tollgate.service tollgate.socket");
    service.configure(
        &service
            .yaml
            .replace(&service.address.to_string(), &free_port().to_string()),
    );
    service.machine.expect("systemctl start tollgate.socket");
    assert!(
        !service
            .machine
            .run("systemctl start tollgate.service")
            .status
            .success()
    );
    service.assert_told(&service.address.to_string());
}
