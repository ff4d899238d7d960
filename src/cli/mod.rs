//! Subcommands. Each calls the library and prints text or JSON to standard output; progress bars and warnings go to
//! standard error.

/// Prints a line to standard output. If that fails, as it does on a closed pipe, the command returns the error.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write;
        writeln!(std::io::stdout(), $($line)*).map_err($crate::cli::output::StdoutError)?
    }};
}

/// Prints a line to standard error. Nothing depends on whether anyone reads it: `eprintln` would panic.
macro_rules! tell {
    ($($line:tt)*) => {{
        use std::io::Write;
        // One write, so that lines of several threads do not mix.
        let _ = std::io::stderr().write_all(format!("{}\n", format_args!($($line)*)).as_bytes());
    }};
}

mod advice;
mod args;
mod augment_args;
mod bench;
mod completions;
mod export;
mod index;
mod inspect;
mod output;
mod pack;
mod parallel;
mod progress;
mod repack;
mod replay;
mod signals;
mod size;
mod stats;
mod stores;
mod synth;
mod target;
mod task;
mod tensors;
mod tune;
mod verify;
mod view;
mod warnings;

use std::process::ExitCode;

use clap::Parser;

use maskstream::internals::OneLine;
use output::{WrongArguments, is_broken_pipe};

/// Works with SA-1B tar shards in place: gzip streams named .tar, or plain tar files
///
/// Packs samples into shards, indexes shards, shows what is in them, repacks them, and measures, exports and replays
/// the batches that the maskstream library makes of them for training.
#[derive(Parser)]
#[command(name = "maskstream", version, max_term_width = 100, after_long_help = FIRST_STEPS)]
enum Command {
    Index(index::Args),
    Inspect(inspect::Args),
    Pack(pack::Args),
    Repack(repack::Args),
    Synth(synth::Args),
    Bench(bench::Args),
    Tune(tune::Args),
    Export(export::Args),
    Replay(replay::Args),
    Verify(verify::Args),
    View(view::Args),
    Stats(stats::Args),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

const FIRST_STEPS: &str = "\
First steps, without any data of your own:
  maskstream synth demo --preset small   writes demo/sa_000000.tar
  maskstream index demo                  finds its samples
  maskstream inspect demo                shows what is in it
  maskstream verify demo                 tells whether all of it is whole
  maskstream view demo                   shows what a model gets
  maskstream stats demo                  shows what a score threshold keeps
  maskstream bench demo                  measures how fast it loads

`maskstream COMMAND --help` explains a command and its output.

Exit status: 0 on success; 1 on failure, with the reason as the last line on
standard error; 2 if the arguments are wrong; 129, 130 or 143 if the command is
stopped by SIGHUP, SIGINT or SIGTERM. A command that is stopped leaves complete
files and no others. No command overwrites a file unless it is given --force.";

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let command = Command::parse();
    if let Err(error) = signals::install() {
        tell!("maskstream: signals end this command at once, and may leave temporary files: {error}");
    }
    let outcome = match command {
        Command::Index(args) => index::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Repack(args) => repack::run(&args),
        Command::Synth(args) => synth::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::View(args) => view::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Completions(args) => completions::completions::<Command>(&args),
        Command::Man(args) => completions::man::<Command>(&args),
    };
    let status = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // `maskstream inspect ... | head` is not a failure.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            tell!("maskstream: {}", OneLine(&advice::in_flags(&*error)));
            if error.is::<WrongArguments>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    };
    signals::claim_end();
    status
}
