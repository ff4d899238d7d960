//! Reports: the state of each shard of an open set.

use std::path::PathBuf;

use super::{Finding, IndexStatus, LeftOut};

/// The state of one shard of an open [`ShardSet`](crate::ShardSet): its index, its samples and its findings.
///
/// ```
/// # #[cfg(feature = "synth")] {
/// # use maskstream::ShardSet;
/// # use maskstream::synth::{Preset, SynthOptions, write_shards};
/// # let dir = tempfile::tempdir()?;
/// # write_shards(dir.path(), 2, &SynthOptions::new(Preset::Small).samples(3), &|_| ())?;
/// let set = ShardSet::builder().open(&[dir.path()])?;
/// for report in set.reports() {
///     println!("{}: {} of {} samples", report.path.display(), report.kept_samples, report.samples);
///     for finding in &report.findings {
///         println!("  {finding}");
///     }
/// }
/// assert_eq!(set.reports().map(|report| report.samples).sum::<usize>(), 6);
/// # }
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShardReport {
    /// Path of the shard, or the name of its source.
    pub path: PathBuf,
    /// Length in bytes of the shard's file or source.
    pub shard_bytes: u64,
    /// Whether it is a gzip stream. If so, offsets count inflated bytes.
    pub is_gzip: bool,
    /// Whether its index was loaded or built.
    pub status: IndexStatus,
    /// Number of samples in the index.
    pub samples: usize,
    /// Number of samples in the index whose image is a derived one: smaller than the one that was annotated, and lossy.
    pub derived_samples: usize,
    /// Number of annotations in the index.
    pub annotations: usize,
    /// Number of samples in the set: they pass the filter, the list of ids and
    /// [`retain`](crate::ShardSetBuilder::retain), and are not quarantined.
    pub kept_samples: usize,
    /// Number of samples that are left out only because they are quarantined.
    pub quarantined_samples: usize,
    /// Number of annotations that pass the filter and the list of ids, in kept samples and others.
    pub kept_annotations: usize,
    /// Number of unverified samples in the set: they are there because
    /// [`use_unverified`](crate::ShardSetBuilder::use_unverified) asks for them.
    pub unverified_samples: usize,
    /// Samples that the shard holds and that indexing left out, by cause.
    pub left_out: LeftOut,
    /// What is wrong with the shard, in the order of the offsets.
    pub findings: Vec<Finding>,
}
