//! Opening the shards, and building the loader.

use std::path::PathBuf;

use maskstream::{Cursor, Loader, ShardSet, ShardSetBuilder};

use super::LoaderArgs;
use crate::cli::advice::misuse;
use crate::cli::output::counted;
use crate::cli::progress;
use crate::cli::stores;
use crate::cli::warnings::{warn_repeated, warn_unsaved};

/// Listed images that a warning names.
const MAX_NAMED: usize = 5;

impl LoaderArgs {
    /// Opens the shards, indexes those that have no index yet, and builds the loader.
    pub(in crate::cli) fn loader(&self) -> Result<Loader, Box<dyn std::error::Error>> {
        self.loader_like(None)
    }

    /// The same, with the settings of the run that saved a cursor, changed where a flag is given. If a flag contradicts
    /// the cursor, the loader refuses it.
    pub(in crate::cli) fn loader_like(&self, cursor: Option<&Cursor>) -> Result<Loader, Box<dyn std::error::Error>> {
        self.check(cursor, false)?;
        let settings = self.loader_settings(cursor)?;
        let set = self.open(self.shard_settings(cursor)?)?;
        settings.build(set).map_err(misuse)
    }

    /// Opens the shards with these settings, indexes those that have no index yet, and says what is left out.
    pub(in crate::cli) fn open(&self, settings: ShardSetBuilder) -> Result<ShardSet, Box<dyn std::error::Error>> {
        self.open_some(settings, &stores::resolve_patterns(&self.shards.shards)?)
    }

    /// Opens some of the shards.
    pub(in crate::cli) fn open_some(
        &self,
        settings: ShardSetBuilder,
        paths: &[PathBuf],
    ) -> Result<ShardSet, Box<dyn std::error::Error>> {
        let bar = progress::bar(progress::total_bytes(paths), "indexing", "bytes");
        let advance = bar.clone();
        let set = settings.progress(move |bytes| advance.inc(bytes)).open(paths)?;
        bar.finish_and_clear();
        let quarantined: usize = set.reports().map(|report| report.quarantined_samples).sum();
        if quarantined > 0 {
            tell!("maskstream: {quarantined} samples are left out because they are on the quarantine list");
        }
        if !set.unmatched().is_empty() {
            let ids: Vec<String> = set.unmatched().iter().take(MAX_NAMED).map(i64::to_string).collect();
            let more = if set.unmatched().len() > ids.len() { ", ..." } else { "" };
            let count = counted(set.unmatched().len(), "listed image");
            tell!("maskstream: in none of the shards: {count}: {}{more}", ids.join(", "));
        }
        warn_repeated(&set);
        warn_unsaved(set.reports().filter(|report| report.samples > 0).map(|report| &report.status));
        Ok(set)
    }

    /// Builds the loader without waiting for indexes.
    pub(in crate::cli) fn lazy_loader(&self) -> Result<Loader, Box<dyn std::error::Error>> {
        self.check(None, false)?;
        let shards = self.shard_settings(None)?.open_lazy(&self.shards.shards)?;
        self.loader_settings(None)?.build(shards).map_err(misuse)
    }
}
