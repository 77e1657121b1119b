//! What the files of `src/` name: modules of ours, and paths of other crates.
//!
//! Reads each file as tokens, so that paths within macros are seen and comments are not. What stands
//! under `#[cfg(test)]` is left out, and so are files of tests. Does not handle what is wrong with an
//! import (see `main`). Fails on a file that is no Rust.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// The path of a module below the crate: `["gateway", "plan"]`.
pub type Module = Vec<String>;

/// One file, without its tests.
pub struct File {
    /// Where it is, from the root of the repository.
    pub path: String,
    /// Its lines.
    pub lines: usize,
    module: Module,
    /// Each path that it names, with its line. The first segment is `crate` for one of ours.
    named: Vec<(usize, Vec<String>)>,
    /// The names that it brings in, with their paths.
    used: BTreeMap<String, Vec<String>>,
}

/// One module names another.
pub struct Import {
    /// The module that names.
    pub from: Module,
    /// The module that defines what is named.
    pub to: Module,
    place: String,
    written: String,
}

/// The files of `src/`.
pub struct Tree {
    files: BTreeMap<Module, File>,
    imports: Vec<Import>,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} names `{}`", self.place, self.written)
    }
}

impl Tree {
    /// Reads the crate that this test is of.
    pub fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut paths = Vec::new();
        find(&root.join("src"), &mut paths);
        let files = paths.iter().map(|path| File::read(root, path));
        let files: BTreeMap<_, _> = files.map(|file| (file.module.clone(), file)).collect();
        let mut tree = Self {
            files,
            imports: Vec::new(),
        };
        tree.imports = tree.find_imports();
        assert!(tree.imports.len() > 100, "the imports are not found");
        tree
    }

    /// All files.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.files.values()
    }

    /// All imports of one module by another.
    pub fn imports(&self) -> impl Iterator<Item = &Import> {
        self.imports.iter()
    }

    /// Modules that have others in them; the first is the crate.
    pub fn folders(&self) -> impl Iterator<Item = &[String]> {
        let has_others = |folder: &&Module| {
            let mut others = self.files.keys();
            others.any(|other| other.len() > folder.len() && other.starts_with(folder))
        };
        self.files.keys().filter(has_others).map(Vec::as_slice)
    }

    /// All paths of other crates: the module, the place and the path.
    pub fn foreign(&self) -> impl Iterator<Item = (&[String], String, &[String])> {
        self.files.values().flat_map(|file| {
            let foreign = file.named.iter().filter(|(_, path)| path[0] != "crate");
            foreign.map(|(line, path)| {
                let place = format!("{}:{line}", file.path);
                (file.module.as_slice(), place, path.as_slice())
            })
        })
    }

    fn find_imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        for file in self.files.values() {
            for (line, path) in file.named.iter().filter(|(_, path)| path[0] == "crate") {
                let to = self.defining(&path[1..], 0);
                if to != file.module && !to.is_empty() {
                    imports.push(Import {
                        from: file.module.clone(),
                        to,
                        place: format!("{}:{line}", file.path),
                        written: path.join("::"),
                    });
                }
            }
        }
        imports
    }

    /// The module that defines what a path of ours leads to.
    fn defining(&self, path: &[String], followed: usize) -> Module {
        assert!(followed < 16, "{path:?} is re-exported in a circle");
        for length in (0..=path.len()).rev() {
            let (module, rest) = path.split_at(length);
            let Some(file) = self.files.get(module) else {
                continue;
            };
            let used = rest.first().and_then(|name| file.used.get(name));
            return match used {
                Some(target) if target[0] == "crate" => {
                    let whole = [&target[1..], &rest[1..]].concat();
                    self.defining(&whole, followed + 1)
                }
                _ => module.to_vec(),
            };
        }
        Vec::new()
    }
}

impl File {
    fn read(root: &Path, path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let shown = path.strip_prefix(root).unwrap().display().to_string();
        let tokens: TokenStream = text.parse().unwrap_or_else(|e| panic!("{shown}: {e}"));
        let mut reader = Reader {
            module: module_of(&shown),
            named: Vec::new(),
            used: BTreeMap::new(),
            tests: 0,
        };
        reader.read(tokens);
        Self {
            lines: text.lines().count() - reader.tests,
            path: shown,
            module: reader.module,
            named: reader.named,
            used: reader.used,
        }
    }
}

/// Every file of Rust below a folder that is none of tests.
fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "tests" || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// `src/gateway/plan/mod.rs` is `["gateway", "plan"]`; the crate's own head is empty.
fn module_of(path: &str) -> Module {
    let path = path
        .strip_prefix("src/")
        .unwrap()
        .strip_suffix(".rs")
        .unwrap();
    let mut module: Module = path.split('/').map(str::to_owned).collect();
    if module
        .last()
        .is_some_and(|last| last == "mod" || last == "lib")
    {
        module.pop();
    }
    module
}

