//! Lists of image or annotation ids. Parsing invalid text is an error that names the line.

use std::str::FromStr;

use crate::{Error, Result};

/// A list of images, or of annotations, by id. Samples and annotations that are not in the list are left out; those in
/// it must also pass the filter. Pass it to [`ShardSetBuilder::ids`](crate::ShardSetBuilder::ids).
///
/// As text, each line holds an image id, or an image id and the id of one of its annotations, separated by a space, a
/// comma or a tab. An image may also be given by SA-1B's name of its files: `sa_3`, `sa_3.jpg`, `./sa_3.json`. All
/// lines of a list have the same form. Empty lines and lines that begin with `#` are skipped.
///
/// ```
/// use maskstream::IdList;
///
/// let images: IdList = "# two images, with all their annotations\n1\n3\n".parse()?;
/// assert_eq!(images, IdList::images([3, 1]));
/// assert_eq!("sa_1.jpg\nsa_3\n".parse::<IdList>()?, images);
///
/// let annotations: IdList = "1, 17\n1, 18\n3, 40\n".parse()?;
/// assert_eq!(annotations, IdList::annotations([(1, 17), (1, 18), (3, 40)]));
/// assert_eq!(annotations.len(), 2); // images
/// assert!(annotations.contains(1, 18) && !annotations.contains(1, 19));
///
/// let error = "1\n3, 40\n".parse::<IdList>().unwrap_err();
/// assert!(error.to_string().contains("line 2"));
/// # Ok::<(), maskstream::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdList {
    /// Sorted, without duplicates.
    images: Vec<i64>,
    /// Image and annotation ids, sorted, without duplicates. `None`: all annotations of the images.
    annotations: Option<Vec<(i64, i64)>>,
}

impl IdList {
    /// A list of images, with all their annotations.
    pub fn images(ids: impl IntoIterator<Item = i64>) -> Self {
        let mut images: Vec<i64> = ids.into_iter().collect();
        images.sort_unstable();
        images.dedup();
        Self { images, annotations: None }
    }

    /// A list of annotations, given as `(image_id, annotation_id)`. Other annotations of their images are left out.
    pub fn annotations(ids: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let mut annotations: Vec<(i64, i64)> = ids.into_iter().collect();
        annotations.sort_unstable();
        annotations.dedup();
        let images = Self::images(annotations.iter().map(|(image, _)| *image)).images;
        Self { images, annotations: Some(annotations) }
    }

    /// Number of images in the list.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Whether the list contains an annotation.
    pub fn contains(&self, image_id: i64, annotation_id: i64) -> bool {
        match &self.annotations {
            Some(annotations) => annotations.binary_search(&(image_id, annotation_id)).is_ok(),
            None => self.index_of(image_id).is_some(),
        }
    }

    /// Index of an image in [`IdList::image_ids`].
    pub(crate) fn index_of(&self, image_id: i64) -> Option<usize> {
        self.images.binary_search(&image_id).ok()
    }

    /// The image ids, in ascending order.
    pub fn image_ids(&self) -> &[i64] {
        &self.images
    }

    /// Digest of the listed annotations. The images need none: they show in the samples of the order.
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
        // A byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let invalid = || {
                Error::config(format!(
                    "line {} is {line:?}, not IMAGE_ID, IMAGE_ID,ANNOTATION_ID or a name such as sa_1.jpg, in the form \
                     of the lines before it",
                    number + 1
                ))
            };
            let words = line.split([',', ' ', '\t']).filter(|word| !word.is_empty()).enumerate();
            let ids = words.map(|(index, word)| if index == 0 { image_id(word) } else { word.parse().ok() });
            let ids = ids.collect::<Option<Vec<i64>>>().ok_or_else(invalid)?;
            match ids[..] {
                [image] if annotations.is_empty() => images.push(image),
                [image, annotation] if images.is_empty() => annotations.push((image, annotation)),
                _ => return Err(invalid()),
            }
        }
        Ok(if annotations.is_empty() { Self::images(images) } else { Self::annotations(annotations) })
    }
}

/// An image's id, given as such or as the name of its files: `sa_`, the id, and perhaps a directory and an extension.
fn image_id(word: &str) -> Option<i64> {
    let name = word.rsplit('/').next().unwrap_or(word);
    let id = match name.strip_prefix("sa_") {
        Some(name) => name.split_once('.').map_or(Some(name), |(id, extension)| {
            ["jpg", "jpeg", "json"].into_iter().any(|known| extension.eq_ignore_ascii_case(known)).then_some(id)
        })?,
        None => word,
    };
    id.parse().ok()
}
