//! Which operations reach beyond the request that makes them.
//!
//! Owns the table of operations that hand out keys, start calls that bypass the gateway, administer an account
//! or report on all of it, and the setting that allows each. Does not handle the paths that we serve (see
//! `endpoint`), nor the refusal (see `gateway::tunnel`). Never fails: an operation without a row needs no
//! privilege.

use http::Method;
use percent_encoding::percent_decode_str;

/// What an operation does besides serving its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// It hands out a key that expires soon: the gateway does not see its use.
    EphemeralKeys,
    /// It starts or moves a call, whose media bypass the gateway.
    Calls,
    /// It hands out a key of the account that does not expire.
    AccountKeys,
    /// It reads or changes permissions in the account.
    Administration,
    /// It reads what the whole account has used, and what was done in it.
    UsageReports,
}

impl Privilege {
    /// The setting that allows it, as in [`Grants`].
    pub fn setting(self) -> &'static str {
        match self {
            Self::EphemeralKeys | Self::Calls => "allow_ephemeral_keys",
            Self::AccountKeys | Self::Administration => "allow_administration",
            Self::UsageReports => "allow_usage_reports",
        }
    }
}

/// The privileges of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// `allow_ephemeral_keys`
    pub ephemeral_keys: bool,
    /// `allow_administration`
    pub administration: bool,
    /// `allow_usage_reports`
    pub usage_reports: bool,
}

impl Grants {
    /// Whether a privilege is granted.
    pub fn allow(self, privilege: Privilege) -> bool {
        match privilege {
            Privilege::EphemeralKeys | Privilege::Calls => self.ephemeral_keys,
            Privilege::AccountKeys | Privilege::Administration => self.administration,
            Privilege::UsageReports => self.usage_reports,
        }
    }
}

