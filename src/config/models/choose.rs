//! The key `choose` of a rule: which of its targets with the same priority is asked first.
//!
//! Owns its words. Does not handle the choice itself (see `gateway::plan`). Another word is reported with its place.

use crate::config::document::Node;

/// Which of the targets with the same priority is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choose {
    /// Each in its turn, by weight.
    #[default]
    Weighted,
    /// The one that begins to answer soonest.
    Fastest,
    /// The one whose answer is expected to cost least.
    Cheapest,
    /// The one whose upstream serves the fewest requests for its weight.
    LeastBusy,
}

impl Choose {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Weighted,
        Self::Fastest,
        Self::Cheapest,
        Self::LeastBusy,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weighted => "weighted",
            Self::Fastest => "fastest",
            Self::Cheapest => "cheapest",
            Self::LeastBusy => "least_busy",
        }
    }
}

/// Reads `choose`.
pub(super) fn read(node: &Node<'_>) -> Option<Choose> {
    let word = node.text()?;
    let found = Choose::ALL.into_iter().find(|known| known.name() == word);
    if found.is_none() {
        node.report("expected weighted, fastest, cheapest or least_busy", None);
    }
    found
}
