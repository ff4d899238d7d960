//! The `maskstream` command. Comes in: arguments. Goes out: what the subcommand prints, and an exit status: 0, or 1
//! with one line on standard error.

mod cli;

use std::process::ExitCode;

/// Keeps the pages of a dropped batch for the next one; without it each batch is faulted in anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("maskstream: {error}");
            ExitCode::FAILURE
        }
    }
}
