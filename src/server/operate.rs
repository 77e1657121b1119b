//! What the operator asks of the running process, one thing after the other.
//!
//! Owns the loop that takes signals, orders from the operator's listener and changes of files, until another process
//! serves. A signal to stop ends the loop, whatever is being done (see `server`). Does not handle how a thing is done
//! (see `reload`, `successor`, `stop`). Cannot fail: what fails is told to the one who asked, and logged.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::file_watch::{Fingerprint, Watch};
use super::notify;
use super::reload::Reloader;
use super::signals::{Signal, Signals};
use super::stop;
use super::successor::{self, Handed};
use crate::config::FileKind;
use crate::runtime::{Order, Reloaded};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The least time between two looks for lists of models.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The loop.
pub struct Operation {
    signals: Signals,
    /// What is asked through the operator's listener.
    pub orders: mpsc::Receiver<Order>,
    /// The configuration.
    pub reloader: Reloader,
    /// The listening sockets, for a successor.
    pub sockets: Vec<Handed>,
    /// What has been seen of the files of the configuration.
    configuration: Watch,
    /// What has been seen of the certificates.
    certificates: Watch,
    /// When the files were looked at for a list of models.
    looked: Instant,
}

/// What the loop has been asked for.
enum Asked {
    Signal(Signal),
    Order(Order),
    Look,
}

/// How sure it has to be that a file has been written to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// It has been found the same twice.
    Twice,
    /// Somebody waits.
    Now,
}

impl Operation {
    /// A loop that has been asked for nothing.
    pub fn new(
        signals: Signals,
        orders: mpsc::Receiver<Order>,
        reloader: Reloader,
        sockets: Vec<Handed>,
    ) -> Self {
        Self {
            signals,
            orders,
            reloader,
            sockets,
            configuration: Watch::default(),
            certificates: Watch::default(),
            looked: Instant::now(),
        }
    }

    /// Does what is asked until another process serves. May be dropped at any time: a signal to stop comes first.
    pub async fn run(&mut self) {
        self.catch_up().await;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                signal = self.signals.next() => Asked::Signal(signal),
                Some(order) = self.orders.recv() => Asked::Order(order),
                _ = looks.tick() => Asked::Look,
            };
            let is_handed_over = match asked {
                Asked::Signal(Signal::Reload) => {
                    // The log has the outcome.
                    let _ = self.reload("SIGHUP").await;
                    false
                }
                Asked::Signal(Signal::Upgrade) => self.upgrade("SIGUSR2").await.is_ok(),
                Asked::Order(order) => self.carry_out(order).await,
                Asked::Look => {
                    if self.reloader.server().reload_on_change {
                        self.look(Settled::Twice).await;
                    }
                    false
                }
            };
            if is_handed_over {
                return;
            }
        }
    }

    /// Returns whether another process serves. The caller that gave an order may have left: an outcome that is not
    /// taken is no error.
    async fn carry_out(&mut self, order: Order) -> bool {
        match order {
            Order::Reload(outcome) => {
                let reloaded = self.reload("asked for").await;
                drop(outcome.send(reloaded));
            }
            Order::ReloadIfChanged(done) => {
                if self.looked.elapsed() >= LOOK_AGAIN {
                    self.looked = Instant::now();
                    self.look(Settled::Now).await;
                }
                let _ = done.send(());
            }
            Order::Upgrade(outcome) => {
                let upgraded = self.upgrade("asked for").await;
                let is_handed_over = upgraded.is_ok();
                drop(outcome.send(upgraded));
                return is_handed_over;
            }
        }
        false
    }

    async fn reload(&mut self, cause: &str) -> Reloaded {
        // Before it is read: what is written meanwhile is a change.
        let (configuration, certificates) = self.fingerprints().await;
        self.configuration.act_on(configuration);
        self.certificates.act_on(certificates);
        self.reloader.reload(cause).await
    }

    /// Takes notice of the files as they are at the start. One may have changed since it was read.
    async fn catch_up(&mut self) {
        let (configuration, certificates) = self.fingerprints().await;
        self.configuration.act_on(configuration);
        self.certificates.act_on(certificates);
        if self.reloader.server().reload_on_change && self.reloader.is_behind().await {
            // The log has the outcome.
            let _ = self.reload("a file has changed").await;
        }
    }

    /// Looks whether a file has changed, and acts on it.
    async fn look(&mut self, settled: Settled) {
        let (configuration, certificates) = self.fingerprints().await;
        if settled == Settled::Now {
            // It counts as seen before, so that one look is enough.
            self.configuration.look(configuration);
        }
        if self.configuration.look(configuration) {
            // The log has the outcome.
            let _ = self.reload("a file has changed").await;
        } else if self.certificates.look(certificates) {
            self.reloader.reload_certificates().await;
        }
    }

    async fn fingerprints(&self) -> (Fingerprint, Fingerprint) {
        let files = |kind| self.reloader.files(kind);
        let (configuration, certificates): (Vec<PathBuf>, Vec<PathBuf>) =
            (files(FileKind::Configuration), files(FileKind::Certificate));
        let reading = move || {
            (
                Fingerprint::of(&configuration),
                Fingerprint::of(&certificates),
            )
        };
        let read = tokio::task::spawn_blocking(reading).await;
        read.unwrap_or_default()
    }

    /// Hands over to the binary that is on disk. Returns the process id of the new process.
    ///
    /// # Errors
    /// Why this process serves on.
    async fn upgrade(&mut self, cause: &str) -> Result<u32, String> {
        log::info!("upgrade ({cause}): the binary that is on disk is started");
        let within = self.reloader.server().upgrade_timeout;
        // The new process reads them when it starts.
        stop::save_questions(self.reloader.shared()).await;
        match successor::start(&self.sockets, within).await {
            Ok(pid) => {
                notify::main_pid(pid);
                log::info!("upgrade: process {pid} serves new connections");
                Ok(pid)
            }
            Err(why) => {
                let why = why.to_string();
                log::error!(
                    "upgrade: this process serves on: {}",
                    why.replace('\n', " | ")
                );
                Err(why)
            }
        }
    }
}
