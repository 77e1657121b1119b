//! Tenants: the owners of client keys, and what they may ask for.
//!
//! Owns the tenant, its allow-list and its home, which is the upstream that has its objects. Does not
//! handle how a caller is found (see `auth`). Cannot fail.

use std::collections::HashSet;
use std::sync::Arc;

use crate::openai::privileges::Grants;

/// A tenant of the running configuration.
#[derive(Debug)]
pub struct Tenant {
    /// Its id, as in logs and metrics.
    pub id: String,
    /// The position of the upstream that its files, batches and stored answers live in; `None`
    /// where it has none.
    pub home: Option<usize>,
    /// What it may ask of its home besides what serves itself.
    pub grants: Grants,
    /// Whether its requests may name nothing but their model, and never pass unread.
    pub is_strict: bool,
    /// Whether its answers may be kept to be given again, and shared by equal requests.
    pub caches: bool,
    /// Whether its requests may say so themselves, with `Cache-Control`.
    pub obeys_cache_control: bool,
    allowed: Option<Arc<Allowed>>,
    /// What its caller's credential allows, where that is less.
    only: Option<Arc<Vec<String>>>,
}

#[derive(Debug, Default)]
struct Allowed {
    names: HashSet<String>,
    prefixes: Vec<String>,
}

impl Tenant {
    /// Takes the id and the allowed names, where `*` at the end stands for any rest; `None` for all.
    pub fn new(id: String, models: Option<Vec<String>>) -> Self {
        let models = models.filter(|models| !models.iter().any(|name| name == "*"));
        let allowed = models.map(|models| {
            let mut allowed = Allowed::default();
            for name in models {
                match name.strip_suffix('*') {
                    Some(prefix) => allowed.prefixes.push(prefix.to_owned()),
                    None => drop(allowed.names.insert(name)),
                }
            }
            allowed
        });
        Self {
            id,
            home: None,
            grants: Grants::default(),
            is_strict: false,
            caches: true,
            obeys_cache_control: true,
            allowed: allowed.map(Arc::new),
            only: None,
        }
    }

    /// The tenant of every caller where there are no client keys.
    pub fn anonymous() -> Self {
        Self::new("anonymous".to_owned(), None)
    }

    /// Gives it a home, and says what it may ask there.
    pub fn at_home(self, home: Option<usize>, grants: Grants) -> Self {
        Self {
            home,
            grants,
            ..self
        }
    }

    /// Makes it strict: its requests name their model and nothing else. A strict tenant has no home,
    /// because what passes there is not read.
    pub fn strict(self, is_strict: bool) -> Self {
        Self {
            is_strict,
            home: self.home.filter(|_| !is_strict),
            ..self
        }
    }

    /// Says whether its answers may be kept, and whether its requests may say so.
    pub fn caching(self, caches: bool, obeys_cache_control: bool) -> Self {
        Self {
            caches,
            obeys_cache_control,
            ..self
        }
    }

    /// The same tenant to a caller whose credential allows these names alone, among its own; `*` at the end stands for
    /// any rest.
    pub fn narrowed_to(&self, models: &Arc<Vec<String>>) -> Self {
        Self {
            id: self.id.clone(),
            home: self.home,
            grants: self.grants,
            is_strict: self.is_strict,
            caches: self.caches,
            obeys_cache_control: self.obeys_cache_control,
            allowed: self.allowed.clone(),
            only: Some(Arc::clone(models)),
        }
    }

    /// Whether it may ask for every model.
    pub fn allows_all(&self) -> bool {
        self.allowed.is_none() && self.only.is_none()
    }

    /// Whether it may ask for `model`.
    pub fn allows(&self, model: &str) -> bool {
        let is_one = |name: &String| match name.strip_suffix('*') {
            Some(prefix) => model.starts_with(prefix),
            None => name == model,
        };
        let is_allowed = self.allowed.as_ref().is_none_or(|allowed| {
            let mut prefixes = allowed.prefixes.iter();
            allowed.names.contains(model) || prefixes.any(|p| model.starts_with(p.as_str()))
        });
        is_allowed
            && self
                .only
                .as_ref()
                .is_none_or(|only| only.iter().any(is_one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_allows_its_names_and_prefixes_and_nothing_else() {
        let tenant = Tenant::new("t".into(), Some(vec!["gpt-4o".into(), "deepseek-*".into()]));
        assert!(tenant.allows("gpt-4o"));
        assert!(tenant.allows("deepseek-chat"));
        assert!(!tenant.allows("gpt-4o-mini"));
        assert!(!tenant.allows("deepsee"));
        assert!(!tenant.allows_all());
        assert!(Tenant::anonymous().allows("anything"));
        assert!(Tenant::anonymous().allows_all());
        let only = Arc::new(vec!["gpt-*".to_owned(), "deepseek-chat".to_owned()]);
        let narrowed = tenant.narrowed_to(&only);
        assert!(narrowed.allows("gpt-4o") && narrowed.allows("deepseek-chat"));
        assert!(!narrowed.allows("gpt-4o-mini") && !narrowed.allows("deepseek-v3"));
        let narrowed = Tenant::anonymous().narrowed_to(&Arc::default());
        assert!(!narrowed.allows_all() && !narrowed.allows("anything"));
        let all = Tenant::new("t".into(), Some(vec!["gpt-4o".into(), "*".into()]));
        assert!(all.allows("anything") && all.allows_all());
    }
}
