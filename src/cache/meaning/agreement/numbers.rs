//! The numbers of a text, and what stands beside them.
//!
//! Owns digits, number words and Chinese numerals in one form. Where a spelling can mean two numbers (`1.000`)
//! it stays as it is, so that it agrees with itself alone. Does not calculate. Never fails.

use super::tables;
use super::words::{Kind, Word};

/// A number or a unit, in the one form in which all spellings of it agree.
pub(super) type Figure = String;

/// The numbers of a text in their order, each with its unit behind it.
pub(super) fn figures(words: &[Word]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let rest = words.get(at..).unwrap_or_default();
        let (figure, length) = match word.kind {
            Kind::Number => (Some(digits(&word.text)), 1),
            Kind::Han => han(rest),
            Kind::Word => (number_word(words, at), 1),
            Kind::Sign => (unit(&word.text), 1),
            _ => (None, 1),
        };
        let is_number = figure.is_some() && word.kind != Kind::Sign;
        figures.extend(figure);
        at += length;
        if is_number
            && let Some(next) = words.get(at).filter(|next| next.kind == Kind::Word)
            && let Some(unit) = unit(&next.text)
        {
            figures.push(unit);
            at += 1;
        }
    }
    figures
}

/// Digits without what only groups them.
fn digits(text: &str) -> Figure {
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text, None), |(w, f)| (w, Some(f)));
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let is_group = |group: &str| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit());
    let digits = first.trim_start_matches('-');
    let is_first = matches!(digits.len(), 1..=3) && digits.bytes().all(|b| b.is_ascii_digit());
    if whole.contains(',') && is_first && groups.all(is_group) && fraction.is_none_or(is_plain) {
        return text.replace(',', "");
    }
    // A comma before one or two digits stands for a point.
    match text.split_once(',') {
        Some((whole, part)) if is_plain(whole) && is_plain(part) && part.len() < 3 => {
            format!("{whole}.{part}")
        }
        _ => text.to_owned(),
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A word that is a number, a month beside a number, or a day.
fn number_word(words: &[Word], at: usize) -> Option<Figure> {
    let word = words.get(at)?;
    if let Some(figure) = tables::figure_of(&word.text) {
        return Some(figure.to_owned());
    }
    let month = tables::month_of(&word.text)?;
    // `may` and `march` are verbs, too.
    let before = at.checked_sub(1).and_then(|before| words.get(before));
    let beside = [before, words.get(at + 1)];
    let is_date = beside
        .iter()
        .flatten()
        .any(|word| word.kind == Kind::Number);
    (is_date || word.is_name).then(|| month.to_owned())
}

/// A unit, told from a number of the same name.
fn unit(text: &str) -> Option<Figure> {
    tables::unit_of(text).map(|name| format!("unit {name}"))
}

/// A number in Chinese characters, and how many there are.
fn han(words: &[Word]) -> (Option<Figure>, usize) {
    let is_han = |word: &&Word| word.kind == Kind::Han;
    let chars = words
        .iter()
        .take_while(is_han)
        .map(|word| word.text.chars().next());
    let numerals: Vec<(char, u64)> = chars
        .map_while(|c| c.and_then(|c| tables::han_value(c).map(|value| (c, value))))
        .take(16)
        .collect();
    match numerals.len() {
        0 => (None, 1),
        length => (Some(han_number(&numerals)), length),
    }
}

/// The value of numerals: 一百二十三 is 123, 二〇二四 is 2024.
fn han_number(numerals: &[(char, u64)]) -> Figure {
    if numerals.iter().all(|(_, value)| *value < 10) {
        return numerals
            .iter()
            .map(|(_, value)| value.to_string())
            .collect();
    }
    let (mut all, mut part, mut digit) = (0_u64, 0_u64, None);
    for (_, value) in numerals {
        match *value {
            value if value < 10 => digit = Some(value),
            value if value < 10_000 => {
                part = part.saturating_add(digit.take().unwrap_or(1).saturating_mul(value));
            }
            value => {
                let whole = part.saturating_add(digit.take().unwrap_or(0)).max(1);
                all = all.saturating_add(whole.saturating_mul(value));
                part = 0;
            }
        }
    }
    let rest = part.saturating_add(digit.unwrap_or(0));
    all.saturating_add(rest).to_string()
}
