//! The `prices` section: what models cost.
//!
//! Owns its keys, also where they stand in a file of their own. Does not handle whether the upstreams that it
//! names exist and whether its dates fit each other (see `validate`), nor which price a request has (see
//! `prices`). What cannot be read is reported with its place, in the file of prices where there is one.

use std::sync::Arc;

use jiff::Timestamp;

use super::document::{self, Located, Node, Section};
use super::files::FileKind;
use super::sources::read_text;

/// One price: of a model, or of all whose names begin in the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// The model as the upstream is asked for it; a `*` at the end stands for any rest.
    pub model: Located<String>,
    /// The upstream; `None` for any.
    pub upstream: Option<Located<String>>,
    /// From when it holds; `None` for always.
    pub from: Option<Timestamp>,
    /// Until when it holds, that moment excluded; `None` for ever.
    pub until: Option<Timestamp>,
    /// The price itself.
    pub rates: Rates,
}

/// What is paid for what, in nano-dollars for a million tokens unless stated otherwise. `None` where it is
/// paid like the input or output that it is a part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input that has no other price.
    pub input: u64,
    /// Input that was read from a cache.
    pub cached: Option<u64>,
    /// Input that was written to a cache.
    pub cache_write: Option<u64>,
    /// What of it is kept for an hour.
    pub cache_write_1h: Option<u64>,
    /// Output that has no other price.
    pub output: u64,
    /// Reasoning.
    pub reasoning: Option<u64>,
    /// Audio that went in.
    pub input_audio: Option<u64>,
    /// Images that went in.
    pub input_image: Option<u64>,
    /// Audio that came out.
    pub output_audio: Option<u64>,
    /// Images that came out.
    pub output_image: Option<u64>,
    /// A minute of audio, in nano-dollars.
    pub audio_minute: u64,
    /// A search, in nano-dollars.
    pub search: u64,
    /// A request, in nano-dollars.
    pub request: u64,
}

impl Price {
    /// Whether it may be the price of a model at an upstream, whatever the time.
    pub fn covers(&self, upstream: &str, model: &str) -> bool {
        self.is_of(upstream)
            && match self.model.value.strip_suffix('*') {
                Some(prefix) => model.starts_with(prefix),
                None => self.model.value == model,
            }
    }

    /// Whether it is the price of models at an upstream.
    pub fn is_of(&self, upstream: &str) -> bool {
        self.upstream.as_ref().is_none_or(|u| u.value == upstream)
    }
}

/// What a tenant pays beyond what the provider is paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Markup {
    /// Thousandths of a percent that are added: 20 % is 20,000.
    pub millipercent: u32,
}

/// Reads prices: a list of them; or a mapping with a `list`, a `file` that has one, or both.
pub fn read(node: &Node<'_>) -> Vec<Price> {
    if !node.is_mapping() {
        return read_list(node);
    }
    let Some(mut section) = node.section() else {
        return Vec::new();
    };
    let (file, list) = (section.take("file"), section.take("list"));
    if section.finish() && file.is_none() && list.is_none() {
        let hint = "as in prices: { file: prices.yaml }";
        node.report("neither `file` nor `list` is written", Some(hint));
    }
    let mut prices = file.map_or_else(Vec::new, |n| read_file(&n));
    prices.extend(list.iter().flat_map(read_list));
    prices
}

/// Reads a file that has a list of prices, alone or under `prices`. Its path is relative to the folder of the
/// configuration.
fn read_file(node: &Node<'_>) -> Vec<Price> {
    let Some(path) = node.path_beside() else {
        return Vec::new();
    };
    let context = node.context();
    context.note_file(&path, FileKind::Configuration);
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(fault) => {
            let message = format!("{}: {}", path.display(), fault.message);
            node.report(
                message,
                Some("name a file in YAML that has a list of prices"),
            );
            return Vec::new();
        }
    };
    let name: Arc<str> = path.display().to_string().into();
    let prices = document::with_root_of(context, Some(name), &text, |root| {
        if !root.is_mapping() {
            return Some(read_list(&root));
        }
        let mut section = root.section()?;
        let list = section.require("prices");
        section.finish();
        list.map(|list| read_list(&list))
    });
    prices.unwrap_or_default()
}

fn read_list(node: &Node<'_>) -> Vec<Price> {
    let items = node.list().unwrap_or_default();
    if node.is_list() && items.is_empty() {
        let hint = "- { model: gpt-4o, input: 2.50, output: 10 }";
        node.report("at least one price is needed", Some(hint));
    }
    items.iter().filter_map(read_price).collect()
}

fn read_price(node: &Node<'_>) -> Option<Price> {
    let mut section = node.section()?;
    let model = section.require("model").and_then(|n| read_model(&n));
    let upstream = section.take("upstream");
    let upstream = upstream.and_then(|n| Some(n.locate(n.name()?)));
    let from = section.take("from").and_then(|n| n.moment());
    let until = section.take("until");
    let until = until.and_then(|n| Some(n.locate(n.moment()?)));
    let rates = read_rates(&mut section);
    // An unknown key may be meant for a price.
    if section.finish() && rates.is_none() {
        let hint = "as in { model: gpt-4o, input: 2.50, output: 10 }; 0 for what is free";
        node.report("no price is written", Some(hint));
    }
    if let (Some(from), Some(until)) = (from, &until)
        && until.value <= from
    {
        let message = "`until` must be after `from`".to_owned();
        let hint = Some("as in from: 2026-01-01, until: 2026-07-01".to_owned());
        node.context().report(&until.place, message, hint);
    }
    Some(Price {
        model: model?,
        upstream,
        from,
        until: until.map(|until| until.value),
        rates: rates?,
    })
}

fn read_model(node: &Node<'_>) -> Option<Located<String>> {
    let name = node.name()?;
    let stars = name.matches('*').count();
    if stars > 1 || (stars == 1 && !name.ends_with('*')) {
        let head = name.split('*').next().unwrap_or_default();
        let hint = format!("model: \"{head}*\" for the names that begin with it");
        node.report(
            format!("`{name}`: a `*` stands only at the end"),
            Some(&hint),
        );
        return None;
    }
    Some(node.locate(name))
}

/// `None` where there is no price at all.
fn read_rates(section: &mut Section<'_>) -> Option<Rates> {
    let mut is_empty = true;
    let mut rate = |key| {
        let node = section.take(key);
        is_empty &= node.is_none();
        node.and_then(|n| n.nanos())
    };
    let rates = Rates {
        input: rate("input").unwrap_or(0),
        cached: rate("cached"),
        cache_write: rate("cache_write"),
        cache_write_1h: rate("cache_write_1h"),
        output: rate("output").unwrap_or(0),
        reasoning: rate("reasoning"),
        input_audio: rate("input_audio"),
        input_image: rate("input_image"),
        output_audio: rate("output_audio"),
        output_image: rate("output_image"),
        audio_minute: rate("audio_minute").unwrap_or(0),
        search: rate("search").unwrap_or(0),
        request: rate("request").unwrap_or(0),
    };
    (!is_empty).then_some(rates)
}
