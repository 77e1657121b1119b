//! The words of a text that say something, and how those of two texts differ.
//!
//! Owns which words count: not those that a request can do without; endings and synonyms make no difference.
//! Owns the rule that two texts which share most of their words and differ in few ask two things: there one word
//! stands in the place of another, or narrows the question. Texts that are worded differently throughout are left
//! to the vector. Never fails.

use super::tables::{self, FUNCTION_PARTS, SAME_PARTS};
use super::words::{Kind, Word, is_han};

/// What a character of Han counts: words have two of them on average.
const HAN_WEIGHT: usize = 1;
/// What a word counts.
const WORD_WEIGHT: usize = 2;
/// Texts that share words must differ by this on both sides, or not at all.
const MIN_DIFFERENCE: usize = 2 * WORD_WEIGHT;

/// Endings that make no other word of a word, the longest first.
const ENDINGS: [&str; 26] = [
    "ing", "ами", "ого", "ed", "es", "en", "ar", "ir", "as", "os", "ей", "ой", "ую", "ов", "ам",
    "ый", "s", "e", "n", "o", "a", "а", "у", "е", "ы", "и",
];
/// What must be left of a word without its ending.
const MIN_STEM: usize = 4;

/// The words that say something.
#[derive(Clone, Debug)]
pub(super) struct Wording {
    /// Sorted, each with what it counts.
    content: Vec<(String, usize)>,
    /// The same in the order of the text, words that stand twice included.
    order: Vec<String>,
    /// Words behind which it matters what follows, with that. Sorted.
    directions: Vec<(&'static str, String)>,
}

impl Wording {
    pub(super) fn of(words: &[Word], language: Option<usize>) -> Self {
        let mut content = Vec::new();
        let mut directions = Vec::new();
        let mut open: Vec<&'static str> = Vec::new();
        let mut is_behind_number = false;
        for word in words {
            let is_unit = is_behind_number && tables::unit_of(&word.text).is_some();
            is_behind_number = word.kind == Kind::Number || tables::figure_of(&word.text).is_some();
            if is_unit {
                continue;
            }
            if let Some(direction) = tables::direction_of(&word.text) {
                open.push(direction);
                continue;
            }
            let Some(stem) = stem(word, language) else {
                continue;
            };
            directions.extend(open.drain(..).map(|direction| (direction, stem.clone())));
            match word.kind {
                Kind::Number => {}
                Kind::Han => content.push((stem, HAN_WEIGHT)),
                _ => content.push((stem, WORD_WEIGHT)),
            }
        }
        // What a question asks for may be what would stand there.
        directions.extend(open.into_iter().map(|direction| (direction, String::new())));
        let order = content.iter().map(|(stem, _)| stem.clone()).collect();
        content.sort_unstable();
        content.dedup();
        directions.sort_unstable();
        directions.dedup();
        Self {
            content,
            order,
            directions,
        }
    }

    /// Whether nothing says what is asked for: all words are such that a request can do without them.
    pub(super) fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    /// Whether the same words stand in another order, by which two things may have changed their places: a dog bites
    /// a man, a man bites a dog. What a text begins with may also stand at its end.
    pub(super) fn is_turned_around(&self, other: &Self) -> bool {
        let (one, two) = (&self.order, &other.order);
        if self.content != other.content || one.len() != two.len() {
            return false;
        }
        !is_rotated(one, two)
    }

    /// Whether the words of direction that both have lead to the same, and nothing that both lead to is reached in
    /// different directions.
    pub(super) fn leads_as(&self, other: &Self) -> bool {
        !self.leads_elsewhere(other) && !other.leads_elsewhere(self)
    }

    fn leads_elsewhere(&self, other: &Self) -> bool {
        let contradicts = |(name, word): &(&str, String)| {
            let (mut same_name, mut same_word, mut same) = (false, false, false);
            for (other_name, other_word) in &other.directions {
                let (is_name, is_word) = (name == other_name, word == other_word);
                same_name |= is_name;
                same_word |= is_word;
                same |= is_name && is_word;
            }
            !same && (same_name || same_word)
        };
        self.directions.iter().any(contradicts)
    }

