//! From the model that a client names to the rule that serves it, and from a rule to a target.
//!
//! Owns precedence (exact beats the longest prefix, prefix beats keyword, keywords go in file
//! order) and the order of the tiers of targets. `matcher` has the forms of a match, `prefixes` does the
//! same for paths. Does not handle what an upstream is (a target holds its position), nor the weighted
//! choice within a tier (see `weighted`). An unknown name gives `None`.

mod matcher;
mod prefixes;

use std::collections::HashMap;

use crate::weighted::{self, Wheel};

pub use matcher::Matcher;
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
        // The catch-all prefix comes last: a keyword is more specific.
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

/// A rule's targets. The tier of the lowest priority with a target that can be asked is used; within it
/// targets take turns, or are chosen by a number, so that long-run shares equal the weights.
#[derive(Debug)]
pub struct Targets {
    targets: Vec<Target>,
    /// One for each priority, the lowest first; a wheel has the positions of `targets`.
    tiers: Vec<Wheel>,
}

/// What the choice of the target that costs least depends on.
pub struct Offer<'a> {
    /// Whether the target at a position can be asked.
    pub can: &'a dyn Fn(usize) -> bool,
    /// Whether its cost says what it will be.
    pub is_known: &'a dyn Fn(usize) -> bool,
    /// What it costs; the least is best.
    pub cost: &'a dyn Fn(usize) -> f64,
    /// Whether the better of two is taken, drawn by weight, so that not all requests go to the best at once.
    pub of_two: bool,
    /// Whether this request goes to whichever is drawn, to learn what it costs now.
    pub looks_again: bool,
}

/// Why a target was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lot {
    /// It costs least.
    Least,
    /// It has got its share by weight.
    Share,
}

/// Where a request may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The upstream's position in the snapshot.
    pub upstream: usize,
    /// The model to ask for; `None` for the client's own.
    pub model: Option<String>,
    /// Its share of the requests of its tier.
    pub weight: u32,
    /// Which tier it is in.
    pub priority: u32,
}

