//! Names that have been given numbers.
//!
//! Owns the numbers that are known without asking the database, and what of a text can be a name. Does not
//! handle the table of names (see `sqlite`, `postgres`). It knows at most 65,536 names; one more, and it
//! starts anew. Cannot fail.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

/// As many numbers are known at a time.
const MAX_NAMES: usize = 65_536;
/// A longer name is cut: PostgreSQL's indexes take no more than 2,700 bytes.
const MAX_NAME_BYTES: usize = 1_024;

/// The numbers of names that one database has given.
#[derive(Debug, Default)]
pub struct Names {
    known: FxHashMap<Box<str>, i64>,
}

impl Names {
    /// The number of a name, if it is known.
    pub fn get(&self, name: &str) -> Option<i64> {
        self.known.get(name).copied()
    }

    /// Remembers the number of a name.
    pub fn insert(&mut self, name: &str, number: i64) {
        if self.known.len() >= MAX_NAMES {
            self.known.clear();
        }
        self.known.insert(name.into(), number);
    }

    /// Forgets all: after a transaction that was rolled back, some of the numbers do not exist.
    pub fn clear(&mut self) {
        self.known.clear();
    }
}

/// What is stored of a text: no zero character, which PostgreSQL does not take, and not all of a long one.
pub fn storable(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_NAME_BYTES && !text.contains('\0') {
        return Cow::Borrowed(text);
    }
    let cut = text.get(..text.floor_char_boundary(MAX_NAME_BYTES));
    Cow::Owned(cut.unwrap_or_default().replace('\0', "?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_its_bound_it_starts_anew_and_knows_the_newest_name() {
        let mut names = Names::default();
        for number in 0..=65_536_i64 {
            names.insert(&number.to_string(), number);
        }
        assert_eq!(names.known.len(), 1);
        assert_eq!(names.get("65536"), Some(65_536));
        assert_eq!(names.get("0"), None);
    }

    #[test]
    fn what_a_database_does_not_take_is_replaced_or_cut() {
        assert_eq!(storable("gpt-4o"), "gpt-4o");
        assert_eq!(storable("a\0b"), "a?b");
        let long = "é".repeat(1_000);
        assert_eq!(storable(&long).len(), 1_024);
        assert!(long.starts_with(&*storable(&long)));
    }
}
