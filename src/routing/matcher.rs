//! Which names of models a rule serves.
//!
//! Owns the three forms of a match, their labels, and whether some name of a pattern is met. Does not
//! handle how the operator writes one (see `config`), nor which of several rules wins (see
//! [`Index`](super::Index)). Cannot fail.

/// Which names a rule serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// This name alone.
    Exact(String),
    /// Names that begin with it; empty for all names, written `"*"`.
    Prefix(String),
    /// Names that contain it.
    Keyword(String),
}

impl Matcher {
    /// The rule's name in metrics, logs and tables: `gpt-4o`, `deepseek-*`, `*gpt-4*`.
    pub fn label(&self) -> String {
        match self {
            Self::Exact(name) => name.clone(),
            Self::Prefix(prefix) => format!("{prefix}*"),
            Self::Keyword(word) => format!("*{word}*"),
        }
    }

    /// Whether it serves any name of `pattern`, which is a name, or the beginning of names and a
    /// `*`.
    pub fn meets(&self, pattern: &str) -> bool {
        let Some(beginning) = pattern.strip_suffix('*') else {
            return match self {
                Self::Exact(name) => name == pattern,
                Self::Prefix(prefix) => pattern.starts_with(prefix.as_str()),
                Self::Keyword(word) => pattern.contains(word.as_str()),
            };
        };
        match self {
            Self::Exact(name) => name.starts_with(beginning),
            Self::Prefix(prefix) => {
                prefix.starts_with(beginning) || beginning.starts_with(prefix.as_str())
            }
            Self::Keyword(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matcher_meets_what_some_name_of_the_pattern_would_lead_to() {
        let exact = Matcher::Exact("gpt-4o".into());
        let prefix = Matcher::Prefix("gpt-".into());
        let keyword = Matcher::Keyword("mini".into());
        let any = Matcher::Prefix(String::new());
        for (pattern, met) in [
            ("gpt-4o", [true, true, false]),
            ("gpt-4", [false, true, false]),
            ("gpt-4*", [true, true, true]),
            ("g*", [true, true, true]),
            ("gpt-5*", [false, true, true]),
            ("claude*", [false, false, true]),
            ("o4-mini", [false, false, true]),
            ("*", [true, true, true]),
        ] {
            let found = [&exact, &prefix, &keyword].map(|matcher| matcher.meets(pattern));
            assert_eq!(found, met, "{pattern}");
            assert!(any.meets(pattern));
        }
    }
}
