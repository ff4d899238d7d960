//! An object store for tests and benches: a server of HTTP/1.1 on a port of this machine, in plain threads, which
//! answers as a path-style S3 endpoint and as a web server, and which fails on request.
//!
//! ```ignore
//! let server = Server::start();
//! server.put("bucket/sa_000000.tar", bytes);
//! server.script(|request| (request.number < 2).then(|| Fault::status(503)));
//! let store = AmazonS3Builder::new().with_endpoint(server.url()).with_bucket_name("bucket")...;
//! ```
//!
//! | file | what it has |
//! |---|---|
//! | `listener`, `socket`, `connection` | the port, a connection's socket, and what happens on it |
//! | `request`, `answer` | what is read and what is said |
//! | `s3`, `object`, `store`, `text` | the answers: S3's requests, bytes of an object, all objects, notations |
//! | `fault`, `pace`, `log` | what goes wrong, how fast, and what the test finds out |
//! | `state`, `lock` | what the threads share |
//!
//! Credentials are not checked. A request is one at a time on a connection: pipelined ones wait.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answer;
mod connection;
mod fault;
mod listener;
mod lock;
mod log;
mod object;
mod pace;
mod request;
mod s3;
mod socket;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod text;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub(crate) use fault::Fault;
pub(crate) use pace::Speed;
pub(crate) use request::Request;

use listener::Port;
use state::State;
use store::Object;

/// A server. Dropping it closes its port and its connections and waits for its threads.
#[derive(Debug)]
pub(crate) struct Server {
    state: Arc<State>,
    port: Port,
}

impl Server {
    /// A server without objects, on a free port of 127.0.0.1.
    pub(crate) fn start() -> Self {
        let state = Arc::new(State::default());
        let port = Port::open(state.clone()).expect("a free port on 127.0.0.1");
        Self { state, port }
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    // The objects. A path is `bucket/key`, as it is, not percent-coded.

    /// Puts an object, and its bucket where there is none.
    pub(crate) fn put(&self, path: &str, bytes: impl Into<Bytes>) {
        self.state.store.put(path, Object::new(bytes.into()));
    }

    /// Puts a file, which is read once.
    pub(crate) fn put_file(&self, path: &str, local: &Path) -> io::Result<()> {
        self.put(path, std::fs::read(local)?);
        Ok(())
    }

    pub(crate) fn get(&self, path: &str) -> Option<Bytes> {
        self.state.store.get(path).map(|object| object.bytes)
    }

    /// Removes an object and gives its bytes, if there was one.
    pub(crate) fn remove(&self, path: &str) -> Option<Bytes> {
        self.state.store.remove(path).map(|object| object.bytes)
    }

    /// The ETag of an object, with its quotes: a digest of its bytes, unless another was set.
    #[track_caller]
    pub(crate) fn etag(&self, path: &str) -> String {
        let object = self.state.store.get(path).unwrap_or_else(|| panic!("no object {path}"));
        object.etag.unwrap_or_else(|| panic!("{path} has no ETag"))
    }

    /// Sets an object's ETag, such as a weak one, or takes it away. The next `put` undoes that.
    #[track_caller]
    pub(crate) fn set_etag(&self, path: &str, etag: Option<String>) {
        assert!(self.state.store.set_etag(path, etag), "no object {path}");
    }

    /// Creates a bucket. As with S3, clients cannot put objects where there is none.
    pub(crate) fn create_bucket(&self, name: &str) {
        self.state.store.create_bucket(name);
    }

    /// Uploads in parts that are neither complete nor aborted.
    pub(crate) fn open_uploads(&self) -> usize {
        self.state.store.open_uploads()
    }

    /// Most keys and prefixes on a page of a listing; S3's 1000 is always the limit.
    pub(crate) fn page_size(&self, keys: usize) {
        self.state.set(|settings| settings.page = keys.max(1));
    }

    // What happened.

    /// The requests since the start or [`clear_log`](Self::clear_log), in the order in which they came.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.log.read(|counts| counts.requests.clone())
    }

    /// Forgets the requests and counts anew, from what is open now. Requests in flight are not logged any more.
    pub(crate) fn clear_log(&self) {
        self.state.log.clear();
    }

    /// Requests that are being answered. One counts from when it is read until its last block is handed to the socket:
    /// a client that has an answer finds it not in flight. Without a [`Speed`], small answers are hardly ever so.
    pub(crate) fn in_flight(&self) -> usize {
        self.state.log.read(|counts| counts.in_flight)
    }

    pub(crate) fn max_in_flight(&self) -> usize {
        self.state.log.read(|counts| counts.max_in_flight)
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.state.log.read(|counts| counts.connections)
    }

    /// A connection that a client closed counts until the server has noticed.
    pub(crate) fn max_connections(&self) -> usize {
        self.state.log.read(|counts| counts.max_connections)
    }

    /// Bytes of bodies that were handed to sockets.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.state.log.read(|counts| counts.bytes_sent)
    }

    // What goes wrong.

    /// Asks this for the faults of each request before it is answered: `Some(fault)`, `None`, or several in a `Vec`.
    pub(crate) fn script<F: IntoIterator<Item = Fault>>(&self, script: impl Fn(&Request) -> F + Send + Sync + 'static) {
        self.state
            .set(|settings| settings.script = Some(Arc::new(move |request| script(request).into_iter().collect())));
    }

    pub(crate) fn unscript(&self) {
        self.state.set(|settings| settings.script = None);
    }

    /// While true, the server is down: connections are refused, and those that were open are reset.
    pub(crate) fn refuse_connections(&self, refuse: bool) {
        if refuse {
            self.port.refuse();
            self.port.reset_connections();
        } else {
            self.port.listen().expect("the port is kept");
        }
    }

    /// After so many more requests, all are answered with 403 and S3's `ExpiredToken`.
    pub(crate) fn expire_after(&self, requests: u64) {
        self.state.set(|settings| settings.expires_after = Some(requests));
    }

    /// Takes back [`expire_after`](Self::expire_after), as if the client had new credentials.
    pub(crate) fn renew(&self) {
        self.state.set(|settings| settings.expires_after = None);
    }

    /// Closes connections that wait for so long for a request. Holds for waits that begin after the call.
    pub(crate) fn idle_timeout(&self, timeout: Duration) {
        self.state.set(|settings| settings.idle_timeout = Some(timeout));
    }

    /// Sets the speed, also of answers that are being sent.
    pub(crate) fn speed(&self, speed: Speed) {
        self.state.pace.set(speed);
    }
}
