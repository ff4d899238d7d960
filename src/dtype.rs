//! Number types of batch fields and image tensors, and the Rust types that hold their numbers.

/// Number type of a field, named as in PyTorch and safetensors.
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

/// A Rust type for the numbers of a field. Sealed: the implementations are `u8`, `u32`, `i64`, [`half::f16`],
/// [`half::bf16`] and `f32`.
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
