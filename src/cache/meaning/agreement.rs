//! Whether two questions agree on what a vector does not tell.
//!
//! Owns the comparison of their numbers, quotes, symbols, negations, names, directions and wording, and of the language
//! that they are in. Small models put "in 2014" beside "in 2018", and "enable" beside "disable", nearer than two
//! ways to ask one thing. Does not compare what they mean otherwise (see `vectors`). Never fails; in doubt two
//! texts disagree, because a miss costs a request and a wrong hit costs trust.
//!
//! ```text
//! words     where words begin and end
//! numbers   digits, number words, Chinese numerals, and units beside them
//! quotes    what stands in quotes
//! symbols   operators, options, pictures
//! small     letters, persons, `and` and `or`
//! wording   the words that say something, and how those of two texts differ
//! tables    what words mean, as data
//! ```

mod numbers;
mod quotes;
mod small;
mod symbols;
mod tables;
#[cfg(test)]
mod tests;
mod wording;
mod words;

use std::collections::HashSet;

use small::Small;
use tables::{LANGUAGES, NEGATING_PARTS, OPPOSITE_PARTS};
use wording::Wording;
use words::{Kind, Word};

/// On what two texts disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disagreement {
    /// They are in two languages or scripts: an answer is in the language of its question.
    Language,
    /// Their numbers, dates or units are not the same, in the same order.
    Numbers,
    /// What stands in quotes is not the same.
    Quotes,
    /// Their operators, options or pictures are not the same, in the same places.
    Symbols,
    /// Their single letters, the order of their persons, `and` and `or`, or the text behind a colon are not the same.
    Small,
    /// One of them says no more often.
    Negation,
    /// Their names, identifiers or addresses are not the same, in the same order.
    Names,
    /// One has a word of a direction, and the other its opposite.
    Opposite,
    /// They go from one thing to another in different ways.
    Direction,
    /// They differ in few words, which is how two questions about the same thing look.
    Wording,
}

/// A text as far as it is compared. Made once for a question that is compared with many.
#[derive(Clone, Debug)]
pub struct Reading {
    scripts: u32,
    language: Option<Language>,
    figures: Vec<String>,
    quotes: Vec<String>,
    symbols: Vec<(usize, String)>,
    small: Small,
    negations: Vec<&'static str>,
    names: Vec<String>,
    /// Words in capitals, each once, in order; `None` where all of the text is in capitals.
    acronyms: Option<Vec<String>>,
    /// All words as they stand in the text.
    words: Vec<String>,
    /// Each word once, in order.
    vocabulary: Vec<String>,
    asks_how: bool,
    /// Rows of opposites, and which side of them it has.
    sides: Vec<(usize, Side)>,
    wording: Wording,
}

/// The language whose small words a text has most of.
#[derive(Clone, Copy, Debug)]
struct Language {
    /// Its place in the table of small words.
    row: usize,
    /// No other is as likely, and there are several such words.
    is_certain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    One,
    Other,
}

impl Side {
    fn opposite(self) -> Self {
        match self {
            Self::One => Self::Other,
            Self::Other => Self::One,
        }
    }
}

/// Whether two texts agree. Either may stand for the other.
pub fn agree(a: &str, b: &str) -> bool {
    Reading::of(a).compare(&Reading::of(b)).is_ok()
}

impl Reading {
    /// Reads a text. Takes time in proportion to its length, which the caller bounds.
    pub fn of(text: &str) -> Self {
        let plain: String = text.chars().map(words::fold).collect();
        let plain = plain.to_lowercase();
        let scripts = scripts(&plain);
        let (all, language) = name_words(text);
        let row = language.map(|language| language.row);
        let shortened = match scripts & SCRIPTS_WITHOUT_SPACES {
            0 => None,
            _ => Some(with_names(&wording::without_function_parts(&plain), &all)),
        };
        let words = shortened.as_deref().unwrap_or(&all);
        let said = wording::with_phrases(words);
        let parts = match scripts & SCRIPTS_OF_PARTS {
            0 => "",
            _ => plain.as_str(),
        };
        let in_order: Vec<String> = all.iter().map(|word| word.text.clone()).collect();
        let mut vocabulary = in_order.clone();
        vocabulary.sort_unstable();
        vocabulary.dedup();
        Self {
            scripts,
            language,
            figures: numbers::figures(words),
            quotes: sorted(quotes::quoted(text)),
            symbols: symbols::symbols(text),
            small: Small::of(text, &all, row),
            negations: negations(&all, parts),
            names: names(&all, row),
            acronyms: acronyms(text),
            asks_how: asks_how(&said, parts),
            sides: sides(&said, &all, parts),
            wording: Wording::of(&said, row),
            words: in_order,
            vocabulary,
        }
    }

