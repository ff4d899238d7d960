//! One rank of a training job, as a process. It runs a [`Job`] and writes a line to its log for each batch that it has
//! received; the log is its checkpoint. The process fails on any error of the loader, and when its parent is gone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use maskstream::index::IndexStatus;
use maskstream::{Cursor, Loader, MaskFilter, ShardSet};
use serde::{Deserialize, Serialize};

use crate::fixture;

/// The task of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) shards: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) rank: usize,
    pub(crate) world_size: usize,
    pub(crate) batch_size: usize,
    /// Where it begins if its log is empty; `None` is the start of epoch 0.
    pub(crate) start: Option<Cursor>,
    /// The step before which it ends; `None` is the end of the epoch.
    pub(crate) until: Option<u64>,
    /// How long it uses each batch.
    pub(crate) pause: Duration,
    /// Whether it waits to be killed when it is done.
    pub(crate) stays: bool,
}

/// What a rank logs about a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) cursor: Cursor,
    pub(crate) ids: Vec<i64>,
}

/// A child that does not outlive its owner.
pub(crate) struct Rank(Child);

impl Rank {
    pub(crate) fn start(job: &Job) -> Self {
        let job = serde_json::to_string(job).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        // Its input ends when this process does, however that happens.
        Self(command.args(["rank", &job]).stdin(Stdio::piped()).spawn().unwrap())
    }

    /// Whether it has ended. Panics if it has failed.
    pub(crate) fn has_ended(&mut self) -> bool {
        let status = self.0.try_wait().unwrap();
        assert!(status.is_none_or(|status| status.success()), "a rank failed: {status:?}");
        status.is_some()
    }

    pub(crate) fn wait(mut self) {
        // Not `wait`, which would close its input first.
        while !self.has_ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills it at its present step.
    pub(crate) fn kill(mut self) {
        assert!(!self.has_ended(), "a rank that was to be killed has ended");
        self.0.kill().unwrap();
        assert!(!self.0.wait().unwrap().success());
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The complete lines of a log and their length in bytes; anything after them is an incomplete line.
pub(crate) fn read_log(path: &Path) -> (Vec<Line>, usize) {
    let bytes = fs::read(path).unwrap_or_default();
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    let lines = bytes[..whole].split_inclusive(|&byte| byte == b'\n');
    (lines.map(|line| serde_json::from_slice(line).unwrap()).collect(), whole)
}

/// How many there are.
pub(crate) fn whole_lines(path: &Path) -> usize {
    fs::read(path).unwrap_or_default().iter().filter(|&&byte| byte == b'\n').count()
}

/// Runs a rank.
pub(crate) fn run(job: &Job) {
    // The parent writes nothing, and keeps the pipe open as long as it lives.
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(1);
    });
    let set = ShardSet::builder().filter(MaskFilter::all()).open(&[&job.shards]).unwrap();
    assert!(set.reports().all(|report| report.status == IndexStatus::Loaded));
    let options = Loader::builder().batch_size(job.batch_size).rank(job.rank, job.world_size).shuffle(32);
    let options = options.image_size(16).mask_size(Some([4, 4])).top_k(2).num_workers(1);
    let loader = options.build(set).unwrap();
    let (lines, whole) = read_log(&job.log);
    let mut log = OpenOptions::new().create(true).append(true).open(&job.log).unwrap();
    log.set_len(whole as u64).unwrap();
    let start = lines.last().map(|line| line.cursor).or(job.start);
    let mut epoch = match &start {
        Some(cursor) => loader.resume_from(cursor).unwrap(),
        None => loader.epoch(0).unwrap(),
    };
    let steps = job.until.unwrap_or(loader.steps().unwrap());
    for _ in start.map_or(0, |cursor| cursor.step())..steps {
        let batch = epoch.next().unwrap().unwrap();
        std::thread::sleep(job.pause);
        let rows = batch.image_ids().iter().zip(batch.image_valid());
        let ids = rows.filter(|(_, valid)| **valid != 0).map(|(id, _)| *id).collect();
        let mut line = serde_json::to_vec(&Line { cursor: batch.cursor().unwrap(), ids }).unwrap();
        line.push(b'\n');
        log.write_all(&line).unwrap();
    }
    assert!(job.until.is_some() || epoch.next().is_none());
    // The epoch is still there: with `until`, its threads have batches under way.
    if job.stays {
        loop {
            std::thread::park();
        }
    }
}

/// Shards with sidecars, of which each file holds a part of the samples 1..=`count`: json members first, then images.
pub(crate) fn write_shards(dir: &Path, count: i64, shards: usize, gzip: bool) {
    let samples = fixture::made_many(count);
    for (number, part) in samples.chunks(samples.len().div_ceil(shards)).enumerate() {
        let members = fixture::members(part);
        let members = members.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        let shard = maskstream::synth::pack(members, gzip).unwrap();
        fs::write(dir.join(format!("sa_{number:06}.tar")), shard).unwrap();
    }
    let set = ShardSet::builder().filter(MaskFilter::all()).open(&[dir]).unwrap();
    assert_eq!((set.len(), set.reports().len()), (count as u64, shards));
}
