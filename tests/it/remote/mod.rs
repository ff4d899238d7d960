//! Shards in object stores: the same batches as from files, whatever the weather, or an error in bounded time. The
//! store is a server of our own on a real socket, which does what a script says.

mod names;
mod reading;
mod weather;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use maskstream::index::Sidecar;
use maskstream::source::{Remote, RemoteBuilder};
use maskstream::{Batch, Loader, LoaderBuilder, MaskFilter, Result, ShardSet, ShardSetBuilder};
use tempfile::TempDir;

use crate::fixture::{Dice, content, gzip, made_many, members, pack, shard};
use crate::server::Server;

/// Samples in each shard.
const EACH: usize = 20;

/// Shards in a store, and the same ones as files: two gzip shards and a plain one.
struct Store {
    server: Server,
    dir: TempDir,
    names: Vec<String>,
}

impl Store {
    /// Shards without indexes.
    fn new() -> Self {
        Self::of(made_many(3 * EACH as i64).chunks(EACH).map(shard))
    }

    /// Shards with an index beside each one in the store.
    fn indexed() -> Self {
        Self::new().with_indexes()
    }

    /// The same, but their members are far from each other.
    fn sparse() -> Self {
        let mut dice = Dice(1);
        let mut filler = || (0..40_000).flat_map(|_| dice.next().to_le_bytes()).collect();
        let samples = made_many(3 * EACH as i64);
        let shards = samples.chunks(EACH).map(|samples| {
            let members = members(samples).into_iter().enumerate();
            pack(&members.flat_map(|(n, member)| [member, (format!("filler_{n}.bin"), filler())]).collect::<Vec<_>>())
        });
        Self::of(shards).with_indexes()
    }

    fn of(shards: impl Iterator<Item = Vec<u8>>) -> Self {
        let (server, dir, mut names) = (Server::start(), tempfile::tempdir().unwrap(), Vec::new());
        for (i, bytes) in shards.enumerate() {
            let bytes = if i < 2 { gzip(&bytes, 1) } else { bytes };
            let name = format!("sa_{i}.tar");
            fs::write(dir.path().join(&name), &bytes).unwrap();
            server.put(&format!("b/d/{name}"), bytes);
            names.push(name);
        }
        Self { server, dir, names }
    }

    fn with_indexes(self) -> Self {
        assert_eq!(self.open(&self.remote()).unwrap().len(), 3 * EACH as u64);
        self.server.clear_log();
        self
    }

    fn builder(&self) -> RemoteBuilder {
        Remote::builder()
            .option("aws_endpoint_url", self.server.url())
            .option("aws_access_key_id", "key")
            .option("aws_secret_access_key", "secret")
            .option("aws_region", "lab")
            .read_timeout(Duration::from_millis(500))
            .retry_timeout(Duration::from_secs(5))
    }

    fn remote(&self) -> Remote {
        self.builder().build().unwrap()
    }

    fn open(&self, remote: &Remote) -> Result<ShardSet> {
        shards().remote(remote.clone()).open(&["s3://b/d/"])
    }

    /// The batches that the files give.
    fn expected(&self, options: LoaderBuilder) -> Vec<Seen> {
        let paths: Vec<PathBuf> = self.names.iter().map(|name| self.dir.path().join(name)).collect();
        epoch(options, shards().sidecar(Sidecar::Off).open(&paths).unwrap())
    }
}

/// The content of a batch.
type Seen = BTreeMap<String, Vec<u8>>;

fn shards() -> ShardSetBuilder {
    ShardSet::builder().filter(MaskFilter::all())
}

fn options() -> LoaderBuilder {
    Loader::builder().batch_size(4).image_size(24).mask_size(Some([8, 8])).top_k(4).num_workers(2).shuffle(7)
}

/// All batches of an epoch.
fn epoch(options: LoaderBuilder, set: ShardSet) -> Vec<Seen> {
    let loader = options.build(set).unwrap();
    loader.epoch(0).unwrap().map(|batch: Result<Batch>| content(&batch.unwrap())).collect()
}

/// Waits for something that another thread is about to do.
#[track_caller]
fn soon(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: not within 10 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}
