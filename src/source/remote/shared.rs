//! What all objects share: the endpoints, the threads, the counters, and what is known of objects.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::endpoint::Endpoints;
use super::object::{Patience, Stat, Target};
use super::running::Threads;
use super::stats::Counters;
use crate::Result;
use crate::source::address::split_query;
use crate::source::prefetch::ReadAhead;

/// What all objects share.
pub(super) struct Shared {
    pub(super) threads: Threads,
    pub(super) endpoints: Endpoints,
    pub(super) patience: Patience,
    pub(super) read_ahead: ReadAhead,
    pub(super) counters: Arc<Counters>,
    /// What is known of objects that were listed or asked for.
    pub(super) known: Mutex<HashMap<PathBuf, Known>>,
    /// The queries of web addresses, by the addresses and by what they are in.
    pub(super) queries: Mutex<HashMap<PathBuf, String>>,
}

/// What is known of an object.
pub(super) struct Known {
    pub(super) stat: Stat,
    /// Whether it was learnt from a list, and nobody has asked for it since.
    is_new: bool,
}

impl Shared {
    pub(super) fn target(&self, address: &Path) -> Result<Target> {
        let query = {
            let queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
            queries.get(address).or_else(|| queries.get(address.parent()?)).cloned()
        };
        let (endpoint, key) = self.endpoints.find(address, query.as_deref())?;
        let (patience, counters) = (self.patience, Arc::clone(&self.counters));
        Ok(Target { address: address.to_owned(), endpoint, key, patience, counters })
    }

    /// The name of what is at an address: the address without its query, which is kept for requests. Requests for other
    /// objects beside it have the same query, because one token may be valid for a whole container.
    pub(super) fn name(&self, address: &Path) -> PathBuf {
        let (name, query) = split_query(address);
        if let Some(query) = query {
            let mut queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
            for of in [Some(name.as_path()), name.parent()].into_iter().flatten() {
                queries.insert(of.to_owned(), query.to_owned());
            }
        }
        name
    }

    pub(super) fn wait<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        self.threads.run(work).wait(&AtomicBool::new(false))
    }

    /// What an object is now; `None` if there is none.
    pub(super) fn stat(&self, address: &Path) -> Result<Option<Stat>> {
        if let Some(stat) = self.newly_listed(address) {
            return Ok(Some(stat));
        }
        let target = self.target(address)?;
        let found = self.wait(async move { target.stat().await })?;
        if let Some(stat) = &found {
            self.know(address, stat.clone(), false);
        }
        Ok(found)
    }

    pub(super) fn know(&self, address: &Path, stat: Stat, is_new: bool) {
        self.known().insert(address.to_owned(), Known { stat, is_new });
    }

    /// What a list has said of an object, once.
    fn newly_listed(&self, address: &Path) -> Option<Stat> {
        let mut known = self.known();
        let known = known.get_mut(address)?;
        std::mem::take(&mut known.is_new).then(|| known.stat.clone())
    }

    pub(super) fn known(&self) -> MutexGuard<'_, HashMap<PathBuf, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
