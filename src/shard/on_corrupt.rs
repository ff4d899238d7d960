//! The policy on damaged shards.

use super::ShardReport;
use crate::{Error, Result};

/// What to do about damaged shards: those that are cut short or broken, or that have JSON members which cannot be
/// parsed.
///
/// ```
/// # #[cfg(feature = "synth")] {
/// # use maskstream::synth::{Preset, SynthOptions, write_shards};
/// use maskstream::{OnCorrupt, ShardSet};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sa_000000.tar");
/// # write_shards(dir.path(), 1, &SynthOptions::new(Preset::Small).samples(8), &|_| ())?;
/// // A download that stopped halfway.
/// let bytes = std::fs::read(&path)?;
/// std::fs::write(&path, &bytes[..bytes.len() / 2])?;
///
/// let error = ShardSet::builder().open(&[&path]).unwrap_err();
/// assert!(error.is_corrupt());
///
/// let set = ShardSet::builder().on_corrupt(OnCorrupt::Skip { budget: 8 }).open(&[&path])?;
/// assert!(set.len() < 8);
/// for report in set.reports() {
///     println!("training without {} samples of {}", report.left_out.damaged(), report.path.display());
/// }
/// # }
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnCorrupt {
    /// Return an error that describes the first damage.
    #[default]
    Stop,
    /// Use the valid samples, if at most `budget` samples are missing from all shards together because of damage. Their
    /// number is estimated from the bytes that cannot be read if it is unknown; [`ShardReport`] has it, and the
    /// findings.
    Skip {
        /// Maximum number of missing samples.
        budget: u64,
    },
}

impl OnCorrupt {
    /// Uses the valid samples of damaged shards as long as at most `budget` samples are missing.
    pub fn skip(budget: u64) -> Self {
        Self::Skip { budget }
    }

    /// Use the valid samples, however few they are.
    pub const KEEP: Self = Self::Skip { budget: u64::MAX };

    /// Returns an error unless the policy accepts these shards.
    pub(crate) fn check<'a>(self, shards: impl IntoIterator<Item = &'a ShardReport>) -> Result<()> {
        let mut missing = 0_u64;
        for shard in shards {
            missing = missing.saturating_add(shard.left_out.damaged());
            let Some(finding) = shard.findings.iter().find(|finding| finding.kind.is_damage()) else { continue };
            let advice = match self {
                Self::Skip { budget } if missing <= budget => continue,
                Self::Skip { budget } => {
                    format!("{missing} samples are missing so far, more than the budget of {budget} (on_corrupt)")
                }
                Self::Stop => "to use the valid samples, set on_corrupt".to_owned(),
            };
            return Err(Error::corrupt(format!("{}: {}; {advice}", finding.kind, finding.message))
                .in_shard(&shard.path)
                .in_member(&finding.member)
                .at_offset(finding.offset));
        }
        Ok(())
    }
}
