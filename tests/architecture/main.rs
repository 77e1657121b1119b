//! The architecture: which module may import which, and how long a file may be.
//!
//! Reads every file of `src/` as tokens, takes the paths that it names outside its tests, and holds
//! them against the tables below. A name that a folder re-exports counts as an import of the module
//! that defines it. The head of a folder (`mod.rs`) and the files in it are one module to each other.
//! Does not handle what a rule of the compiler or of clippy can say (see `clippy.toml`). A failure
//! says which line breaks which rule, and what to do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reads files, and fails by panicking"
)]

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use source::{Import, Tree};

/// The layers, from the top down. A module imports only what stands below it; modules of one layer
/// do not import each other.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["server"],
    &["gateway"],
    &["admin", "demo"],
    &["runtime"],
    &[
        "auth",
        "tenants",
        "managed",
        "upstreams",
        "cache",
        "chatlog",
        "limits",
        "prices",
        "ledger",
    ],
    // Connections to databases.
    &["store"],
    &["observe"],
    // The files of both logs.
    &["rotation"],
    &["config"],
    // Below `config`, which finds out with it which rule serves a name.
    &["routing"],
    &["openai", "jwt", "signature", "tls"],
    // Which target and which server are chosen by it.
    &["weighted"],
    &["ids", "secret", "clock", "https", "networks", "workers"],
];

/// What does one task each and is put together by `runtime` and `gateway` alone.
const ENGINES: &[&str] = &[
    "auth",
    "tenants",
    "managed",
    "routing",
    "upstreams",
    "cache",
    "chatlog",
    "limits",
    "prices",
    "ledger",
];

/// Circles that are still there, as the members of each in their order. Take a line out with its circle, and put
/// none in.
const CIRCLES_TO_REMOVE: &[&[&str]] = &[];

/// The most lines of a file, without its tests.
const MAX_LINES: usize = 400;

/// The most characters of a line of comment, which rustfmt leaves as it is.
const MAX_COMMENT_WIDTH: usize = 120;

/// The most lines of a test module that stands in the file of what it tests.
const MAX_INLINE_TEST_LINES: usize = 200;

/// Files that may be longer, with the reason.
const LONGER_FILES: &[(&str, &str)] = &[];

/// Pingora's sessions of HTTP, by the names of their types.
const HTTP_SESSIONS: &[&str] = &["ServerSession", "HttpSession", "Http2Session", "SessionV1"];

/// Where Pingora's sessions of HTTP may be named.
const HTTP_SESSION_MODULES: &[&str] = &[
    "gateway",
    "upstreams::session",
    "upstreams::connector",
    "admin",
    "demo",
    "server",
];

#[test]
fn imports_point_down() {
    let tree = Tree::read();
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut wrong = BTreeSet::new();
    for import in tree.imports() {
        let (from, to) = (import.from[0].as_str(), import.to[0].as_str());
        if from == to {
            continue;
        }
        match (layer(from), layer(to)) {
            (Some(above), Some(below)) if above < below => {}
            (Some(_), Some(_)) => drop(wrong.insert(format!(
                "{import}: `{from}` stands in no layer above `{to}`. Move what is needed down, or \
                 pass it in from above."
            ))),
            _ => drop(wrong.insert(format!(
                "`{from}` or `{to}` stands in no layer. Write it into LAYERS of this test."
            ))),
        }
    }
    tell("imports that do not point down", wrong);
}

#[test]
fn engines_do_not_import_each_other() {
    let tree = Tree::read();
    let is_engine = |module: &String| ENGINES.contains(&module.as_str());
    let wrong = tree.imports().filter(|import| {
        let (from, to) = (&import.from[0], &import.to[0]);
        from != to && is_engine(from) && is_engine(to)
    });
    let tell_one = |import: &Import| {
        format!(
            "{import}. Let `runtime` or `gateway` bring the two together, or move what both need down."
        )
    };
    tell(
        "engines that import each other",
        wrong.map(tell_one).collect(),
    );
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let tree = Tree::read();
    let allowed: BTreeSet<Vec<String>> = CIRCLES_TO_REMOVE
        .iter()
        .map(|circle| circle.iter().map(|module| (*module).to_owned()).collect())
        .collect();
    let mut wrong = BTreeSet::new();
    let mut found = BTreeSet::new();
    for (members, chain) in tree.folders().flat_map(|folder| circles(&tree, folder)) {
        if !allowed.contains(&members) {
            wrong.insert(format!(
                "{}:\n{}\n    Move what both ends need into a module below them, or pass it in.",
                members.join(", "),
                chain.join("\n")
            ));
        }
        found.insert(members);
    }
    for gone in allowed.difference(&found) {
        wrong.insert(format!(
            "{gone:?} are no circle any more. Take the line out of CIRCLES_TO_REMOVE."
        ));
    }
    tell("circles of imports", wrong);
}

