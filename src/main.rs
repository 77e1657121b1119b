//! The binary: everything is in the library.

use std::process::ExitCode;

/// Measured: takes a quarter off the CPU per request, see `docs/benchmarks.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tollgate::cli::main()
}
