//! From the model that a client names to the rule that serves it, and from a rule to a target.
//!
//! Owns precedence (exact beats the longest prefix, prefix beats keyword, keywords go in file
//! order) and the weighted choice. Refuses to know what an upstream is: a target holds its index.
//! An unknown name gives `None`. `prefixes` does the same for paths.

mod prefixes;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::Matcher;

pub use prefixes::Prefixes;

/// Finds the rule for a name. The work does not grow with the number of exact or prefix rules;
/// keyword rules are searched in turn.
#[derive(Debug, Default)]
pub struct Index {
    exact: HashMap<String, usize>,
    prefixes: HashMap<String, usize>,
    /// The lengths at which a prefix ends, longest first.
    prefix_lengths: Vec<usize>,
    keywords: Vec<(String, usize)>,
}

impl Index {
    /// Builds the index; a rule is known by its position.
    pub fn new<'a>(matchers: impl IntoIterator<Item = &'a Matcher>) -> Self {
        let mut index = Self::default();
        for (rule, matcher) in matchers.into_iter().enumerate() {
            match matcher {
                Matcher::Exact(name) => {
                    index.exact.entry(name.clone()).or_insert(rule);
                }
                Matcher::Prefix(prefix) => {
                    index.prefixes.entry(prefix.clone()).or_insert(rule);
                    index.prefix_lengths.push(prefix.len());
                }
                Matcher::Keyword(word) => index.keywords.push((word.clone(), rule)),
            }
        }
        index.prefix_lengths.sort_unstable_by(|a, b| b.cmp(a));
        index.prefix_lengths.dedup();
        index
    }

    /// The position of the rule that serves `model`.
    pub fn find(&self, model: &str) -> Option<usize> {
        if let Some(rule) = self.exact.get(model) {
            return Some(*rule);
        }
        // The catch-all prefix is the weakest of all: a keyword says more than nothing.
        let named = self.prefix_lengths.iter().filter(|length| **length > 0);
        for length in named {
            if let Some(rule) = model.get(..*length).and_then(|p| self.prefixes.get(p)) {
                return Some(*rule);
            }
        }
        let keyword = self.keywords.iter().find(|(word, _)| model.contains(word));
        keyword
            .map(|(_, rule)| *rule)
            .or_else(|| self.prefixes.get("").copied())
    }
}

/// A rule's targets, chosen in turn so that long-run shares equal the weights.
#[derive(Debug)]
pub struct Targets {
    targets: Vec<Target>,
    /// Target positions, each as often as its weight says, spread evenly.
    wheel: Vec<usize>,
    next: AtomicUsize,
}

/// Where a request may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The upstream's position in the snapshot.
    pub upstream: usize,
    /// The model to ask for; `None` passes on what the client asked.
    pub model: Option<String>,
}

impl Targets {
    /// Takes targets with their weights; at least one weight must be above zero.
    pub fn new(weighted: Vec<(Target, u32)>) -> Self {
        let wheel = spread(&weighted.iter().map(|(_, w)| *w).collect::<Vec<_>>());
        Self {
            targets: weighted.into_iter().map(|(t, _)| t).collect(),
            wheel,
            next: AtomicUsize::new(0),
        }
    }

    /// The next target's position.
    pub fn choose(&self) -> usize {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = turn.checked_rem(self.wheel.len());
        slot.and_then(|slot| self.wheel.get(slot))
            .copied()
            .unwrap_or(0)
    }

    /// The target at a position.
    pub fn get(&self, position: usize) -> Option<&Target> {
        self.targets.get(position)
    }
}

/// Smooth weighted round robin, written out once: each turn every target gains its weight, the
/// richest is taken and pays the total. So 3:1 goes a a b a, not a a a b.
fn spread(weights: &[u32]) -> Vec<usize> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor);
    let weights: Vec<i64> = weights
        .iter()
        .map(|w| i64::from(w.checked_div(divisor).unwrap_or(0)))
        .collect();
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0i64; weights.len()];
    (0..total)
        .filter_map(|_| {
            for (have, gain) in credit.iter_mut().zip(&weights) {
                *have += gain;
            }
            let (position, have) = credit
                .iter_mut()
                .enumerate()
                .max_by(|(i, a), (j, b)| a.cmp(b).then(j.cmp(i)))?;
            *have -= total;
            Some(position)
        })
        .collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        _ => greatest_common_divisor(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        Index::new(&[
            Matcher::Exact("gpt-4o".into()),
            Matcher::Prefix("gpt-".into()),
            Matcher::Prefix("gpt-4o-mini".into()),
            Matcher::Keyword("mini".into()),
            Matcher::Keyword("claude".into()),
        ])
    }

    #[test]
    fn exact_beats_the_longest_prefix_beats_keyword_in_file_order() {
        let index = index();
        assert_eq!(index.find("gpt-4o"), Some(0));
        assert_eq!(index.find("gpt-4o-2024"), Some(1));
        assert_eq!(index.find("gpt-4o-mini-x"), Some(2));
        assert_eq!(index.find("claude-mini"), Some(3));
        assert_eq!(index.find("my-claude"), Some(4));
        assert_eq!(index.find("llama"), None);
    }

    #[test]
    fn the_catch_all_comes_last() {
        let index = Index::new(&[
            Matcher::Prefix(String::new()),
            Matcher::Keyword("mini".into()),
        ]);
        assert_eq!(index.find("o4-mini"), Some(1));
        assert_eq!(index.find("anything"), Some(0));
    }

    #[test]
    fn a_prefix_that_ends_within_a_character_does_not_match() {
        let index = Index::new(&[Matcher::Prefix("ab".into())]);
        assert_eq!(index.find("aé"), None);
    }

    #[test]
    fn long_run_shares_equal_the_weights() {
        let target = |upstream| Target {
            upstream,
            model: None,
        };
        let targets = Targets::new(vec![(target(0), 300), (target(1), 100), (target(2), 0)]);
        let mut counts = [0; 3];
        for _ in 0..400 {
            counts[targets.choose()] += 1;
        }
        assert_eq!(counts, [300, 100, 0]);
        assert_eq!(spread(&[3, 1]), vec![0, 0, 1, 0]);
    }
}
