//! Prefix sums over groups of items that are numbered through, and the search in them.

use std::sync::Arc;

/// The number of items before each group, and the total at the end.
#[derive(Clone, Debug)]
pub(crate) struct PrefixSums(Arc<[u64]>);

impl PrefixSums {
    /// Sums over groups of these sizes.
    pub(crate) fn of(counts: impl IntoIterator<Item = u64>) -> Self {
        let mut sum = 0_u64;
        let ends = counts.into_iter().map(|count| {
            sum = sum.saturating_add(count);
            sum
        });
        Self(std::iter::once(0).chain(ends).collect())
    }

    /// Number of items in all groups.
    pub(crate) fn total(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }

    /// Number of items before a group.
    pub(crate) fn before(&self, group: usize) -> u64 {
        self.0[group]
    }

    /// Number of items in each group.
    pub(crate) fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.windows(2).map(|ends| ends[1] - ends[0])
    }

    /// The group of an item, and the item's index in it. `item` must be below the total.
    pub(crate) fn find(&self, item: u64) -> (usize, u64) {
        let group = self.0.partition_point(|&start| start <= item) - 1;
        (group, item - self.0[group])
    }
}
