//! The policy for samples that cannot be decoded. [`Failures`] checks batches in planned order: a batch is delivered,
//! or an error ends the epoch. It also keeps the counts of the [`EpochReport`], which accounts for every planned
//! sample.

use std::fmt;

use crate::batch::Batch;
use crate::shard::LeftOut;
use crate::{Error, ErrorKind, Result};

/// A rate is checked against at least this many rows, so that one early error does not exceed it.
const RATE_ROWS: u64 = 1000;

/// What happens when a sample cannot be decoded.
///
/// ```
/// use maskstream::{Budget, OnError};
///
/// assert_eq!(OnError::default(), OnError::Stop);
/// // Up to ten samples per epoch and rank; their rows are zeroed and invalid.
/// assert_eq!(OnError::skip(10), OnError::Skip { budget: Budget::UNLIMITED.count(10) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum OnError {
    /// The epoch ends with the sample's error.
    #[default]
    Stop,
    /// The sample's row is zero and invalid, its error is in [`Batch::errors`], and the epoch continues until the
    /// budget is exceeded.
    Skip {
        /// How many samples may be skipped.
        budget: Budget,
    },
}

impl OnError {
    /// [`OnError::Skip`] with a budget. A number is the largest count.
    pub fn skip(budget: impl Into<Budget>) -> Self {
        Self::Skip { budget: budget.into() }
    }
}

/// How many samples may be skipped in one epoch on one rank. Each bound applies on its own.
///
/// ```
/// use maskstream::{Budget, OnError};
///
/// // One in a thousand, but never twenty in a row: that would be a failing disk, not a bad file.
/// let on_error = OnError::skip(Budget::UNLIMITED.rate(0.001).consecutive(20));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Budget {
    count: u64,
    rate: f64,
    consecutive: u64,
}

impl Budget {
    /// No bound.
    pub const UNLIMITED: Self = Self { count: u64::MAX, rate: 1.0, consecutive: u64::MAX };

    /// At most this many samples.
    pub fn count(mut self, samples: u64) -> Self {
        self.count = samples;
        self
    }

    /// At most this share, 0 to 1, of the samples so far. While there are fewer than 1000, 1000 are assumed.
    pub fn rate(mut self, share: f64) -> Self {
        self.rate = share;
        self
    }

    /// At most this many samples in a row.
    pub fn consecutive(mut self, samples: u64) -> Self {
        self.consecutive = samples;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.rate) {
            return Ok(());
        }
        Err(Error::config(format!(
            "the rate of samples that may be skipped is {}, which is not between 0 and 1",
            self.rate
        )))
    }
}

impl From<u64> for Budget {
    fn from(count: u64) -> Self {
        Self::UNLIMITED.count(count)
    }
}

/// Counts of the samples of an epoch on one rank, from [`Epoch::report`](crate::Epoch::report). Once the epoch has
/// ended, `delivered + skipped + lost` equals `planned`.
///
/// ```
/// use maskstream::{EpochReport, ErrorKind};
///
/// fn has_bad_files(report: &EpochReport) -> bool {
///     report.skipped_by.iter().any(|(kind, _)| *kind == ErrorKind::Corrupt)
/// }
///
/// # let mut report = EpochReport::default();
/// # (report.planned, report.delivered, report.skipped) = (Some(1000), 997, 3);
/// # report.skipped_by = vec![(ErrorKind::Corrupt, 2), (ErrorKind::Io, 1)];
/// assert!(has_bad_files(&report));
/// assert_eq!(
///     report.to_string(),
///     "epoch 0: 997 samples delivered, 3 skipped (2 corrupt, 1 I/O), 0 lost, of 1000 planned"
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct EpochReport {
    /// Index of the epoch.
    pub epoch: u64,
    /// The first step: 0, or the step at which the epoch was resumed.
    pub first_step: u64,
    /// Samples planned from that step on. `None` while shards are being indexed: `lost` and `outstanding` then count
    /// only samples that have been found so far.
    pub planned: Option<u64>,
    /// Samples that were delivered in valid rows.
    pub delivered: u64,
    /// Samples that were delivered as zeroed, invalid rows because they could not be decoded.
    pub skipped: u64,
    /// The skipped samples by kind of error.
    pub skipped_by: Vec<(ErrorKind, u64)>,
    /// Samples that will never be delivered because an error ended the epoch.
    pub lost: u64,
    /// The kind and message of that error.
    pub lost_by: Option<(ErrorKind, String)>,
    /// Samples that have not been delivered yet.
    pub outstanding: u64,
    /// Samples of all ranks that `drop_last` left out.
    pub dropped: u64,
    /// Samples that the shards hold, selected or not, on all ranks together: estimated where a shard is damaged. While
    /// shards are being indexed, this and the next three fields count only those that have an index.
    pub held: u64,
    /// Samples of these that the filter, the list of ids and so on select.
    pub selected: u64,
    /// Samples of these that indexing left out, by cause.
    pub left_out: LeftOut,
    /// Selected samples that no checksum vouches for: see
    /// [`use_unverified`](crate::ShardSetBuilder::use_unverified). An epoch that indexes a shard delivers its samples
    /// as it finds them; those that turn out to be unverified at its end, or to have a member that a later one
    /// replaces, are counted here as well.
    pub unverified: u64,
}

