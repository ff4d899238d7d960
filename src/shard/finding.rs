//! Findings: what an index pass found wrong, and where.

use std::fmt;

use crate::error::OneLine;

/// Something that an index pass found wrong with a shard.
///
/// ```
/// # #[cfg(feature = "synth")] {
/// use maskstream::index::{FindingKind, Indexer};
/// use maskstream::synth::{Preset, SynthOptions, sample};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sa_000000.tar");
/// // A shard with an image, but without its annotations.
/// let image = sample(1, &SynthOptions::new(Preset::Small))?.image;
/// std::fs::write(&path, maskstream::synth::pack([("sa_1.jpg", &image[..])], false)?)?;
///
/// let shard = Indexer::new().index(&path)?;
/// for finding in shard.index.findings() {
///     match finding.kind {
///         FindingKind::ImageWithoutAnnotations => println!("{} has no annotations", finding.member),
///         kind if kind.is_damage() => eprintln!("damaged: {finding}"),
///         _ => println!("{finding}"),
///     }
/// }
/// assert_eq!(shard.index.findings()[0].member, "./sa_1.jpg");
/// # }
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The kind of finding.
    pub kind: FindingKind,
    /// The member concerned, or the last good one before it.
    pub member: String,
    /// Offset in bytes from the start of the shard.
    pub offset: u64,
    /// The details, with the offending value.
    pub message: String,
}

/// Kinds of [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FindingKind {
    /// An image without a JSON member: the sample is left out.
    ImageWithoutAnnotations,
    /// A JSON member without an image: the sample is left out.
    AnnotationsWithoutImage,
    /// A member that a later one of the same name replaces, as it does for `tar`.
    Duplicate,
    /// A member that is neither an image nor annotations: it is ignored.
    UnknownMember,
    /// A JSON member that cannot be parsed: the sample is left out.
    BrokenAnnotations,
    /// The tar structure or the gzip stream is broken: what follows is lost, unless an earlier index helps to find it.
    BrokenShard,
    /// The gzip stream is complete, but its data does not match its checksum: its samples are unverified.
    WrongChecksum,
}

impl FindingKind {
    /// Whether the data is damaged, as opposed to a shard that is packed in an unusual way.
    pub fn is_damage(self) -> bool {
        matches!(self, Self::BrokenAnnotations | Self::BrokenShard | Self::WrongChecksum)
    }

    /// Whether a sample has only one of its two members.
    pub(super) fn is_unpaired(self) -> bool {
        matches!(self, Self::ImageWithoutAnnotations | Self::AnnotationsWithoutImage)
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ImageWithoutAnnotations => "image without annotations",
            Self::AnnotationsWithoutImage => "annotations without image",
            Self::Duplicate => "duplicate member",
            Self::UnknownMember => "unknown member",
            Self::BrokenAnnotations => "broken annotations",
            Self::BrokenShard => "broken shard",
            Self::WrongChecksum => "wrong checksum",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (member, message) = (OneLine(&self.member), OneLine(&self.message));
        write!(f, "{}: member {member}, byte {}: {message}", self.kind, self.offset)
    }
}
