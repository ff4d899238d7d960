//! Subcommands. Each calls the library and prints text or JSON to standard output; progress bars and warnings go to
//! standard error.

/// Prints a line to standard output. If that fails, as it does on a closed pipe, the command returns the error.
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

/// Ok, or any error that ends a command early.
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Columns of a terminal that text output fits in.
const COLUMNS: usize = 80;

/// Works with SA-1B tar shards in place: gzip streams named .tar, or plain tar files
///
/// Indexes shards, shows what is in them, repacks them, and measures, exports and replays the batches that the
/// maskstream library makes of them for training.
#[derive(Parser)]
#[command(name = "maskstream", version, max_term_width = 100, after_long_help = FIRST_STEPS)]
enum Command {
    Index(index::Args),
    Inspect(inspect::Args),
    Repack(repack::Args),
    Synth(synth::Args),
    Bench(bench::Args),
    Export(export::Args),
    Replay(replay::Args),
}

const FIRST_STEPS: &str = "\
First steps, without any data of your own:
  maskstream synth demo --preset small   writes demo/sa_000000.tar
  maskstream index demo                  finds its samples
  maskstream inspect demo                shows what is in it
  maskstream bench demo                  measures how fast it loads

`maskstream COMMAND --help` explains a command and its output.

Exit status: 0 on success; 1 on failure, with the reason as the last line on
standard error; 2 if the arguments are wrong.";

/// Output of a command that has work to do besides printing: after a broken pipe the work continues silently.
#[derive(Default)]
struct ProgressOutput {
    closed: bool,
}

impl ProgressOutput {
    fn print(&mut self, print: impl FnOnce() -> Outcome) -> Outcome {
        if self.closed {
            return Ok(());
        }
        let printed = print();
        self.closed = printed.as_ref().is_err_and(|error| is_broken_pipe(&**error));
        if self.closed { Ok(()) } else { printed }
    }

    fn line(&mut self, line: impl std::fmt::Display) -> Outcome {
        self.print(|| {
            say!("{line}");
            Ok(())
        })
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(|e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// A size in MB, GB or TB (powers of 1000).
fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        1e12.. => format!("{:.1} TB", bytes / 1e12),
        1e9.. => format!("{:.1} GB", bytes / 1e9),
        _ => format!("{:.1} MB", bytes / 1e6),
    }
}

/// Breaks a line at spaces, so that it fits the terminal. The further lines are indented by four more columns than the
/// first one.
fn wrap(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let mut out = " ".repeat(indent);
    let mut column = indent;
    for (i, word) in line.split_whitespace().enumerate() {
        let width = word.chars().count();
        if i > 0 && column + 1 + width > COLUMNS {
            column = indent + 4;
            out.push('\n');
            out.push_str(&" ".repeat(column));
        } else if i > 0 {
            column += 1;
            out.push(' ');
        }
        column += width;
        out.push_str(word);
    }
    out
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
    // `maskstream inspect ... | head` is not a failure.
    outcome.or_else(|error| if is_broken_pipe(&*error) { Ok(()) } else { Err(error) })
}
