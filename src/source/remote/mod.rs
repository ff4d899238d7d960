//! Shards in object stores and behind HTTP (feature `remote`): the only asynchronous code of the crate, behind the same
//! trait as files.
//!
//! | file | what it does |
//! |---|---|
//! | `endpoint`, `profile` | from an address to a store, with its credentials |
//! | `object` | ranges of one object: what is checked, what is tried again |
//! | `failure`, `observe` | why a request failed |
//! | `gate` | how many requests are under way |
//! | `plan` | which requests give a list of ranges |
//! | `running` | the runtime, and how threads wait for it |
//! | `shared` | what all objects share: endpoints, threads, what is known |
//! | `source` | the [`Source`](super::Source) |
//! | `list`, `write` | listing and writing objects |

mod endpoint;
mod failure;
mod gate;
mod list;
mod object;
mod observe;
mod plan;
mod profile;
mod running;
mod shared;
mod source;
mod stats;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::prefetch::ReadAhead;
use crate::{Error, Result};
use endpoint::Endpoints;
pub(crate) use list::Children;
pub(crate) use object::Stat;
use object::{Object, Patience};
use running::Threads;
use shared::Shared;
pub(crate) use source::RemoteSource;
pub use stats::RemoteStats;

/// Most requests under way at once.
const MAX_REQUESTS: usize = 128;
/// Bytes that are waited for at once: 128 requests for images and annotations, or sixteen for long ranges.
const READ_AHEAD_BYTES: u64 = 256 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(15);
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);

/// Access to object stores and web servers: its connections, its threads and its settings. A clone shares them.
///
/// A [`ShardSet`](crate::ShardSet) makes one by itself when it is given an address. Make one to change its settings, to
/// share it among several sets, or to see what goes over the network ([`stats`](Self::stats)).
///
/// | address | store |
/// |---|---|
/// | `s3://bucket/key` | Amazon S3, and stores that speak its language |
/// | `gs://bucket/key` | Google Cloud Storage |
/// | `az://container/key` | Azure Blob Storage |
/// | `https://host/path`, `http://..` | a web server that knows ranges; signed addresses |
///
/// Credentials and endpoints come from the environment, as for each cloud's own tools: `AWS_ACCESS_KEY_ID`,
/// `AWS_PROFILE`, `AWS_REGION`, `AWS_ENDPOINT_URL`; `GOOGLE_APPLICATION_CREDENTIALS`; `AZURE_STORAGE_ACCOUNT`,
/// `AZURE_STORAGE_KEY`; or from the instance.
///
/// ```no_run
/// use maskstream::ShardSet;
/// use maskstream::source::Remote;
///
/// let remote = Remote::builder().max_requests(64).build()?;
/// let set = ShardSet::builder().remote(remote.clone()).open(&["s3://bucket/sa1b/"])?;
/// println!("{} bytes received so far", remote.stats().received_bytes);
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone)]
pub struct Remote(Arc<Shared>);

/// Settings of a [`Remote`], from [`Remote::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RemoteBuilder {
    max_requests: usize,
    read_ahead_bytes: u64,
    connect_timeout: Duration,
    read_timeout: Duration,
    retry_timeout: Duration,
    is_hedged: bool,
    options: Vec<(String, String)>,
}

impl Default for RemoteBuilder {
    fn default() -> Self {
        Self {
            max_requests: MAX_REQUESTS,
            read_ahead_bytes: READ_AHEAD_BYTES,
            connect_timeout: CONNECT_TIMEOUT,
            read_timeout: READ_TIMEOUT,
            retry_timeout: RETRY_TIMEOUT,
            is_hedged: false,
            options: Vec::new(),
        }
    }
}

impl RemoteBuilder {
    /// Sets how many requests may be under way at once in each bucket, or at each web server. Half as many are, and
    /// more again little by little, after an endpoint has said that it is too much (429, 503). Default: 128.
    ///
    /// Where the ranks of a job share a limit of their store, divide it by their number.
    pub fn max_requests(mut self, requests: usize) -> Self {
        self.max_requests = requests;
        self
    }

    /// Sets how many bytes are waited for at once: an epoch begins reads ahead of need up to this. Default: 256 MiB.
    /// They are a part of [`MemoryPlan`](crate::MemoryPlan).
    pub fn read_ahead_bytes(mut self, bytes: u64) -> Self {
        self.read_ahead_bytes = bytes;
        self
    }

    /// Sets how long to wait for a connection. Default: 5 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Sets how long to wait for an answer, and for each further piece of it, before the request is repeated. There is
    /// no limit on a whole transfer that goes on, however slowly. Default: 15 s.
    pub fn read_timeout(mut self, limit: Duration) -> Self {
        self.read_timeout = limit;
        self
    }

    /// Sets for how long a request is repeated, with pauses that double, as long as not a byte arrives. Default: 120 s.
    pub fn retry_timeout(mut self, limit: Duration) -> Self {
        self.retry_timeout = limit;
        self
    }

    /// Whether a second request is sent beside one whose answer is late, and a body that stalls is taken up on another
    /// connection: half as much later again than 95 % of the answers come. The requests ask for at most 2 % more bytes.
    /// It keeps an epoch fast at a store of which some answers are very late. Default: `false`.
    pub fn hedge(mut self, is_hedged: bool) -> Self {
        self.is_hedged = is_hedged;
        self
    }

