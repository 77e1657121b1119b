//! What the operator asks of the running process, one thing after the other.
//!
//! Owns the loop that takes signals, orders from the operator's listener and changes of files, until the process has
//! to end. A signal to stop comes first, whatever is being done. Does not handle how a thing is done (see `reload`,
//! `successor`, `stop`). Cannot fail: what fails is told to the one who asked, and logged.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::file_watch::{Fingerprint, Watch};
use super::notify;
use super::reload::Reloader;
use super::signals::{Signal, Signals};
use super::successor::{self, Handed};
use crate::config::FileKind;
use crate::runtime::{Order, Reloaded};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The least time between two looks for lists of models.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why the loop has ended.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// This signal has come.
    Stop(&'static str),
    /// Another process serves.
    HandedOver,
}

/// The loop.
pub struct Operation {
    /// Signals of the operator.
    pub signals: Signals,
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

    /// Does what is asked until the process has to end.
    pub async fn run(&mut self) -> End {
        if let Some(end) = self.catch_up().await {
            return end;
        }
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                signal = self.signals.next() => Asked::Signal(signal),
                Some(order) = self.orders.recv() => Asked::Order(order),
                _ = looks.tick() => Asked::Look,
            };
            let end = match asked {
                Asked::Signal(Signal::Stop(name)) => Some(End::Stop(name)),
                Asked::Signal(Signal::Reload) => self.reload("SIGHUP").await.err(),
                Asked::Signal(Signal::Upgrade) => self.upgrade("SIGUSR2").await.1,
                Asked::Order(order) => self.carry_out(order).await,
                Asked::Look if self.reloader.server().reload_on_change => {
                    self.look(Settled::Twice).await
                }
                Asked::Look => None,
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Who has given an order may have left: that nobody takes its outcome is no error.
    async fn carry_out(&mut self, order: Order) -> Option<End> {
        match order {
            Order::Reload(outcome) => match self.reload("asked for").await {
                Ok(reloaded) => drop(outcome.send(reloaded)),
                Err(end) => return Some(end),
            },
            Order::ReloadIfChanged(done) => {
                let mut end = None;
                if self.looked.elapsed() >= LOOK_AGAIN {
                    self.looked = Instant::now();
                    end = self.look(Settled::Now).await;
                }
                let _ = done.send(());
                return end;
            }
            Order::Upgrade(outcome) => {
                let (upgraded, end) = self.upgrade("asked for").await;
                drop(outcome.send(upgraded));
                return end;
            }
        }
        None
    }

    /// Reads the configuration again.
    ///
    /// # Errors
    /// The process has to end.
    async fn reload(&mut self, cause: &str) -> Result<Reloaded, End> {
        // Before it is read: what is written meanwhile is a change.
        let (configuration, certificates) = self.fingerprints().await;
        self.configuration.act_on(configuration);
        self.certificates.act_on(certificates);
        tokio::select! {
            reloaded = self.reloader.reload(cause) => Ok(reloaded),
            name = self.signals.stop() => Err(End::Stop(name)),
        }
    }

    /// Takes notice of the files as they are at the start. One may have changed since it was read.
    async fn catch_up(&mut self) -> Option<End> {
        let (configuration, certificates) = self.fingerprints().await;
        self.configuration.act_on(configuration);
        self.certificates.act_on(certificates);
        let is_watched = self.reloader.server().reload_on_change;
        match is_watched && self.reloader.is_behind().await {
            true => self.reload("a file has changed").await.err(),
            false => None,
        }
    }

    /// Looks whether a file has changed, and acts on it.
    async fn look(&mut self, settled: Settled) -> Option<End> {
        let (configuration, certificates) = self.fingerprints().await;
        if settled == Settled::Now {
            // It counts as seen before, so that one look is enough.
            self.configuration.look(configuration);
        }
        if self.configuration.look(configuration) {
            return self.reload("a file has changed").await.err();
        }
        if self.certificates.look(certificates) {
            self.reloader.reload_certificates().await;
        }
        None
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

    /// Hands over to the binary that is on disk. Returns its process id or why it does not serve, and whether this
    /// process has to end.
    async fn upgrade(&mut self, cause: &str) -> (Result<u32, String>, Option<End>) {
        log::info!("upgrade ({cause}): the binary that is on disk is started");
        let within = self.reloader.server().upgrade_timeout;
        let started = tokio::select! {
            started = successor::start(&self.sockets, within) => started,
            name = self.signals.stop() => {
                let stopped = Err(format!("{name}: the process ends"));
                return (stopped, Some(End::Stop(name)));
            }
        };
        match started {
            Ok(pid) => {
                notify::main_pid(pid);
                log::info!("upgrade: process {pid} serves new connections");
                (Ok(pid), Some(End::HandedOver))
            }
            Err(why) => {
                log::error!("upgrade: this process serves on: {why}");
                (Err(why.to_string()), None)
            }
        }
    }
}
