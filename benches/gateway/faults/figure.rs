//! What was measured, beside what it should be.
//!
//! Owns the forms of figures, targets and verdicts. A figure without a target says what happened.

use std::time::Duration;

use crate::table::Table;

/// The width of the page, in characters.
const LINE: usize = 104;

/// The figures of one scenario.
pub struct Group {
    /// Its name in the report.
    pub title: &'static str,
    /// What happens in it.
    pub remark: String,
    /// In the order of the table.
    pub figures: Vec<Figure>,
}

/// One figure.
pub struct Figure {
    what: String,
    measured: String,
    target: String,
    verdict: &'static str,
}

impl Figure {
    /// A count that says what happened.
    pub fn count(what: impl Into<String>, count: usize) -> Self {
        Self::told(what, count.to_string())
    }

    /// A figure in words.
    pub fn told(what: impl Into<String>, measured: String) -> Self {
        Self {
            what: what.into(),
            measured,
            target: String::new(),
            verdict: "",
        }
    }

    /// A count with a limit.
    pub fn at_most(what: impl Into<String>, count: usize, limit: usize) -> Self {
        let target = match limit {
            0 => "0".to_owned(),
            limit => format!("≤ {limit}"),
        };
        Self::count(what, count).judged(target, count <= limit)
    }

    /// A time with a limit; `None` for one that did not end.
    pub fn within(what: impl Into<String>, time: Option<Duration>, limit: Duration) -> Self {
        let measured = time.map_or_else(|| "never".to_owned(), in_words);
        let is_met = time.is_some_and(|time| time <= limit);
        Self::told(what, measured).judged(format!("≤ {}", in_words(limit)), is_met)
    }

    /// A share of 1 that must not be less.
    pub fn share(what: impl Into<String>, share: f64, least: f64) -> Self {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        Self::told(what, percent(share)).judged(format!("≥ {}", percent(least)), share >= least)
    }

    fn judged(self, target: String, is_met: bool) -> Self {
        let verdict = if is_met { "met" } else { "**not met**" };
        Self {
            target,
            verdict,
            ..self
        }
    }
}

/// The tables of all scenarios.
pub fn tables(groups: &[Group]) -> String {
    let mut text = String::new();
    for group in groups {
        let mut table = Table::new(&["", "measured", "target", ""]);
        for figure in &group.figures {
            table.add(vec![
                figure.what.clone(),
                figure.measured.clone(),
                figure.target.clone(),
                figure.verdict.to_owned(),
            ]);
        }
        text += &format!(
            "### {}\n\n{}\n\n{table}\n",
            group.title,
            wrapped(&group.remark)
        );
    }
    text
}

/// Breaks a text into lines of the page.
pub fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 {
            let fits = width + 1 + length <= LINE;
            lines.push(if fits { ' ' } else { '\n' });
            width = if fits { width + 1 } else { 0 };
        }
        lines += word;
        width += length;
    }
    lines
}

/// Milliseconds, or seconds.
pub fn in_words(time: Duration) -> String {
    match time < Duration::from_secs(1) {
        true => format!("{:.0} ms", time.as_secs_f64() * 1e3),
        false => format!("{:.1} s", time.as_secs_f64()),
    }
}
