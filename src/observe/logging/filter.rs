//! Which lines pass.
//!
//! Owns the level, `RUST_LOG`, which goes before it, and three rules that always hold. Pingora and the libraries
//! under it print raw headers at debug and trace, the swapped key among them, so nothing but our own records
//! passes below info. What they report as an error though a client did it, and could do it a thousand times a
//! second, is taken for debug. Pingora tells of each listener's end and of each service's start at info: ours say
//! enough. Does not handle access lines' own switch (see `config`). A `RUST_LOG` that cannot be read is told on
//! stderr and ignored.

use log::{Level, LevelFilter, Metadata, Record};

use super::{ACCESS, STATISTICS};

/// Modules of the libraries whose warnings and errors are about what a client has sent.
const OF_CLIENTS: [&str; 4] = [
    "pingora_core::apps",
    "pingora_core::protocols::http",
    "pingora_core::protocols::tls",
    "rustls",
];

/// Lets records pass.
#[derive(Debug)]
pub struct Filter(env_filter::Filter);

impl Filter {
    /// Lets records of this level pass, but for what `rust_log` names.
    pub fn new(level: LevelFilter, rust_log: Option<&str>) -> Self {
        let mut builder = env_filter::Builder::new();
        builder.filter_level(level);
        builder.filter_module("pingora", level.min(LevelFilter::Warn));
        if let Some(rust_log) = rust_log {
            builder.parse(rust_log);
        }
        Self(builder.build())
    }

    /// The level of the most detailed records that pass.
    pub fn most_detailed(&self) -> LevelFilter {
        self.0.filter()
    }

    /// Whether such records pass.
    pub fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let is_line_of_fields = [ACCESS, STATISTICS].contains(&target);
        if !is_line_of_fields && is_of_clients(target) {
            let as_debug = Metadata::builder()
                .target(target)
                .level(Level::Debug)
                .build();
            return metadata.level() <= LevelFilter::Info && self.0.enabled(&as_debug);
        }
        let is_ours = is_line_of_fields || target.split("::").next() == Some("tollgate");
        (metadata.level() <= LevelFilter::Info || is_ours) && self.0.enabled(metadata)
    }

    /// Whether a record passes. Its text counts where `RUST_LOG` names one.
    pub fn passes(&self, record: &Record<'_>) -> bool {
        self.enabled(record.metadata())
            && (is_of_clients(record.target()) || self.0.matches(record))
    }
}

fn is_of_clients(target: &str) -> bool {
    let rest = |module: &&str| target.strip_prefix(*module);
    let mut rests = OF_CLIENTS.iter().filter_map(rest);
    rests.any(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled(filter: &Filter, target: &str, level: Level) -> bool {
        filter.enabled(&Metadata::builder().target(target).level(level).build())
    }

    #[test]
    fn only_our_records_pass_below_info() {
        for filter in [
            Filter::new(LevelFilter::Trace, None),
            Filter::new(LevelFilter::Warn, Some("trace,pingora=trace")),
        ] {
            assert!(enabled(&filter, "tollgate::gateway", Level::Trace));
            assert!(!enabled(&filter, "pingora_core::protocols", Level::Debug));
            assert!(!enabled(&filter, "tollgate_evil", Level::Debug));
            assert!(!enabled(&filter, "h2::codec", Level::Trace));
        }
    }

    #[test]
    fn pingora_is_heard_from_warnings_on_unless_rust_log_names_it() {
        let target = "pingora_core::server";
        assert!(!enabled(
            &Filter::new(LevelFilter::Trace, None),
            target,
            Level::Info
        ));
        let named = Filter::new(LevelFilter::Trace, Some("pingora=info"));
        assert!(enabled(&named, target, Level::Info));
        let off = Filter::new(LevelFilter::Off, None);
        assert!(!enabled(&off, target, Level::Warn));
    }

    #[test]
    fn what_clients_can_cause_is_taken_for_debug() {
        for target in ["pingora_core::apps", "rustls::msgs::handshake"] {
            let at = |level| {
                enabled(
                    &Filter::new(level, Some("pingora=debug")),
                    target,
                    Level::Error,
                )
            };
            assert!(at(LevelFilter::Debug), "{target}");
            let info = Filter::new(LevelFilter::Info, None);
            assert!(!enabled(&info, target, Level::Error), "{target}");
        }
        let info = Filter::new(LevelFilter::Info, None);
        let listening = "pingora_core::services::listening";
        assert!(enabled(&info, listening, Level::Error));
        assert!(enabled(&info, "rustls_native_certs", Level::Error));
    }

    #[test]
    fn what_rust_log_names_goes_before_the_level() {
        let filter = Filter::new(LevelFilter::Warn, Some("tollgate::gateway=debug"));
        assert!(enabled(&filter, "tollgate::gateway::plan", Level::Debug));
        assert!(!enabled(&filter, ACCESS, Level::Info));
        assert_eq!(filter.most_detailed(), LevelFilter::Debug);
        let filter = Filter::new(LevelFilter::Info, Some("access=off"));
        assert!(!enabled(&filter, ACCESS, Level::Info));
        assert!(enabled(&filter, STATISTICS, Level::Info));
    }
}
