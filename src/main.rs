//! The binary: everything is in the library.

use std::process::ExitCode;

/// Measured: takes a quarter off the CPU per request, see `docs/benchmarks.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages, which would back a connection's mostly empty buffers in
    // full: measured, 119 instead of 67 KiB for each open stream. Where the kernel cannot turn
    // them off, memory is all that is lost.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    tollgate::cli::main()
}
