//! The threshold of an embedding model, from labelled pairs.
//!
//! Owns reading pairs, and which threshold is proposed: the lowest with the wanted precision, and so the one
//! with the highest recall. Does not ask for the vectors, nor compare the texts (see `agreement`); the caller
//! gives the similarity of each pair and whether its texts agree. Fails with a [`PairsError`] that names the
//! line, or with a [`CalibrationError`].
//!
//! A threshold belongs to one model: another one puts the same two texts nearer or farther apart.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, BufRead, Read};

use serde::Deserialize;

use crate::openai::question::MAX_TEXT_BYTES;

/// The most pairs of a file.
pub const MAX_PAIRS: usize = 100_000;
/// The most bytes of a line.
pub const MAX_LINE_BYTES: usize = 64 << 10;
/// The precision that is wanted where nothing else is said: of 100 hits, 98 are right.
pub const WANTED_PRECISION: f64 = 0.98;

/// Two texts, and whether one answer serves both.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// One text.
    pub a: String,
    /// The other.
    pub b: String,
    /// Whether an answer to one is one to the other.
    pub same: bool,
}

/// Why pairs cannot be read. Lines count from 1.
#[derive(Debug)]
pub enum PairsError {
    /// The file cannot be read on, at this line.
    Io(usize, io::Error),
    /// A line is not `{"a": "…", "b": "…", "same": true}`, and what the parser says.
    Line(usize, String),
    /// A line is longer than [`MAX_LINE_BYTES`].
    TooLong(usize),
    /// One text of a line is blank.
    Blank(usize),
    /// One text of a line is longer than a text that is compared.
    Uncompared(usize),
    /// There are more than [`MAX_PAIRS`].
    TooMany,
}

/// A pair as a model and the comparison of its texts see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The cosine of the angle between the two vectors.
    pub similarity: f32,
    /// Whether the texts agree on what a vector does not tell. A pair that does not is never a hit.
    pub agrees: bool,
    /// Whether one answer serves both.
    pub same: bool,
}

/// How many pairs a threshold makes what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hits that are right.
    pub right: usize,
    /// Hits that are wrong.
    pub wrong: usize,
    /// Pairs that one answer serves, and that are no hits.
    pub missed: usize,
    /// Pairs that no answer serves, and that are no hits.
    pub refused: usize,
}

/// A threshold, and what it does with the pairs that it was found with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Pairs with at least this similarity are hits, if their texts agree.
    pub threshold: f32,
    /// What becomes of the pairs.
    pub counts: Counts,
}

/// Why no threshold is proposed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CalibrationError {
    /// The wanted precision is not above 0 and at most 1.
    Precision,
    /// A similarity is not a number.
    NotFinite,
    /// No pair is labelled as the same: nothing says what a hit looks like.
    NoSame,
    /// No pair is labelled as different: any threshold would look right.
    NoDifferent,
    /// No threshold has the wanted precision; the best there is, where there is one with a hit at all.
    Unreachable(Option<Calibration>),
}

