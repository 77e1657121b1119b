//! The operator's signals.
//!
//! Owns which signals there are: SIGTERM and SIGINT (Ctrl-C) end the process, SIGHUP has it read its configuration
//! again, SIGUSR2 has it hand over to the binary that is on disk. Does not handle what follows one (see `operate`).
//! Fails at the start where the system installs no handler.

use tokio::signal::unix::{Signal as Incoming, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end; the name of the signal.
    Stop(&'static str),
    /// To read the configuration again.
    Reload,
    /// To hand over to the binary that is on disk.
    Upgrade,
}

/// The signals that the process acts upon.
pub struct Signals {
    terminate: Incoming,
    interrupt: Incoming,
    hang_up: Incoming,
    user2: Incoming,
}

impl Signals {
    /// Installs the handlers. From here on a signal does not kill the process.
    ///
    /// # Errors
    /// The system's own.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.hang_up.recv() => Signal::Reload,
            _ = self.user2.recv() => Signal::Upgrade,
        }
    }

    /// Waits for the next signal that ends the process, and returns its name. Others wait.
    pub async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
