//! Things numbered through several groups. Comes in: how many there are in each. Goes out: the group a number lies in.
//! Cannot fail.

use std::sync::Arc;

/// Number of things before each of several groups, and at the end their total.
#[derive(Clone, Debug)]
pub(crate) struct PrefixSums(Arc<[u64]>);

impl PrefixSums {
    /// Groups of so many things each.
    pub(crate) fn of(counts: impl IntoIterator<Item = u64>) -> Self {
        let mut sum = 0_u64;
        let ends = counts.into_iter().map(|count| {
            sum = sum.saturating_add(count);
            sum
        });
        Self(std::iter::once(0).chain(ends).collect())
    }

    /// Of all groups.
    pub(crate) fn total(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }

    /// Number of things before a group.
    pub(crate) fn before(&self, group: usize) -> u64 {
        self.0[group]
    }

    /// Number of things in each group.
    pub(crate) fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.windows(2).map(|ends| ends[1] - ends[0])
    }

    /// The group that thing `number` lies in, and its number there; it must be below the total.
    pub(crate) fn find(&self, number: u64) -> (usize, u64) {
        let group = self.0.partition_point(|&start| start <= number) - 1;
        (group, number - self.0[group])
    }
}
