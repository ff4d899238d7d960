//! Sums over the reports of a set's shards.

use super::{LeftOut, ShardReport};

/// Counts of the samples of all shards of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardTotals {
    /// Samples that the shards hold, in the indexes or left out by them.
    pub(crate) held: u64,
    /// Samples of the set: those that the filter, the list of ids and so on select.
    pub(crate) selected: u64,
    /// Samples that indexing left out.
    pub(crate) left_out: LeftOut,
    /// Samples of the set that no checksum vouches for.
    pub(crate) unverified: u64,
}

impl ShardTotals {
    pub(crate) fn of<'a>(reports: impl IntoIterator<Item = &'a ShardReport>) -> Self {
        let mut totals = Self::default();
        for report in reports {
            totals.selected += report.kept_samples as u64;
            totals.unverified += report.unverified_samples as u64;
            totals.left_out += report.left_out;
            // Unverified samples that are left out are in the index as well.
            totals.held += report.samples as u64 + report.left_out.total() - report.left_out.unverified;
        }
        totals
    }
}
