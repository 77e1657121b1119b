//! Small things that make a difference: letters that stand alone, who does a thing to whom, `and` and `or`, and what a
//! text is given to work on.
//!
//! Owns what these are and when two texts agree on them. All other small words say little (see `wording`). Does not
//! handle brackets (see `symbols`). Cannot fail.

use super::tables;
use super::words::{self, Letter, Word};

/// Letters that are words of their own in some language, in small letters or at the start of a sentence.
const LETTER_WORDS: &str = "a à e è é i o ò u w y z а в и к о с у я";
/// What speaks of who speaks, and of who is spoken to.
const FIRST_PERSON: &str = "i me my mine myself we us our ours ich mich mir mein meine meinen meinem meiner wir uns \
    je moi mon ma mes nous notre yo mí mi mis nosotros eu meu minha я мне меня мой мы нам нас 我 我们";
const SECOND_PERSON: &str = "you your yours yourself du dich dir dein deine deinen deinem ihr euch tu toi ton ta tes \
    vous votre tú ti tus usted você seu sua ты тебе тебя твой вы вам вас 你 您 你们";
const AND: &str = "and und et y и 和 与";
const OR: &str = "or oder ou o или 或";

/// What one text has of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Small {
    /// In order.
    letters: Vec<String>,
    /// In order, each change once: whether it is the one who speaks.
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
            has(LETTER_WORDS, &word.text)
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
        let person = |word: &Word| match word.text.as_str() {
            text if has(FIRST_PERSON, text) => Some(true),
            text if has(SECOND_PERSON, text) => Some(false),
            _ => None,
        };
        let mut persons: Vec<bool> = all.iter().filter_map(person).collect();
        persons.dedup();
        let count = |list| all.iter().filter(|word| has(list, &word.text)).count();
        Self {
            letters: letters.map(|word| word.text.clone()).collect(),
            persons,
            ands: count(AND),
            ors: count(OR),
            given: given(text),
        }
    }

    pub(super) fn agrees(&self, other: &Self) -> bool {
        // Where a text has one of the two alone, it is the one who asks, by any name.
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

fn has(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}

/// What a text is given to work on: `translate: I am here`. All of it counts.
fn given(text: &str) -> Vec<String> {
    let behind = text.split_once(": ").map(|(_, behind)| behind);
    let words = words::split(behind.unwrap_or_default());
    words.into_iter().map(|word| word.text).collect()
}
