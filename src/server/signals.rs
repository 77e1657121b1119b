//! The operator's signals.
//!
//! Owns which signals there are: SIGTERM and SIGINT (Ctrl-C) end the process, SIGHUP has it read its configuration
//! again, SIGUSR2 has it hand over to the binary that is on disk. Those that end it are waited for apart, since they
//! come first whatever is being done. Does not handle what follows one (see `operate` and `stop`). Fails at the start
//! where the system installs no handler.

use tokio::signal::unix::{Signal as Incoming, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To read the configuration again.
    Reload,
    /// To hand over to the binary that is on disk.
    Upgrade,
}

/// Signals that ask for something while the process serves.
pub struct Signals {
    hang_up: Incoming,
    user2: Incoming,
}

/// Signals that end the process.
pub struct StopSignals {
    terminate: Incoming,
    interrupt: Incoming,
}

/// Installs all handlers. From here on none of them kills the process.
///
/// # Errors
/// The system's own.
pub fn listen() -> std::io::Result<(Signals, StopSignals)> {
    let signals = Signals {
        hang_up: signal(SignalKind::hangup())?,
        user2: signal(SignalKind::user_defined2())?,
    };
    let stops = StopSignals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    Ok((signals, stops))
}

impl Signals {
    /// Waits for the next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hang_up.recv() => Signal::Reload,
            _ = self.user2.recv() => Signal::Upgrade,
        }
    }
}

impl StopSignals {
    /// Waits for the next signal, and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
