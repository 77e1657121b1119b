//! How many files the process may have open, and how many connections that is enough for.
//!
//! Owns the limit of the system, which is raised as far as it lets us. Fails by leaving the limit
//! where it is.

use crate::config::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What else takes a descriptor: listeners, connections of the operator, idle connections to upstreams, large forms, the log,
/// connections that are told that there is no room.
const RESERVE: u64 = 256;
/// As many connections are enough for most.
const PLENTY: usize = 4096;

/// Raises the limit, and tells how many connections of clients there is room for; each may need one
/// to an upstream. Says so when they are fewer than are `wanted`.
pub fn room_for_connections(wanted: usize) -> usize {
    raise();
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return usize::MAX;
    };
    let room = connections_within(limit);
    if room < wanted {
        // What nobody asked for, and is plenty, alarms nobody.
        let is_plenty = wanted == Limits::default().connections && room >= PLENTY;
        let level = match is_plenty {
            true => log::Level::Info,
            false => log::Level::Warn,
        };
        log::log!(
            level,
            "the system lets this process open {limit} files, enough for {room} connections of \
             clients and not for the {wanted} of server.limits.connections: raise the limit to \
             {} (LimitNOFILE= in the unit, or `ulimit -n`), or lower the setting",
            files_for(wanted)
        );
    }
    room
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
    fn there_is_room_for_both_sides_and_for_what_is_needed_besides() {
        assert_eq!(connections_within(65_536), 32_640);
        assert_eq!(connections_within(100), 1);
        assert_eq!(connections_within(files_for(16_384)), 16_384);
    }
}
