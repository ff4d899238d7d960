//! What an index pass found wrong. Comes in: nothing. Goes out: [`Finding`], one per finding, with its place. Cannot
//! fail.

use std::fmt;

/// One finding of an index pass.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of finding.
    pub kind: FindingKind,
    /// The member it concerns, or the last good one before it.
    pub member: String,
    /// Offset in bytes from the start of the shard.
    pub offset: u64,
    /// What exactly, with the value at fault.
    pub message: String,
}

/// Kinds of [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FindingKind {
    /// An image without a json member: the sample is left out.
    ImageWithoutAnnotations,
    /// A json member without an image: the sample is left out.
    AnnotationsWithoutImage,
    /// A second member of the same name: the first one counts.
    Duplicate,
    /// A member that is neither image nor json: passed over.
    UnknownMember,
    /// A json member that cannot be read: the sample is left out.
    BrokenAnnotations,
    /// The tar structure or the gzip stream is broken here: everything after it is lost.
    BrokenShard,
    /// The gzip stream is whole, but its data is not what its checksum says: a sample may be wrong, which one cannot be
    /// told.
    WrongChecksum,
}

impl FindingKind {
    /// Whether this means damaged data, as opposed to a shard packed in an unusual way.
    pub fn is_damage(self) -> bool {
        matches!(self, Self::BrokenAnnotations | Self::BrokenShard | Self::WrongChecksum)
    }

    /// Whether this means a sample of which only one half is there.
    pub(super) fn is_half(self) -> bool {
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
        write!(f, "{}: member {}, byte {}: {}", self.kind, self.member, self.offset, self.message)
    }
}
