//! The scopes of callers whose credential brings limits of its own.
//!
//! Owns as many as [`REMEMBERED`]: a further one takes the place of one that has not been used for long, whose counts
//! begin anew when it comes back. Does not handle what a scope counts (see `scope`). Cannot fail.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use quick_cache::sync::Cache;

use super::scope::{DueScopes, Scope, ScopeName};
use crate::config::RateLimits;

/// As many scopes are kept.
pub const REMEMBERED: usize = 10_000;

/// The scopes of subjects. The same subject with other limits is another: its counts are not those of the first, and
/// do not end them.
pub struct Subjects(Cache<(ScopeName, RateLimits), Arc<Scope>>);

impl fmt::Debug for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subjects").field(&self.0.len()).finish()
    }
}

impl Default for Subjects {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl Subjects {
    /// The scope of a subject under these rates.
    pub fn of(
        &self,
        name: ScopeName,
        rates: &RateLimits,
        due: Option<&Arc<DueScopes>>,
    ) -> Arc<Scope> {
        let key = (name, rates.clone());
        let made = self.0.get_or_insert_with(&key, || {
            let scope = Scope::new(key.0.clone(), due.cloned());
            scope.change_rules(Some(rates), None);
            Ok::<_, Infallible>(Arc::new(scope))
        });
        match made {
            Ok(scope) => scope,
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(subject: &str) -> ScopeName {
        ScopeName::Subject {
            tenant: "t".to_owned(),
            issuer: "i".to_owned(),
            subject: subject.to_owned(),
        }
    }

    fn rates(rpm: u64) -> RateLimits {
        RateLimits {
            requests_per_minute: Some(rpm),
            ..RateLimits::default()
        }
    }

    #[test]
    fn a_subject_keeps_its_scope_and_other_limits_of_it_do_not_touch_that() {
        let subjects = Subjects::default();
        let scope = subjects.of(name("a"), &rates(1), None);
        let other = subjects.of(name("a"), &rates(2), None);
        assert!(Arc::ptr_eq(
            &scope,
            &subjects.of(name("a"), &rates(1), None)
        ));
        assert!(!Arc::ptr_eq(&scope, &other));
        assert_eq!(scope.limits(), [("requests_per_minute", 1)]);
        assert_eq!(other.limits(), [("requests_per_minute", 2)]);
        assert!(!Arc::ptr_eq(
            &scope,
            &subjects.of(name("b"), &rates(1), None)
        ));
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let subjects = Subjects::default();
        for number in 0..3 * REMEMBERED {
            subjects.of(name(&number.to_string()), &rates(1), None);
        }
        assert!(subjects.0.len() <= REMEMBERED);
    }
}
