//! Subcommands: thin, each calls the library and prints. Comes in: arguments. Goes out: text or JSON on standard
//! output, progress on standard error. Fails as the library does, and when the output cannot be written.

mod args;
mod bench;
mod export;
mod index;
mod inspect;
mod progress;
mod synth;

use clap::Parser;

/// Anything that ends a command early.
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Reads SA-1B tar shards in place: index them, look into them, measure the loader on them, export batches, or make
/// shards to try it all on.
#[derive(Parser)]
#[command(name = "maskstream", version, max_term_width = 120)]
enum Command {
    Index(index::Args),
    Inspect(inspect::Args),
    Synth(synth::Args),
    Bench(bench::Args),
    Export(export::Args),
}

/// Runs the command that the arguments name.
pub(crate) fn run() -> Outcome {
    match Command::parse() {
        Command::Index(args) => index::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Synth(args) => synth::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Export(args) => export::run(&args),
    }
}
