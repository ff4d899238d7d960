//! Number types of batch fields and image tensors, and the Rust types that hold their numbers.

/// Number type of a field. Display prints its short name: `u8`, `bf16`, `f32`.
///
/// ```
/// use maskstream::{DType, Element};
///
/// assert_eq!(DType::Bf16.to_string(), "bf16");
/// assert_eq!(DType::Bf16.bytes(), 2);
/// assert_eq!(<f32 as Element>::DTYPE, DType::F32);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// Unsigned bytes. As an image: 0 to 255 as decoded, in a quarter of the memory of f32. Normalize on the device.
    #[default]
    U8,
    /// Unsigned 32-bit integers.
    U32,
    /// Signed 64-bit integers.
    I64,
    /// IEEE half-precision floats.
    F16,
    /// bfloat16 floats.
    Bf16,
    /// 32-bit floats.
    F32,
}

impl DType {
    /// Size of one number in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::F32 => 4,
            Self::I64 => 8,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::U8 => "u8",
            Self::U32 => "u32",
            Self::I64 => "i64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        })
    }
}

/// A Rust type for the numbers of a field, as [`FieldView::values`](crate::FieldView::values) returns them. Sealed: the
/// implementations are `u8`, `u32`, `i64`, [`half::f16`], [`half::bf16`] and `f32`.
///
/// ```
/// use maskstream::{Element, FieldView};
///
/// /// The largest value of a field of type `T`; `None` if the field has another type.
/// fn max<T: Element + PartialOrd>(field: FieldView<'_>) -> Option<T> {
///     field.values::<T>()?.iter().copied().reduce(|a, b| if a < b { b } else { a })
/// }
/// ```
pub trait Element: bytemuck::Pod + sealed::Sealed {
    /// The number type of `Self`.
    const DTYPE: DType;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($value:ty => $dtype:ident),*) => {
        $(impl sealed::Sealed for $value {}
        impl Element for $value {
            const DTYPE: DType = DType::$dtype;
        })*
    };
}

elements!(u8 => U8, u32 => U32, i64 => I64, half::f16 => F16, half::bf16 => Bf16, f32 => F32);
