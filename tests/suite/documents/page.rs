//! Pages: their fences, headings and links.
//!
//! Reads as much of Markdown as our pages have. Does not handle what a fence holds (see
//! `configurations`, `commands`).

use std::path::PathBuf;

use crate::support::tools::root;

/// A fence of a page.
pub struct Fence {
    /// The page and the line of the fence's first mark.
    pub place: String,
    pub label: String,
    pub text: String,
}

/// A page.
pub struct Page {
    pub path: PathBuf,
    text: String,
}

impl Page {
    pub fn name(&self) -> String {
        let path = self.path.strip_prefix(root()).unwrap();
        path.display().to_string()
    }

    pub fn fences(&self) -> Vec<Fence> {
        let mut fences = Vec::new();
        let mut lines = self.text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let Some(label) = line.trim_start().strip_prefix("```") else {
                continue;
            };
            let indent = line.len() - line.trim_start().len();
            let mut text = String::new();
            for (_, line) in lines.by_ref() {
                if line.trim() == "```" {
                    break;
                }
                text += line.get(indent..).unwrap_or_default();
                text.push('\n');
            }
            fences.push(Fence {
                place: format!("{}:{}", self.name(), number + 1),
                label: label.trim().to_owned(),
                text,
            });
        }
        fences
    }

    /// The lines that are no part of a fence, each with its number; those of fences are empty.
    pub fn prose(&self) -> Vec<(usize, &str)> {
        let mut within = false;
        let lines = self.text.lines().enumerate().map(|(number, line)| {
            let mark = line.trim_start().starts_with("```");
            within ^= mark;
            (number + 1, if within || mark { "" } else { line })
        });
        lines.collect()
    }

    /// The anchors of its headings, as GitHub makes them.
    pub fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        for (_, line) in self.prose() {
            let heading = line.trim_start_matches('#');
            if heading.len() == line.len() || !heading.starts_with(' ') {
                continue;
            }
            let kept = heading.trim().to_lowercase();
            let kept = kept
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let anchor = kept.collect::<String>().replace(' ', "-");
            let same = anchors.iter().filter(|known| **known == anchor).count();
            anchors.push(match same {
                0 => anchor,
                count => format!("{anchor}-{count}"),
            });
        }
        anchors
    }

    /// Where its links lead to, with the line of each.
    pub fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in self.prose() {
            for part in line.split("](").skip(1) {
                let target = part.split(')').next().unwrap_or_default();
                links.push((number, target.to_owned()));
            }
        }
        links
    }
}

/// All pages, in the order of their names.
pub fn pages() -> Vec<Page> {
    let mut paths = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    let mut folders = vec![root().join("docs"), root().join("conf")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == "md") => paths.push(path),
                false => (),
            }
        }
    }
    paths.sort();
    let read = |path: PathBuf| Page {
        text: std::fs::read_to_string(&path).unwrap(),
        path,
    };
    paths.into_iter().map(read).collect()
}

pub fn fences(label: &str) -> Vec<Fence> {
    let fences = pages().into_iter().flat_map(|page| page.fences());
    fences.filter(|fence| fence.label == label).collect()
}
