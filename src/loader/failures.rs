//! What happens to samples that cannot be decoded: the one place of that policy. Comes in: batches in planned order,
//! with their errors. Goes out: the batch, or the error that ends the epoch; and in the end an account of every planned
//! sample. Fails as the policy says, and if a row is neither valid nor an error.

use std::fmt;

use crate::batch::Batch;
use crate::{Error, ErrorKind, Result};

/// Rates are not judged by fewer rows than this.
const RATE_ROWS: u64 = 1000;

/// What happens when a sample cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum OnError {
    /// The epoch ends with its error.
    #[default]
    Stop,
    /// Its row stays zero and invalid, its error stands in [`Batch::errors`], and the epoch goes on, until the budget
    /// is used up.
    Skip {
        /// How many samples may be skipped.
        budget: Budget,
    },
}

impl OnError {
    /// Skips within a budget; a number is a count.
    pub fn skip(budget: impl Into<Budget>) -> Self {
        Self::Skip { budget: budget.into() }
    }
}

/// How many samples may be skipped in one epoch on one rank. Each bound counts for itself.
///
/// ```
/// use maskstream::{Budget, OnError};
///
/// // One in a thousand, and never twenty in a row: that is a dead disk, not a bad file.
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

    /// At most so many.
    pub fn count(mut self, samples: u64) -> Self {
        self.count = samples;
        self
    }

    /// At most this share, 0 to 1, of the samples so far, or of the first 1000 while there are fewer.
    pub fn rate(mut self, share: f64) -> Self {
        self.rate = share;
        self
    }

    /// At most so many one after the other.
    pub fn consecutive(mut self, samples: u64) -> Self {
        self.consecutive = samples;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if (0.0..=1.0).contains(&self.rate) {
            return Ok(());
        }
        Err(Error::config(format!("the rate of samples that may be skipped is {}, not within 0 to 1", self.rate)))
    }
}

impl From<u64> for Budget {
    fn from(count: u64) -> Self {
        Self::UNLIMITED.count(count)
    }
}

/// What has become of the samples of an epoch on one rank. Once it has ended, `delivered + skipped + lost` is what was
/// planned.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct EpochReport {
    /// The epoch's number.
    pub epoch: u64,
    /// The step it began at: 0, or where it was resumed.
    pub first_step: u64,
    /// Samples planned from there on; `None` while shards are still being indexed: what is lost or outstanding then is
    /// what was found by now.
    pub planned: Option<u64>,
    /// Samples in batches that were received.
    pub delivered: u64,
    /// Samples in batches that were received, whose rows are empty because they could not be decoded.
    pub skipped: u64,
    /// Those by what went wrong.
    pub skipped_by: Vec<(ErrorKind, u64)>,
    /// Samples that never will be received because of the error that ended the epoch.
    pub lost: u64,
    /// That error.
    pub lost_by: Option<(ErrorKind, String)>,
    /// Samples whose turn has not come yet.
    pub outstanding: u64,
    /// Samples left out by `drop_last`, of all ranks together.
    pub dropped: u64,
}

impl fmt::Display for EpochReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, delivered, skipped, lost, .. } = self;
        write!(f, "epoch {epoch}: {delivered} samples delivered, {skipped} skipped")?;
        for (i, (kind, count)) in self.skipped_by.iter().enumerate() {
            write!(f, "{}{count} {kind:?}", if i == 0 { " (" } else { ", " })?;
        }
        let at_least = if self.planned.is_none() && self.lost_by.is_some() { "at least " } else { "" };
        write!(f, "{}, {at_least}{lost} lost", if self.skipped_by.is_empty() { "" } else { ")" })?;
        if let Some((kind, _)) = &self.lost_by {
            write!(f, " ({kind:?})")?;
        }
        match self.planned {
            Some(planned) => write!(f, ", of {planned} planned")?,
            None => f.write_str(", their number is not known yet")?,
        }
        if self.outstanding > 0 {
            write!(f, "; {} are still to come", self.outstanding)?;
        }
        if self.dropped > 0 {
            write!(f, "; {} fill no batch and were left out", self.dropped)?;
        }
        Ok(())
    }
}

/// The policy at work.
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
    /// Skipped one after the other up to now.
    run: u64,
}

impl Failures {
    pub(super) fn new(on_error: OnError) -> Self {
        Self { on_error, so_far: Tally::default(), lost_by: None }
    }

    /// Judges the next batch. Returns the counts as they are once it has been delivered: see [`Failures::commit`].
    ///
    /// # Errors
    /// If the policy does not tolerate its errors.
    pub(super) fn judge(&self, batch: &mut Batch) -> Result<Tally> {
        let planned = batch.samples().iter().flatten().count();
        if batch.valid_rows() + batch.errors().len() != planned {
            let found = (batch.valid_rows(), batch.errors().len());
            return Err(Error::panic(&format!("{planned} rows were planned, {found:?} are valid and errors")));
        }
        let mut tally = self.so_far.clone();
        for (row, _) in batch.samples().iter().enumerate().filter(|(_, sample)| sample.is_some()) {
            let Some(failed) = batch.errors().iter().position(|failed| failed.row == row) else {
                (tally.delivered, tally.run) = (tally.delivered + 1, 0);
                continue;
            };
            tally.skip(batch.errors()[failed].error.kind());
            if let Some(verdict) = self.on_error.verdict(&tally) {
                let error = batch.take_errors().swap_remove(failed).error;
                return Err(match verdict {
                    Verdict::Stop => error,
                    Verdict::Over(why) => Error::limit(format!("{why}; the last one: {error}")).caused_by(error),
                });
            }
        }
        Ok(tally)
    }

    /// The batch that was judged last has been delivered.
    pub(super) fn commit(&mut self, tally: Tally) {
        self.so_far = tally;
    }

    /// Samples that were delivered or skipped.
    pub(super) fn received(&self) -> u64 {
        self.so_far.delivered + self.so_far.skipped
    }

    /// The epoch has ended with this error.
    pub(super) fn end(&mut self, error: &Error) {
        self.lost_by = Some((error.kind(), error.to_string()));
    }

    /// The account, but for what the plan knows; `left` samples have not been received.
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
        (self.skipped, self.run) = (self.skipped + 1, self.run + 1);
        match self.skipped_by.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.skipped_by.push((kind, 1)),
        }
    }
}

/// Why the sample that was skipped last ends the epoch.
enum Verdict {
    /// None may be skipped.
    Stop,
    /// It is beyond this bound.
    Over(String),
}

impl OnError {
    /// Whether the sample that was skipped last is one too many.
    fn verdict(self, tally: &Tally) -> Option<Verdict> {
        let Self::Skip { budget: Budget { count, rate, consecutive } } = self else { return Some(Verdict::Stop) };
        let Tally { delivered, skipped, run, .. } = tally;
        let rows = delivered + skipped;
        let over = if *skipped > count {
            format!("{skipped} samples could not be decoded, more than the budget of {count}")
        } else if *run > consecutive {
            format!("{run} samples one after the other could not be decoded, more than the budget of {consecutive}")
        } else if *skipped as f64 > rate * rows.max(RATE_ROWS) as f64 {
            format!("{skipped} of {rows} samples could not be decoded, more than the budget of a share of {rate}")
        } else {
            return None;
        };
        Some(Verdict::Over(over))
    }
}
