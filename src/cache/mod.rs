//! The caches of answers.
//!
//! Owns the cache by meaning (`meaning`). Does not handle what a request asks (see `openai::question`), nor
//! when a cache is asked (see `gateway`).

pub mod meaning;
