//! The service under the real systemd: its start, its reload, its watchdog, and its end.

use std::net::SocketAddr;

use super::service::{CHAT, RELOAD, Service, UNINSTALL};
use crate::support::client::Client;
use crate::support::upstream::Upstream;
use crate::support::{PROVIDER_KEY, chat, until};

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_reloads_and_ends_under_systemd() {
    let far = Upstream::answering("{}").await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    // A port that only a privileged process may take.
    let low = format!("127.0.0.1:{}", 600 + std::process::id() % 400);
    let low: SocketAddr = low.parse().unwrap();
    let yaml = service
        .yaml
        .replace("listen: [", &format!("listen: ['{low}', "));
    service.configure(&yaml);
    service.start();
    assert_eq!(service.property("ActiveState"), "active");
    assert_eq!(service.ask("gpt-4o").await, 200);
    let key = format!("Bearer {PROVIDER_KEY}");
    assert_eq!(far.request().await.header("authorization"), [key.as_str()]);
    let mut client = Client::connect(low).await;
    assert_eq!(client.post(CHAT, &chat("gpt-4o")).await.status, 200);
    service.wait_for("StatusText", |text| text.contains("requests in flight"));
    let pid = service.property("MainPID");
    let user = service
        .machine
        .expect(&format!("stat --format %U /proc/{pid}"));
    assert_eq!(user.trim(), "tollgate");
    // The metric of when it began is not lost to the hardening.
    let mut operator = Client::connect(service.admin).await;
    operator
        .send("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    let metrics = operator.response().await;
    assert!(metrics.text().contains("\nprocess_start_time_seconds 1"));

    service.configure(
        &yaml
            .replace("gpt-4o", "gpt-5")
            .replace("upstream: far", "upstream: near"),
    );
    let failed = service.machine.run(RELOAD);
    assert!(!failed.status.success());
    assert_eq!(service.property("ActiveState"), "active");
    service.assert_told("near");
    assert_eq!(service.ask("gpt-4o").await, 200);

    // Keys of the file of variables are read again, too.
    service.machine.write(
        "/etc/tollgate/environment",
        "FAR_KEY=another-key\nRUST_LOG=info\n",
    );
    service.configure(&yaml.replace("gpt-4o", "gpt-5"));
    service.machine.expect(RELOAD);
    assert_eq!(service.property("MainPID"), pid);
    assert_eq!(service.ask("gpt-5").await, 200);
    assert_eq!(service.ask("gpt-4o").await, 404);
    let keys = [
        far.request().await,
        far.request().await,
        far.request().await,
    ];
    assert_eq!(keys[2].header("authorization"), ["Bearer another-key"]);

    service.machine.expect("systemctl stop tollgate");
    assert_eq!(service.property("ActiveState"), "inactive");
    assert_eq!(service.property("Result"), "success");
    assert_eq!(service.property("NRestarts"), "0");

    let machine = &service.machine;
    machine.expect(UNINSTALL);
    assert_eq!(service.property("LoadState"), "not-found");
    machine.expect("test ! -e /usr/local/bin/tollgate && test -s /etc/tollgate/tollgate.yaml");
    // Once more does no harm.
    machine.expect(UNINSTALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_a_mistake_is_tried_once() {
    let far = Upstream::answering("{}").await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    service.configure("server: { lisen: 1 }\n");
    assert!(
        !service
            .machine
            .run("systemctl start tollgate")
            .status
            .success()
    );
    service.wait_for("ActiveState", |state| state == "failed");
    assert_eq!(service.property("NRestarts"), "0");
    assert_eq!(service.property("ExecMainStatus"), "64");
    service.assert_told("lisen: unknown key");
}
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stands_still_is_replaced() {
    let far = Upstream::answering("{}").await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    service.drop_in(
        "tollgate.service",
        "[Service]\nWatchdogSec=1\nTimeoutAbortSec=1\nRestartSec=0\n",
    );
    service.start();
    service
        .machine
        .expect("systemctl kill --signal STOP tollgate");
    service.wait_for("NRestarts", |count| count == "1");
    service.wait_for("ActiveState", |state| state == "active");
    assert_eq!(service.ask("gpt-4o").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_as_a_credential_reaches_the_upstream_after_a_reload_and_an_upgrade_too() {
    let far = Upstream::answering("{}").await;
    let Some(service) = Service::install(&far) else {
        return;
    };
    let file = "/etc/tollgate/keys/far";
    service.machine.write(file, &format!("{PROVIDER_KEY}\n"));
    service.machine.expect(&format!("chmod 0400 {file}"));
    let yaml = service.yaml.replace("${FAR_KEY}", "${credential:far}");
    service.configure(&yaml);
    // As the page says.
    service.drop_in(
        "tollgate.service",
        &format!("[Service]\nLoadCredential=far:{file}\nExecReload=\nExecReload=+/bin/kill -HUP $MAINPID\n"),
    );
    service.start();
    let key = format!("Bearer {PROVIDER_KEY}");
    assert_eq!(service.ask("gpt-4o").await, 200);
    assert_eq!(far.request().await.header("authorization"), [key.as_str()]);
    service.configure(&yaml.replace("gpt-4o", "gpt-5"));
    service.machine.expect(RELOAD);
    until("the reload", || {
        service.machine.journal().contains("gpt-5: added")
    })
    .await;
    service.upgrade();
    assert_eq!(service.ask("gpt-5").await, 200);
    assert_eq!(far.request().await.header("authorization"), [key.as_str()]);
}
