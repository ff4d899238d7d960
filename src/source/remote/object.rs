//! One object, or what is behind one web address: reading ranges of it, with as many requests as that takes.
//!
//! # What an answer must be
//!
//! The object's length and its ETag are known before its bytes are read. Each answer must name both, and the range that
//! was asked for, and have all its bytes. Another length or ETag means that the object was replaced; `If-Match` asks
//! the store to say so, but some ignore it. A strong ETag is sent there, a weak one (`W/`) is only compared.
//!
//! # What is tried again
//!
//! A request that ends early goes on at the byte that it had reached. No answer, 408, 429 and 5xx are tried again after
//! a pause that doubles each time. All others are errors at once. Bytes received begin the count anew, so a slow
//! transfer is no failure; only a time without any byte is.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, GetResult};
use tokio::time::{sleep, timeout};

use super::endpoint::Endpoint;
use super::failure::{Failure, describe};
use super::observe::Answer;
use super::stats::Counters;
use crate::splitmix::mix_bytes;
use crate::{Error, ErrorKind, Result};

/// The first pause before a request is repeated, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// How long requests are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Whether a second request is sent beside one whose answer is late.
    pub(super) is_hedged: bool,
    /// For the head of an answer, and for each next piece of its body.
    pub(super) read_timeout: Duration,
    /// Without a byte, over all attempts.
    pub(super) retry_timeout: Duration,
}

/// What is known of an object before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) len: u64,
    pub(crate) e_tag: Option<String>,
    /// When it was written, in seconds; what a store without ETags is compared by.
    pub(crate) modified: Option<i64>,
}

impl Stat {
    /// A number that differs if the object was replaced: a digest of its ETag, or of the time when it was written.
    pub(crate) fn version(&self) -> u64 {
        match &self.e_tag {
            Some(tag) => mix_bytes(tag.as_bytes()),
            None => mix_bytes(&self.modified.unwrap_or_default().to_le_bytes()),
        }
    }

    /// The same, to be read in whatever version there is.
    pub(super) fn unpinned(self) -> Self {
        Self { len: self.len, e_tag: None, modified: None }
    }
}

/// An object, and how it is reached.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: PathBuf,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) key: Key,
    pub(super) patience: Patience,
    pub(super) counters: Arc<Counters>,
}

/// An object whose length and ETag are known.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) target: Target,
    pub(super) stat: Stat,
}

impl Target {
    /// The length and the ETag of the object; `None` if there is none.
    pub(super) async fn stat(&self) -> Result<Option<Stat>> {
        let found = self.repeat(|answer| self.head(answer)).await;
        self.found(found.map(|stat| (stat, Bytes::new()))).map(|found| found.map(|(stat, _)| stat))
    }

    /// The first `max` bytes of an object of which nothing is known, or all if it has fewer; `None` if there is none.
    pub(super) async fn begin(&self, max: u64) -> Result<Option<(Stat, Bytes)>> {
        let found = self.repeat(|answer| self.first(answer, max)).await;
        self.found(found)
    }

