//! What is wrong with a configuration, and what to change.
//!
//! Owns the forms `FILE:LINE: key.path: message (hint)` and, for what is allowed and probably not
//! meant, `FILE:LINE: warning: key.path: message (hint)`. Does not handle what is checked (see
//! the section files, `validate` and `warnings`). Cannot fail.

use std::fmt;

/// How severe a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used. The operator is told, because it is probably not what was meant.
    Warning,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How severe it is.
    pub severity: Severity,
    /// Where the configuration came from: a file's path, or `environment`.
    pub source: String,
    /// The line, counted from 1, where a file has one.
    pub line: Option<usize>,
    /// The key's path, as in `models[0].targets[1].upstream`; a variable's
    /// name, where the environment stands in for a file; empty for the whole document.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to change.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if self.severity == Severity::Warning {
            f.write_str(": warning")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Every problem of a configuration that is refused; at least one is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The known name that the operator probably meant, if one is near enough.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_file_line_path_message_hint() {
        let mut problem = Problem {
            severity: Severity::Error,
            source: "tollgate.yaml".into(),
            line: Some(7),
            path: "upstreams.openai.basurl".into(),
            message: "unknown key".into(),
            hint: Some("did you mean `base_url`?".into()),
        };
        assert_eq!(
            problem.to_string(),
            "tollgate.yaml:7: upstreams.openai.basurl: unknown key (did you mean `base_url`?)"
        );
        problem.severity = Severity::Warning;
        assert_eq!(
            problem.to_string(),
            "tollgate.yaml:7: warning: upstreams.openai.basurl: unknown key (did you mean \
             `base_url`?)"
        );
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["base_url", "servers", "keys"];
        assert_eq!(nearest("basurl", known), Some("base_url"));
        assert_eq!(nearest("key", known), Some("keys"));
        assert_eq!(nearest("temperature", known), None);
    }
}
