//! The `maskstream` command. Exit status: 0 on success; 1 on failure, with the reason on standard error; 2 if the
//! arguments are wrong; 128 plus the number of the signal that stopped it.

mod cli;

use std::process::ExitCode;

/// Keeps the pages of a dropped batch for the next one. The system allocator returns them, and each batch is faulted in
/// again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
