//! The `segmentation` of a COCO annotation. Comes in: JSON in any of COCO's forms. Goes out: a mask. Fails on other
//! JSON, and on a size that is not the image's.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{Rle, RleError};

/// A COCO `segmentation`: one object in several polygons, or runs of which the counts are a list or a string.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Segmentation<'a> {
    /// Polygons of x0, y0, x1, y1, ... in pixels, united.
    Polygons(Vec<Vec<f64>>),
    /// Runs.
    Rle {
        /// Height and width of the image.
        size: [u32; 2],
        /// The runs.
        counts: Counts<'a>,
    },
}

/// The `counts` of a COCO run-length encoding.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Counts<'a> {
    /// Column-major run lengths, background first.
    Runs(Vec<u32>),
    /// The same as a counts string.
    String(Cow<'a, str>),
}

impl Segmentation<'_> {
    /// The mask in an image of `height` x `width` pixels (pycocotools' `annToRLE`, and `frPyObjects` of one object).
    ///
    /// # Errors
    /// [`RleError::Sizes`] if the segmentation names another size, and as [`Rle::from_polygons`], [`Rle::from_runs`]
    /// and [`Rle::from_counts`].
    pub fn to_rle(&self, height: u32, width: u32) -> Result<Rle, RleError> {
        let mut mask = Rle::default();
        self.read_into(height, width, &mut mask)?;
        Ok(mask)
    }

    /// [`Segmentation::to_rle`] into an existing mask, whose memory is used again for a counts string. After an error the
    /// mask is of no use.
    ///
    /// # Errors
    /// As [`Segmentation::to_rle`].
    pub fn read_into(&self, height: u32, width: u32, mask: &mut Rle) -> Result<(), RleError> {
        match self {
            Self::Polygons(polygons) => *mask = Rle::from_polygons(polygons, height, width)?,
            Self::Rle { size, .. } if *size != [height, width] => {
                return Err(RleError::Sizes { expected: [height, width], found: *size, index: 0 });
            }
            Self::Rle { counts: Counts::Runs(runs), .. } => *mask = Rle::from_runs(runs.clone(), height, width)?,
            Self::Rle { counts: Counts::String(counts), .. } => mask.read_counts(counts.as_bytes(), height, width)?,
        }
        Ok(())
    }
}

// By hand: serde's untagged enums cannot say what is wrong with a value, or where.
impl<'de: 'a, 'a> Deserialize<'de> for Segmentation<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Runs<'a> {
            size: [u32; 2],
            #[serde(borrow)]
            counts: Counts<'a>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Segmentation<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of polygons, or an object of size and counts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, polygons: A) -> Result<Self::Value, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(polygons)).map(Segmentation::Polygons)
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
                let Runs { size, counts } = Deserialize::deserialize(MapAccessDeserializer::new(object))?;
                Ok(Segmentation::Rle { size, counts })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Counts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Counts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a counts string or a list of runs")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, runs: A) -> Result<Self::Value, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(runs)).map(Counts::Runs)
            }

            fn visit_borrowed_str<E: Error>(self, counts: &'de str) -> Result<Self::Value, E> {
                Ok(Counts::String(Cow::Borrowed(counts)))
            }

            // The alphabet holds the backslash, which JSON escapes: such strings are unescaped into a copy.
            fn visit_str<E: Error>(self, counts: &str) -> Result<Self::Value, E> {
                Ok(Counts::String(Cow::Owned(counts.to_owned())))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Segmentation<'_> {
    /// The same, independent of the JSON it was read from.
    pub fn into_owned(self) -> Segmentation<'static> {
        match self {
            Self::Polygons(polygons) => Segmentation::Polygons(polygons),
            Self::Rle { size, counts } => {
                let counts = match counts {
                    Counts::Runs(runs) => Counts::Runs(runs),
                    Counts::String(counts) => Counts::String(Cow::Owned(counts.into_owned())),
                };
                Segmentation::Rle { size, counts }
            }
        }
    }
}

impl From<&Rle> for Segmentation<'static> {
    /// With a counts string.
    fn from(mask: &Rle) -> Self {
        Self::Rle { size: [mask.height(), mask.width()], counts: Counts::String(Cow::Owned(mask.to_counts())) }
    }
}
