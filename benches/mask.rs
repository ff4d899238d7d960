//! Compares this crate's mask operations with those of other libraries. Run with `cargo bench --bench mask`. Arguments
//! after `--` select operations by parts of their names, or are options:
//!
//! * `--rounds N`: number of rounds, of which the medians are shown; 5 by default
//! * `--python PATH`: a Python interpreter with the other libraries (`pip install -r benches/peers/requirements.txt`);
//!   `python3` by default
//! * `--rust`: also compares with the crate hotcoco, without Python in between; it is built first
//!   (`benches/peers/rust`)
//! * `--json`: prints one JSON object instead of the table
//!
//! Rounds alternate between ours and each peer. Times are CPU times: of our thread, and of the peer's whole process,
//! which works in one thread and waits while we run. Both sides work on the same masks, and their results are compared
//! before they are timed.

#[path = "peers/cases.rs"]
mod cases;
#[path = "peers/child.rs"]
mod child;
#[path = "peers/digest.rs"]
mod digest;
#[path = "peers/ours.rs"]
mod ours;
#[path = "peers/report.rs"]
mod report;

use std::process::Command;

use rustix::time::{ClockId, clock_gettime};

use child::{Child, Peer};
use digest::{Digest, Kind};
use ours::{About, Cases, Operation};
use report::{Cell, Report, Row};

/// As many masks as an SA-1B image has on average.
const MASKS: usize = 83;
/// Passes are repeated until they have taken this long.
const LEAST_NS: f64 = 20e6;

fn main() {
    let options = Options::read();
    let images = cases::images(if options.bench { MASKS } else { ours::GROUP });
    let cases = Cases::new(&images);
    let mut operations = ours::all(&cases);
    operations.retain(|operation| options.wants(operation.name));
    // Without this argument, the bench only tests that everything runs.
    if !options.bench {
        for operation in &mut operations {
            (operation.run)(&mut Digest::new(Kind::Off));
        }
        return;
    }
    let mut peers = Peers::start(&options, &images);
    let names = peers.all.iter().map(|(_, peer)| [peer.name.clone(), peer.version.clone()]).collect();
    let mut report = Report::new(options.json, names);
    for operation in operations {
        report.add(peers.compare(operation, options.rounds));
    }
    report.finish();
}

/// The other processes, and the libraries in them.
struct Peers {
    children: Vec<Child>,
    /// Each library with the number of its process.
    all: Vec<(usize, Peer)>,
}

impl Peers {
    fn start(options: &Options, images: &[cases::Image]) -> Self {
        let mut python = Command::new(&options.python);
        python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/masks.py"));
        let mut rust = Command::new(env!("CARGO"));
        rust.args(["run", "--quiet", "--release", "--target-dir", env!("CARGO_TARGET_TMPDIR"), "--manifest-path"]);
        rust.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/rust/Cargo.toml"));
        let (mut children, mut all) = (Vec::new(), Vec::new());
        for command in std::iter::once(python).chain(options.rust.then_some(rust)) {
            match Child::start(command, images) {
                Ok((child, peers)) => {
                    all.extend(peers.into_iter().map(|peer| (children.len(), peer)));
                    children.push(child);
                }
                Err(e) => eprintln!("no peers in this process: {e}"),
            }
        }
        Self { children, all }
    }

    fn compare(&mut self, mut operation: Operation<'_>, rounds: usize) -> Row {
        let Operation { name, about, step, .. } = operation;
        let exact = about == About::Same;
        let mut digest = Digest::new(if exact { Kind::Exact } else { Kind::Sum });
        let items = (operation.run)(&mut digest) as f64;
        let value = digest.value();
        let mut cells: Vec<Option<Cell>> = Vec::new();
        for (child, peer) in &self.all {
            let check = || self.children[*child].check(&peer.name, name, step, exact);
            let cell = match peer.can(name).then(check) {
                None => None,
                Some(Ok(other)) => Some(Cell { times: Vec::new(), agrees: about.agree(value, other) }),
                Some(Err(e)) => {
                    eprintln!("{name}: {}: {e}", peer.name);
                    None
                }
            };
            cells.push(cell);
        }
        let mut ours = Vec::new();
        for _ in 0..rounds {
            ours.push(time(&mut operation) / items);
            for ((child, peer), cell) in self.all.iter().zip(&mut cells) {
                let Some(Cell { times, .. }) = cell else { continue };
                match self.children[*child].time(&peer.name, name, step) {
                    Ok(ns) => times.push(ns / items),
                    // Another library may have crashed its process.
                    Err(e) => {
                        eprintln!("{name}: {}: {e}", peer.name);
                        *cell = None;
                    }
                }
            }
        }
        Row { name, about, ours, cells }
    }
}

/// CPU time of one pass in nanoseconds.
fn time(operation: &mut Operation<'_>) -> f64 {
    let mut passes = 0.0;
    let start = now();
    loop {
        (operation.run)(&mut Digest::new(Kind::Off));
        passes += 1.0;
        let spent = now() - start;
        if spent >= LEAST_NS {
            return spent / passes;
        }
    }
}

fn now() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

/// The command line.
struct Options {
    bench: bool,
    json: bool,
    rust: bool,
    rounds: usize,
    python: String,
    names: Vec<String>,
}

impl Options {
    fn read() -> Self {
        let mut options =
            Self { bench: false, json: false, rust: false, rounds: 5, python: "python3".to_owned(), names: Vec::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| fail(&format!("{argument} needs a value")));
            match argument.as_str() {
                "--bench" => options.bench = true,
                "--json" => options.json = true,
                "--rust" => options.rust = true,
                "--rounds" => options.rounds = sure(value().parse::<usize>()).max(1),
                "--python" => options.python = value(),
                option if option.starts_with('-') => fail(&format!("no such option: {option}")),
                _ => options.names.push(argument),
            }
        }
        options
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part))
    }
}

fn fail(error: &dyn std::fmt::Display) -> ! {
    eprintln!("{error}");
    std::process::exit(1)
}

/// For results that cannot be errors on our own cases.
fn sure<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|e| fail(&e))
}
