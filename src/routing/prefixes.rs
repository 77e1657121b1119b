//! From a path to the route that forwards it.
//!
//! Owns the match: whole segments only, the longest prefix first. The work grows with the length of the
//! longest prefix, not with the number of routes. Does not handle how a request is forwarded (see
//! `gateway::tunnel`). A path without a route gives `None`.

use std::collections::HashMap;

/// Finds the route for a path.
#[derive(Debug, Default)]
pub struct Prefixes {
    routes: HashMap<String, usize>,
    /// The length of the longest prefix, in bytes.
    longest: usize,
}

impl Prefixes {
    /// Takes prefixes such as `/gemini`; a route is known by its position.
    pub fn new<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> Self {
        let named = prefixes.into_iter().enumerate();
        let routes: HashMap<String, usize> = named.map(|(n, p)| (p.to_owned(), n)).collect();
        Self {
            longest: routes.keys().map(String::len).max().unwrap_or(0),
            routes,
        }
    }

    /// The position of the route for `path`, and the path behind its prefix.
    pub fn find<'p>(&self, path: &'p str) -> Option<(usize, &'p str)> {
        let mut end = path.len();
        loop {
            let (prefix, rest) = path.split_at_checked(end)?;
            if prefix.len() <= self.longest
                && let Some(route) = self.routes.get(prefix)
            {
                return Some((*route, rest));
            }
            let searched = prefix.as_bytes().get(..end.min(self.longest + 1))?;
            end = memchr::memrchr(b'/', searched).filter(|end| *end > 0)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let prefixes = Prefixes::new(["/a", "/a/b", "/long-name"]);
        for (path, found) in [
            ("/a", Some((0, ""))),
            ("/a/", Some((0, "/"))),
            ("/a/c/d", Some((0, "/c/d"))),
            ("/a/b", Some((1, ""))),
            ("/a/b/c", Some((1, "/c"))),
            ("/a/bc", Some((0, "/bc"))),
            ("/ab", None),
            ("/long-name/x", Some((2, "/x"))),
            ("/long-names", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(prefixes.find(path), found, "{path}");
        }
        assert_eq!(Prefixes::default().find("/a"), None);
    }
}
