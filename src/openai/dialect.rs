//! How an upstream differs from api.openai.com, as data.
//!
//! Owns each dialect's traits. Nothing elsewhere asks which vendor it talks to.

/// A named set of differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialect(&'static Traits);

#[derive(Debug, PartialEq, Eq)]
struct Traits {
    name: &'static str,
    built_in_server: bool,
}

static DIALECTS: [Traits; 2] = [
    Traits {
        name: "openai",
        built_in_server: false,
    },
    Traits {
        name: "demo",
        built_in_server: true,
    },
];

impl Default for &'static Traits {
    fn default() -> Self {
        let [openai, ..] = &DIALECTS;
        openai
    }
}

impl Dialect {
    /// The dialect that the configuration calls by this name.
    pub fn from_name(name: &str) -> Option<Self> {
        DIALECTS.iter().find(|d| d.name == name).map(Self)
    }

    /// Every name, in the order in which they are documented.
    pub fn names() -> impl Iterator<Item = &'static str> {
        DIALECTS.iter().map(|d| d.name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Whether its server is part of this binary, so that no `base_url` is needed.
    pub fn has_built_in_server(self) -> bool {
        self.0.built_in_server
    }
}
