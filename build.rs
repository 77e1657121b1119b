//! Writes the table of the tokenizer, which the library embeds (see `src/openai/tokenizer`).
//!
//! Owns the table's form: how many tokens there are, in four bytes, the lowest first; the length of each token, a
//! byte each; the bytes of all tokens. Both are in the order of the tokens' ranks, and compressed as one. Takes the
//! tokens from `bpe-openai`, which would embed three tables of 11 MB each with what it derives from them. Does not
//! count tokens. A failure ends the build.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "this is how Cargo talks to a build script"
)]

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

/// The build waits for it once, and each release is smaller for it.
const LEVEL: i32 = 19;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let encoding = &bpe_openai::o200k_base().bpe;
    let count = u32::try_from(encoding.num_tokens())?;
    let mut table = count.to_le_bytes().to_vec();
    for rank in 0..count {
        table.push(u8::try_from(encoding.token_bytes(rank).len())?);
    }
    for rank in 0..count {
        table.extend_from_slice(encoding.token_bytes(rank));
    }
    let folder = env::var_os("OUT_DIR").ok_or("Cargo has not set OUT_DIR")?;
    let file = PathBuf::from(folder).join("o200k_base.zst");
    fs::write(file, zstd::bulk::compress(&table, LEVEL)?)?;
    Ok(())
}
