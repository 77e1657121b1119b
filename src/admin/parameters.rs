//! The parameters of a query string.
//!
//! Owns their form: names that are known, each once, with a value that may be percent-encoded. Does not handle what a
//! value means (see `usage` and `cache`). Fails with a message for the caller.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The values of these parameters, in the same order; `None` for each that is not there.
///
/// # Errors
/// A parameter is unknown or there twice, or its value is no UTF-8: text for the caller.
pub fn read<'q, const N: usize>(
    query: &'q str,
    names: [&str; N],
) -> Result<[Option<Cow<'q, str>>; N], String> {
    let mut values = [const { None }; N];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8();
        let value = value.map_err(|_| format!("{name}: the value is no UTF-8"))?;
        let mut places = names.iter().zip(&mut values);
        let Some((_, place)) = places.find(|(known, _)| **known == name) else {
            return Err(format!(
                "there are the parameters {}, and no others",
                listed(&names)
            ));
        };
        if place.replace(value).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    Ok(values)
}

/// Names as they stand in a sentence.
pub fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_come_in_the_order_of_the_names() {
        let [a, b, c] = read("c=%2A4o%2A&a=x=y&", ["a", "b", "c"]).unwrap();
        assert_eq!(
            (a.as_deref(), b.as_deref(), c.as_deref()),
            (Some("x=y"), None, Some("*4o*"))
        );
        let [a] = read("a", ["a"]).unwrap();
        assert_eq!(a.as_deref(), Some(""));
        assert_eq!(read("", ["a"]).unwrap(), [None]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (query, message) in [
            ("d=1", "there are the parameters a, b and c, and no others"),
            ("A=1", "no others"),
            ("=1", "no others"),
            ("a=1&b=2&a=1", "a is given twice"),
            ("b=%ff", "b: the value is no UTF-8"),
        ] {
            let told = read(query, ["a", "b", "c"]).unwrap_err();
            assert!(told.contains(message), "{query}: {told}");
        }
    }
}
