//! The index as an index file stores it. The fields of these types and their order are the file format (see
//! `sidecar.rs`); the public types can change without changing it.

use serde::{Deserialize, Serialize};

use super::{Entry, Extent, Finding, FindingKind, LeftOut, ShardIndex};
use crate::image::Derived;

/// A [`ShardIndex`] without its statistics, which are stored in columns.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredIndex {
    entries: Vec<StoredEntry>,
    stat_ends: Vec<u32>,
    findings: Vec<StoredFinding>,
    left_out: StoredLeftOut,
    verified_until: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredLeftOut {
    images_without_annotations: u64,
    annotations_without_image: u64,
    broken_annotations: u64,
    unreadable: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    image_id: i64,
    width: u32,
    height: u32,
    image: StoredExtent,
    annotations: StoredExtent,
    derived: Option<StoredDerived>,
    stem: Option<Box<str>>,
    extension: Option<Box<str>>,
}

#[derive(Serialize, Deserialize)]
struct StoredDerived {
    width: u32,
    height: u32,
    original_width: u32,
    original_height: u32,
    quality: u8,
    original_crc32c: u32,
}

#[derive(Serialize, Deserialize)]
struct StoredExtent {
    offset: u64,
    len: u32,
    crc32c: u32,
}

#[derive(Serialize, Deserialize)]
struct StoredFinding {
    kind: StoredKind,
    member: String,
    offset: u64,
    message: String,
}

/// Stored as the number of the variant, so new kinds must be added at the end.
#[derive(Serialize, Deserialize)]
enum StoredKind {
    ImageWithoutAnnotations,
    AnnotationsWithoutImage,
    Duplicate,
    UnknownMember,
    BrokenAnnotations,
    BrokenShard,
    WrongChecksum,
}

impl StoredIndex {
    pub(super) fn of(index: &ShardIndex) -> Self {
        let ShardIndex { entries, stat_ends, findings, left_out, verified_until, .. } = index;
        Self {
            entries: entries.iter().map(StoredEntry::of).collect(),
            stat_ends: stat_ends.clone(),
            findings: findings.iter().map(StoredFinding::of).collect(),
            left_out: StoredLeftOut::of(*left_out),
            verified_until: *verified_until,
        }
    }

    /// The index without its statistics, which the caller adds.
    pub(super) fn into_index(self) -> ShardIndex {
        let Self { entries, stat_ends, findings, left_out, verified_until } = self;
        ShardIndex {
            entries: entries.into_iter().map(StoredEntry::into_entry).collect(),
            stat_ends,
            stats: Vec::new(),
            findings: findings.into_iter().map(StoredFinding::into_finding).collect(),
            left_out: left_out.into_left_out(),
            verified_until,
        }
    }
}

impl StoredLeftOut {
    /// The unverified samples are not stored: they follow from the entries.
    fn of(left_out: LeftOut) -> Self {
        let LeftOut { images_without_annotations, annotations_without_image, broken_annotations, unreadable, .. } =
            left_out;
        Self { images_without_annotations, annotations_without_image, broken_annotations, unreadable }
    }

    fn into_left_out(self) -> LeftOut {
        let Self { images_without_annotations, annotations_without_image, broken_annotations, unreadable } = self;
        LeftOut {
            images_without_annotations,
            annotations_without_image,
            broken_annotations,
            unreadable,
            ..LeftOut::default()
        }
    }
}

impl StoredEntry {
    fn of(entry: &Entry) -> Self {
        let Entry { image_id, width, height, image, annotations, derived, stem, extension } = entry.clone();
        let [image, annotations] = [image, annotations].map(StoredExtent::of);
        let derived = derived.map(|derived| StoredDerived::of(*derived));
        Self { image_id, width, height, image, annotations, derived, stem, extension }
    }

    fn into_entry(self) -> Entry {
        let Self { image_id, width, height, image, annotations, derived, stem, extension } = self;
        let [image, annotations] = [image, annotations].map(StoredExtent::into_extent);
        let derived = derived.map(|derived| Box::new(derived.into_derived()));
        Entry { image_id, width, height, image, annotations, derived, stem, extension }
    }
}

impl StoredDerived {
    fn of(derived: Derived) -> Self {
        let Derived { width, height, original_width, original_height, quality, original_crc32c } = derived;
        Self { width, height, original_width, original_height, quality, original_crc32c }
    }

    fn into_derived(self) -> Derived {
        let Self { width, height, original_width, original_height, quality, original_crc32c } = self;
        Derived { width, height, original_width, original_height, quality, original_crc32c }
    }
}

impl StoredExtent {
    fn of(extent: Extent) -> Self {
        let Extent { offset, len, crc32c } = extent;
        Self { offset, len, crc32c }
    }

    fn into_extent(self) -> Extent {
        let Self { offset, len, crc32c } = self;
        Extent { offset, len, crc32c }
    }
}

impl StoredFinding {
    fn of(finding: &Finding) -> Self {
        let Finding { kind, member, offset, message } = finding.clone();
        let kind = match kind {
            FindingKind::ImageWithoutAnnotations => StoredKind::ImageWithoutAnnotations,
            FindingKind::AnnotationsWithoutImage => StoredKind::AnnotationsWithoutImage,
            FindingKind::Duplicate => StoredKind::Duplicate,
            FindingKind::UnknownMember => StoredKind::UnknownMember,
            FindingKind::BrokenAnnotations => StoredKind::BrokenAnnotations,
            FindingKind::BrokenShard => StoredKind::BrokenShard,
            FindingKind::WrongChecksum => StoredKind::WrongChecksum,
        };
        Self { kind, member, offset, message }
    }

    fn into_finding(self) -> Finding {
        let Self { kind, member, offset, message } = self;
        let kind = match kind {
            StoredKind::ImageWithoutAnnotations => FindingKind::ImageWithoutAnnotations,
            StoredKind::AnnotationsWithoutImage => FindingKind::AnnotationsWithoutImage,
            StoredKind::Duplicate => FindingKind::Duplicate,
            StoredKind::UnknownMember => FindingKind::UnknownMember,
            StoredKind::BrokenAnnotations => FindingKind::BrokenAnnotations,
            StoredKind::BrokenShard => FindingKind::BrokenShard,
            StoredKind::WrongChecksum => FindingKind::WrongChecksum,
        };
        Finding { kind, member, offset, message }
    }
}
