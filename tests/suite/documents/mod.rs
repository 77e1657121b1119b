//! Every example in the pages is right: configurations are checked, commands and programs are run
//! against a gateway, queries are parsed, and links lead somewhere.
//!
//! The pages are README.md, CHANGELOG.md and each `.md` file below `docs/` and `conf/`. The label of
//! a fence says what is done with it:
//!
//! | label | what is done |
//! |---|---|
//! | `yaml` | `tollgate check`; a file of Prometheus goes to `promtool` |
//! | `sh` | all of a page run in one shell, one after the other |
//! | `python`, `js` | run with OpenAI's SDK |
//! | `promql` | parsed by `promtool` |
//! | `json` | parsed |
//! | `sql` | run over a month of the ledger in SQLite, must give a row |
//! | `console`, `text` | nothing: it needs root or the internet, or it is output |
//!
//! `page` reads pages, `configurations`, `commands` and `queries` do what the labels say, `recipes` serves what needs
//! other machines. Does not handle the files in `conf/examples` (see `examples`). A mistake is told with its page and
//! line; all are told at once.

mod commands;
mod configurations;
mod page;
mod queries;
mod recipes;

use crate::support::gateway::Folder;
use crate::support::tools::root;
use page::{fences, pages};

const LABELS: [&str; 9] = [
    "yaml", "sh", "python", "js", "promql", "json", "sql", "console", "text",
];

fn fixture(name: &str) -> String {
    std::fs::read_to_string(root().join("tests/fixtures").join(name)).unwrap()
}

#[track_caller]
fn assert_none(mistakes: &[String]) {
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

/// Has paths of a server lead into a folder.
fn moved(text: &str, folder: &Folder) -> String {
    let path = folder.0.display().to_string();
    ["/etc/tollgate", "/var/log/tollgate", "/var/lib/tollgate"]
        .iter()
        .fold(text.to_owned(), |text, from| text.replace(from, &path))
}

/// The anchors of a page, by its path from the root.
pub fn anchors(page: &str) -> Vec<String> {
    let path = root().join(page);
    let pages = pages();
    let page = pages.iter().find(|known| known.path == path).unwrap();
    page.anchors()
}

#[test]
fn each_example_says_what_it_is() {
    let mut mistakes = Vec::new();
    for page in pages() {
        for fence in page.fences() {
            if !LABELS.contains(&fence.label.as_str()) {
                let place = &fence.place;
                mistakes.push(format!("{place}: `{}` is not a known label", fence.label));
            }
        }
        // What is indented is an example without a label, unless it belongs to a list.
        let (mut in_list, mut blank) = (false, true);
        for (number, line) in page.prose() {
            let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
            if line.starts_with("- ") || (digits.len() < line.len() && digits.starts_with(". ")) {
                in_list = true;
            } else if !line.is_empty() && !line.starts_with(' ') {
                in_list = false;
            }
            if blank && !in_list && line.starts_with("    ") {
                let name = page.name();
                mistakes.push(format!("{name}:{number}: write a fence with a label"));
            }
            blank = line.is_empty();
        }
    }
    assert_none(&mistakes);
}

#[test]
fn each_json_is_json() {
    let wrong = fences("json").into_iter().filter_map(|fence| {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&fence.text);
        parsed.err().map(|e| format!("{}: {e}", fence.place))
    });
    assert_none(&wrong.collect::<Vec<_>>());
}

#[test]
fn each_link_leads_somewhere() {
    let pages = pages();
    let mut mistakes = Vec::new();
    for page in &pages {
        for (number, link) in page.links() {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let path = match file.is_empty() {
                true => page.path.clone(),
                false => page.path.parent().unwrap().join(file),
            };
            let place = format!("{}:{number}", page.name());
            let Ok(path) = path.canonicalize() else {
                mistakes.push(format!("{place}: `{file}` is not there"));
                continue;
            };
            let known = pages.iter().find(|page| page.path == path);
            let has = known.is_some_and(|page| page.anchors().iter().any(|a| a == anchor));
            if !anchor.is_empty() && !has {
                mistakes.push(format!("{place}: no heading of `{file}` is `#{anchor}`"));
            }
        }
    }
    assert_none(&mistakes);
}

/// Comments of ours name pages, too.
#[test]
fn each_page_that_a_file_names_is_there() {
    let mut mistakes = Vec::new();
    let mut folders = [
        "src", "conf", "systemd", "tests", "benches", "deploy", ".github",
    ]
    .map(|f| root().join(f))
    .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            for part in text.split("docs/").skip(1) {
                let end = part.find(|c: char| !c.is_ascii_alphanumeric() && !"-_./".contains(c));
                let name = part.get(..end.unwrap_or(part.len())).unwrap_or_default();
                let name = name.trim_end_matches('.');
                if name.ends_with(".md") && !root().join("docs").join(name).exists() {
                    mistakes.push(format!("{}: docs/{name} is not there", path.display()));
                }
            }
        }
    }
    assert_none(&mistakes);
}
