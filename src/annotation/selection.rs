//! Which samples and annotations somebody chose elsewhere. Comes in: ids. Goes out: yes or no. Reading a list fails on
//! what is no id, and names the line.

use std::str::FromStr;

use super::{AnnotationFile, AnnotationStats, MaskFilter, ScoreColumns};
use crate::{Error, Result};

/// A list of images, or of annotations, by their ids. What it does not name is left out; what it names still has to
/// pass the filter.
///
/// As text: one image a line, or one image and one of its annotations, with a space, a comma or a tab between; empty
/// lines and lines that begin with `#` are skipped.
///
/// ```
/// use maskstream::IdList;
///
/// let some: IdList = "# hard ones\n1, 17\n1, 18\n3, 40\n".parse()?;
/// assert_eq!((some.len(), some.keeps(1, 18), some.keeps(1, 19)), (2, true, false));
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdList {
    /// Sorted, none twice.
    images: Vec<i64>,
    /// Image and annotation, sorted, none twice.
    annotations: Option<Vec<(i64, i64)>>,
}

impl IdList {
    /// These images, with all their annotations.
    pub fn images(ids: impl IntoIterator<Item = i64>) -> Self {
        let mut images: Vec<i64> = ids.into_iter().collect();
        images.sort_unstable();
        images.dedup();
        Self { images, annotations: None }
    }

    /// These annotations, given as `(image_id, annotation_id)`, and no others of their images.
    pub fn annotations(ids: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let mut annotations: Vec<(i64, i64)> = ids.into_iter().collect();
        annotations.sort_unstable();
        annotations.dedup();
        let images = Self::images(annotations.iter().map(|(image, _)| *image)).images;
        Self { images, annotations: Some(annotations) }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Whether an annotation is chosen.
    pub fn keeps(&self, image_id: i64, annotation_id: i64) -> bool {
        match &self.annotations {
            Some(annotations) => annotations.binary_search(&(image_id, annotation_id)).is_ok(),
            None => self.place_of(image_id).is_some(),
        }
    }

    /// Where the list has an image.
    pub(crate) fn place_of(&self, image_id: i64) -> Option<usize> {
        self.images.binary_search(&image_id).ok()
    }

    /// The images, in ascending order.
    pub fn image_ids(&self) -> &[i64] {
        &self.images
    }

    /// A digest of the chosen annotations; that of the images shows in what enters the order.
    pub(crate) fn digest(&self) -> u32 {
        self.annotations.iter().flatten().fold(0, |digest, (image, annotation)| {
            let digest = crc32c::crc32c_append(digest, &image.to_le_bytes());
            crc32c::crc32c_append(digest, &annotation.to_le_bytes())
        })
    }
}

impl FromStr for IdList {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (mut images, mut annotations) = (Vec::new(), Vec::new());
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || {
                Error::config(format!(
                    "line {} is \"{line}\", neither IMAGE_ID nor IMAGE_ID,ANNOTATION_ID as the lines before",
                    number + 1
                ))
            };
            let words = line.split([',', ' ', '\t']).filter(|word| !word.is_empty());
            let ids = words.map(|word| word.parse().map_err(|_| wrong())).collect::<Result<Vec<i64>>>()?;
            match ids[..] {
                [image] if annotations.is_empty() => images.push(image),
                [image, annotation] if images.is_empty() => annotations.push((image, annotation)),
                _ => return Err(wrong()),
            }
        }
        Ok(if annotations.is_empty() { Self::images(images) } else { Self::annotations(annotations) })
    }
}

/// All that decides which annotations of an image count, and whether the image does.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnnotationSelector {
    pub(crate) filter: MaskFilter,
    pub(crate) selection: Option<IdList>,
}

impl AnnotationSelector {
    /// How many of an image's annotations count, given what the index knows of them.
    pub(crate) fn count(&self, image_id: i64, scores: &[AnnotationStats], width: u32, height: u32) -> usize {
        scores.iter().filter(|score| self.keeps(image_id, score, width, height)).count()
    }

    /// Whether an image with so many annotations that count enters the order.
    pub(crate) fn keeps_image(&self, image_id: i64, annotations: usize) -> bool {
        let is_chosen = self.selection.as_ref().is_none_or(|selection| selection.place_of(image_id).is_some());
        is_chosen && self.filter.is_enough(annotations)
    }

    /// What it has to know of an annotation.
    pub(crate) fn columns(&self) -> ScoreColumns {
        ScoreColumns { id: self.selection.is_some(), ..self.filter.columns() }
    }

    /// The annotations of a file that count.
    pub(crate) fn kept(&self, file: &AnnotationFile<'_>) -> Vec<usize> {
        let AnnotationFile { image, annotations } = file;
        let kept = |&i: &usize| self.keeps(image.image_id, &annotations[i].score(), image.width, image.height);
        (0..annotations.len()).filter(kept).collect()
    }

    fn keeps(&self, image_id: i64, score: &AnnotationStats, width: u32, height: u32) -> bool {
        let is_chosen = || self.selection.as_ref().is_none_or(|selection| selection.keeps(image_id, score.id));
        self.filter.keeps(score, width, height) && is_chosen()
    }
}
