//! [`Segmentation`]: the `segmentation` field of a COCO annotation, in any of its JSON forms.
//!
//! Other JSON is a deserialization error; a size that is not the image's is an [`RleError`].

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use super::{Rle, RleError};

/// A COCO `segmentation`: polygons, or an RLE whose counts are a list or a string.
///
/// ```
/// use maskstream::mask::{Rle, Segmentation};
///
/// let polygons: Segmentation = serde_json::from_str("[[2, 1, 4, 1, 4, 3, 2, 3]]")?;
/// let mask = polygons.to_rle(4, 6)?;
/// assert_eq!(mask.area(), 4);
///
/// let json = serde_json::to_string(&Segmentation::from(&mask))?;
/// assert_eq!(json, r#"{"size":[4,6],"counts":"92207"}"#);
/// assert_eq!(serde_json::from_str::<Segmentation>(&json)?.to_rle(4, 6)?, mask);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Segmentation<'a> {
    /// Polygons of x0, y0, x1, y1, ... in pixels; the mask is their union.
    Polygons(Vec<Vec<f64>>),
    /// A run-length encoding.
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
    /// The same run lengths as a counts string.
    String(Cow<'a, str>),
}

impl Segmentation<'_> {
    /// Draws or decodes the mask in an image of `height` x `width` pixels (pycocotools' `annToRLE`, or `frPyObjects` of
    /// one object).
    ///
    /// # Errors
    /// Returns [`RleError::Sizes`] if the segmentation has another size, and otherwise the errors of
    /// [`Rle::from_polygons`], [`Rle::from_runs`] or [`Rle::from_counts`].
    pub fn to_rle(&self, height: u32, width: u32) -> Result<Rle, RleError> {
        let mut mask = Rle::default();
        self.read_into(height, width, &mut mask)?;
        Ok(mask)
    }

    /// Same as [`Segmentation::to_rle`], but stores the result in `mask` and reuses its memory for a counts string.
    /// After an error the contents of `mask` are unspecified.
    ///
    /// # Errors
    /// Same as [`Segmentation::to_rle`].
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

// Written by hand: errors of serde's untagged enums do not say which value is invalid, or where.
impl<'de: 'a, 'a> Deserialize<'de> for Segmentation<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Runs<'a> {
            size: [Side; 2],
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
                Ok(Segmentation::Rle { size: size.map(|Side(side)| side), counts })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A side in pixels. Some tools write it as a float.
struct Side(u32);

impl<'de> Deserialize<'de> for Side {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SideVisitor;
        impl Visitor<'_> for SideVisitor {
            type Value = Side;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a side in pixels")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Side, E> {
                u32::try_from(value).map(Side).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Side, E> {
                if (0.0..=f64::from(u32::MAX)).contains(&value) && value.fract() == 0.0 {
                    Ok(Side(value as u32))
                } else {
                    Err(E::invalid_value(Unexpected::Float(value), &self))
                }
            }
        }
        deserializer.deserialize_u32(SideVisitor)
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

            // The alphabet includes the backslash, which JSON escapes. Strings with escapes must be copied.
            fn visit_str<E: Error>(self, counts: &str) -> Result<Self::Value, E> {
                Ok(Counts::String(Cow::Owned(counts.to_owned())))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Segmentation<'_> {
    /// Copies borrowed data, so that the result no longer depends on the JSON text.
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
    /// Converts a mask to the form with a counts string.
    fn from(mask: &Rle) -> Self {
        Self::Rle { size: [mask.height(), mask.width()], counts: Counts::String(Cow::Owned(mask.to_counts())) }
    }
}
