//! Symbols of a text: operators, options, pictures.
//!
//! Owns which characters are symbols, and the pieces of a text that have some. `3x+4` and `3x-4`, `i++` and `++i`, `-l`
//! and `-L` ask for different things and have the same words. Does not handle marks that end or join sentences, nor
//! units (see `numbers`). Cannot fail.

/// Symbols of ASCII, wherever they stand.
const OPERATORS: &[char] = &[
    '<', '>', '=', '+', '*', '^', '~', '|', '\\', '&', '#', '{', '}', '[', ']',
];
/// Those that are symbols where they stand before a word alone: options, negative numbers, logical negation.
const PREFIXES: &[char] = &['-', '!'];
/// Marks around a piece that say nothing of it.
const AROUND: &[char] = &['.', ',', ';', ':', '?', '!', '"', '\'', '(', ')', '`'];

/// The pieces that have symbols, each with its place among all pieces. Their capitals count.
pub(super) fn symbols(text: &str) -> Vec<(usize, String)> {
    // Letters without spaces between them are no part of a piece with symbols.
    let pieces = text.split(|c: char| c.is_whitespace() || c.is_alphanumeric() && !c.is_ascii());
    let pieces = pieces.filter(|piece| !piece.is_empty()).enumerate();
    let with_symbols = pieces.filter_map(|(place, piece)| {
        let piece = piece.trim_end_matches(AROUND);
        let piece = piece.trim_start_matches(['"', '\'', '(', '`']);
        has_symbol(piece).then(|| (place, piece.to_owned()))
    });
    with_symbols.collect()
}

fn has_symbol(piece: &str) -> bool {
    let begins = piece.starts_with(PREFIXES) && piece.chars().any(char::is_alphanumeric);
    begins || piece.chars().any(is_symbol)
}

fn is_symbol(c: char) -> bool {
    OPERATORS.contains(&c)
        || matches!(c,
            '¬' | '±' | '×' | '÷'
            // Arrows, mathematical operators, technical signs, pictures.
            | '\u{2190}'..='\u{2bff}'
            | '\u{1f000}'..='\u{1faff}')
}
