//! The schema of what is written down: `prices`, `ledger`, `store` and `chat_log`.
//!
//! Owns their keys. Does not handle how they are read (see `config::prices`, `ledger`, `store` and `chat_log`). Cannot
//! fail.

use serde_json::{Value, json};

use super::shapes::{
    boolean, decimal, duration, integer, list, list_or, moment, or, or_off, reference, section,
    size, text, word,
};
use crate::config::{Every, OnDown, OnFailure};

/// Prices with a file.
pub(super) fn prices() -> Value {
    section(
        &[],
        [
            (
                "file",
                "A file with a list of prices, from this file's folder.",
                text(),
            ),
            ("list", "Prices.", list(reference("price"))),
        ],
    )
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn price() -> Value {
    let usd = || decimal("");
    section(
        &["model"],
        [
            (
                "model",
                "The name that the upstream is asked for. A * only at the end.",
                text(),
            ),
            ("upstream", "A name from `upstreams`. Default: any.", text()),
            ("from", "From when it holds.", moment()),
            (
                "until",
                "Until when it holds, that moment excluded.",
                moment(),
            ),
            (
                "input",
                "US dollars for a million tokens of input.",
                or(usd(), 0),
            ),
            (
                "cached",
                "Input that was read from a cache. Default: as input.",
                usd(),
            ),
            (
                "cache_write",
                "Input that was written to a cache. Default: as input.",
                usd(),
            ),
            (
                "cache_write_1h",
                "What of it is kept for an hour. Default: as cache_write.",
                usd(),
            ),
            (
                "output",
                "US dollars for a million tokens of output.",
                or(usd(), 0),
            ),
            ("reasoning", "Reasoning. Default: as output.", usd()),
            (
                "input_audio",
                "Audio that went in. Default: as input.",
                usd(),
            ),
            (
                "input_image",
                "Images that went in. Default: as input.",
                usd(),
            ),
            (
                "output_audio",
                "Audio that came out. Default: as output.",
                usd(),
            ),
            (
                "output_image",
                "Images that came out. Default: as output.",
                usd(),
            ),
            (
                "audio_minute",
                "US dollars for a minute of audio that is priced by its time.",
                or(usd(), 0),
            ),
            ("search", "US dollars for a search.", or(usd(), 0)),
            ("request", "US dollars for a request.", or(usd(), 0)),
        ],
    )
}

pub(super) fn ledger() -> Value {
    let archive = section(
        &["after", "path"],
        [
            (
                "after",
                "Months that ended longer ago, at least 1d.",
                duration(),
            ),
            ("path", "The folder that they are moved to.", text()),
        ],
    );
    let failure = [OnFailure::Serve, OnFailure::Refuse].map(OnFailure::name);
    section(
        &[],
        [
            (
                "path",
                "The folder. Default: $STATE_DIRECTORY, or ledger in the working directory.",
                text(),
            ),
            (
                "postgres",
                "The URL of a PostgreSQL database. Without it, SQLite in the folder.",
                text(),
            ),
            (
                "on_failure",
                "What is done with requests while nothing can be recorded.",
                or(word(failure), OnFailure::default().name()),
            ),
            ("archive", "Older months are moved and compressed.", archive),
            (
                "retention",
                "Older months are removed, at least 1d.",
                or(or_off(duration()), "off"),
            ),
        ],
    )
}

pub(super) fn store() -> Value {
    let down = [OnDown::LocalShare, OnDown::Refuse].map(OnDown::name);
    section(
        &["redis"],
        [
            (
                "redis",
                "The URL of a Redis or Valkey, or a list of those of a Cluster or of its Sentinels.",
                list_or(text(), text()),
            ),
            (
                "cluster",
                "Whether the servers are some of a Redis Cluster.",
                or(boolean(), false),
            ),
            (
                "sentinel",
                "The name under which the Sentinels watch the master.",
                text(),
            ),
            (
                "on_down",
                "What happens while it is away: each node goes on with an equal part, or refuses.",
                or(word(down), OnDown::default().name()),
            ),
            (
                "nodes",
                "So many gateways share it at least: each goes on with such a part while it is away.",
                or(integer(1, 1_000), 1),
            ),
        ],
    )
}

pub(super) fn chat_log() -> Value {
    let share = json!({ "type": ["number", "string"], "minimum": 0, "maximum": 1 });
    section(
        &["path"],
        [
            ("path", "The file.", text()),
            (
                "sample",
                "The share of the requests that is written.",
                or(share, 1),
            ),
            (
                "max_bytes",
                "The longest parts of a longer line are removed, from 8KiB to 64MiB.",
                or(size(), "1MiB"),
            ),
            ("rotate", "When a new file is begun.", rotation()),
            ("retention", "When a full file is deleted.", retention(100)),
            (
                "mask",
                "What is hidden.",
                or(
                    or_off(list(word(["addresses", "keys"]))),
                    json!(["addresses", "keys"]),
                ),
            ),
        ],
    )
}

pub(super) fn rotation() -> Value {
    let every = [Every::Hour, Every::Day].map(Every::name);
    section(
        &[],
        [
            (
                "size",
                "Its largest size, at least 64KiB.",
                or(size(), "100MiB"),
            ),
            (
                "every",
                "The time that one file is for, in UTC.",
                or(word(every), Every::Day.name()),
            ),
        ],
    )
}

/// `files` are kept where nothing is written.
pub(super) fn retention(files: u64) -> Value {
    section(
        &[],
        [
            (
                "age",
                "When it is older, at least 1h.",
                or(or_off(duration()), "30d"),
            ),
            (
                "files",
                "When there are as many younger ones.",
                or(integer(1, 100_000), files),
            ),
        ],
    )
}