    /// Compares two texts; the order of the two makes no difference.
    ///
    /// # Errors
    /// The first thing on which they disagree.
    pub fn compare(&self, other: &Self) -> Result<(), Disagreement> {
        if self.scripts != other.scripts || self.is_certainly_in_another_language(other) {
            return Err(Disagreement::Language);
        }
        if self.figures != other.figures {
            return Err(Disagreement::Numbers);
        }
        if self.quotes != other.quotes {
            return Err(Disagreement::Quotes);
        }
        if self.symbols != other.symbols {
            return Err(Disagreement::Symbols);
        }
        if !self.small.agrees(&other.small) {
            return Err(Disagreement::Small);
        }
        if self.negations != other.negations {
            return Err(Disagreement::Negation);
        }
        if !self.has_names_of(other) {
            return Err(Disagreement::Names);
        }
        if self.opposes(other) || other.opposes(self) {
            return Err(Disagreement::Opposite);
        }
        let is_turned = self.wording.is_turned_around(&other.wording);
        if is_turned || self.is_rearranged(other) || !self.wording.leads_as(&other.wording) {
            return Err(Disagreement::Direction);
        }
        let is_near = match self.wording.is_empty() && other.wording.is_empty() {
            // Nothing but small words: they say it all.
            true => self.vocabulary == other.vocabulary,
            false => self.asks_how == other.asks_how && self.wording.is_near(&other.wording),
        };
        match is_near {
            true => Ok(()),
            false => Err(Disagreement::Wording),
        }
    }

    fn is_certainly_in_another_language(&self, other: &Self) -> bool {
        let both = self.language.zip(other.language);
        both.is_some_and(|(a, b)| a.is_certain && b.is_certain && a.row != b.row)
    }

    /// Whether the names of both stand in both. At the start of a sentence, and in a text without capitals, a
    /// name is not known to be one, so that it is looked for among all words.
    fn has_names_of(&self, other: &Self) -> bool {
        let has = |words: &[String], name: &String| words.binary_search(name).is_ok();
        let acronyms = self.acronyms.as_ref().zip(other.acronyms.as_ref());
        acronyms.is_none_or(|(one, other)| one == other)
            && self.names.iter().all(|name| has(&other.vocabulary, name))
            && other.names.iter().all(|name| has(&self.vocabulary, name))
            && in_one_order(&self.names, &other.names)
    }

    /// Whether all words are the same and stand in another order: small words give the others their parts, and who
    /// says a thing in another way hardly uses the same ones.
    fn is_rearranged(&self, other: &Self) -> bool {
        self.words.len() == other.words.len()
            && self.vocabulary == other.vocabulary
            && !wording::is_rotated(&self.words, &other.words)
    }

    /// Whether this has one side of a pair of opposites alone, and the other text the other side alone.
    fn opposes(&self, other: &Self) -> bool {
        let has_alone = |text: &Self, row: usize, side: Side| {
            text.sides.contains(&(row, side)) && !text.sides.contains(&(row, side.opposite()))
        };
        let mut sides = self.sides.iter();
        sides.any(|(row, side)| {
            has_alone(self, *row, *side) && has_alone(other, *row, side.opposite())
        })
    }
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list
}

/// Whether the names that both lists have come in one order.
fn in_one_order(one: &[String], other: &[String]) -> bool {
    let shared = |of: &'_ [String], with: &[String]| -> Vec<String> {
        let with: HashSet<&String> = with.iter().collect();
        of.iter()
            .filter(|name| with.contains(name))
            .cloned()
            .collect()
    };
    let (one, other) = (shared(one, other), shared(other, one));
    one.len() != other.len() || one == other
}

/// All words of a text, and its language. A text without small letters has no names.
fn name_words(text: &str) -> (Vec<Word>, Option<Language>) {
    let mut all = words::split(text);
    if !text.chars().any(char::is_lowercase) {
        let words = all.iter_mut().filter(|word| word.kind == Kind::Word);
        words.for_each(|word| word.is_name = false);
    }
    let language = language(&all);
    (all, language)
}

/// The language in which most of the words say little; the first in the table where several are as likely.
fn language(words: &[Word]) -> Option<Language> {
    let mut counts = [0_usize; LANGUAGES];
    for word in words {
        for language in tables::languages_of(&word.text) {
            if let Some(count) = counts.get_mut(*language) {
                *count += 1;
            }
        }
    }
    let most = counts.iter().copied().max().filter(|most| *most > 0)?;
    let mut likely = (0..LANGUAGES).filter(|at| counts.get(*at) == Some(&most));
    let row = likely.next()?;
    let is_certain = most > 1 && likely.next().is_none();
    Some(Language { row, is_certain })
}

