//! The operator's signals.
//!
//! Owns which signals end the process: SIGTERM and SIGINT (Ctrl-C). Does not handle what follows one
//! (see `server`). Fails at the start where the system installs no handler.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that end the process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
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
        })
    }

    /// Waits for the next signal and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
