//! Measures how well this crate's order shuffles, compared with other schemes. Run with `cargo bench --bench order`.
//! Arguments after `--` are options:
//!
//! * `--samples N`, `--shards S`: numbers of samples and shards; by default those of SA-1B, 11,186,000 and 1000
//! * `--batch B`: samples in a batch of all ranks together; 256 by default
//! * `--json`: prints one JSON object instead of the table
//!
//! Prints a row for each scheme, whose columns are defined in `measures`, and the cost of one look-up. Fails on unknown
//! options, and if a scheme loses a sample or yields one twice.

mod measures;
mod schemes;

use maskstream::internals::{Order, Plan, SampleSpace, Shuffle};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use measures::{Figures, Shards};
use schemes::{Mosaic, Random, WebDataset, fisher_yates};

/// Seed of a run; each of its epochs is shuffled anew.
const SEED: u64 = 1;
/// Bytes of a sample of SA-1B on disk, image and annotations.
const SAMPLE_MB: f64 = 1.0;
/// Look-ups per run, and number of runs, of which the median is taken.
const LOOKUPS: u64 = 1 << 19;
const RUNS: usize = 5;

fn main() {
    let options = Options::read();
    let shards = Shards::new(options.samples, options.shards);
    if !options.json {
        println!("{} samples in {} shards, batches of {}", options.samples, options.shards, options.batch);
        println!("{HEAD}");
    }
    let mut rows = Vec::new();
    for scheme in schemes(options.batch) {
        let row = scheme.measure(&shards, options.batch);
        if !options.json {
            println!("{}", row.to_text());
        }
        rows.push(row.to_json());
    }
    if options.json {
        let Options { samples, shards, batch, .. } = options;
        println!("{}", json!({"samples": samples, "shards": shards, "batch": batch, "schemes": rows}));
    } else {
        println!("\n{LEGEND}");
    }
}

const HEAD: &str =
    "scheme                                      deff  x 16   place  pairs  again   a read      held   ns";
const LEGEND: &str = "\
deff:   variance of a batch's mean of what differs by shard, over that of a random order; x 16: of 16 batches in a row
place:  the same, of the place within the shard
pairs:  pairs of one shard in a batch, over those of a random order
again:  pairs of a batch that are in one batch in the next epoch as well, over those of random orders
a read: what is read at a stretch, on average, at 1 MB a sample
held:   memory, page cache or disk for all ranks together, if what is read is kept from its first to its last use
ns:     CPU time of one look-up";

/// A way to order the samples.
enum Scheme {
    FisherYates,
    /// This crate's order, with this number of samples per chunk.
    Ours(u64),
    WebDataset(WebDataset),
    Mosaic(Mosaic),
}

fn schemes(batch: usize) -> Vec<Scheme> {
    let web = |buffer, run| Scheme::WebDataset(WebDataset { workers: 32, buffer, run });
    let mosaic = |nodes, block| Scheme::Mosaic(Mosaic { nodes, block });
    // Each worker makes whole batches, as in one process, or its share of every batch, as in 32 processes.
    let (whole, share) = (batch, (batch / 32).max(1));
    let mut schemes = vec![Scheme::FisherYates];
    schemes.extend([1, 8, 16, 64].map(Scheme::Ours));
    schemes.extend([web(1000, whole), web(5000, whole), web(1000, share), web(5000, share)]);
    // The block size is an option; its default is 4 million divided by the number of nodes, but at least 2^18.
    schemes.extend([mosaic(1, 1 << 18), mosaic(8, 1 << 18), mosaic(64, 1 << 18), mosaic(1, 4_000_000)]);
    schemes
}

impl Scheme {
    fn measure(&self, shards: &Shards, batch: usize) -> Row {
        let orders = [0, 1].map(|epoch| self.order(shards, epoch));
        let reads = self.reads(shards);
        let mut figures = Figures::new(shards, batch, &orders, &reads);
        if let Self::WebDataset(web) = self {
            // Shards are streamed, so only the buffers are held.
            figures.held = (web.workers * web.buffer).min(shards.len()) as f64;
        }
        let ns = if let Self::Ours(chunk) = self { Some(look_up(&ours(shards, *chunk, 0))) } else { None };
        Row { name: self.name(batch), figures, read: shards.len() as f64 / reads.len() as f64, ns }
    }

    fn order(&self, shards: &Shards, epoch: u64) -> Vec<u32> {
        let random = Random::new(SEED + epoch);
        match self {
            Self::FisherYates => fisher_yates(shards.len(), random),
            Self::Ours(chunk) => {
                let plan = ours(shards, *chunk, epoch);
                (0..shards.len() as u64).map(|position| plan.sample_at(position) as u32).collect()
            }
            Self::WebDataset(web) => web.order(shards, random),
            Self::Mosaic(mosaic) => mosaic.order(shards, Random::new(SEED), random),
        }
    }

