//! The key `auth` of a listener and of a tenant: the methods by which callers are found.
//!
//! Owns the methods and their names. What cannot be read is reported with its place.

use std::fmt;

use crate::config::document::Node;

/// By what a caller is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A client key.
    Key,
    /// A JSON Web Token of an issuer.
    Jwt,
    /// A signature of the request.
    Hmac,
    /// A client certificate.
    Mtls,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Key, Self::Jwt, Self::Hmac, Self::Mtls];

    /// Its name in the configuration and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Jwt => "jwt",
            Self::Hmac => "hmac",
            Self::Mtls => "mtls",
        }
    }
}

/// For messages to the operator, in the plural.
impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "client keys",
            Self::Jwt => "tokens",
            Self::Hmac => "signed requests",
            Self::Mtls => "client certificates",
        })
    }
}

/// A set of methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods([bool; Method::ALL.len()]);

impl Methods {
    /// These methods.
    pub fn of(methods: &[Method]) -> Self {
        Self(Method::ALL.map(|method| methods.contains(&method)))
    }

    /// All of them, as in `client keys, signed requests`.
    pub fn named(self) -> String {
        let have = Method::ALL.into_iter().filter(|method| self.have(*method));
        let names: Vec<String> = have.map(|method| method.to_string()).collect();
        names.join(", ")
    }

    /// Whether a method is one of them.
    pub fn have(self, method: Method) -> bool {
        self.0.get(method as usize) == Some(&true)
    }
}

/// Reads a list of methods, or one alone.
pub fn read(node: &Node<'_>) -> Option<Methods> {
    let items = node.list_or_one()?;
    if items.is_empty() {
        node.report(
            "an empty list would admit nothing",
            Some("leave `auth` out to take every method"),
        );
        return None;
    }
    let methods = items.iter().map(read_method);
    let methods: Option<Vec<Method>> = methods.collect();
    Some(Methods::of(&methods?))
}

fn read_method(node: &Node<'_>) -> Option<Method> {
    let name = node.name()?;
    let found = Method::ALL.into_iter().find(|m| m.name() == name);
    if found.is_none() {
        let names = Method::ALL.map(Method::name).join(", ");
        let hint = format!("one of {names}");
        node.report(format!("`{name}` is not a method"), Some(&hint));
    }
    found
}
