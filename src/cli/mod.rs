//! Subcommands: thin, each calls the library and prints. Comes in: arguments. Goes out: text or JSON on standard
//! output, progress on standard error. Fails as the library does, and when the output cannot be written.

/// Prints a line. A reader that goes away ends the command with an error, not the program with a panic.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write;
        writeln!(std::io::stdout(), $($line)*)?
    }};
}

mod args;
mod bench;
mod export;
mod index;
mod inspect;
mod parallel;
mod progress;
mod repack;
mod replay;
mod synth;
mod task;
mod tensors;

use clap::Parser;

/// Anything that ends a command early.
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Reads SA-1B tar shards in place: index them, look into them, lay their samples side by side, measure the loader on
/// them, export or replay batches, or make shards to try it all on.
#[derive(Parser)]
#[command(name = "maskstream", version, max_term_width = 120)]
enum Command {
    Index(index::Args),
    Inspect(inspect::Args),
    Repack(repack::Args),
    Synth(synth::Args),
    Bench(bench::Args),
    Export(export::Args),
    Replay(replay::Args),
}

/// What is printed while work is done that is more than its words: if nobody reads any more, it goes on in silence.
#[derive(Default)]
struct Words {
    unread: bool,
}

impl Words {
    fn say(&mut self, say: impl FnOnce() -> Outcome) -> Outcome {
        if self.unread {
            return Ok(());
        }
        let said = say();
        self.unread = said.as_ref().is_err_and(|error| is_unread(&**error));
        if self.unread { Ok(()) } else { said }
    }

    fn line(&mut self, line: impl std::fmt::Display) -> Outcome {
        self.say(|| {
            say!("{line}");
            Ok(())
        })
    }
}

fn is_unread(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(|e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Runs the command that the arguments name.
pub(crate) fn run() -> Outcome {
    let outcome = match Command::parse() {
        Command::Index(args) => index::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Repack(args) => repack::run(&args),
        Command::Synth(args) => synth::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Replay(args) => replay::run(&args),
    };
    // `maskstream inspect ... | head` is no failure.
    outcome.or_else(|error| if is_unread(&*error) { Ok(()) } else { Err(error) })
}
