//! How fast shards are read from an object store: `cargo bench --features remote --bench remote`.
//!
//! A server of our own, in a process of its own, answers after 30 ms, sends 90 MB/s on a connection, and 1250 MB/s (10
//! Gbit/s) in all, as stores do. The samples have the sizes of SA-1B's; nothing is decoded, because two cores decode a
//! tenth of what such a link brings. Each round reads every form once, in a process of its own as a training run is,
//! and medians are shown.
//!
//! `cargo bench --features remote --bench remote -- serve DIR` only serves the files of a directory, in the bucket `b`,
//! until its input ends: for measurements with other programs. Its flags are `--first-byte-ms=30`,
//! `--per-connection=90MB`, `--total=1250MB` and `--stall-one-in=100`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[allow(unused_imports, reason = "the tests of the server are not run here")]
#[path = "../tests/server/mod.rs"]
mod server;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use maskstream::index::Sidecar;
use maskstream::source::Remote;
use maskstream::synth::{self, Preset, SynthOptions};
use maskstream::{Loader, MaskFilter, ShardSet};
use serde::{Deserialize, Serialize};
use server::{Fault, Server, Speed};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SHARDS: usize = 8;
const SAMPLES: usize = 240;
const IMAGE_BYTES: usize = 750_000;
const JSON_BYTES: usize = 250_000;
const ROUNDS: usize = 5;
const EPOCHS: u64 = 3;
const BATCH: usize = 16;
const FIRST_BYTE: Duration = Duration::from_millis(30);
const PER_CONNECTION: u64 = 90_000_000;
const TOTAL: u64 = 1_250_000_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", dir, ref flags @ ..] => serve(Path::new(dir), flags),
        [] => measure(""),
        ["only", name] => measure(name),
        ["read", url, case] => {
            println!("{}", serde_json::to_string(&read(url, CASES[case.parse::<usize>().unwrap()])).unwrap())
        }
        _ => panic!("usage: [only PART_OF_A_NAME | serve DIR [--FLAG=VALUE ...]]"),
    }
}

/// Serves files until standard input ends, and answers each of its lines with what has been sent so far. Of
/// `--stall-one-in=N` requests for shards, one is answered 2 s late.
fn serve(dir: &Path, flags: &[&str]) {
    let (mut speed, mut stall) = (Speed { first_byte: FIRST_BYTE, per_connection: PER_CONNECTION, total: TOTAL }, 0);
    for flag in flags {
        let rate = |value: &str| value.strip_suffix("MB").unwrap_or(value).parse::<u64>().unwrap() * 1_000_000;
        match flag.split_once('=').unwrap_or_else(|| panic!("{flag} has no value")) {
            ("--first-byte-ms", value) => speed.first_byte = Duration::from_millis(value.parse().unwrap()),
            ("--per-connection", value) => speed.per_connection = rate(value),
            ("--total", value) => speed.total = rate(value),
            ("--stall-one-in", value) => stall = value.parse().unwrap(),
            (name, _) => panic!("there is no flag {name}"),
        }
    }
    let server = Server::start();
    server.create_bucket("b");
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        server.put_file(&format!("b/{}", path.file_name().unwrap().to_str().unwrap()), &path).unwrap();
    }
    server.speed(speed);
    if stall > 0 {
        let late = Duration::from_secs(2);
        server.script(move |request| {
            (request.path.ends_with(".tar") && request.number % stall == stall / 2)
                .then_some(Fault::LateFirstByte(late))
        });
    }
    println!("{}", server.url());
    for _ in std::io::stdin().lines() {
        println!("sent {} bytes in {} requests", server.bytes_sent(), server.requests().len());
    }
}

/// The server, in another process.
struct Served {
    child: Child,
    /// Kept open.
    _output: BufReader<ChildStdout>,
    url: String,
}