/// Han and Kana.
const SCRIPTS_WITHOUT_SPACES: u32 = 0b11;
/// Those and Hangul: what turns a statement around is a part of a word.
const SCRIPTS_OF_PARTS: u32 = 0b111;

/// The writing systems of a text, as bits. Latin letters stand in texts of all of them.
fn scripts(text: &str) -> u32 {
    text.chars().fold(0, |scripts, c| {
        let script = match c {
            c if words::is_han(c) => 1,
            '\u{3041}'..='\u{30ff}' => 1 << 1,
            '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7af}' => 1 << 2,
            '\u{400}'..='\u{52f}' => 1 << 3,
            '\u{370}'..='\u{3ff}' => 1 << 4,
            '\u{590}'..='\u{5ff}' => 1 << 5,
            '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' => 1 << 6,
            '\u{900}'..='\u{97f}' => 1 << 7,
            '\u{e00}'..='\u{e7f}' => 1 << 8,
            _ => 0,
        };
        scripts | script
    })
}

/// The words of a text, with the names among them marked as in all words.
fn with_names(text: &str, all: &[Word]) -> Vec<Word> {
    let mut words = words::split(text);
    for word in &mut words {
        word.is_name = all
            .iter()
            .any(|other| other.is_name && other.text == word.text);
    }
    words
}

/// The words of several letters that are in capitals: `US` is another word than `us`.
fn acronyms(text: &str) -> Option<Vec<String>> {
    if text.contains(char::is_uppercase) && !text.contains(char::is_lowercase) {
        return None;
    }
    let is_acronym =
        |word: &&str| word.chars().nth(1).is_some() && word.chars().all(char::is_uppercase);
    let words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(is_acronym);
    let mut acronyms = sorted(words.map(str::to_lowercase).collect::<Vec<_>>());
    acronyms.dedup();
    Some(acronyms)
}

/// The names among words. German writes nouns large, those that say little as well.
fn names(words: &[Word], language: Option<usize>) -> Vec<String> {
    let says_little = |word: &Word| {
        let languages = tables::languages_of(&word.text);
        language.is_some_and(|language| languages.contains(&language))
    };
    let names = words
        .iter()
        .filter(|word| word.is_name && !says_little(word));
    names.map(|word| word.text.clone()).collect()
}

/// Whether a text asks for a way to do something.
fn asks_how(said: &[Word], plain: &str) -> bool {
    let mut parts = tables::HOW_PARTS.split(' ');
    said.iter().any(|word| tables::asks_how(&word.text)) || parts.any(|part| plain.contains(part))
}

/// How often a text says no, in each way.
fn negations(words: &[Word], plain: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    // In French, one negation has two words.
    let mut is_begun = false;
    for word in words {
        match word.text.as_str() {
            "ne" => {
                is_begun = true;
                found.push("not");
            }
            "pas" | "jamais" | "rien" | "aucun" | "aucune" | "plus" if is_begun => is_begun = false,
            text => found.extend(tables::negation_of(text)),
        }
    }
    for (name, parts) in NEGATING_PARTS {
        for part in parts.split(' ') {
            let places = plain.match_indices(part);
            let negating = places.filter(|(at, part)| !asks_either_way(plain, *at, part.len()));
            found.extend(negating.map(|_| *name));
        }
    }
    sorted(found)
}

/// Whether a negation stands between two of the same character: 能不能 asks without saying no.
fn asks_either_way(text: &str, at: usize, length: usize) -> bool {
    let before = text.get(..at).and_then(|before| before.chars().next_back());
    let after = text
        .get(at + length..)
        .and_then(|after| after.chars().next());
    before.is_some_and(words::is_han) && before == after
}

/// The sides of opposites that a text has: by its words, with phrases taken together or as they are.
fn sides(said: &[Word], all: &[Word], plain: &str) -> Vec<(usize, Side)> {
    let words = said.iter().chain(all);
    let mut sides: Vec<(usize, Side)> = words
        .flat_map(|word| tables::opposites_of(&word.text))
        .map(|(row, is_one)| (*row, if *is_one { Side::One } else { Side::Other }))
        .collect();
    for (row, (one, other)) in OPPOSITE_PARTS.iter().enumerate() {
        // Behind the rows of words.
        let row = row + tables::OPPOSITES.len();
        for (side, parts) in [(Side::One, one), (Side::Other, other)] {
            if parts.split(' ').any(|part| plain.contains(part)) {
                sides.push((row, side));
            }
        }
    }
    sides.sort_unstable();
    sides.dedup();
    sides
}