#[test]
fn files_are_short_enough_to_read() {
    let tree = Tree::read();
    let exceptions: BTreeMap<&str, &str> = LONGER_FILES.iter().copied().collect();
    let mut wrong = BTreeSet::new();
    for file in tree.files() {
        let (path, lines) = (file.path.as_str(), file.lines);
        match exceptions.contains_key(path) {
            false if lines > MAX_LINES => drop(wrong.insert(format!(
                "{path} has {lines} lines without its tests, of {MAX_LINES}. Split it by what its \
                 parts do. A table that must be longer goes into LONGER_FILES with the reason."
            ))),
            true if lines <= MAX_LINES => drop(wrong.insert(format!(
                "{path} is short enough. Take it out of LONGER_FILES."
            ))),
            _ => {}
        }
    }
    for path in exceptions.keys() {
        if !tree.files().any(|file| file.path == *path) {
            wrong.insert(format!(
                "{path} does not exist. Take it out of LONGER_FILES."
            ));
        }
    }
    tell("files that are too long", wrong);
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn long_test_modules_stand_in_files_of_their_own() {
    let tree = Tree::read();
    let mut wrong = BTreeSet::new();
    for file in tree.files() {
        let text = text_of(&file.path);
        let lines = text
            .lines()
            .skip_while(|line| *line != "mod tests {")
            .count();
        if lines > MAX_INLINE_TEST_LINES {
            wrong.insert(format!(
                "{} has {lines} lines of tests, of {MAX_INLINE_TEST_LINES}. Move them into `tests.rs` in \
                 a folder of its name.",
                file.path
            ));
        }
    }
    tell("test modules that are too long", wrong);
}

#[test]
fn comments_fit_on_a_screen() {
    let tree = Tree::read();
    let mut wrong = BTreeSet::new();
    for file in tree.files() {
        let text = text_of(&file.path);
        for (number, line) in text.lines().enumerate() {
            let is_long = line.chars().count() > MAX_COMMENT_WIDTH;
            if is_long && line.trim_start().starts_with("//") {
                wrong.insert(format!("{}:{} is too long", file.path, number + 1));
            }
        }
    }
    tell("comments of more than 120 characters", wrong);
}

#[test]
fn pingoras_types_stay_where_they_are_understood() {
    let tree = Tree::read();
    let mut wrong = BTreeSet::new();
    for (from, place, path) in tree.foreign() {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        if matches!(names[..], ["pingora_proxy", ..] | ["pingora", "proxy", ..]) {
            wrong.insert(format!(
                "{place} names `{}`. The gateway drives its own ways and not Pingora's proxy: see \
                 docs/decisions/tunnel.md.",
                names.join("::")
            ));
        }
        let is_session = matches!(names[..], ["pingora", "protocols", "http", ..])
            && names.iter().any(|name| HTTP_SESSIONS.contains(name));
        let module = from.join("::");
        let is_allowed = HTTP_SESSION_MODULES.iter().any(|allowed| {
            let rest = module.strip_prefix(allowed);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        if is_session && !is_allowed {
            wrong.insert(format!(
                "{place} names `{}`. Pingora's sessions are named in {HTTP_SESSION_MODULES:?} \
                 alone: take a type of ours from there.",
                names.join("::")
            ));
        }
    }
    tell("types of Pingora out of their place", wrong);
}

/// The circles among the modules of one folder: the members of each, and a way around with an
/// import for each step.
fn circles(tree: &Tree, folder: &[String]) -> Vec<(Vec<String>, Vec<String>)> {
    let depth = folder.len();
    let mut steps: BTreeMap<&str, BTreeMap<&str, &Import>> = BTreeMap::new();
    for import in tree.imports() {
        let is_inside = |module: &[String]| module.len() > depth && module.starts_with(folder);
        if is_inside(&import.from) && is_inside(&import.to) {
            let (from, to) = (import.from[depth].as_str(), import.to[depth].as_str());
            if from != to {
                steps.entry(from).or_default().entry(to).or_insert(import);
            }
        }
    }
    let reached = |start: &str| {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut left: Vec<&str> = steps
            .get(start)
            .into_iter()
            .flat_map(|s| s.keys().copied())
            .collect();
        while let Some(module) = left.pop() {
            if seen.insert(module) {
                left.extend(
                    steps
                        .get(module)
                        .into_iter()
                        .flat_map(|s| s.keys().copied()),
                );
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        steps.keys().map(|start| (*start, reached(start))).collect();
    let reaches = |a: &str, b: &str| reach.get(a).is_some_and(|seen| seen.contains(b));
    let mut circles: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for start in steps.keys().filter(|start| reaches(start, start)) {
        let in_circle = |module: &str| reaches(start, module) && reaches(module, start);
        let name = |module: &&str| [folder, &[(*module).to_owned()]].concat().join("::");
        let members = steps.keys().filter(|module| in_circle(module));
        let inner = steps.iter().filter(|(from, _)| in_circle(from));
        let inner =
            inner.flat_map(|(from, to)| to.iter().map(move |(to, import)| (from, to, import)));
        let chain = inner
            .filter(|(_, to, _)| in_circle(to))
            .map(|(_, _, import)| format!("    {import}"));
        circles.insert(members.map(name).collect(), chain.collect());
    }
    circles.into_iter().collect()
}

fn tell(what: &str, wrong: BTreeSet<String>) {
    let lines: Vec<String> = wrong.into_iter().collect();
    assert!(lines.is_empty(), "{what}:\n\n{}\n", lines.join("\n\n"));
}
