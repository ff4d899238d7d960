//! A test runner with libtest's command line and output: a line for each test, a summary and the exit code. A test that
//! panics has failed; one that hangs ends the process.

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A name, and a function that must not panic.
pub(crate) type Test = (&'static str, fn());

/// Many times the duration of a test on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);
/// Options that are followed by a value, perhaps as an argument of its own.
const WITH_VALUE: [&str; 7] =
    ["--test-threads", "--format", "--color", "--logfile", "--shuffle-seed", "--report-time", "-Z"];

/// The options of libtest that have a meaning here; others are ignored.
#[derive(Default)]
struct Options {
    filters: Vec<String>,
    skips: Vec<String>,
    is_exact: bool,
    only_ignored: bool,
    lists: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Self {
        let mut options = Self::default();
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            match argument {
                "--list" => options.lists = true,
                "--exact" => options.is_exact = true,
                "--ignored" => options.only_ignored = true,
                "--skip" => options.skips.extend(arguments.next().map(str::to_owned)),
                flag if WITH_VALUE.contains(&flag) => drop(arguments.next()),
                flag if flag.starts_with('-') => options.skips.extend(flag.strip_prefix("--skip=").map(str::to_owned)),
                filter => options.filters.push(filter.to_owned()),
            }
        }
        options
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.is_exact { name == filter } else { name.contains(filter.as_str()) };
        let is_in = self.filters.is_empty() || self.filters.iter().any(fits);
        is_in && !self.skips.iter().any(fits) && !self.only_ignored
    }
}

/// Runs the tests that the arguments select, one after the other.
pub(crate) fn run(tests: &[Test], arguments: &[String]) -> ExitCode {
    let options = Options::parse(arguments);
    let wanted: Vec<_> = tests.iter().filter(|(name, _)| options.wants(name)).collect();
    if options.lists {
        wanted.iter().for_each(|(name, _)| println!("{name}: test"));
        println!("\n{} tests, 0 benchmarks", wanted.len());
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} test{}", wanted.len(), if wanted.len() == 1 { "" } else { "s" });
    let start = Instant::now();
    let has_failed = |(name, test): &&&Test| {
        let outcome = within_deadline(name, || catch_unwind(test));
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        outcome.is_err()
    };
    let failures: Vec<_> = wanted.iter().filter(has_failed).map(|(name, _)| name).collect();
    if !failures.is_empty() {
        println!("\nfailures:");
        failures.iter().for_each(|name| println!("    {name}"));
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failures.is_empty() { "ok" } else { "FAILED" },
        wanted.len() - failures.len(),
        failures.len(),
        tests.len() - wanted.len(),
        start.elapsed().as_secs_f64()
    );
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

/// Runs `life`, and ends the whole process if that takes too long; its children notice and end, too.
pub(crate) fn within_deadline<T>(name: &str, life: impl FnOnce() -> T) -> T {
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{name} is still running after {DEADLINE:?}: a hang");
                std::process::abort();
            }
        });
        let value = life();
        drop(done);
        value
    })
}
