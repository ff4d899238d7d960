//! Writing small objects: index files beside their shards.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutPayload};

use super::shared::Shared;
use crate::Result;

/// The slowest upload that is waited for, in bytes per second.
const SLOWEST: u64 = 100_000;

impl Shared {
    /// Writes an object, in one request: a reader sees the old one or the whole new one.
    ///
    /// # Errors
    /// If the store refuses it.
    pub(super) fn write(&self, address: &Path, parts: Vec<Bytes>) -> Result<()> {
        let mut target = self.target(address)?;
        let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        // The answer comes when all has been sent.
        target.patience.read_timeout += Duration::from_secs(bytes / SLOWEST);
        let payload = PutPayload::from_iter(parts);
        self.wait(async move {
            let store = Arc::clone(&target.endpoint.store);
            target.retry(|| store.put(&target.key, payload.clone())).await
        })?;
        self.known().remove(address);
        Ok(())
    }
}
