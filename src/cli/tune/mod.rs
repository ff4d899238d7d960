//! `maskstream tune`: measures which settings of the loader are fastest on this machine, with the user's shards.

mod report;
mod search;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use super::args::LoaderArgs;
use super::output::Outcome;
use super::size::parse_positive;
use super::{parallel, progress};
use report::Report;
use search::Search;
use trial::Trials;

/// Find the number of workers and the other settings that are fastest on this machine
///
/// Runs the loader on your shards with different settings, each for a few seconds and several times in turn, and takes
/// the median. Give it the flags that your training uses (--image-size, --top-k, --shuffle, ...): they decide how long
/// a sample takes. A setting that you give (such as --num-workers) is kept.
///
/// It takes the smallest number of workers that reaches 98 % of the highest speed, then the smallest
/// --prefetch-batches that does, and --chunk-bytes only if the shards come from a device and that gains a tenth. It
/// prints what it measured, the best settings as flags and as code, how fast decoding and reading could be at most,
/// what limits the speed, and the memory that the loader takes. --scaled-decode changes pixels, so its cost is shown,
/// and the choice is yours.
///
/// Let the machine do nothing else meanwhile.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    loader: LoaderArgs,
    /// Time of one training step of yours, in milliseconds [default: 0]
    ///
    /// The loader is then asked for a batch only as often as your loop asks for one, and the fewest workers that keep
    /// up with it are enough: the others are left to you.
    #[arg(long, value_name = "MS", default_value_t = 0, hide_default_value = true, value_parser = step_ms)]
    step_ms: u64,
    /// Time to measure, in seconds; a large machine has more to try, and a long --step-ms takes longer
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = parse_positive)]
    seconds: u64,
    /// Print one JSON object, for programs
    #[arg(long)]
    json: bool,
}

/// A step of a minute.
const MAX_STEP_MS: u64 = 60_000;

const EXAMPLES: &str = "\
Examples:
  maskstream tune 'sa1b/*.tar' --shuffle
  maskstream tune sa1b --shuffle --image-size 512 --top-k 16 --batch-size 16
  maskstream tune sa1b --shuffle --step-ms 180
  maskstream tune sa1b --shuffle --json | jq -r .flags

Exit status: 0 on success; 1 if a shard or a sample cannot be read, or if no
sample passes the filter; 2 if the arguments are wrong.";

/// Reads `--step-ms`.
fn step_ms(text: &str) -> Result<u64, String> {
    let step = text.parse().ok().filter(|step| (0..=MAX_STEP_MS).contains(step));
    step.ok_or_else(|| format!("it must be a number of milliseconds from 0 to {MAX_STEP_MS}"))
}

pub(super) fn run(args: &Args) -> Outcome {
    args.loader.check(None, false)?;
    let builder = args.loader.loader_settings(None)?;
    let set = Arc::new(args.loader.open(args.loader.shard_settings(None)?)?);
    let cores = parallel::cores().get();
    let bar = progress::clock("measuring");
    let trials = Trials::new(builder, set, Duration::from_millis(args.step_ms), bar.clone());
    let outcome = Search { trials, given: args.loader.given(), cores, budget: Duration::from_secs(args.seconds) }.run();
    bar.finish_and_clear();
    let report = Report::new(&outcome?, args.step_ms, cores, args.loader.given().is_shuffled);
    if args.json {
        say!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    report.print()
}
