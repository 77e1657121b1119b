//! Small words that make a difference: single letters, the order of grammatical persons, `and` and `or`, and the text
//! behind a colon.
//!
//! Owns what these are and when two texts agree on them. All other small words say little (see `wording`). Does not
//! handle brackets (see `symbols`). Cannot fail.

use super::tables;
use super::words::{self, Letter, Word};

/// Letters that are words of their own in some language, in small letters or at the start of a sentence.
const LETTER_WORDS: [&str; 20] = [
    "a", "à", "e", "è", "é", "i", "o", "ò", "u", "w", "y", "z", "а", "в", "и", "к", "о", "с", "у",
    "я",
];
/// What one text has of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Small {
    /// In order.
    letters: Vec<String>,
    /// In order, each change once: whether it is the first person.
    persons: Vec<bool>,
    ands: usize,
    ors: usize,
    /// The words behind the first colon.
    given: Vec<String>,
}

impl Small {
    pub(super) fn of(text: &str, all: &[Word], language: Option<usize>) -> Self {
        let is_word = |word: &Word| {
            let languages = tables::languages_of(&word.text);
            LETTER_WORDS.contains(&word.text.as_str())
                && language.is_some_and(|language| languages.contains(&language))
        };
        let is_letter = |word: &&Word| match word.letter {
            None => false,
            // It is written large in the middle of a sentence.
            Some(Letter::Large) if word.text == "i" => !is_word(word),
            Some(Letter::Large) => true,
            Some(Letter::Small) => !is_word(word),
        };
        let letters = all.iter().filter(is_letter);
        let person = |word: &Word| match tables::small_of(&word.text) {
            Some("i") => Some(true),
            Some("you") => Some(false),
            _ => None,
        };
        let mut persons: Vec<bool> = all.iter().filter_map(person).collect();
        persons.dedup();
        let count = |name| {
            let words = all.iter().map(|word| tables::small_of(&word.text));
            words.filter(|small| *small == Some(name)).count()
        };
        Self {
            letters: letters.map(|word| word.text.clone()).collect(),
            persons,
            ands: count("and"),
            ors: count("or"),
            given: given(text),
        }
    }

    pub(super) fn agrees(&self, other: &Self) -> bool {
        // Where a text has one person alone, `I` and `you` both mean the user.
        let has_both = |small: &Self| small.persons.len() > 1;
        let is_turned = has_both(self) && has_both(other) && self.persons != other.persons;
        // A question may have its subject before a colon, or be asked without one.
        let are_given = !self.given.is_empty() && !other.given.is_empty();
        self.letters == other.letters
            && (!are_given || self.given == other.given)
            && !is_turned
            && !self.joins_otherwise(other)
            && !other.joins_otherwise(self)
    }

    /// Whether it has `or` where the other has `and`.
    fn joins_otherwise(&self, other: &Self) -> bool {
        self.ors > other.ors && self.ands < other.ands
    }
}

/// What a text is given to work on: `translate: I am here`. All of it counts.
fn given(text: &str) -> Vec<String> {
    let behind = text.split_once(": ").map(|(_, behind)| behind);
    let words = words::split(behind.unwrap_or_default());
    words.into_iter().map(|word| word.text).collect()
}
