//! A place in the order that outlives the process. Comes in: an epoch, a position, and what the order depends on. Goes
//! out: a [`Cursor`] to save with a checkpoint. Fails where a saved one does not fit, and says what differs.

use serde::{Deserialize, Serialize};

use crate::splitmix::mix64;
use crate::{Error, Result};

/// Changes whenever the same settings give another order.
const VERSION: u32 = 2;

/// Where a training run stands: an epoch, and how many samples of its order all ranks together have received. The same
/// on every rank, so any one of them may save it; a few dozen bytes in a binary form, 250 as JSON.
///
/// It also holds what the order depends on, so that [`Loader::resume_from`](crate::Loader::resume_from) can refuse to go
/// on with other data or settings, and say which. The number of workers, the world size, what batches look like and
/// where the shards lie are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    epoch: u64,
    position: u64,
    plan: Fingerprint,
}

/// What an order depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub(crate) version: u32,
    pub(crate) data: Identity,
    pub(crate) top_k: u64,
    /// Of the ranking of annotations.
    pub(crate) top_k_by: u32,
    /// Which library decodes JPEGs: another one gives other pixels.
    pub(crate) jpeg_codec: u32,
    pub(crate) shuffle: Option<(u64, u64)>,
    pub(crate) global_batch: u64,
    pub(crate) drop_last: bool,
}

/// What the samples are. Digests are crc32c.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Number of shards, and a digest of their file names and sizes.
    pub(crate) shards: u32,
    pub(crate) files: u32,
    /// Of all samples in the shards.
    pub(crate) index: u32,
    /// Of the filter's bounds.
    pub(crate) filter: u32,
    /// Number of samples that are in the order, and which.
    pub(crate) samples: u64,
    pub(crate) selection: u32,
    /// Of the weights of sets that are mixed.
    pub(crate) weights: u32,
}

impl Cursor {
    pub(crate) fn new(epoch: u64, position: u64, plan: Fingerprint) -> Self {
        Self { epoch, position, plan }
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many rows of the epoch's order, of all ranks together, come before it: samples, and at the end of a padded
    /// epoch the empty rows as well.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The step of its epoch that comes next.
    pub fn step(&self) -> u64 {
        self.position / self.plan.global_batch.max(1)
    }

    /// A digest of everything that the order depends on: ranks whose cursors have the same one agree on every batch.
    pub fn digest(&self) -> u64 {
        self.plan.digest()
    }

    pub(crate) fn plan(&self) -> &Fingerprint {
        &self.plan
    }

    /// Refuses a place that is not between two steps.
    pub(crate) fn check_position(&self) -> Result<()> {
        let Self { position, plan, .. } = self;
        if plan.global_batch == 0 || !position.is_multiple_of(plan.global_batch) {
            return Err(Error::corrupt(format!(
                "a cursor at position {position} does not lie between batches of {}",
                plan.global_batch
            )));
        }
        Ok(())
    }
}

impl Fingerprint {
    pub(crate) const VERSION: u32 = VERSION;

    pub(crate) fn digest(&self) -> u64 {
        // Numbers only: encoding cannot fail.
        let bytes = postcard::to_stdvec(self).unwrap_or_default();
        let word = |bytes: &[u8]| bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        bytes.chunks(8).fold(bytes.len() as u64, |digest, bytes| mix64(digest ^ word(bytes)))
    }

    /// Refuses what a saved plan did not have: `self` is the plan of now.
    pub(crate) fn check(&self, saved: &Self) -> Result<()> {
        let part = |name: &str, then: &dyn std::fmt::Display, now: &dyn std::fmt::Display| {
            Err(Error::config(format!("the cursor does not fit: {name} was {then} when it was saved and is now {now}")))
        };
        let hash = |digest: u32| format!("another one ({digest:08x})");
        let shuffle = |plan: &Self| match plan.shuffle {
            None => "off".to_owned(),
            Some((seed, 1)) => format!("seed {seed}"),
            Some((seed, chunk)) => format!("seed {seed} with chunks of {chunk} samples"),
        };
        if saved.version != self.version {
            return part("the version of the order", &saved.version, &self.version);
        }
        if saved.data.shards != self.data.shards {
            return part("the number of shards", &saved.data.shards, &self.data.shards);
        }
        if saved.global_batch != self.global_batch {
            return part("batch_size x world_size", &saved.global_batch, &self.global_batch);
        }
        if saved.shuffle != self.shuffle {
            return part("the shuffle", &shuffle(saved), &shuffle(self));
        }
        if saved.top_k != self.top_k {
            return part("top_k", &saved.top_k, &self.top_k);
        }
        if saved.drop_last != self.drop_last {
            return part("drop_last", &saved.drop_last, &self.drop_last);
        }
        let digests = [
            ("the list of shards (names and sizes)", saved.data.files, self.data.files),
            ("what the shards hold (their index)", saved.data.index, self.data.index),
            ("the filter", saved.data.filter, self.data.filter),
            ("the ranking of annotations", saved.top_k_by, self.top_k_by),
            ("the JPEG codec", saved.jpeg_codec, self.jpeg_codec),
            ("the weights of the sets", saved.data.weights, self.data.weights),
        ];
        for (name, then, now) in digests {
            if then != now {
                return part(name, &hash(then), &format!("{now:08x}"));
            }
        }
        if (saved.data.samples, saved.data.selection) != (self.data.samples, self.data.selection) {
            let of = |plan: &Self| format!("{} samples ({:08x})", plan.data.samples, plan.data.selection);
            let now = format!(
                "{}; if a list of bad samples has grown, resume with the list that the run began with, and take the new one for the next epoch",
                of(self)
            );
            return part("the selection (ids, quarantined samples)", &of(saved), &now);
        }
        Ok(())
    }
}
