//! A place in the order, to be saved with a checkpoint. A saved cursor that does not fit is refused by an error that
//! says what differs.

use serde::{Deserialize, Serialize};

use super::Shuffle;
use crate::annotation::{FilterBounds, MaskFilter, TopKBy};
use crate::augment::{Augment, Prompts};
use crate::splitmix::mix_bytes;
use crate::{Error, Result};

/// Version of the order. It changes whenever the same settings give another order, or other masks.
const VERSION: u32 = 5;

/// A place in a training run: an epoch, and the number of rows of it that all ranks together have received.
///
/// It is the same on every rank, so any rank may save it. Any serde format will do: it takes less than a hundred bytes
/// in a binary format, about 600 bytes as JSON.
///
/// It also holds what the order depends on: the settings, and digests of the data. So
/// [`Loader::resume_from`](crate::Loader::resume_from) refuses to continue with other data or settings, and its error
/// names what differs. The number of workers, the world size, the contents of batches and the directories of shards may
/// differ. A program that was not told the settings takes them from the cursor, with [`Cursor::filter`] and
/// [`LoaderBuilder::settings_of`](crate::LoaderBuilder::settings_of).
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    epoch: u64,
    position: u64,
    plan: Fingerprint,
}

/// Everything that an order depends on.
///
/// A cursor of an earlier version has no settings, but can be read, so that it is refused for its version.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub(crate) version: u32,
    pub(crate) data: Identity,
    #[serde(default)]
    pub(crate) settings: Settings,
}

/// The settings that an order depends on, as they were made: an error can name both values, and a program that has the
/// cursor need not be told them.
///
/// A cursor of an earlier version may lack some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// `None` for interleaved sets: each has its own.
    pub(crate) filter: Option<FilterBounds>,
    pub(crate) top_k: u64,
    pub(crate) top_k_by: TopKBy,
    /// Whether JPEGs are decoded at a part of their size where that is enough, which gives other pixels.
    pub(crate) scaled_decode: bool,
    pub(crate) augment: Option<Augment>,
    pub(crate) prompts: Option<Prompts>,
    pub(crate) shuffle: Option<Shuffle>,
    /// `batch_size` x `world_size`.
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
        self.position / self.global_batch().max(1)
    }

    /// Number of rows of a step on all ranks together: `batch_size` x `world_size`.
    pub fn global_batch(&self) -> u64 {
        self.plan.settings.global_batch
    }

    /// Seed of the shuffle; `None` if the samples were in the order of the shards.
    pub fn shuffle_seed(&self) -> Option<u64> {
        Some(self.plan.settings.shuffle?.seed)
    }

    /// The filter of the run that saved it.
    ///
    /// ```no_run
    /// use maskstream::{Cursor, Loader, ShardSet};
    ///
    /// // A batch of a training run once more, in a program that knows nothing but the shards.
    /// let cursor: Cursor = serde_json::from_str(&std::fs::read_to_string("cursor.json")?)?;
    /// let shards = ShardSet::builder().filter(cursor.filter()?).open(&["sa1b/*.tar"])?;
    /// let loader = Loader::builder().settings_of(&cursor)?.build(shards)?;
    /// let batch = loader.replay(&cursor, 7)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the cursor is of another version of the order, or of interleaved sets, each of which has its own filter.
    pub fn filter(&self) -> Result<MaskFilter> {
        self.settings()?.filter.map(MaskFilter::from).ok_or_else(|| {
            Error::config(
                "the cursor is of interleaved sets and does not hold the filter of each: open each set with its own \
                 filter, and interleave them as that run did",
            )
        })
    }

    /// The augmentation of the run that saved it.
    ///
    /// # Errors
    /// If the cursor is of another version of the order.
    pub fn augment(&self) -> Result<Option<Augment>> {
        Ok(self.settings()?.augment)
    }

    /// The clicks and boxes that the run that saved it drew as prompts.
    ///
    /// # Errors
    /// If the cursor is of another version of the order.
    pub fn prompts(&self) -> Result<Option<Prompts>> {
        Ok(self.settings()?.prompts)
    }

    /// Digest of everything that the order depends on. Ranks whose cursors have equal digests agree on every batch.
    pub fn digest(&self) -> u64 {
        self.plan.digest()
    }

    pub(crate) fn plan(&self) -> &Fingerprint {
        &self.plan
    }

    /// The settings that the order depends on.
    ///
    /// # Errors
    /// If the cursor is of another version, which has other settings.
    pub(crate) fn settings(&self) -> Result<&Settings> {
        self.plan.check_version()?;
        Ok(&self.plan.settings)
    }

    /// Refuses a position that is not between two steps.
    pub(crate) fn check_position(&self) -> Result<()> {
        let (position, global_batch) = (self.position, self.global_batch());
        if global_batch == 0 || !position.is_multiple_of(global_batch) {
            return Err(Error::corrupt(format!(
                "the cursor is at position {position}, which is not a multiple of the global batch size, {global_batch}"
            )));
        }
        Ok(())
    }
}

