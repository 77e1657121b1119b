//! Whether another gateway has the same name.
//!
//! Owns when that is told: an upgrade has two processes of one node for a while, and a process that was killed is still
//! there for a few seconds. Does not handle how it is found (see the parent). Cannot fail.

use std::time::{Duration, Instant};

/// Two processes of one node may be there for so long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Since when there are others of the same name.
#[derive(Debug, Default)]
pub struct Mates {
    since: Option<Instant>,
}

impl Mates {
    /// Notes how many there are now. Tells whether the operator is to be told, once in a while.
    pub fn are_told(&mut self, others: u64, now: Instant) -> bool {
        if others == 0 {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let is_long = now.saturating_duration_since(since) >= PATIENCE;
        if is_long {
            self.since = Some(now);
        }
        is_long
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_of_the_same_name_are_told_once_they_have_been_there_for_long() {
        let mut mates = Mates::default();
        let begin = Instant::now();
        let mut told =
            |others, seconds| mates.are_told(others, begin + Duration::from_secs(seconds));
        assert!(!told(1, 0) && !told(1, 80) && !told(0, 85));
        assert!(!told(1, 100) && !told(1, 189));
        assert!(told(1, 190) && !told(1, 191) && told(2, 280));
    }
}