    fn found(&self, found: Result<(Stat, Bytes), Failure>) -> Result<Option<(Stat, Bytes)>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.status == Some(404) => Ok(None),
            Err(failure) => Err(self.error(failure)),
        }
    }

    async fn head(&self, answer: Arc<Answer>) -> Result<Stat, Failure> {
        if self.endpoint.is_web {
            // A signed address is for GET alone, and this also shows that the server knows ranges.
            return self.first(answer, 1).await.map(|(stat, _)| stat);
        }
        let result = self.ask(GetOptions { head: true, ..GetOptions::default() }, &answer).await?;
        Ok(stat_of(&result))
    }

    async fn first(&self, answer: Arc<Answer>, max: u64) -> Result<(Stat, Bytes), Failure> {
        let range = Some(GetRange::Bounded(0..max));
        let result = match self.ask(GetOptions { range, ..GetOptions::default() }, &answer).await {
            // An empty object has no such range.
            Err(failure) if failure.status == Some(416) => {
                return Ok((Stat { len: 0, e_tag: None, modified: None }, Bytes::new()));
            }
            result => result?,
        };
        let stat = stat_of(&result);
        let mut bytes = Vec::new();
        self.receive(result, stat.len.min(max), &mut bytes, &answer).await?;
        Ok((stat, bytes.into()))
    }

    /// Sends a request and waits for the head of its answer.
    async fn ask(&self, mut options: GetOptions, answer: &Arc<Answer>) -> Result<GetResult, Failure> {
        options.extensions.insert(Arc::clone(answer));
        let begun = Instant::now();
        match timeout(self.patience.read_timeout, self.endpoint.store.get_opts(&self.key, options)).await {
            Ok(Ok(result)) => {
                self.counters.answered(begun.elapsed());
                Ok(result)
            }
            Ok(Err(error)) => Err(Failure::of(error, answer)),
            Err(_) => Err(Failure::timeout(self.patience.read_timeout)),
        }
    }

    /// Appends the body of an answer to `bytes`.
    ///
    /// # Errors
    /// If it does not have `len` bytes.
    async fn receive(&self, result: GetResult, len: u64, bytes: &mut Vec<u8>, answer: &Answer) -> Result<(), Failure> {
        let end = bytes.len() + len as usize;
        let mut body = result.into_stream();
        let limit = self.patience.read_timeout;
        // Where answers are hedged, a body that stalls is taken up again on another connection, as soon.
        let late = self.patience.is_hedged.then(|| self.counters.late()).flatten().unwrap_or(limit).min(limit);
        loop {
            let next = match timeout(late, body.next()).await {
                Err(_) if late < limit && !self.counters.may_hedge((end - bytes.len()) as u64) => {
                    timeout(limit, body.next()).await
                }
                next => next,
            };
            match next {
                Ok(Some(Ok(piece))) if bytes.len() + piece.len() > end => {
                    let text = format!("the answer has more than the {len} bytes that were asked for");
                    return Err(Failure::permanent(text, answer));
                }
                Ok(Some(Ok(piece))) => {
                    self.counters.received.fetch_add(piece.len() as u64, Relaxed);
                    bytes.extend_from_slice(&piece);
                }
                Ok(Some(Err(error))) => return Err(Failure::interrupted(&error)),
                Ok(None) if bytes.len() == end => return Ok(()),
                Ok(None) => {
                    let missing = end - bytes.len();
                    return Err(Failure::short(format!("the answer ended {missing} bytes early")));
                }
                Err(_) if late < limit => return Err(Failure::short("the answer stalled".to_owned())),
                Err(_) => return Err(Failure::timeout(limit)),
            }
        }
    }

    /// Makes any other request of the store until it succeeds or nothing helps.
    pub(super) async fn retry<T, F>(&self, mut request: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let limit = self.patience.read_timeout;
        let attempt = |_| {
            let request = timeout(limit, request());
            async move {
                match request.await {
                    Ok(result) => result.map_err(Failure::of_error),
                    Err(_) => Err(Failure::timeout(limit)),
                }
            }
        };
        self.repeat(attempt).await.map_err(|failure| self.error(failure))
    }

    /// Makes a request until it succeeds or nothing helps.
    async fn repeat<T, F>(&self, mut attempt: impl FnMut(Arc<Answer>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut pauses = Pauses::new(self.patience);
        loop {
            let failure = {
                let _turn = self.endpoint.gate.enter().await;
                let _counted = self.counters.begin();
                match attempt(Arc::default()).await {
                    Ok(result) => {
                        self.endpoint.gate.answered();
                        return Ok(result);
                    }
                    Err(failure) => failure,
                }
            };
            self.pause(failure, &mut pauses).await?;
        }
    }

    /// Waits before a request is repeated.
    ///
    /// # Errors
    /// The failure, if it is of no use to repeat it.
    async fn pause(&self, failure: Failure, pauses: &mut Pauses) -> Result<(), Failure> {
        if failure.is_unanswered() && self.endpoint.lacks_credentials() {
            return Err(failure.without_credentials());
        }
        if failure.is_overload() {
            self.endpoint.gate.overloaded();
            self.counters.overloads.fetch_add(1, Relaxed);
        }
        let pause = pauses.after(failure)?;
        self.counters.retries.fetch_add(1, Relaxed);
        sleep(pause).await;
        Ok(())
    }

    fn error(&self, failure: Failure) -> Error {
        describe(&self.address, &self.endpoint, failure)
    }
}

