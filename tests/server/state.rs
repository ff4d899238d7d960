//! What all threads of a server share.
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fault::Fault;
use super::lock::locked;
use super::log::Log;
use super::pace::Pace;
use super::request::Request;
use super::store::Store;

pub(super) type Script = Arc<dyn Fn(&Request) -> Vec<Fault> + Send + Sync>;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) log: Log,
    pub(super) pace: Pace,
    settings: Mutex<Settings>,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) script: Option<Script>,
    pub(super) idle_timeout: Option<Duration>,
    /// Requests that are still answered before the client's credentials expire.
    pub(super) expires_after: Option<u64>,
    /// Most keys on a page of a listing.
    pub(super) page: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { script: None, idle_timeout: None, expires_after: None, page: usize::MAX }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("expires_after", &self.expires_after).finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn settings(&self) -> Settings {
        locked(&self.settings).clone()
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut locked(&self.settings));
    }

    /// Counts a request against the credentials, and tells whether they have expired.
    pub(super) fn expired(&self) -> bool {
        match &mut locked(&self.settings).expires_after {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }
}
