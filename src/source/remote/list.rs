//! Listing a store, level by level: a prefix is whole segments of a key, as a directory is.

use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};

use super::endpoint::address_of;
use super::object::Stat;
use super::shared::Shared;
use crate::{Error, Result};

/// Objects that are asked for at once.
const AT_ONCE: usize = 64;

/// What is directly below a prefix, sorted by the bytes of their keys.
#[derive(Debug, Default)]
pub(crate) struct Children {
    pub(crate) objects: Vec<PathBuf>,
    pub(crate) prefixes: Vec<PathBuf>,
}

impl Shared {
    /// What is below a prefix.
    ///
    /// # Errors
    /// If it cannot be listed. A web server never can.
    pub(super) fn children(&self, prefix: &Path) -> Result<Children> {
        let target = self.target(prefix)?;
        if target.endpoint.is_web {
            return Err(Error::config(format!(
                "{} is no shard, and a web server has no list of its files for prefixes and wildcards: name each \
                 shard, as in https://host/sa_{{000000..000999}}.tar",
                prefix.display()
            )));
        }
        let list = target.clone();
        let found = self.wait(async move {
            let store = std::sync::Arc::clone(&list.endpoint.store);
            let key = (!list.key.is_root()).then(|| list.key.clone());
            list.retry(|| store.list_with_delimiter(key.as_ref())).await
        })?;
        let address = |key: &object_store::path::Path| address_of(prefix, key);
        let mut children = Children::default();
        for object in found.objects {
            // The mark of a directory that a web console has made.
            if object.location == target.key {
                continue;
            }
            let address = address(&object.location);
            // Some lists have no ETags. Opening such an object asks for its ETag.
            if object.e_tag.is_some() {
                self.know(&address, Stat { len: object.size, e_tag: object.e_tag, modified: None }, true);
            }
            children.objects.push(address);
        }
        children.prefixes.extend(found.common_prefixes.iter().map(address));
        children.objects.sort();
        children.prefixes.sort();
        Ok(children)
    }

    /// Which of these objects exist.
    ///
    /// # Errors
    /// If a store cannot be asked.
    pub(super) fn exist(&self, addresses: &[PathBuf]) -> Result<Vec<bool>> {
        let targets = addresses.iter().map(|address| self.target(address)).collect::<Result<Vec<_>>>()?;
        let found = self.wait(async move {
            let stats = targets.into_iter().map(|target| async move { target.stat().await });
            let found: Vec<_> = stream::iter(stats).buffered(AT_ONCE).collect().await;
            found.into_iter().collect::<Result<Vec<_>>>()
        })?;
        let note = |(address, stat): (&PathBuf, Option<Stat>)| {
            let exists = stat.is_some();
            stat.into_iter().for_each(|stat| self.know(address, stat, true));
            exists
        };
        Ok(addresses.iter().zip(found).map(note).collect())
    }
}
