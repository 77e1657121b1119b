//! What a token says.
//!
//! Owns reading claims by their types: one of another type is not read as if it were missing. Does not handle what
//! they amount to (see `auth::jwt`).

use serde_json::{Map, Value};

/// The claims of a token.
#[derive(Clone, Debug)]
pub struct Claims(Map<String, Value>);

/// A claim that has another type than it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

impl Claims {
    pub(super) fn new(members: Map<String, Value>) -> Self {
        Self(members)
    }

    /// A claim by its name, or by the names on the way to it, with dots between them. A name that has dots itself goes
    /// first.
    pub fn get(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(path) {
            return Some(value);
        }
        let mut names = path.split('.');
        let first = self.0.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get(name))
    }

    /// A text.
    ///
    /// # Errors
    /// It is something else.
    pub fn text(&self, path: &str) -> Result<Option<&str>, WrongType> {
        match self.get(path) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(WrongType),
        }
    }

    /// A time, in seconds since the epoch; a fraction is cut off.
    ///
    /// # Errors
    /// It is no number, or none of a time.
    pub fn second(&self, name: &str) -> Result<Option<i64>, WrongType> {
        /// Beyond it, a number with a fraction has no whole seconds.
        const LATEST: f64 = 9_007_199_254_740_992.0;
        match self.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(second), _) => Ok(Some(second)),
                #[expect(clippy::cast_possible_truncation, reason = "it is within the bounds")]
                (None, Some(second)) if second.abs() < LATEST => Ok(Some(second as i64)),
                _ => Err(WrongType),
            },
            Some(_) => Err(WrongType),
        }
    }

    /// Texts: a list of them, or one with spaces between them.
    ///
    /// # Errors
    /// It is something else, or the list has something else.
    pub fn texts(&self, path: &str) -> Result<Option<Vec<String>>, WrongType> {
        match self.get(path) {
            None => Ok(None),
            Some(Value::String(text)) => {
                let texts = text.split_ascii_whitespace().map(str::to_owned);
                Ok(Some(texts.collect()))
            }
            Some(Value::Array(items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().map(Some).ok_or(WrongType)
            }
            Some(_) => Err(WrongType),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::json;

    fn claims(text: &str) -> Claims {
        Claims::new(json::object(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_claim_is_found_by_its_way_and_read_by_its_type() {
        let claims = claims(
            r#"{"a":{"b":{"c":"deep"}},"https://x.example/tenant":"named","n":1.9,"big":1e300,
                "list":["a","b"],"mixed":["a",1],"scope":"a  b","null":null,"neg":-5}"#,
        );
        assert_eq!(claims.text("a.b.c"), Ok(Some("deep")));
        assert_eq!(claims.text("https://x.example/tenant"), Ok(Some("named")));
        assert_eq!(claims.text("a.x.c"), Ok(None));
        assert_eq!(claims.text("a.b"), Err(WrongType));
        assert_eq!(claims.text("null"), Err(WrongType));
        assert_eq!(claims.second("n"), Ok(Some(1)));
        assert_eq!(claims.second("neg"), Ok(Some(-5)));
        assert_eq!(claims.second("big"), Err(WrongType));
        assert_eq!(claims.second("scope"), Err(WrongType));
        for name in ["list", "scope"] {
            let texts = claims.texts(name).unwrap().unwrap();
            assert_eq!(texts, ["a", "b"]);
        }
        assert_eq!(claims.texts("mixed"), Err(WrongType));
        assert_eq!(claims.texts("n"), Err(WrongType));
    }
}
