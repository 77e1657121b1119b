//! The pieces of a text; no token reaches over the end of one.
//!
//! Owns the pattern of the pieces. Does not count their tokens (see `merge`). Where the pattern matches nothing,
//! which it always does, the rest of the text is one piece.

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input};

use super::LoadError;

/// What `o200k_base` takes for a piece: a word with one character before it and an English contraction after it, up
/// to three digits, symbols, the ends of lines, white space. The tokenizer's own pattern ends in
/// `\s+(?!\S)|\s+`: white space without the last character before a word. A finite automaton cannot look ahead, so
/// `split` gives that character back.
const PATTERN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"|\s*[\r\n]+",
    r"|\s+",
);

/// The most that the automaton's states take, for each thread that counts. Beyond it they are built anew.
const MAX_STATES_BYTES: usize = 1 << 20;

type NewCache =
    Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

/// Cuts texts into pieces.
pub struct Splitter {
    automaton: DFA,
    /// The states that have been built so far, one set for each thread that counts at a time.
    states: Pool<Cache, NewCache>,
}

impl Splitter {
    /// Builds the automaton, without its states.
    ///
    /// # Errors
    /// The pattern is not valid, or its states do not fit.
    pub fn new() -> Result<Self, LoadError> {
        let config = DFA::config().cache_capacity(MAX_STATES_BYTES);
        let automaton = DFA::builder()
            .configure(config)
            .build(PATTERN)
            .map_err(|e| LoadError::Pattern(Box::new(e)))?;
        let create = {
            let automaton = automaton.clone();
            move || automaton.create_cache()
        };
        let states = Pool::new(Box::new(create) as NewCache);
        Ok(Self { automaton, states })
    }

    /// Hands on each piece, in order. All pieces together are the text.
    pub fn split<'t>(&self, text: &'t str, mut on: impl FnMut(&'t str)) {
        let mut states = self.states.get();
        let mut rest = text;
        while !rest.is_empty() {
            let input = Input::new(rest).anchored(Anchored::Yes);
            let found = self.automaton.try_search_fwd(&mut states, &input);
            let end = found.ok().flatten().map_or(rest.len(), |end| end.offset());
            let Some((piece, after)) = rest
                .split_at_checked(end)
                .filter(|(piece, _)| !piece.is_empty())
            else {
                return on(rest);
            };
            let kept = piece.len() - given_back(piece, after);
            let (piece, after) = rest.split_at_checked(kept).unwrap_or((piece, after));
            on(piece);
            rest = after;
        }
    }
}

/// How many bytes at the end of a piece belong to the next one: the last of several characters of white space that
/// end no line, before anything else.
fn given_back(piece: &str, after: &str) -> usize {
    let is_space = piece.chars().all(char::is_whitespace);
    if after.is_empty() || !is_space || piece.ends_with(['\r', '\n']) {
        return 0;
    }
    let last = piece.chars().next_back().map_or(0, char::len_utf8);
    match last < piece.len() {
        true => last,
        false => 0,
    }
}