    /// The first sample of each part that is read as a whole.
    fn reads(&self, shards: &Shards) -> Vec<usize> {
        match self {
            Self::FisherYates => (0..shards.len()).collect(),
            Self::Ours(chunk) => {
                let plan = ours(shards, *chunk, 0);
                let next = |start: &u64| Some(plan.chunk_of(*start).end).filter(|&end| end < shards.len() as u64);
                std::iter::successors(Some(0), next).map(|start| start as usize).collect()
            }
            Self::WebDataset(_) | Self::Mosaic(_) => shards.starts().to_vec(),
        }
    }

    fn name(&self, batch: usize) -> String {
        match self {
            Self::FisherYates => "Fisher-Yates over samples".to_owned(),
            Self::Ours(1) => "ours, samples".to_owned(),
            Self::Ours(chunk) => format!("ours, chunks of {chunk}"),
            Self::WebDataset(WebDataset { workers, buffer, run }) => {
                let from = if *run == batch { "one worker".to_owned() } else { format!("{workers} workers") };
                format!("WebDataset {buffer}, batch from {from}")
            }
            Self::Mosaic(Mosaic { nodes, block }) => format!("Mosaic py1e {block}, canonical nodes: {nodes}"),
        }
    }
}

fn ours(shards: &Shards, chunk_samples: u64, epoch: u64) -> Plan {
    let shuffle = Some(Shuffle { seed: SEED, chunk_samples });
    let plan = Order { shuffle, ..Order::default() }.plan(&SampleSpace::of_shards(&shards.sizes()), epoch);
    plan.unwrap_or_else(|e| fail(&e))
}

/// CPU time of a look-up in nanoseconds, for consecutive positions as in a loader.
fn look_up(plan: &Plan) -> f64 {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
    };
    let count = plan.samples_from(0).min(LOOKUPS);
    let mut times = [(); RUNS].map(|()| {
        let start = now();
        std::hint::black_box((0..count).fold(0, |sum, position| sum ^ plan.sample_at(position)));
        (now() - start) / count as f64
    });
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// The measurements of a scheme.
struct Row {
    name: String,
    figures: Figures,
    /// Samples per read, on average.
    read: f64,
    ns: Option<f64>,
}

impl Row {
    fn to_text(&self) -> String {
        let Figures { shard, shard_16, place, pairs, again, held } = self.figures;
        let ratio = |value: f64| match value {
            _ if value.is_nan() => "-".to_owned(),
            _ if value < 9.995 => format!("{value:.2}"),
            _ => format!("{value:.1}"),
        };
        let [shard, shard_16, place, pairs, again] = [shard, shard_16, place, pairs, again].map(ratio);
        let ns = self.ns.map(|ns| format!("{ns:.0}")).unwrap_or_default();
        format!(
            "{:42} {shard:>5} {shard_16:>5} {place:>7} {pairs:>6} {again:>6} {:>8} {:>9} {ns:>4}",
            self.name,
            bytes(self.read),
            bytes(held),
        )
    }

    fn to_json(&self) -> Value {
        let Figures { shard, shard_16, place, pairs, again, held } = self.figures;
        json!({"scheme": self.name, "deff": shard, "deff_16": shard_16, "place": place, "pairs": pairs, "again": again,
            "read_samples": self.read, "held_samples": held, "ns": self.ns})
    }
}

/// The size of this number of samples.
fn bytes(samples: f64) -> String {
    match samples * SAMPLE_MB {
        mb if mb < 1000.0 => format!("{mb:.0} MB"),
        mb if mb < 1e6 => format!("{:.1} GB", mb / 1e3),
        mb => format!("{:.1} TB", mb / 1e6),
    }
}

/// The command line.
struct Options {
    json: bool,
    samples: usize,
    shards: usize,
    batch: usize,
}

impl Options {
    fn read() -> Self {
        let mut options = Self { json: false, samples: 11_186_000, shards: 1000, batch: 256 };
        // Without this argument, the bench only tests that everything runs.
        if !std::env::args().any(|argument| argument == "--bench") {
            (options.samples, options.shards) = (50_000, 40);
        }
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments.next().and_then(|value| value.parse::<usize>().ok()).filter(|&value| value > 0);
                value.unwrap_or_else(|| fail(&format!("{argument} needs a number above 0")))
            };
            match argument.as_str() {
                "--bench" => {}
                "--json" => options.json = true,
                "--samples" => options.samples = number(),
                "--shards" => options.shards = number(),
                "--batch" => options.batch = number(),
                option => fail(&format!("no such option: {option}")),
            }
        }
        let Self { samples, shards, batch, .. } = options;
        if shards > samples || batch > samples || samples >= u32::MAX as usize {
            fail(&format!("{samples} samples do not make {shards} shards and a batch of {batch}, or are beyond 2^32"));
        }
        options
    }
}

fn fail(error: &dyn std::fmt::Display) -> ! {
    eprintln!("{error}");
    std::process::exit(1)
}