/// A path below `/v1`, and the privilege for it and all paths below it. `*` is any one segment.
type Row = (&'static str, Privilege);

/// The first row that matches counts.
static ROWS: [Row; 22] = [
    ("/realtime/calls", Privilege::Calls),
    ("/realtime", Privilege::EphemeralKeys),
    ("/live", Privilege::EphemeralKeys),
    ("/chatkit/sessions", Privilege::EphemeralKeys),
    ("/organization/usage", Privilege::UsageReports),
    ("/organization/costs", Privilege::UsageReports),
    ("/organization/audit_logs", Privilege::UsageReports),
    ("/organization/admin_api_keys", Privilege::AccountKeys),
    (
        "/organization/projects/*/service_accounts",
        Privilege::AccountKeys,
    ),
    ("/organization", Privilege::Administration),
    ("/projects", Privilege::Administration),
    (
        "/fine_tuning/checkpoints/*/permissions",
        Privilege::Administration,
    ),
    // Names of the same operations at relays and other providers.
    ("/organizations/usage_report", Privilege::UsageReports),
    ("/organizations/cost_report", Privilege::UsageReports),
    ("/organizations", Privilege::Administration),
    ("/usage", Privilege::UsageReports),
    ("/dashboard", Privilege::UsageReports),
    ("/activity", Privilege::UsageReports),
    ("/credits", Privilege::UsageReports),
    ("/key", Privilege::UsageReports),
    ("/auth/keys", Privilege::AccountKeys),
    ("/keys", Privilege::AccountKeys),
];

/// Exceptions to the rows: operations that end a call and hand out nothing.
static FREE: [&str; 2] = ["/realtime/calls/*/hangup", "/realtime/calls/*/reject"];

/// The privilege that an operation needs, given its path below `/v1` as it was sent. A path that the
/// upstream may read as another has been refused before.
pub fn needed(method: &Method, operation: &str) -> Option<Privilege> {
    let decoded = percent_decode_str(operation).decode_utf8_lossy();
    let lower = decoded.to_ascii_lowercase();
    let path = lower.trim_end_matches('/');
    if FREE.iter().any(|free| is_below(path, free) == Some(0)) {
        return None;
    }
    let (_, privilege) = ROWS.iter().find(|(row, _)| is_below(path, row).is_some())?;
    let only_reads = [Method::GET, Method::HEAD].contains(method);
    Some(match privilege {
        Privilege::UsageReports if !only_reads => Privilege::Administration,
        privilege => *privilege,
    })
}

/// How many segments below a row a path is; `None` where it is not at or below it.
fn is_below(path: &str, row: &str) -> Option<usize> {
    let mut segments = path.split('/');
    let mut wanted = row.split('/');
    match wanted.all(|w| segments.next().is_some_and(|s| w == "*" || s == w)) {
        true => Some(segments.count()),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<Privilege> {
        needed(&Method::POST, path)
    }

    #[test]
    fn each_operation_needs_what_it_does() {
        for (path, privilege) in [
            ("/realtime/client_secrets", Privilege::EphemeralKeys),
            ("/realtime/sessions", Privilege::EphemeralKeys),
            ("/realtime/transcription_sessions", Privilege::EphemeralKeys),
            (
                "/realtime/translations/client_secrets",
                Privilege::EphemeralKeys,
            ),
            ("/live/sessions", Privilege::EphemeralKeys),
            ("/chatkit/sessions/s/cancel", Privilege::EphemeralKeys),
            ("/realtime/calls", Privilege::Calls),
            ("/realtime/calls/c/accept", Privilege::Calls),
            ("/realtime/calls/c/refer", Privilege::Calls),
            ("/organization/admin_api_keys", Privilege::AccountKeys),
            (
                "/organization/projects/p/service_accounts/s",
                Privilege::AccountKeys,
            ),
            (
                "/organization/projects/p/api_keys",
                Privilege::Administration,
            ),
            ("/organization/invites", Privilege::Administration),
            ("/organization", Privilege::Administration),
            ("/projects/p/groups", Privilege::Administration),
        ] {
            assert_eq!(of(path), Some(privilege), "{path}");
        }
    }

    #[test]
    fn a_report_is_read_and_nothing_else() {
        for path in [
            "/organization/usage/completions",
            "/organization/costs",
            "/organization/audit_logs",
        ] {
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(needed(&method, path), Some(Privilege::UsageReports));
            }
            for method in [Method::POST, Method::DELETE] {
                assert_eq!(needed(&method, path), Some(Privilege::Administration));
            }
        }
    }

    #[test]
    fn what_needs_nothing_is_told_from_its_neighbours() {
        for path in [
            "/files",
            "/files/keys",
            "/realtimes",
            "/organizational",
            "/chatkit/threads",
            "/fine_tuning/jobs/j/checkpoints",
            "/realtime/calls/c/hangup",
            "/realtime/calls/c/reject/",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
        for path in [
            "/realtime/calls/c/hangup/x",
            "/realtime/calls/hangup",
            "/realtime/calls/c",
        ] {
            assert_eq!(of(path), Some(Privilege::Calls), "{path}");
        }
    }

    #[test]
    fn a_path_is_known_however_it_is_written() {
        for (path, privilege) in [
            ("/Realtime/%63alls", Privilege::Calls),
            ("/realtime/client%5Fsecrets/", Privilege::EphemeralKeys),
            ("/%6frganization%2fusers", Privilege::Administration),
        ] {
            assert_eq!(of(path), Some(privilege), "{path}");
        }
    }

    #[test]
    fn a_grant_allows_what_it_names() {
        let all = [
            Privilege::EphemeralKeys,
            Privilege::Calls,
            Privilege::AccountKeys,
            Privilege::Administration,
            Privilege::UsageReports,
        ];
        let allowed = |grants: Grants| all.map(|privilege| grants.allow(privilege));
        let none = Grants::default();
        assert_eq!(allowed(none), [false; 5]);
        let keys = Grants {
            ephemeral_keys: true,
            ..none
        };
        assert_eq!(allowed(keys), [true, true, false, false, false]);
        let administration = Grants {
            administration: true,
            ..none
        };
        assert_eq!(allowed(administration), [false, false, true, true, false]);
        let reports = Grants {
            usage_reports: true,
            ..none
        };
        assert_eq!(allowed(reports), [false, false, false, false, true]);
    }
}