impl Targets {
    /// Takes targets; at least one weight must be above zero.
    pub fn new(targets: Vec<Target>) -> Self {
        let mut priorities: Vec<u32> = targets.iter().map(|target| target.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let tier = |priority: u32| {
            let weight = |t: &Target| match t.priority == priority {
                true => t.weight,
                false => 0,
            };
            Wheel::new(&targets.iter().map(weight).collect::<Vec<_>>())
        };
        Self {
            tiers: priorities.into_iter().map(tier).collect(),
            targets,
        }
    }

    /// The position of the next target for which `can` holds.
    pub fn choose(&self, can: impl Fn(usize) -> bool) -> Option<usize> {
        self.tiers.iter().find_map(|tier| tier.in_turn(&can))
    }

    /// The position of the target that costs least, in the first tier that has one that can be asked. Gives with it
    /// whether it was chosen for that, or has got its share by weight.
    ///
    /// What is not known yet gets its share of the requests by weight, and no more: a target that seems best because
    /// little is known of it, or because it was left out until now, is not asked for everything at once.
    pub fn choose_least(&self, offer: &Offer<'_>) -> Option<(usize, Lot)> {
        let mut drawn = self
            .tiers
            .iter()
            .filter_map(|tier| Some((tier, tier.at_random(offer.can)?)));
        let (tier, drawn) = drawn.next()?;
        if offer.looks_again || !(offer.is_known)(drawn) {
            return Some((drawn, Lot::Share));
        }
        let is_rival = |position: usize| (offer.can)(position) && (offer.is_known)(position);
        let cost = (offer.cost)(drawn);
        let best = match offer.of_two {
            true => {
                let other = tier.at_random(|position| position != drawn && is_rival(position));
                other.filter(|other| (offer.cost)(*other) < cost)
            }
            false => {
                let priority = self.targets.get(drawn)?.priority;
                let costs = self.targets.iter().enumerate().map(|(position, target)| {
                    let is_there = target.weight > 0 && target.priority == priority;
                    (is_there && is_rival(position)).then(|| (offer.cost)(position))
                });
                let costs: Vec<Option<f64>> = costs.collect();
                let least = costs.iter().flatten().copied().fold(cost, f64::min);
                let is_least = |position: usize| {
                    let cost = costs.get(position).copied().flatten();
                    cost.is_some_and(|cost| cost <= least)
                };
                (least < cost).then(|| tier.at_random(is_least)).flatten()
            }
        };
        Some((best.unwrap_or(drawn), Lot::Least))
    }

    /// The position of the target that this number has, among those for which `can` holds: always the same, and over
    /// many numbers in the shares that the weights say. A target that comes or goes moves only its own numbers.
    pub fn choose_for(&self, number: u64, can: impl Fn(usize) -> bool) -> Option<usize> {
        let open = self.targets.iter().enumerate();
        let open = open.filter(|(position, target)| target.weight > 0 && can(*position));
        let open: Vec<(usize, &Target)> = open.collect();
        let first = open.iter().map(|(_, target)| target.priority).min()?;
        let tier = open.into_iter().filter(|(_, t)| t.priority == first);
        let score = |(position, target): &(usize, &Target)| {
            weighted::score(number, *position as u64, target.weight)
        };
        tier.max_by(|a, b| score(a).total_cmp(&score(b)))
            .map(|(position, _)| position)
    }

    /// The target at a position.
    pub fn get(&self, position: usize) -> Option<&Target> {
        self.targets.get(position)
    }

    /// All of them.
    pub fn all(&self) -> &[Target] {
        &self.targets
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

    fn targets(weights: &[(u32, u32)]) -> Targets {
        let target = |(weight, priority): &(u32, u32)| Target {
            upstream: 0,
            model: None,
            weight: *weight,
            priority: *priority,
        };
        Targets::new(weights.iter().map(target).collect())
    }

    fn counts<const N: usize>(targets: &Targets, can: impl Fn(usize) -> bool) -> [u32; N] {
        let mut counts = [0; N];
        for _ in 0..1200 {
            counts[targets.choose(&can).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn long_run_shares_equal_the_weights_among_those_that_can_be_asked() {
        let targets = targets(&[(300, 0), (200, 0), (100, 0), (0, 0)]);
        assert_eq!(counts(&targets, |_| true), [600, 400, 200, 0]);
        assert_eq!(counts(&targets, |n| n != 0), [0, 800, 400, 0]);
        assert_eq!(targets.choose(|_| false), None);
        assert_eq!(
            targets.choose(|n| n == 3),
            None,
            "a weight of 0 gets nothing"
        );
    }

    fn least<const N: usize>(targets: &Targets, offer: &Offer<'_>) -> [u32; N] {
        let mut counts = [0; N];
        for _ in 0..4000 {
            counts[targets.choose_least(offer).unwrap().0] += 1;
        }
        counts
    }

    fn offer<'a>(
        costs: &'a dyn Fn(usize) -> f64,
        is_known: &'a dyn Fn(usize) -> bool,
    ) -> Offer<'a> {
        Offer {
            can: &|_| true,
            is_known,
            cost: costs,
            of_two: false,
            looks_again: false,
        }
    }

    #[test]
    fn the_target_that_costs_least_gets_all_and_equal_ones_share_by_weight() {
        let targets = targets(&[(1, 0), (3, 0), (1, 0), (0, 0), (1, 1)]);
        let costs = [5.0, 2.0, 2.0, 0.0, 0.0];
        let cost = |position: usize| costs[position];
        let [first, second, third, none, lower] = least(&targets, &offer(&cost, &|_| true));
        assert_eq!([first, none, lower], [0, 0, 0]);
        assert!((2700..3300).contains(&second), "{second}");
        assert_eq!(second + third, 4000);
        let lower = Offer {
            can: &|position| position == 4,
            ..offer(&cost, &|_| true)
        };
        assert_eq!(targets.choose_least(&lower), Some((4, Lot::Least)));
        let none = Offer {
            can: &|_| false,
            ..offer(&cost, &|_| true)
        };
        assert_eq!(targets.choose_least(&none), None);
    }

    #[test]
    fn one_that_is_not_known_gets_no_more_than_its_share() {
        let targets = targets(&[(1, 0), (1, 0), (2, 0)]);
        let cost = |position: usize| [3.0, 0.0, 4.0][position];
        let [best, unknown, worst] = least(&targets, &offer(&cost, &|position| position != 1));
        assert!((850..1150).contains(&unknown), "{unknown}");
        assert_eq!((best + unknown, worst), (4000, 0));
    }

    #[test]
    fn the_better_of_two_leaves_some_to_all_but_the_worst() {
        let targets = targets(&[(1, 0), (1, 0), (1, 0)]);
        let cost = |position: usize| [3.0, 1.0, 2.0][position];
        let of_two = Offer {
            of_two: true,
            ..offer(&cost, &|_| true)
        };
        let [worst, best, middle] = least(&targets, &of_two);
        assert_eq!(worst, 0);
        // Of three pairs the best is in two.
        assert!((2400..2930).contains(&best), "{best}");
        assert_eq!(best + middle, 4000);
        let looks_again = Offer {
            looks_again: true,
            ..offer(&cost, &|_| true)
        };
        let [worst, ..] = least::<3>(&targets, &looks_again);
        assert!(worst > 1000, "{worst}");
    }

    #[test]
    fn a_lower_tier_is_asked_only_when_nothing_above_can_be() {
        let targets = targets(&[(1, 5), (2, 0), (1, 0), (1, 9)]);
        assert_eq!(counts(&targets, |_| true), [0, 800, 400, 0]);
        assert_eq!(counts(&targets, |n| n != 1 && n != 2), [1200, 0, 0, 0]);
        assert_eq!(counts(&targets, |n| n == 3), [0, 0, 0, 1200]);
    }
}