impl Fingerprint {
    pub(crate) const VERSION: u32 = VERSION;

    pub(crate) fn digest(&self) -> u64 {
        // Encoding numbers cannot fail.
        mix_bytes(&postcard::to_stdvec(self).unwrap_or_default())
    }

    /// Refuses a fingerprint of another version of the order.
    pub(crate) fn check_version(&self) -> Result<()> {
        if self.version == VERSION {
            return Ok(());
        }
        Err(Error::config(format!(
            "the cursor does not fit: it has version {} of the order, and this program has version {VERSION}; \
             resume with the maskstream that saved it, or begin the epoch anew",
            self.version
        )))
    }

    /// Refuses a saved fingerprint that differs from `self`, the present one.
    pub(crate) fn check(&self, saved: &Self) -> Result<()> {
        saved.check_version()?;
        let mut differences = self.changed_settings(saved);
        // With another number of shards, all that they hold differs.
        let is_same_number = saved.data.shards == self.data.shards;
        let is_filter_named = saved.settings.filter != self.settings.filter;
        let digests = [
            ("the list of shards (names and sizes)", is_same_number && saved.data.files != self.data.files),
            ("what the shards hold (their index)", is_same_number && saved.data.index != self.data.index),
            ("the filter of one of the sets", !is_filter_named && saved.data.filter != self.data.filter),
            ("the weights of the sets", saved.data.weights != self.data.weights),
        ];
        let differing = digests.into_iter().filter(|(_, differs)| *differs);
        differences.extend(differing.map(|(name, _)| format!("{name} is not what it was when it was saved")));
        let selection = |plan: &Self| (plan.data.samples, plan.data.selection);
        if differences.is_empty() && selection(saved) != selection(self) {
            differences.push(format!(
                "the selection (ids, retain, quarantined samples) had {} samples when it was saved and now has {} \
                 samples; if the quarantine list has grown, finish the epoch with the list that the run began with \
                 and take the new list from the next epoch on",
                saved.data.samples, self.data.samples
            ));
        }
        if !differences.is_empty() {
            return Err(Error::config(format!("the cursor does not fit: {}", differences.join("; "))));
        }
        Ok(())
    }

    /// The settings that differ from the saved ones, each with both values.
    fn changed_settings(&self, saved: &Self) -> Vec<String> {
        let (then, now) = (&saved.settings, &self.settings);
        let (augment_then, augment_now) = only_different(&text_of(then.augment), &text_of(now.augment));
        let (prompts_then, prompts_now) = only_different(&text_of(then.prompts), &text_of(now.prompts));
        let pairs = [
            ("the number of shards", saved.data.shards.to_string(), self.data.shards.to_string()),
            ("batch_size x world_size", then.global_batch.to_string(), now.global_batch.to_string()),
            ("the shuffle", shuffle_text(then.shuffle), shuffle_text(now.shuffle)),
            ("the filter", filter_text(then.filter), filter_text(now.filter)),
            ("top_k", then.top_k.to_string(), now.top_k.to_string()),
            ("top_k_by", then.top_k_by.to_string(), now.top_k_by.to_string()),
            ("scaled_decode", scaled_text(then.scaled_decode), scaled_text(now.scaled_decode)),
            ("augment", augment_then, augment_now),
            ("prompts", prompts_then, prompts_now),
            ("drop_last", then.drop_last.to_string(), now.drop_last.to_string()),
        ];
        let differing = pairs.into_iter().filter(|(_, then, now)| then != now);
        differing.map(|(name, then, now)| format!("{name} was {then} when it was saved and is now {now}")).collect()
    }
}

/// Two lists, each without what both have. A list of which nothing is left stays whole.
fn only_different(then: &str, now: &str) -> (String, String) {
    let parts = |text: &str| text.split(", ").map(str::to_owned).collect::<Vec<_>>();
    let without = |text: &str, other: &[String]| {
        let left: Vec<String> = parts(text).into_iter().filter(|part| !other.contains(part)).collect();
        if left.is_empty() { text.to_owned() } else { left.join(", ") }
    };
    (without(then, &parts(now)), without(now, &parts(then)))
}

fn text_of(setting: Option<impl ToString>) -> String {
    setting.map_or_else(|| "off".to_owned(), |setting| setting.to_string())
}

fn scaled_text(is_scaled: bool) -> String {
    if is_scaled { "auto" } else { "full" }.to_owned()
}

fn shuffle_text(shuffle: Option<Shuffle>) -> String {
    match shuffle {
        None => "off".to_owned(),
        Some(Shuffle { seed, chunk_samples: 1 }) => format!("seed {seed}"),
        Some(Shuffle { seed, chunk_samples }) => format!("seed {seed} with chunks of {chunk_samples} samples"),
    }
}

fn filter_text(filter: Option<FilterBounds>) -> String {
    filter.map_or_else(|| "one for each set".to_owned(), |bounds| format!("({})", MaskFilter::from(bounds)))
}