impl fmt::Display for EpochReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, delivered, skipped, lost, .. } = self;
        write!(f, "epoch {epoch}: {delivered} samples delivered, {skipped} skipped")?;
        for (i, (kind, count)) in self.skipped_by.iter().enumerate() {
            write!(f, "{}{count} {kind}", if i == 0 { " (" } else { ", " })?;
        }
        let at_least = if self.planned.is_none() && self.lost_by.is_some() { "at least " } else { "" };
        write!(f, "{}, {at_least}{lost} lost", if self.skipped_by.is_empty() { "" } else { ")" })?;
        if let Some((kind, _)) = &self.lost_by {
            write!(f, " because of an error ({kind})")?;
        }
        match self.planned {
            Some(planned) => write!(f, ", of {planned} planned")?,
            None => f.write_str(", of an unknown number (shards are being indexed)")?,
        }
        if self.outstanding > 0 {
            write!(f, "; {} outstanding", self.outstanding)?;
        }
        if self.dropped > 0 {
            write!(f, "; {} dropped because they do not fill a batch", self.dropped)?;
        }
        if self.unverified > 0 {
            write!(f, "; {} of them unverified, because their shard is damaged or was mended", self.unverified)?;
        }
        let left_out = self.left_out.total();
        if self.planned.is_some() && self.held > self.selected {
            let about = if self.left_out.unreadable > 0 { "about " } else { "" };
            write!(f, "; the shards hold {about}{} samples: {} selected", self.held, self.selected)?;
            let others = self.held.saturating_sub(self.selected + left_out);
            if others > 0 {
                write!(f, ", {others} not selected")?;
            }
            if left_out > 0 {
                write!(f, ", {left_out} left out ({})", self.left_out)?;
            }
        }
        Ok(())
    }
}

/// Applies the policy to an epoch's batches.
#[derive(Debug)]
pub(super) struct Failures {
    on_error: OnError,
    so_far: Tally,
    lost_by: Option<(ErrorKind, String)>,
}

/// Counts of what was delivered.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    delivered: u64,
    skipped: u64,
    skipped_by: Vec<(ErrorKind, u64)>,
    /// Samples skipped in a row, up to the last one.
    consecutive: u64,
}

impl Failures {
    pub(super) fn new(on_error: OnError) -> Self {
        Self { on_error, so_far: Tally::default(), lost_by: None }
    }

    /// Checks the next batch against the policy. Returns the counts that include it, for [`Failures::commit`].
    ///
    /// # Errors
    /// If the policy does not allow its errors, or if a planned row is neither valid nor an error.
    pub(super) fn check(&self, batch: &mut Batch) -> Result<Tally> {
        let planned = batch.samples().iter().flatten().count();
        if batch.valid_rows() + batch.errors().len() != planned {
            let (valid, errors) = (batch.valid_rows(), batch.errors().len());
            return Err(Error::panic(&format!(
                "{planned} rows were planned, but {valid} are valid and {errors} failed"
            )));
        }
        let mut tally = self.so_far.clone();
        for (row, _) in batch.samples().iter().enumerate().filter(|(_, sample)| sample.is_some()) {
            let Some(failed) = batch.errors().iter().position(|failed| failed.row == row) else {
                (tally.delivered, tally.consecutive) = (tally.delivered + 1, 0);
                continue;
            };
            tally.skip(batch.errors()[failed].error.kind());
            if let Some(end) = self.on_error.end(&tally) {
                let error = batch.take_errors().swap_remove(failed).error;
                return Err(match end {
                    End::Stop => error,
                    End::Exceeded(why) => Error::limit(format!("{why}; the last one: {error}")).caused_by(error),
                });
            }
        }
        Ok(tally)
    }

    /// Records that the batch that was checked last has been delivered.
    pub(super) fn commit(&mut self, tally: Tally) {
        self.so_far = tally;
    }

    /// Number of samples that were delivered or skipped.
    pub(super) fn received(&self) -> u64 {
        self.so_far.delivered + self.so_far.skipped
    }

    /// Records the error that ended the epoch.
    pub(super) fn end(&mut self, error: &Error) {
        self.lost_by = Some((error.kind(), error.to_string()));
    }

    /// The report without the figures of the plan; `left` samples have not been delivered or skipped.
    pub(super) fn report(&self, left: u64) -> EpochReport {
        let is_over = self.lost_by.is_some();
        EpochReport {
            delivered: self.so_far.delivered,
            skipped: self.so_far.skipped,
            skipped_by: self.so_far.skipped_by.clone(),
            lost: if is_over { left } else { 0 },
            lost_by: self.lost_by.clone(),
            outstanding: if is_over { 0 } else { left },
            ..EpochReport::default()
        }
    }
}

impl Tally {
    fn skip(&mut self, kind: ErrorKind) {
        (self.skipped, self.consecutive) = (self.skipped + 1, self.consecutive + 1);
        match self.skipped_by.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.skipped_by.push((kind, 1)),
        }
    }
}

/// Why a skipped sample ends the epoch.
enum End {
    /// No sample may be skipped.
    Stop,
    /// The budget is exceeded, as described.
    Exceeded(String),
}

impl OnError {
    /// Why the sample that was skipped last ends the epoch; `None` if the epoch continues.
    fn end(self, tally: &Tally) -> Option<End> {
        let Self::Skip { budget: Budget { count, rate, consecutive } } = self else { return Some(End::Stop) };
        let Tally { delivered, skipped, consecutive: run, .. } = tally;
        let rows = delivered + skipped;
        let why = if *skipped > count {
            format!("{skipped} samples could not be decoded, more than the budget of {count}")
        } else if *run > consecutive {
            format!("{run} samples in a row could not be decoded, more than the budget of {consecutive}")
        } else if *skipped as f64 > rate * rows.max(RATE_ROWS) as f64 {
            format!("{skipped} of {rows} samples could not be decoded, more than the budget of {rate} of all samples")
        } else {
            return None;
        };
        Some(End::Exceeded(why))
    }
}
