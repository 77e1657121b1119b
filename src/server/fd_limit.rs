//! How many files the process may open, and how many connections that allows.
//!
//! Owns the soft limit on open files, which is raised to the hard one. Does not handle the limit of
//! the configuration (see `accept`). Fails by a warning, and the limit stays where it is.

use crate::config::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything else: listeners, the operator's connections, idle connections to
/// upstreams, large forms, the log, refused connections.
const RESERVE: u64 = 256;
/// Enough connections for most operators.
const PLENTY: usize = 4096;

/// Raises the limit, and returns the number of client connections that it allows. Each may need a
/// connection to an upstream. Logs it when fewer are allowed than are `wanted`.
pub fn max_connections(wanted: usize) -> usize {
    raise();
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return usize::MAX;
    };
    let allowed = connections_within(limit);
    if allowed < wanted {
        // A default that is not met needs no warning while enough connections are left.
        let is_plenty = wanted == Limits::default().connections && allowed >= PLENTY;
        let level = match is_plenty {
            true => log::Level::Info,
            false => log::Level::Warn,
        };
        log::log!(
            level,
            "the system lets this process open {limit} files, enough for {allowed} client connections and \
             not for the {wanted} of server.limits.connections: raise the limit to \
             {} (LimitNOFILE= in the unit, or `ulimit -n`), or lower the setting",
            files_for(wanted)
        );
    }
    allowed
}

/// How many files the process needs for so many connections.
fn files_for(connections: usize) -> u64 {
    (connections as u64).saturating_mul(2) + RESERVE
}

fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(e) = setrlimit(Resource::Nofile, raised) {
        log::warn!("the limit on open files cannot be raised to {maximum:?}: {e}");
    }
}

fn connections_within(limit: u64) -> usize {
    let connections = limit.saturating_sub(RESERVE) / 2;
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_a_connection_and_the_reserve_are_counted() {
        assert_eq!(connections_within(65_536), 32_640);
        assert_eq!(connections_within(100), 1);
        assert_eq!(connections_within(files_for(16_384)), 16_384);
    }
}
