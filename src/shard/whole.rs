//! Reading a shard for what it holds now, whatever its index says: what `maskstream verify` does.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::index::{PassObserver, ReadMember, ShardIndex};
use super::indexed::{self, catch_panic};
use super::{Entry, Extent, Finding, IndexedShard, Indexer};
use crate::annotation::{AnnotationStats, ScoreColumns};
use crate::source::{Restarts, Source, is_gzip};
use crate::{Error, Result};

/// A shard that has been read from front to back.
#[derive(Debug)]
pub struct WholeShard {
    /// The shard with the index that a set would use: the one that it had, if that is of this file.
    pub shard: IndexedShard,
    /// What is wrong with the file now.
    pub findings: Vec<Finding>,
    /// Members whose names are not those of the index.
    pub renamed: Vec<Renamed>,
}

/// A member of a sample that has another name now.
#[derive(Debug)]
pub struct Renamed {
    /// Its name in the index.
    pub indexed: String,
    /// Its name in the tar.
    pub found: String,
    /// Its place.
    pub extent: Extent,
}

/// Reads `file`, which is the file of the shard at `path`, from front to back, and calls `visit` with each image and
/// JSON member. An index that the shard has already is not touched; if it has none, the new one is saved.
///
/// # Errors
/// If the shard cannot be read, or changes meanwhile.
pub fn read_whole(
    indexer: &Indexer,
    path: &Path,
    file: &Arc<dyn Source>,
    visit: &mut dyn FnMut(ReadMember),
) -> Result<WholeShard> {
    let stamp = indexer.storage.stamp(path)?;
    let found = indexer.load(path, ScoreColumns::ALL)?;
    let built = indexed::pass(file.as_ref(), path, &*indexer.progress, &mut Visitor(visit))?;
    match found {
        Ok(shard) if indexer.storage.stamp(path)? == stamp => {
            let renamed = renamed(&shard.index, &built.index);
            Ok(WholeShard { shard, findings: built.index.findings, renamed })
        }
        Ok(_) => Err(Error::corrupt("the shard changed while it was read").in_shard(path)),
        Err(unindexed) => {
            let shard = unindexed.finish(file, built, &|| ())?;
            Ok(WholeShard { findings: shard.index.findings.clone(), shard, renamed: Vec::new() })
        }
    }
}

/// The members of `indexed` that have other names in `found`. A hard link is one of several names of a place.
fn renamed(indexed: &ShardIndex, found: &ShardIndex) -> Vec<Renamed> {
    let members = |entry: &Entry| [(entry.image_name(), entry.image), (entry.annotations_name(), entry.annotations)];
    let mut names: HashMap<u64, Vec<String>> = HashMap::new();
    for (name, extent) in found.entries().iter().flat_map(members) {
        names.entry(extent.offset).or_default().push(name);
    }
    let changed = |(indexed, extent): (String, Extent)| {
        let found = names.get(&extent.offset).filter(|names| !names.contains(&indexed))?.first()?.clone();
        Some(Renamed { indexed, found, extent })
    };
    indexed.entries().iter().flat_map(members).filter_map(changed).collect()
}

/// Reads only the headers of a plain shard, the heads of its images, and its JSON. The checksums of the images in this
/// index are 0. `None` for a gzip stream, of which all would have to be read.
///
/// # Errors
/// If the shard cannot be read.
pub fn outline(path: &Path, file: &dyn Source) -> Result<Option<ShardIndex>> {
    catch_panic(path, || if is_gzip(file)? { Ok(None) } else { ShardIndex::outline(file).map(Some) })
}

/// Hands the members of a pass on.
struct Visitor<'a>(&'a mut dyn FnMut(ReadMember));

impl PassObserver for Visitor<'_> {
    fn on_sample(&mut self, _: &Entry, _: &[AnnotationStats], _: Option<&Arc<Restarts>>) -> Result<()> {
        Ok(())
    }

    fn on_member(&self) -> Result<()> {
        Ok(())
    }

    fn wants_bytes(&self) -> bool {
        true
    }

    fn on_bytes(&mut self, member: ReadMember) {
        (self.0)(member);
    }
}