    /// Whether two texts have the same words, or are worded differently throughout.
    pub(super) fn is_near(&self, other: &Self) -> bool {
        let (own, theirs) = (self.without(other), other.without(self));
        if own + theirs == 0 {
            return true;
        }
        let shares = own < weight(&self.content);
        shares && own.min(theirs) >= MIN_DIFFERENCE
    }

    /// What the words count that the other text does not have.
    fn without(&self, other: &Self) -> usize {
        let has = |word: &str| {
            let found = other
                .content
                .binary_search_by(|(other, _)| other.as_str().cmp(word));
            found.is_ok()
        };
        let own = self.content.iter().filter(|(word, _)| !has(word));
        own.map(|(_, weight)| weight).sum()
    }
}

/// Whether one list is the other, or would be with its beginning moved to its end.
pub(super) fn is_rotated(one: &[String], other: &[String]) -> bool {
    let rotated = |at: usize| other.iter().cycle().skip(at).take(other.len()).eq(one);
    one == other || (0..other.len()).any(rotated)
}

fn weight(content: &[(String, usize)]) -> usize {
    content.iter().map(|(_, weight)| weight).sum()
}

/// The word without what makes no difference; `None` where it says nothing that is compared here.
fn stem(word: &Word, language: Option<usize>) -> Option<String> {
    let text = word.text.as_str();
    match word.kind {
        Kind::Number | Kind::Identifier => return Some(text.to_owned()),
        Kind::Hiragana | Kind::Sign => return None,
        Kind::Han => {
            let c = text.chars().next()?;
            let is_elsewhere = tables::han_value(c).is_some() || tables::is_negating(text);
            return (!is_elsewhere).then(|| text.to_owned());
        }
        Kind::Word => {}
    }
    let languages = tables::languages_of(text);
    let is_function_word = language.is_some_and(|language| languages.contains(&language));
    let is_elsewhere = tables::figure_of(text).is_some() || tables::negation_of(text).is_some();
    if is_function_word || is_elsewhere || text.is_empty() {
        return None;
    }
    if let Some(name) = tables::synonym_of(text) {
        return Some(name.to_owned());
    }
    let stem = ENDINGS.iter().find_map(|ending| {
        let stem = text.strip_suffix(ending)?;
        (stem.chars().count() >= MIN_STEM).then_some(stem)
    });
    let stem = stem.unwrap_or(text);
    Some(tables::synonym_of(stem).unwrap_or(stem).to_owned())
}

/// A text without the parts of Han and Kana that say little. Only what has no spaces is changed.
pub(super) fn without_function_parts(plain: &str) -> String {
    let mut text = plain.to_owned();
    if !plain.chars().any(is_han) {
        return text;
    }
    for (one, others) in SAME_PARTS {
        for other in others.split(' ') {
            text = text.replace(other, one);
        }
    }
    for part in FUNCTION_PARTS.split_whitespace() {
        if text.contains(part) {
            text = text.replace(part, " ");
        }
    }
    text
}

/// Words in which phrases are one word.
pub(super) fn with_phrases(words: &[Word]) -> Vec<Word> {
    let mut joined: Vec<Word> = Vec::with_capacity(words.len());
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let rest = words.get(at..).unwrap_or_default();
        let mut phrases = tables::phrases_from(&word.text).iter();
        let found = phrases.find(|(phrase, _)| begins_with(rest, phrase));
        let mut word = word.clone();
        if let Some((phrase, name)) = found {
            at += phrase.len();
            (*name).clone_into(&mut word.text);
        } else {
            at += 1;
        }
        joined.push(word);
    }
    joined
}

fn begins_with(words: &[Word], phrase: &[&str]) -> bool {
    let words = words.iter().map(|word| word.text.as_str());
    words.take(phrase.len()).eq(phrase.iter().copied())
}
