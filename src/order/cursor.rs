//! A place in the order, to be saved with a checkpoint. A saved cursor that does not fit is refused by an error that
//! says what differs.

use serde::{Deserialize, Serialize};

use crate::splitmix::mix64;
use crate::{Error, Result};

/// Version of the order. It changes whenever the same settings give another order, or other masks.
const VERSION: u32 = 3;

/// A place in a training run: an epoch, and the number of rows of it that all ranks together have received.
///
/// It is the same on every rank, so any rank may save it. Any serde format will do: it takes a few dozen bytes in a
/// binary format, about 300 bytes as JSON.
///
/// It also holds what the order depends on. So [`Loader::resume_from`](crate::Loader::resume_from) refuses to continue
/// with other data or settings, and its error names what differs. The number of workers, the world size, the contents
/// of batches and the directories of shards may differ.
///
/// ```no_run
/// use maskstream::{Cursor, Loader, ShardSet};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shards = ShardSet::builder().open(&["sa1b/*.tar"])?;
/// let loader = Loader::builder().batch_size(16).shuffle(42).build(shards)?;
/// for batch in loader.epoch(0)? {
///     let batch = batch?;
///     // After the step, save the place behind this batch.
///     std::fs::write("cursor.json", serde_json::to_string(&batch.cursor())?)?;
/// }
///
/// // Later, in another process, with a loader of the same settings:
/// let saved: Option<Cursor> = serde_json::from_str(&std::fs::read_to_string("cursor.json")?)?;
/// if let Some(cursor) = saved {
///     println!("continuing with step {} of epoch {}", cursor.step(), cursor.epoch());
///     for batch in loader.resume_from(&cursor)? {
///         let batch = batch?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    epoch: u64,
    position: u64,
    plan: Fingerprint,
}

/// Everything that an order depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub(crate) version: u32,
    pub(crate) data: Identity,
    pub(crate) top_k: u64,
    /// Digest of the ranking of annotations.
    pub(crate) top_k_by: u32,
    /// Which library decodes JPEGs: another one gives other pixels.
    pub(crate) jpeg_codec: u32,
    pub(crate) shuffle: Option<(u64, u64)>,
    pub(crate) global_batch: u64,
    pub(crate) drop_last: bool,
}

/// The samples that an order is over. Digests are crc32c.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Number of shards.
    pub(crate) shards: u32,
    /// Digest of their file names and sizes.
    pub(crate) files: u32,
    /// Digest of all samples in the shards.
    pub(crate) index: u32,
    /// Digest of the filter's bounds.
    pub(crate) filter: u32,
    /// Number of samples in the order.
    pub(crate) samples: u64,
    /// Digest of which samples they are.
    pub(crate) selection: u32,
    /// Digest of the weights of mixed sets.
    pub(crate) weights: u32,
}

impl Cursor {
    pub(crate) fn new(epoch: u64, position: u64, plan: Fingerprint) -> Self {
        Self { epoch, position, plan }
    }

    /// Index of the epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Number of rows of the epoch, on all ranks together, that come before it. They are samples and, at the end of a
    /// padded epoch, empty rows.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Index of the next step of the epoch.
    pub fn step(&self) -> u64 {
        self.position / self.plan.global_batch.max(1)
    }

    /// Digest of everything that the order depends on. Ranks whose cursors have equal digests agree on every batch.
    pub fn digest(&self) -> u64 {
        self.plan.digest()
    }

    pub(crate) fn plan(&self) -> &Fingerprint {
        &self.plan
    }

    /// Refuses a position that is not between two steps.
    pub(crate) fn check_position(&self) -> Result<()> {
        let Self { position, plan, .. } = self;
        if plan.global_batch == 0 || !position.is_multiple_of(plan.global_batch) {
            return Err(Error::corrupt(format!(
                "the cursor is at position {position}, which is not a multiple of the global batch size, {}",
                plan.global_batch
            )));
        }
        Ok(())
    }
}

impl Fingerprint {
    pub(crate) const VERSION: u32 = VERSION;

    pub(crate) fn digest(&self) -> u64 {
        // Encoding numbers cannot fail.
        let bytes = postcard::to_stdvec(self).unwrap_or_default();
        let word = |bytes: &[u8]| bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        bytes.chunks(8).fold(bytes.len() as u64, |digest, bytes| mix64(digest ^ word(bytes)))
    }

    /// Refuses a saved fingerprint that differs from `self`, the present one.
    pub(crate) fn check(&self, saved: &Self) -> Result<()> {
        if saved.version != self.version {
            let text = format!("it has version {} of the order, and this is version {}", saved.version, self.version);
            return Err(Error::config(format!("the cursor does not fit: {text}")));
        }
        let mut differences = Vec::new();
        let shuffle = |plan: &Self| match plan.shuffle {
            None => "off".to_owned(),
            Some((seed, 1)) => format!("seed {seed}"),
            Some((seed, chunk)) => format!("seed {seed} with chunks of {chunk} samples"),
        };
        let settings = |plan: &Self| {
            [
                ("the number of shards", plan.data.shards.to_string()),
                ("batch_size x world_size", plan.global_batch.to_string()),
                ("the shuffle", shuffle(plan)),
                ("top_k", plan.top_k.to_string()),
                ("drop_last", plan.drop_last.to_string()),
            ]
        };
        for ((name, then), (_, now)) in settings(saved).into_iter().zip(settings(self)) {
            if then != now {
                differences.push(format!("{name} was {then} when it was saved and is now {now}"));
            }
        }
        // With another number of shards, all that they hold differs.
        let is_same_number = saved.data.shards == self.data.shards;
        let digests = [
            ("the list of shards (names and sizes)", is_same_number && saved.data.files != self.data.files),
            ("what the shards hold (their index)", is_same_number && saved.data.index != self.data.index),
            ("the filter", saved.data.filter != self.data.filter),
            ("top_k_by, the ranking of annotations,", saved.top_k_by != self.top_k_by),
            ("jpeg_codec", saved.jpeg_codec != self.jpeg_codec),
            ("the weights of the sets", saved.data.weights != self.data.weights),
        ];
        let differing = digests.into_iter().filter(|(_, differs)| *differs);
        differences.extend(differing.map(|(name, _)| format!("{name} is not what it was when it was saved")));
        let selection = |plan: &Self| (plan.data.samples, plan.data.selection);
        if differences.is_empty() && selection(saved) != selection(self) {
            differences.push(format!(
                "the selection (ids, retain, quarantined samples) had {} samples when it was saved and now has {} \
                 samples; if \
                 the quarantine list has grown, finish the epoch with the list that the run began with and take the \
                 new list from the next epoch on",
                saved.data.samples, self.data.samples
            ));
        }
        if !differences.is_empty() {
            return Err(Error::config(format!("the cursor does not fit: {}", differences.join("; "))));
        }
        Ok(())
    }
}