struct Reader {
    module: Module,
    named: Vec<(usize, Vec<String>)>,
    used: BTreeMap<String, Vec<String>>,
    /// Lines of tests.
    tests: usize,
}

impl Reader {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = if is_test_attribute(&tokens[at..]) {
                self.skip_item(&tokens, at)
            } else if is_word(&tokens[at], "use") {
                let end = (at..tokens.len()).find(|n| is_punct(&tokens[*n], ';'));
                // `use<'a>` in a bound is no item.
                match end.filter(|_| !is_punct(&tokens[at + 1], '<')) {
                    Some(end) => {
                        self.read_use(Vec::new(), &tokens[at + 1..end]);
                        end + 1
                    }
                    None => at + 1,
                }
            } else {
                self.read_path(&tokens, at)
            };
        }
    }

    /// Passes over an attribute and the item under it.
    fn skip_item(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let is_end = |token: &TokenTree| is_punct(token, ';') || braces(token).is_some();
        let end = (at + 2..tokens.len())
            .find(|n| is_end(&tokens[*n]))
            .unwrap();
        let lines = tokens[at].span().start().line..=tokens[end].span().end().line;
        self.tests += lines.count();
        end + 1
    }

    /// A tree of `use`: `a::{b, c::d}`.
    fn read_use(&mut self, mut path: Vec<String>, tokens: &[TokenTree]) {
        let mut name = None;
        let mut rest = tokens.iter();
        while let Some(token) = rest.next() {
            match token {
                TokenTree::Ident(word) if *word == "as" => {
                    name = rest.next().map(ToString::to_string);
                }
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    for part in inner.split(|token| is_punct(token, ',')) {
                        if !part.is_empty() {
                            self.read_use(path.clone(), part);
                        }
                    }
                    return;
                }
                _ => {}
            }
        }
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        let line = tokens[0].span().start().line;
        let name = name.or_else(|| path.last().cloned());
        let path = self.whole(&path);
        if let (Some(name), true) = (name, path.len() > 1) {
            self.used.insert(name, path.clone());
        }
        self.named.push((line, path));
    }

    /// A path within an expression or a type. Tells where to read on.
    fn read_path(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        if let TokenTree::Group(group) = &tokens[at] {
            self.read(group.stream());
            return at + 1;
        }
        let mut path = Vec::new();
        let mut end = at;
        while let Some(TokenTree::Ident(word)) = tokens.get(end) {
            path.push(word.to_string());
            let is_joined = |n| tokens.get(n).is_some_and(|token| is_punct(token, ':'));
            if !is_joined(end + 1) || !is_joined(end + 2) {
                end += 1;
                break;
            }
            end += 3;
        }
        if path.len() > 1 {
            let begins = path[0].as_str();
            if matches!(
                begins,
                "crate" | "super" | "self" | "pingora" | "pingora_proxy" | "tollgate"
            ) {
                let line = tokens[at].span().start().line;
                self.named.push((line, self.whole(&path)));
            }
        }
        end.max(at + 1)
    }

    /// A path from the crate, or from another one. A name that this module has as its own is found
    /// by its file; `main.rs` names the library by its name.
    fn whole(&self, path: &[String]) -> Vec<String> {
        let mut module = self.module.clone();
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("crate" | "tollgate") => (module, rest) = (Vec::new(), &path[1..]),
            Some("self") => rest = &path[1..],
            Some("super") => {
                while rest.first().is_some_and(|word| word == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            Some(name) if self.has_child(name) => {}
            _ => return path.to_vec(),
        }
        let crate_root = std::iter::once("crate".to_owned());
        crate_root
            .chain(module)
            .chain(rest.iter().cloned())
            .collect()
    }

    fn has_child(&self, name: &str) -> bool {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let folder = self
            .module
            .iter()
            .fold(folder, |folder, part| folder.join(part));
        folder.join(format!("{name}.rs")).exists() || folder.join(name).join("mod.rs").exists()
    }
}

fn is_test_attribute(tokens: &[TokenTree]) -> bool {
    let [TokenTree::Punct(hash), TokenTree::Group(group), ..] = tokens else {
        return false;
    };
    hash.as_char() == '#' && group.stream().to_string().replace(' ', "") == "cfg(test)"
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(found) if *found == word)
}

fn is_punct(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(found) if found.as_char() == mark)
}

fn braces(token: &TokenTree) -> Option<&Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
        _ => None,
    }
}
