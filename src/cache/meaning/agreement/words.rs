//! A text as words.
//!
//! Owns where words begin and end: in scripts with spaces, in those without, in numbers, addresses and
//! identifiers. Full-width forms and other digits become ASCII, case is folded. Does not know what a word
//! means (see `tables`). Never fails.

/// What a word is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters.
    Word,
    /// Digits, with what stands between them.
    Number,
    /// Letters with digits or signs: `utf8`, `read_csv`, `example.com`, an address.
    Identifier,
    /// One character of Han.
    Han,
    /// Characters of a script that Japanese writes endings and particles in.
    Hiragana,
    /// A sign that stands for a word: `%`, `$`.
    Sign,
}

/// A word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) kind: Kind,
    /// Whether a capital letter begins it, or stands in it, other than at the start of a sentence.
    pub(super) is_name: bool,
    /// Whether nothing stands between it and the word before.
    pub(super) follows: bool,
    /// What it is where it is one letter that stands alone.
    pub(super) letter: Option<Letter>,
}

/// A letter that stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letter {
    /// Written large, and not for the start of a sentence.
    Large,
    /// Written small, or at the start of a sentence.
    Small,
}

/// Signs that are words.
const SIGNS: [char; 12] = ['%', '$', '€', '£', '¥', '₽', '₹', '‰', '°', '<', '>', '='];
/// What ends a sentence, or opens a part of one in which the first word is written large.
const SENTENCE_ENDS: [char; 13] = [
    '.', '!', '?', ':', ';', '。', '¿', '¡', '…', '\n', '"', '“', '•',
];
/// What may stand between digits of one number.
const IN_NUMBERS: [char; 5] = ['.', ',', ':', '/', '-'];
/// What may stand within an identifier.
const IN_IDENTIFIERS: [char; 2] = ['_', '.'];

/// Digits of scripts that are written today: where their zero stands.
const ZEROS: [u32; 7] = [0x30, 0x660, 0x6f0, 0x966, 0x9e6, 0xe50, 0xff10];

/// The words of a text.
pub(super) fn split(text: &str) -> Vec<Word> {
    let mut words = Words::default();
    for chunk in text.split_inclusive(char::is_whitespace) {
        let bare = chunk.trim_matches(|c: char| !c.is_alphanumeric() && c != '/');
        if is_address(bare) {
            words.push(
                bare.trim_end_matches('/').to_owned(),
                Kind::Identifier,
                true,
            );
        } else {
            let chars: Vec<char> = chunk.chars().map(fold).collect();
            words.read(&chars);
        }
        words.is_apart = true;
        if chunk.ends_with('\n') || chunk.trim_end().ends_with(SENTENCE_ENDS) {
            words.begins = true;
        }
    }
    words.list
}

/// A character in its usual form: full-width ones, other digits, other apostrophes.
pub(super) fn fold(c: char) -> char {
    if c.is_ascii() {
        return c;
    }
    let code = u32::from(c);
    let digit = ZEROS.iter().find_map(|zero| {
        let value = code.checked_sub(*zero).filter(|value| *value < 10)?;
        char::from_digit(value, 10)
    });
    let folded = match c {
        '’' | '‘' | 'ʼ' | '＇' => Some('\''),
        '−' | '–' | '‐' | '‑' => Some('-'),
        '\u{3000}' => Some(' '),
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(code - 0xfee0),
        _ => None,
    };
    digit.or(folded).unwrap_or(c)
}

pub(super) fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{323af}' | '〇' | '々')
}

fn is_hiragana(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{309f}')
}

/// An address of the web or of mail.
fn is_address(chunk: &str) -> bool {
    let is_mail = chunk
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    is_mail || chunk.contains("://") || chunk.starts_with("www.")
}

#[derive(Default)]
struct Words {
    list: Vec<Word>,
    /// Something stands behind the last word.
    is_apart: bool,
    /// The next word begins a sentence. So does the first of all, see `push_letters`.
    begins: bool,
}

