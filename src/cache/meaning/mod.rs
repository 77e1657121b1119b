//! Answers to questions that mean the same.
//!
//! Owns the questions that were answered (`questions`), whether two texts agree on what a vector does not tell
//! (`agreement`), the vectors in memory (`vectors`) or in a database (`store`), and the threshold of an embedding model
//! (`calibrate`). The caller passes the time. Does not handle what a request asks (see `openai::question`), how a text
//! becomes a vector, or when this is done (see `gateway`). Each part fails with errors of its own.

pub mod agreement;
pub mod calibrate;
mod questions;
mod store;
pub mod vectors;

pub use questions::{Fault, Question, Questions};