    /// Sets an option of a store, by the name that its variable of the environment has, in lower case; it takes
    /// precedence over the variable. See the builders of the crate [`object_store`](https://docs.rs/object_store):
    /// `AmazonS3Builder`, `GoogleCloudStorageBuilder`, `MicrosoftAzureBuilder`.
    ///
    /// ```
    /// use maskstream::source::Remote;
    ///
    /// let builder = Remote::builder().option("aws_endpoint_url", "http://127.0.0.1:9000").option("aws_region", "lab");
    /// ```
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push((name.into(), value.into()));
        self
    }

    /// Checks the settings. The threads for requests start with the first one.
    ///
    /// # Errors
    /// If a setting is 0.
    pub fn build(self) -> Result<Remote> {
        let Self { max_requests, read_ahead_bytes, connect_timeout, read_timeout, retry_timeout, is_hedged, options } =
            self;
        let zero = [
            ("max_requests", max_requests == 0),
            ("read_ahead_bytes", read_ahead_bytes == 0),
            ("connect_timeout", connect_timeout.is_zero()),
            ("read_timeout", read_timeout.is_zero()),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, is_zero)| *is_zero) {
            return Err(Error::config(format!("{name} is 0: nothing could be received")));
        }
        Ok(Remote(Arc::new(Shared {
            threads: Threads::default(),
            endpoints: Endpoints::new(max_requests, connect_timeout, options),
            patience: Patience { is_hedged, read_timeout, retry_timeout },
            read_ahead: ReadAhead::new(read_ahead_bytes, plan::MAX_REQUEST_BYTES),
            counters: Arc::default(),
            known: Mutex::default(),
            queries: Mutex::default(),
        })))
    }
}

impl Remote {
    /// Returns the default settings.
    pub fn builder() -> RemoteBuilder {
        RemoteBuilder::default()
    }

    /// What has gone over the network so far.
    pub fn stats(&self) -> RemoteStats {
        self.0.counters.snapshot(self.0.endpoints.request_limit() as u64)
    }

    pub(crate) fn read_ahead(&self) -> ReadAhead {
        self.0.read_ahead
    }

    /// The length and version of an object.
    ///
    /// # Errors
    /// If there is none, or it cannot be reached.
    pub(crate) fn stat(&self, address: &Path) -> Result<Stat> {
        self.0.stat(address)?.ok_or_else(|| object::missing(address))
    }

    /// The name of what is at an address: without its query, which may be a secret.
    pub(crate) fn name(&self, address: &Path) -> PathBuf {
        self.0.name(address)
    }

    /// Which of these objects exist.
    ///
    /// # Errors
    /// If a store cannot be asked.
    pub(crate) fn exist(&self, addresses: &[PathBuf]) -> Result<Vec<bool>> {
        self.0.exist(addresses)
    }

    /// What is directly below a prefix.
    ///
    /// # Errors
    /// If it cannot be listed. A web server never can.
    pub(crate) fn children(&self, prefix: &Path) -> Result<Children> {
        self.0.children(prefix)
    }

    /// Writes an object, in one request: a reader sees the old one or the whole new one.
    ///
    /// # Errors
    /// If the store refuses it.
    pub(crate) fn write(&self, address: &Path, parts: Vec<Bytes>) -> Result<()> {
        self.0.write(address, parts)
    }

    /// Opens an object.
    ///
    /// # Errors
    /// If there is none, or it cannot be reached.
    pub(crate) fn open(&self, address: &Path) -> Result<RemoteSource> {
        let stat = self.known_stat(address)?;
        let object = Object { target: self.0.target(address)?, stat };
        Ok(RemoteSource::new(Arc::clone(&self.0), object, Bytes::new()))
    }

    /// Opens an object that has checksums of its own, and that others may write anew with the same content: it may be
    /// replaced while it is read, as long as it keeps its length.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_unpinned(&self, address: &Path) -> Result<RemoteSource> {
        let stat = self.known_stat(address)?.unpinned();
        let object = Object { target: self.0.target(address)?, stat };
        Ok(RemoteSource::new(Arc::clone(&self.0), object, Bytes::new()))
    }

    fn known_stat(&self, address: &Path) -> Result<Stat> {
        let known = self.0.known().get(address).map(|known| known.stat.clone());
        match known {
            Some(stat) => Ok(stat),
            None => self.stat(address),
        }
    }

    /// The same with its first bytes, which are needed at once: they come with its length. `None` if there is none.
    pub(crate) fn open_at_start(&self, address: &Path, bytes: u64) -> Result<Option<RemoteSource>> {
        let target = self.0.target(address)?;
        let begun = self.0.wait({
            let target = target.clone();
            async move { target.begin(bytes).await }
        })?;
        Ok(begun.map(|(stat, start)| {
            self.0.know(address, stat.clone(), false);
            RemoteSource::new(Arc::clone(&self.0), Object { target, stat: stat.unpinned() }, start)
        }))
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The settings may hold secrets.
        f.debug_struct("Remote").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
