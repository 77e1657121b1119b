//! What words mean to the comparison, as data.
//!
//! Owns the tables and looking words up in them. A row has what its words stand for, and the words, with
//! spaces between them. Does not handle how they are compared (see `agreement`). Never fails. A word that is in
//! no table is compared as it is, so a language without rows has fewer hits, not wrong ones.

mod contrasts;
mod figures;
mod wordings;

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use contrasts::{DIRECTIONS, NEGATIONS, SMALL};
use figures::{FIGURES, MONTHS, UNITS};
use wordings::{FUNCTION_WORDS, HOW_WORDS, PHRASES, SYNONYMS};

pub(super) use contrasts::{NEGATING_PARTS, OPPOSITE_PARTS, OPPOSITES};
pub(super) use wordings::{FUNCTION_PARTS, HOW_PARTS, SAME_PARTS};

type Rows = &'static [(&'static str, &'static str)];

/// Words by what they stand for.
type Index = LazyLock<HashMap<&'static str, &'static str>>;

fn index(rows: Rows) -> HashMap<&'static str, &'static str> {
    let words = |(name, words): &(&'static str, &'static str)| {
        let name = *name;
        words.split(' ').map(move |word| (word, name))
    };
    rows.iter().flat_map(words).collect()
}

static FIGURE_INDEX: Index = LazyLock::new(|| index(FIGURES));
static MONTH_INDEX: Index = LazyLock::new(|| index(MONTHS));
static NEGATION_INDEX: Index = LazyLock::new(|| index(NEGATIONS));
static DIRECTION_INDEX: Index = LazyLock::new(|| index(DIRECTIONS));
static SMALL_INDEX: Index = LazyLock::new(|| index(SMALL));
static SYNONYM_INDEX: Index = LazyLock::new(|| index(SYNONYMS));

static UNIT_INDEX: Index = LazyLock::new(|| {
    let names = UNITS
        .iter()
        .filter_map(|row| row.first().map(|name| (*name, *row)));
    let words = names.flat_map(|(name, row)| row.iter().map(move |word| (*word, name)));
    words.collect()
});
static HOW_INDEX: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| HOW_WORDS.split_whitespace().collect());

type Phrases = Vec<(Vec<&'static str>, &'static str)>;

static PHRASE_INDEX: LazyLock<HashMap<&'static str, Phrases>> = LazyLock::new(|| {
    let mut phrases: HashMap<&str, Phrases> = HashMap::new();
    for (phrase, name) in PHRASES {
        let words: Vec<&str> = phrase.split(' ').collect();
        if let Some(first) = words.first() {
            phrases.entry(first).or_default().push((words, name));
        }
    }
    phrases
});

/// Words by all languages in which they say little.
static FUNCTION_INDEX: LazyLock<HashMap<&'static str, Vec<usize>>> = LazyLock::new(|| {
    let mut languages: HashMap<&str, Vec<usize>> = HashMap::new();
    for (language, (_, words)) in FUNCTION_WORDS.iter().enumerate() {
        for word in words.split_whitespace() {
            languages.entry(word).or_default().push(language);
        }
    }
    languages
});

/// Rows of [`OPPOSITES`] by their words, and whether a word is on the first side.
static OPPOSITE_INDEX: LazyLock<HashMap<&'static str, Vec<(usize, bool)>>> = LazyLock::new(|| {
    let mut rows: HashMap<&str, Vec<(usize, bool)>> = HashMap::new();
    for (row, (one, other)) in OPPOSITES.iter().enumerate() {
        for (words, is_one) in [(one, true), (other, false)] {
            for word in words.split(' ') {
                rows.entry(word).or_default().push((row, is_one));
            }
        }
    }
    rows
});

/// The rows of [`OPPOSITES`] that have a word, and whether on the first side.
pub(super) fn opposites_of(word: &str) -> &'static [(usize, bool)] {
    OPPOSITE_INDEX.get(word).map_or(&[], Vec::as_slice)
}

/// How many languages the table of function words has.
pub(super) const LANGUAGES: usize = FUNCTION_WORDS.len();

/// The number that a word is.
pub(super) fn figure_of(word: &str) -> Option<&'static str> {
    FIGURE_INDEX.get(word).copied()
}

/// What a small word stands for that makes a difference: `i`, `you`, `and` or `or`.
pub(super) fn small_of(word: &str) -> Option<&'static str> {
    SMALL_INDEX.get(word).copied()
}

/// The one name of a unit.
pub(super) fn unit_of(word: &str) -> Option<&'static str> {
    UNIT_INDEX.get(word).copied()
}

/// Whether a part of Han or Kana turns a statement around.
pub(super) fn is_negating(part: &str) -> bool {
    let mut rows = NEGATING_PARTS.iter();
    rows.any(|(_, parts)| parts.split(' ').any(|known| known == part))
}

/// The month that a word may be.
pub(super) fn month_of(word: &str) -> Option<&'static str> {
    MONTH_INDEX.get(word).copied()
}

/// How a word turns a statement around.
pub(super) fn negation_of(word: &str) -> Option<&'static str> {
    NEGATION_INDEX.get(word).copied()
}

/// What a word says of what follows.
pub(super) fn direction_of(word: &str) -> Option<&'static str> {
    DIRECTION_INDEX.get(word).copied()
}

/// The word that stands for a word and its synonyms.
pub(super) fn synonym_of(word: &str) -> Option<&'static str> {
    SYNONYM_INDEX.get(word).copied()
}

/// Whether a word asks for a way to do something.
pub(super) fn asks_how(word: &str) -> bool {
    HOW_INDEX.contains(word)
}

/// The phrases that begin with a word: their words, and what they are called.
pub(super) fn phrases_from(word: &str) -> &'static [(Vec<&'static str>, &'static str)] {
    PHRASE_INDEX.get(word).map_or(&[], Vec::as_slice)
}

/// The languages in which a word says little, as positions below [`LANGUAGES`].
pub(super) fn languages_of(word: &str) -> &'static [usize] {
    FUNCTION_INDEX.get(word).map_or(&[], Vec::as_slice)
}

/// The value of a Chinese numeral.
pub(super) fn han_value(c: char) -> Option<u64> {
    const DIGITS: [char; 10] = ['零', '一', '二', '三', '四', '五', '六', '七', '八', '九'];
    match c {
        '〇' => Some(0),
        '两' | '兩' => Some(2),
        '十' => Some(10),
        '百' => Some(100),
        '千' => Some(1000),
        '万' | '萬' => Some(10_000),
        '亿' | '億' => Some(100_000_000),
        _ => DIGITS
            .iter()
            .position(|digit| *digit == c)
            .map(|at| at as u64),
    }
}
