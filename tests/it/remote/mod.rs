//! Shards in object stores: the same batches as from files, whatever the weather, or an error in bounded time. The store
//! is a server of our own on a real socket, which does what a script says.

mod names;
mod reading;
mod weather;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use maskstream::index::Sidecar;
use maskstream::source::{Remote, RemoteBuilder};
use maskstream::{Batch, Loader, LoaderBuilder, MaskFilter, Result, ShardSet, ShardSetBuilder};
use tempfile::TempDir;

use crate::fixture::{Made, content, gzip, made_many, shard};
use crate::server::Server;

/// Samples in each shard.
const EACH: usize = 20;

/// Shards in a store, and the same ones as files.
pub(super) struct Store {
    pub(super) server: Server,
    pub(super) dir: TempDir,
    pub(super) names: Vec<String>,
}

impl Store {
    /// Two gzip shards and a plain one, without indexes.
    pub(super) fn new() -> Self {
        let store = Self { server: Server::start(), dir: tempfile::tempdir().unwrap(), names: Vec::new() };
        let samples = made_many(3 * EACH as i64);
        samples
            .chunks(EACH)
            .enumerate()
            .fold(store, |store, (i, samples)| store.with(&format!("sa_{i}.tar"), samples, i < 2))
    }

    /// Adds a shard.
    fn with(mut self, name: &str, samples: &[Made], is_gzip: bool) -> Self {
        let bytes = shard(samples);
        let bytes = if is_gzip { gzip(&bytes, 6) } else { bytes };
        fs::write(self.dir.path().join(name), &bytes).unwrap();
        self.server.put(&format!("b/d/{name}"), bytes);
        self.names.push(name.to_owned());
        self
    }

    /// The same, with an index beside each shard in the store.
    pub(super) fn indexed() -> Self {
        let store = Self::new();
        let set = store.open(&store.remote()).unwrap();
        assert_eq!(set.len(), 3 * EACH as u64);
        store.server.clear_log();
        store
    }

    pub(super) fn builder(&self) -> RemoteBuilder {
        Remote::builder()
            .option("aws_endpoint_url", self.server.url())
            .option("aws_access_key_id", "key")
            .option("aws_secret_access_key", "secret")
            .option("aws_region", "lab")
            .read_timeout(Duration::from_millis(500))
            .retry_timeout(Duration::from_secs(5))
    }

    pub(super) fn remote(&self) -> Remote {
        self.builder().build().unwrap()
    }

    pub(super) fn open(&self, remote: &Remote) -> Result<ShardSet> {
        shards().remote(remote.clone()).open(&["s3://b/d/"])
    }

    /// The batches that the files give, in the order of `options`.
    pub(super) fn expected(&self, options: LoaderBuilder) -> Vec<Seen> {
        let paths: Vec<PathBuf> = self.names.iter().map(|name| self.dir.path().join(name)).collect();
        epoch(options, shards().sidecar(Sidecar::Off).open(&paths).unwrap())
    }
}

pub(super) type Seen = std::collections::BTreeMap<String, Vec<u8>>;

pub(super) fn shards() -> ShardSetBuilder {
    ShardSet::builder().filter(MaskFilter::all())
}

pub(super) fn options() -> LoaderBuilder {
    Loader::builder().batch_size(4).image_size(24).mask_size(Some([8, 8])).top_k(4).num_workers(2).shuffle(7)
}

/// All batches of an epoch.
pub(super) fn epoch(options: LoaderBuilder, set: ShardSet) -> Vec<Seen> {
    let loader = options.build(set).unwrap();
    loader.epoch(0).unwrap().map(|batch: Result<Batch>| content(&batch.unwrap())).collect()
}

/// Waits for something that another thread is about to do.
#[track_caller]
pub(super) fn soon(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: not within 10 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}