/// Reads pairs, a JSON object in each line. Blank lines are skipped.
///
/// # Errors
/// See [`PairsError`].
pub fn read_pairs(mut from: impl BufRead) -> Result<Vec<Pair>, PairsError> {
    let mut pairs = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut bounded = from.by_ref().take(MAX_LINE_BYTES as u64 + 1);
        let read = bounded.read_until(b'\n', &mut line);
        if read.map_err(|error| PairsError::Io(number, error))? == 0 {
            break;
        }
        let text = line.trim_ascii();
        if line.len() > MAX_LINE_BYTES {
            return Err(PairsError::TooLong(number));
        }
        if text.is_empty() {
            continue;
        }
        if pairs.len() == MAX_PAIRS {
            return Err(PairsError::TooMany);
        }
        if !text.starts_with(b"{") {
            return Err(PairsError::Line(number, "it is no JSON object".to_owned()));
        }
        let pair: Pair =
            serde_json::from_slice(text).map_err(|error| PairsError::Line(number, said(&error)))?;
        if pair.a.len().max(pair.b.len()) > MAX_TEXT_BYTES {
            return Err(PairsError::Uncompared(number));
        }
        if pair.a.trim().is_empty() || pair.b.trim().is_empty() {
            return Err(PairsError::Blank(number));
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

/// What the parser says, without its own place: each line is a document to it.
fn said(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let end = said.rfind(" at line ").unwrap_or(said.len());
    said.get(..end).unwrap_or_default().to_owned()
}

/// Proposes the lowest threshold with at least this precision. It lies in the middle between the pair that is
/// just a hit and the one that is just none, so that it does not depend on the last digit of a similarity.
///
/// # Errors
/// See [`CalibrationError`].
pub fn propose(pairs: &[Measured], precision: f64) -> Result<Calibration, CalibrationError> {
    if !(precision > 0.0 && precision <= 1.0) {
        return Err(CalibrationError::Precision);
    }
    if !pairs.iter().all(|pair| pair.similarity.is_finite()) {
        return Err(CalibrationError::NotFinite);
    }
    if !pairs.iter().any(|pair| pair.same) {
        return Err(CalibrationError::NoSame);
    }
    if pairs.iter().all(|pair| pair.same) {
        return Err(CalibrationError::NoDifferent);
    }
    // Only where a similarity of a pair that can be a hit is passed do the counts change.
    let hits = pairs.iter().filter(|pair| pair.agrees);
    let mut steps: Vec<f32> = hits.map(|pair| pair.similarity).collect();
    steps.sort_unstable_by(f32::total_cmp);
    steps.dedup();
    let below = |at: usize| at.checked_sub(1).and_then(|at| steps.get(at)).copied();
    let at_steps = steps.iter().enumerate().map(|(at, step)| {
        let threshold = below(at).map_or(*step, |below| between(below, *step));
        let counts = count(pairs, threshold);
        Calibration { threshold, counts }
    });
    let all: Vec<Calibration> = at_steps.collect();
    let precise = |found: &&Calibration| found.counts.precision() >= Some(precision);
    match all.iter().find(precise) {
        Some(found) => Ok(*found),
        None => Err(CalibrationError::Unreachable(best(&all))),
    }
}

/// What a threshold makes of pairs: of others than those that it was found with, too.
pub fn count(pairs: &[Measured], threshold: f32) -> Counts {
    let mut counts = Counts::default();
    for pair in pairs {
        let is_hit = pair.agrees && pair.similarity >= threshold;
        let count = match (is_hit, pair.same) {
            (true, true) => &mut counts.right,
            (true, false) => &mut counts.wrong,
            (false, true) => &mut counts.missed,
            (false, false) => &mut counts.refused,
        };
        *count += 1;
    }
    counts
}

/// A number above the lower and at most the upper one.
fn between(lower: f32, upper: f32) -> f32 {
    let middle = lower.midpoint(upper);
    if middle > lower { middle } else { upper }
}

/// The most precise one; of several, the lowest.
fn best(all: &[Calibration]) -> Option<Calibration> {
    let precision = |one: &Calibration| one.counts.precision().unwrap_or(0.0);
    let rank = |one: &&Calibration, other: &&Calibration| {
        let by_precision = precision(one).total_cmp(&precision(other));
        by_precision.then(other.threshold.total_cmp(&one.threshold))
    };
    all.iter().max_by(rank).copied()
}

impl Counts {
    /// The part of hits that are right; `None` without hits.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.right, self.wrong)
    }

    /// The part that is found of the pairs that one answer serves; `None` without such pairs.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.right, self.missed)
    }

    /// How many pairs there are.
    pub fn pairs(&self) -> usize {
        self.right + self.wrong + self.missed + self.refused
    }
}

fn ratio(part: usize, rest: usize) -> Option<f64> {
    let all = part + rest;
    (all > 0).then(|| part as f64 / all as f64)
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: Option<f64>| match part {
            Some(part) => format!("{part:.3}"),
            None => "none".to_owned(),
        };
        write!(
            f,
            "precision {} (right {}, wrong {}), recall {} (found {} of {}), {} pairs",
            percent(self.precision()),
            self.right,
            self.wrong,
            percent(self.recall()),
            self.right,
            self.right + self.missed,
            self.pairs(),
        )
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "threshold {:.4}: {}", self.threshold, self.counts)
    }
}

impl fmt::Display for PairsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(line, error) => write!(f, "line {line}: {error}"),
            Self::Line(line, message) => {
                write!(
                    f,
                    r#"line {line} is not {{"a": "…", "b": "…", "same": true}}: {message}"#
                )
            }
            Self::TooLong(line) => write!(f, "line {line} has more than {MAX_LINE_BYTES} bytes"),
            Self::Uncompared(line) => write!(
                f,
                "line {line}: one of the texts has more than {MAX_TEXT_BYTES} bytes, and is never compared"
            ),
            Self::Blank(line) => write!(f, "line {line}: one of the texts is blank"),
            Self::TooMany => write!(f, "there are more than {MAX_PAIRS} pairs"),
        }
    }
}

impl fmt::Display for CalibrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Precision => f.write_str("the wanted precision must be above 0 and at most 1"),
            Self::NotFinite => f.write_str("a similarity is not a number"),
            Self::NoSame => f.write_str("no pair has `same: true`: nothing says what a hit is"),
            Self::NoDifferent => {
                f.write_str("no pair has `same: false`: any threshold would look right")
            }
            Self::Unreachable(None) => f.write_str("the texts of no pair agree"),
            Self::Unreachable(Some(best)) => {
                write!(
                    f,
                    "no threshold has the wanted precision; the best is {best}"
                )
            }
        }
    }
}

impl std::error::Error for PairsError {}
impl std::error::Error for CalibrationError {}
