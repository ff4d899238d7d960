//! The policy on damaged shards.

use super::ShardReport;
use crate::{Error, Result};

/// What to do about shards that are damaged: that break off, or hold json members that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnCorrupt {
    /// Refuse them, with the first finding as the error.
    #[default]
    Stop,
    /// Use the samples that are sound, as long as not more than `budget` are missing in all shards. How many are
    /// missing is known, or guessed from the bytes that cannot be read; it stands with the findings in
    /// [`ShardReport`].
    Skip {
        /// Samples that may be missing.
        budget: u64,
    },
}

impl OnCorrupt {
    /// Uses whatever is sound, however little that is.
    pub const KEEP: Self = Self::Skip { budget: u64::MAX };

    /// Whether the policy lets these shards pass.
    pub(crate) fn judge<'a>(self, shards: impl IntoIterator<Item = &'a ShardReport>) -> Result<()> {
        let mut missing = 0_u64;
        for shard in shards {
            missing = missing.saturating_add(shard.missing_samples);
            let Some(finding) = shard.findings.iter().find(|finding| finding.kind.is_damage()) else { continue };
            let advice = match self {
                Self::Skip { budget } if missing <= budget => continue,
                Self::Skip { budget } => {
                    format!("{missing} samples are missing by now, more than the budget of {budget}")
                }
                Self::Stop => "to use the sound samples, open with OnCorrupt::Skip".to_owned(),
            };
            return Err(Error::corrupt(format!("{}: {} ({advice})", finding.kind, finding.message))
                .in_shard(&shard.path)
                .in_member(&finding.member)
                .at_offset(finding.offset));
        }
        Ok(())
    }
}