impl Served {
    fn start(dir: &Path, stall: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["serve", dir.to_str().unwrap(), &format!("--stall-one-in={stall}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut url, mut output) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
        output.read_line(&mut url).unwrap();
        Self { child, _output: output, url: url.trim().to_owned() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Shards in both forms, with their indexes: `plain_0.tar` has pairs side by side, `gzip_0.tar` is as Meta ships them.
fn write_shards(dir: &Path) {
    let mut state = 1_u64;
    let mut noise = |len: usize| -> Vec<u8> {
        let words = (0..len.div_ceil(8)).flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state ^ state >> 29).to_le_bytes()
        });
        words.take(len).collect()
    };
    let options = SynthOptions::new(Preset::Small);
    for shard in 0..SHARDS {
        let mut members = Vec::new();
        for n in 0..SAMPLES {
            let id = (shard * SAMPLES + n) as i64 + 1;
            let made = synth::sample(id, &options).unwrap();
            let image = padded_jpeg(&made.image, &noise(IMAGE_BYTES));
            let digits: String = noise(JSON_BYTES / 2).iter().map(|byte| format!("{byte:02x}")).collect();
            let json = String::from_utf8(made.annotations).unwrap();
            let json = format!("{{\"note\":\"{digits}\",{}", json.trim_start().strip_prefix('{').unwrap());
            members.push([(format!("sa_{id}.jpg"), image), (format!("sa_{id}.json"), json.into_bytes())]);
        }
        let write = |name: &str, members: &mut dyn Iterator<Item = &(String, Vec<u8>)>, is_gzip: bool| {
            let members = members.map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
            let bytes = synth::pack(members.collect::<Vec<_>>(), is_gzip).unwrap();
            std::fs::write(dir.join(format!("{name}_{shard}.tar")), bytes).unwrap();
        };
        write("plain", &mut members.iter().flatten(), false);
        write("gzip", &mut members.iter().map(|pair| &pair[0]).chain(members.iter().map(|pair| &pair[1])), true);
    }
    ShardSet::builder().filter(MaskFilter::all()).open(&[dir]).unwrap();
}

/// A JPEG with segments of comments before its end.
fn padded_jpeg(jpeg: &[u8], padding: &[u8]) -> Vec<u8> {
    let mut out = jpeg[..2].to_vec();
    for part in padding.chunks(65_000) {
        out.extend([0xff, 0xfe]);
        out.extend((part.len() as u16 + 2).to_be_bytes());
        out.extend(part);
    }
    out.extend(&jpeg[2..]);
    out
}

/// What is read, and how.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    pattern: &'static str,
    /// Bytes of a chunk; `None` shuffles single samples.
    chunk: Option<u64>,
    is_shuffled: bool,
    /// Whether 1 % of the answers come 2 s late.
    is_stalling: bool,
    is_hedged: bool,
}

const GZIP: Case = Case {
    name: "gzip, single members, shuffled",
    pattern: "s3://b/gzip_*.tar",
    chunk: None,
    is_shuffled: true,
    is_stalling: false,
    is_hedged: false,
};
const PLAIN: Case = Case { name: "plain, single members, shuffled", pattern: "s3://b/plain_*.tar", ..GZIP };
const CASES: [Case; 6] = [
    GZIP,
    PLAIN,
    Case { name: "plain, chunks of 16 MiB, shuffled", chunk: Some(16 << 20), ..PLAIN },
    Case { name: "plain, in order", is_shuffled: false, ..PLAIN },
    Case { name: "gzip, 1 % of answers 2 s late", is_stalling: true, ..GZIP },
    Case { name: "the same, hedged", is_stalling: true, is_hedged: true, ..GZIP },
];

/// One run: a few epochs of reading.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Run {
    /// MB/s of what was asked for.
    rate: f64,
    samples: f64,
    amplification: f64,
    cpu_per_gb: f64,
    /// Seconds from the start, with nothing known, to the first batch.
    first_batch: f64,
    peak_mb: f64,
}

fn read(url: &str, case: Case) -> Run {
    let begun = Instant::now();
    let remote = Remote::builder()
        .hedge(case.is_hedged)
        .option("aws_endpoint_url", url)
        .option("aws_region", "lab")
        .option("aws_access_key_id", "key")
        .option("aws_secret_access_key", "secret")
        .build()
        .unwrap();
    let set = ShardSet::builder().filter(MaskFilter::all()).remote(remote.clone()).open(&[case.pattern]).unwrap();
    let mut options = Loader::builder().batch_size(BATCH).image_size(64).num_workers(1).max_memory_bytes(32 << 30);
    if case.is_shuffled {
        options = options.shuffle(1).chunk_bytes(case.chunk);
    }
    let loader = options.build(set).unwrap();
    let (opened, before, cpu) = (Instant::now(), remote.stats(), process_cpu());
    let (mut samples, mut first) = (0, 0.0);
    for epoch in 0..EPOCHS {
        let each = &mut |_| {
            samples += 1;
            if samples == BATCH {
                first = begun.elapsed().as_secs_f64();
            }
            true
        };
        loader.read_only(epoch, each).unwrap();
    }
    let seconds = opened.elapsed().as_secs_f64();
    let stats = remote.stats().since(&before);
    Run {
        rate: stats.wanted_bytes as f64 / 1e6 / seconds,
        samples: samples as f64 / seconds,
        amplification: stats.amplification(),
        cpu_per_gb: (process_cpu() - cpu).as_secs_f64() * 1e9 / stats.received_bytes as f64,
        first_batch: first,
        peak_mb: peak_mb(),
    }
}

fn process_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    line.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1.024e-3
}

/// Measures the cases whose names contain `part`.
fn measure(part: &str) {
    let dir = tempfile::tempdir().unwrap();
    write_shards(dir.path());
    assert!(Sidecar::Beside.path(dir.path().join("gzip_0.tar")).unwrap().exists());
    let (clear, stalling) = (Served::start(dir.path(), "0"), Served::start(dir.path(), "100"));
    let cases: Vec<usize> = (0..CASES.len()).filter(|&at| CASES[at].name.contains(part)).collect();
    let mut runs: Vec<Vec<Run>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (&case, runs) in cases.iter().zip(&mut runs) {
            let served = if CASES[case].is_stalling { &stalling } else { &clear };
            let mut reader = Command::new(std::env::current_exe().unwrap());
            let output = reader.args(["read", &served.url, &case.to_string()]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            runs.push(serde_json::from_slice(&output.stdout).unwrap());
        }
    }
    println!(
        "{:34} {:>5} {:>5} {:>9} {:>6} {:>8} {:>6} {:>7}",
        "", "MB/s", "link", "samples/s", "read", "CPU s/GB", "first", "peak MB"
    );
    for (case, runs) in cases.iter().zip(&runs) {
        let median = |of: fn(&Run) -> f64| {
            let mut all: Vec<f64> = runs.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        println!(
            "{:34} {:5.0} {:4.0}% {:9.0} {:6.3} {:8.2} {:4.2} s {:7.0}",
            CASES[*case].name,
            median(|run| run.rate),
            100.0 * median(|run| run.rate) / (TOTAL as f64 / 1e6),
            median(|run| run.samples),
            median(|run| run.amplification),
            median(|run| run.cpu_per_gb),
            median(|run| run.first_batch),
            median(|run| run.peak_mb),
        );
    }
}