impl Object {
    /// The bytes of a range, which must end at the object's end at the latest.
    pub(super) async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let size = (range.end - range.start) as usize;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).map_err(|e| {
            let text = format!("there is no memory for a read of {size} bytes");
            Error::limit(text).caused_by(e).in_shard(&self.target.address).at_offset(range.start)
        })?;
        let mut pauses = Pauses::new(self.target.patience);
        while bytes.len() < size {
            let before = bytes.len();
            let rest = range.start + before as u64..range.end;
            let failure = {
                let _turn = self.target.endpoint.gate.enter().await;
                let _counted = self.target.counters.begin();
                match self.attempt(rest, &mut bytes).await {
                    Ok(()) => {
                        self.target.endpoint.gate.answered();
                        break;
                    }
                    Err(failure) => failure,
                }
            };
            if bytes.len() > before {
                pauses = Pauses::new(self.target.patience);
            }
            let at = range.start + bytes.len() as u64;
            self.target
                .pause(failure, &mut pauses)
                .await
                .map_err(|failure| self.target.error(failure).at_offset(at))?;
        }
        Ok(bytes.into())
    }

    /// Sends a request, and a second one if its answer is late; whose answer comes first is used.
    async fn ask(&self, options: GetOptions, bytes: u64) -> Result<(GetResult, Arc<Answer>), Failure> {
        let ask = |options: GetOptions| async move {
            let answer = Arc::default();
            self.target.ask(options, &answer).await.map(|result| (result, answer))
        };
        let counters = &self.target.counters;
        let Some(late) = self.target.patience.is_hedged.then(|| counters.late()).flatten() else {
            return ask(options).await;
        };
        let mut first = std::pin::pin!(ask(options.clone()));
        match timeout(late, &mut first).await {
            Ok(result) => return result,
            Err(_) if !counters.may_hedge(bytes) => return first.await,
            Err(_) => {}
        }
        let _counted = counters.begin();
        match select(first, std::pin::pin!(ask(options))).await {
            Either::Left((Ok(result), _)) | Either::Right((Ok(result), _)) => Ok(result),
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Err(_), first)) => first.await,
        }
    }

    /// One request; appends what it gives to `bytes`.
    async fn attempt(&self, range: Range<u64>, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        let if_match = self.stat.e_tag.clone().filter(|tag| !tag.starts_with("W/"));
        let wanted = Some(GetRange::Bounded(range.clone()));
        let options = GetOptions { range: wanted, if_match, ..GetOptions::default() };
        let (result, answer) = self.ask(options, range.end - range.start).await?;
        let now = stat_of(&result);
        if let (Some(then), Some(tag)) = (&self.stat.e_tag, &now.e_tag)
            && then != tag
        {
            return Err(Failure::replaced(format!("its ETag is {tag} now, it was {then}")));
        }
        if let (None, Some(then), None) = (&self.stat.e_tag, self.stat.modified, &now.e_tag)
            && now.modified != Some(then)
        {
            return Err(Failure::replaced("it was written at another time".to_owned()));
        }
        if now.len != self.stat.len {
            return Err(Failure::replaced(format!("it has {} bytes now, it had {}", now.len, self.stat.len)));
        }
        self.target.receive(result, range.end - range.start, bytes, &answer).await
    }
}

fn stat_of(result: &GetResult) -> Stat {
    let modified = result.meta.last_modified.timestamp();
    Stat { len: result.meta.size, e_tag: result.meta.e_tag.clone(), modified: Some(modified) }
}

/// The pauses between the attempts of one request.
struct Pauses {
    begun: Instant,
    limit: Duration,
    next: Duration,
    count: u32,
}

impl Pauses {
    fn new(patience: Patience) -> Self {
        Self { begun: Instant::now(), limit: patience.retry_timeout, next: FIRST_PAUSE, count: 0 }
    }

    /// The pause after a failure.
    ///
    /// # Errors
    /// The failure itself, if it is permanent or the time is up.
    fn after(&mut self, mut failure: Failure) -> Result<Duration, Failure> {
        let waited = self.begun.elapsed();
        self.count += 1;
        if failure.is_permanent() || waited >= self.limit {
            failure.attempts = (self.count, waited);
            return Err(failure);
        }
        // Between half and the whole of it, so that those who failed together do not come back together.
        let draw = mix_bytes(&self.begun.elapsed().as_nanos().to_le_bytes()) % 1000;
        let pause = self.next.mul_f64(0.5 + draw as f64 / 2000.0);
        self.next = (2 * self.next).min(MAX_PAUSE);
        Ok(pause.max(failure.retry_after.min(3 * MAX_PAUSE)).min(self.limit.saturating_sub(waited)))
    }
}

/// The error of something that is not there.
pub(super) fn missing(address: &std::path::Path) -> Error {
    Error::new(ErrorKind::Io, "there is no such object").in_shard(address)
}
