//! The JSON of a member as tools write it, before what is missing has been filled in.
//!
//! A field that is missing, `null` or an empty list is `None`. Whole numbers may be written as floats. Everything else
//! that does not fit is a deserialization error.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

/// Whole numbers below are exact in f64.
const MAX_EXACT: f64 = 9.0e15;

/// A member.
#[derive(Deserialize)]
pub(super) struct FileJson<'a> {
    #[serde(borrow)]
    pub(super) image: ImageJson<'a>,
    #[serde(borrow)]
    pub(super) annotations: Vec<AnnotationJson<'a>>,
}

/// The `image` object.
#[derive(Deserialize)]
pub(super) struct ImageJson<'a> {
    pub(super) image_id: Option<Whole>,
    /// COCO's name of `image_id`. It is read only if that is missing.
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    pub(super) width: Whole,
    pub(super) height: Whole,
    #[serde(borrow)]
    pub(super) file_name: Option<Cow<'a, str>>,
}

/// One annotation.
#[derive(Deserialize)]
pub(super) struct AnnotationJson<'a> {
    pub(super) id: Option<Whole>,
    pub(super) bbox: Option<Numbers<4>>,
    pub(super) area: Option<PixelCount>,
    pub(super) predicted_iou: Option<f32>,
    pub(super) stability_score: Option<f32>,
    pub(super) point_coords: Option<Points>,
    pub(super) crop_box: Option<Numbers<4>>,
    #[serde(borrow)]
    pub(super) segmentation: &'a RawValue,
}

/// A whole number.
#[derive(Clone, Copy)]
pub(super) struct Whole(pub(super) i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor;
        impl Visitor<'_> for WholeVisitor {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E>(self, value: i64) -> Result<Whole, E> {
                Ok(Whole(value))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Whole, E> {
                i64::try_from(value).map(Whole).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Whole, E> {
                if value.abs() < MAX_EXACT && value.fract() == 0.0 {
                    Ok(Whole(value as i64))
                } else {
                    Err(E::invalid_value(Unexpected::Float(value), &self))
                }
            }
        }
        deserializer.deserialize_i64(WholeVisitor)
    }
}

/// A number of pixels. COCO's areas have fractions, which are rounded.
#[derive(Clone, Copy)]
pub(super) struct PixelCount(pub(super) u64);

impl<'de> Deserialize<'de> for PixelCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;
        impl Visitor<'_> for CountVisitor {
            type Value = PixelCount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of pixels")
            }

            fn visit_u64<E>(self, value: u64) -> Result<PixelCount, E> {
                Ok(PixelCount(value))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<PixelCount, E> {
                if (0.0..MAX_EXACT).contains(&value) {
                    Ok(PixelCount(value.round() as u64))
                } else {
                    Err(E::invalid_value(Unexpected::Float(value), &self))
                }
            }
        }
        deserializer.deserialize_u64(CountVisitor)
    }
}

/// A list of N numbers; `None` for an empty list.
pub(super) struct Numbers<const N: usize>(pub(super) Option<[f64; N]>);

impl<'de, const N: usize> Deserialize<'de> for Numbers<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumbersVisitor<const N: usize>;
        impl<'de, const N: usize> Visitor<'de> for NumbersVisitor<N> {
            type Value = Numbers<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of length {N}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut numbers = [0.0; N];
                for (index, number) in numbers.iter_mut().enumerate() {
                    match seq.next_element()? {
                        Some(value) => *number = value,
                        None if index == 0 => return Ok(Numbers(None)),
                        None => return Err(A::Error::invalid_length(index, &self)),
                    }
                }
                Ok(Numbers(Some(numbers)))
            }
        }
        deserializer.deserialize_seq(NumbersVisitor)
    }
}

/// A list of points; empty ones are left out.
pub(super) struct Points(pub(super) Vec<[f64; 2]>);

impl<'de> Deserialize<'de> for Points {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PointsVisitor;
        impl<'de> Visitor<'de> for PointsVisitor {
            type Value = Points;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of points")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Points, A::Error> {
                let mut points = Vec::new();
                while let Some(Numbers(point)) = seq.next_element()? {
                    points.extend(point);
                }
                Ok(Points(points))
            }
        }
        deserializer.deserialize_seq(PointsVisitor)
    }
}