impl Words {
    fn read(&mut self, chars: &[char]) {
        let mut at = 0;
        while let Some(c) = chars.get(at).copied() {
            let rest = chars.get(at..).unwrap_or_default();
            let length = match c {
                _ if c.is_ascii_digit() => self.number(rest),
                _ if is_han(c) => self.one(c, Kind::Han),
                _ if SIGNS.contains(&c) => self.one(c, Kind::Sign),
                _ if is_hiragana(c) => self.run(rest, Kind::Hiragana, is_hiragana),
                _ if c.is_alphabetic() => self.letters(rest),
                '-' if self.is_apart || self.list.is_empty() => self.minus(rest),
                _ => {
                    self.is_apart = true;
                    self.begins |= SENTENCE_ENDS.contains(&c);
                    1
                }
            };
            at += length.max(1);
        }
    }

    fn one(&mut self, c: char, kind: Kind) -> usize {
        self.push(c.to_string(), kind, false);
        1
    }

    fn run(&mut self, chars: &[char], kind: Kind, is_in: fn(char) -> bool) -> usize {
        let text: String = chars.iter().copied().take_while(|c| is_in(*c)).collect();
        let length = text.chars().count();
        self.push(text, kind, false);
        length
    }

    /// A sign before a number belongs to it.
    fn minus(&mut self, chars: &[char]) -> usize {
        let digits = chars.get(1..).unwrap_or_default();
        if !digits.first().is_some_and(char::is_ascii_digit) {
            return 1;
        }
        let length = self.number(digits);
        if let Some(number) = self.list.last_mut() {
            number.text.insert(0, '-');
        }
        1 + length
    }

    fn number(&mut self, chars: &[char]) -> usize {
        let mut text = String::new();
        for (at, c) in chars.iter().enumerate() {
            let next = chars.get(at + 1);
            let goes_on = IN_NUMBERS.contains(c) && next.is_some_and(char::is_ascii_digit);
            if !c.is_ascii_digit() && !goes_on {
                break;
            }
            text.push(*c);
        }
        let length = text.len();
        self.push(text, Kind::Number, false);
        length
    }

    fn letters(&mut self, chars: &[char]) -> usize {
        let mut text = String::new();
        let mut is_identifier = false;
        for (at, c) in chars.iter().enumerate() {
            let next = chars.get(at + 1).is_some_and(|next| next.is_alphanumeric());
            let joins = IN_IDENTIFIERS.contains(c) && next;
            let is_letter = c.is_alphanumeric() && !is_han(*c) && !is_hiragana(*c);
            // A mark belongs to the letter before it.
            let is_mark = matches!(c, '\u{300}'..='\u{36f}' | 'ー');
            let is_apostrophe = *c == '\'' && next;
            if !is_letter && !joins && !is_mark && !is_apostrophe {
                break;
            }
            is_identifier |= joins || c.is_ascii_digit();
            text.push(*c);
        }
        let length = text.chars().count();
        match is_identifier {
            true => self.push(text.to_lowercase(), Kind::Identifier, true),
            false => self.push_letters(&text),
        }
        length
    }

    /// Letters, which an apostrophe may join: `don't`, `l'hôtel`.
    fn push_letters(&mut self, text: &str) {
        let begins = self.begins || self.list.is_empty();
        let mut capitals = text.chars().map(char::is_uppercase);
        let is_large = capitals.next().unwrap_or(false);
        // `iPhone`, `NASA`, but not `I`.
        let is_name = capitals.any(|is_capital| is_capital) || is_large && !begins && text != "I";
        let lower = text.to_lowercase();
        if let Some(verb) = lower.strip_suffix("n't") {
            let verb = match verb {
                "ca" => "can",
                "wo" => "will",
                "sha" => "shall",
                other => other,
            };
            self.push(verb.to_owned(), Kind::Word, false);
            self.push("not".to_owned(), Kind::Word, false);
            return;
        }
        let is_alone = text.chars().nth(1).is_none();
        let mut parts = lower.split('\'').peekable();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            // Before an apostrophe it is French for `not`.
            let part = if part == "n" && !is_last { "ne" } else { part };
            self.push(
                part.to_owned(),
                Kind::Word,
                is_name && part.chars().count() > 1,
            );
        }
        let letter = match is_large && !begins {
            true => Letter::Large,
            false => Letter::Small,
        };
        if let Some(word) = self.list.last_mut().filter(|_| is_alone) {
            word.letter = Some(letter);
        }
    }

    fn push(&mut self, text: String, kind: Kind, is_name: bool) {
        let follows = !std::mem::take(&mut self.is_apart) && !self.list.is_empty();
        self.begins = false;
        self.list.push(Word {
            text,
            kind,
            is_name,
            follows,
            letter: None,
        });
    }
}
