//! The one table of a batch's fields. Layout, rows, accessors and framework adapters are generated from it. To add a
//! field, add a line here and write its values in `sample/decode.rs`.

use crate::dtype::DType;

/// Calls `$callback!` with the table. A line is: documentation, `Variant name: type [shape] presence storage;`
///
/// * type: a Rust number type, or `image` for the loader's `image_dtype`
/// * shape: B batch size, K masks per image, S image side, H rows of the mask grid, W bytes of such a row, G coverage
///   grid, P clicks, J numbers of a prompt box, or numbers
/// * presence: `always`, or `optional` for fields that depend on the settings (those with H and W, G, P or J)
/// * storage: `large` for a buffer of its own, which becomes a tensor without a copy, or `small` for a part of the
///   buffer that all small fields share
macro_rules! batch_fields {
    ($callback:ident) => {
        $callback! {
            /// Images, `[B, 3, S, S]` of the loader's `image_dtype` (u8, f32, f16 or bf16): RGB. Letterboxed (longest
            /// side S, padded right or below with zeros) or stretched. Floats are normalized; u8 is 0 to 255: cast it
            /// before computing. Means over f16 or bf16 are inexact in candle: cast to f32 first.
            Images images: image [B 3 S S] always large;
            /// Masks, `[B, K, H, W]` u8, over the whole canvas: 1 where a cell's centre lies in the mask, or 0 to 255
            /// by exact area. A mask too thin for any cell has the one that it covers most as 1. Cast before
            /// computing: sums of u8 overflow. With [`MaskFormat::Bits`](crate::MaskFormat) they are one bit a cell,
            /// `[B, K, H, ceil(W / 8)]` u8.
            Masks masks: u8 [B K H W] optional large;
            /// Exact share of each patch that the mask covers, `[B, K, G, G]` f32, 0 to 1.
            Coverage coverage: f32 [B K G G] optional large;
            /// Boxes, `[B, K, 4]` f32: `x, y, width, height` over the image's width and height, or another
            /// [`BoxFormat`](crate::BoxFormat).
            Boxes boxes: f32 [B K 4] always small;
            /// The annotations' confidence, `[B, K]` f32, as annotated. Can exceed 1. 0 where the file has none.
            PredictedIou predicted_iou: f32 [B K] always small;
            /// How stable each mask is, `[B, K]` f32, as annotated. 0 where the file has none.
            StabilityScore stability_score: f32 [B K] always small;
            /// Pixels of each mask in the original image, `[B, K]` f32, as annotated.
            Area area: f32 [B K] always small;
            /// First prompt point `x, y` of each mask, `[B, K, 2]` f32, normalized like the boxes. 0, 0 where the
            /// file has none.
            Points points: f32 [B K 2] always small;
            /// Clicks `x, y` for each mask, `[B, K, P, 2]` f32, in the frame of the boxes; see
            /// [`Prompts`](crate::Prompts).
            PromptPoints prompt_points: f32 [B K P 2] optional small;
            /// What each click says, `[B, K, P]` i64: 1 in the mask, 0 beside it, -1 that there is none. Masks that
            /// are padding have 0 as well: weigh by `valid`.
            PromptLabels prompt_labels: i64 [B K P] optional small;
            /// Boxes with their edges moved at random, `[B, K, 4]` f32, otherwise as the boxes; see
            /// [`Prompts::box_jitter`](crate::Prompts::box_jitter).
            PromptBoxes prompt_boxes: f32 [B K J] optional small;
            /// Ids of the annotations, `[B, K]` i64. f32 cannot hold ids above 2^24: do not cast them.
            AnnotationIds annotation_ids: i64 [B K] always small;
            /// Which of the K masks are real, `[B, K]` u8: 1, or 0 for padding. Weigh a loss by it, cast to a float.
            /// It is 0, as are the mask's other fields, where an annotation's mask has no pixel; only a batch without
            /// masks and coverage, for which masks are not read, has 1 there.
            Valid valid: u8 [B K] always small;
            /// Ids of the images, `[B]` i64. f32 cannot hold ids above 2^24: do not cast them.
            ImageIds image_ids: i64 [B] always small;
            /// Height and width of the original images in pixels, `[B, 2]` u32: cast before dividing.
            OriginalSizes original_sizes: u32 [B 2] always small;
            /// What is shown of the original images, `[B, 4]` u32: left, top, right and bottom edge in pixels. All of
            /// an image that is not cropped.
            Crops crops: u32 [B 4] always small;
            /// The affine map from original to canvas pixels, `[B, 6]` f32: `x' = ax + by + c, y' = dx + ey + f`.
            /// [`Batch::geometry_of`](crate::Batch::geometry_of) makes a [`Geometry`](crate::Geometry) of it.
            Geometry geometry: f32 [B 6] always small;
            /// Which rows are real, `[B]` u8: 1, or 0 for padding and for samples that could not be decoded. A
            /// condition as it is; cast it to a float to weigh by it.
            ImageValid image_valid: u8 [B] always small;
            /// Which patches have their centre in the image, not in its padding, `[B, G, G]` u8. Present with coverage.
            /// Cast it to a float to weigh by it.
            PatchValid patch_valid: u8 [B G G] optional small;
        }
    };
}
pub(crate) use batch_fields;

/// How the cells of drawn masks are stored.
///
/// ```
/// use maskstream::{Loader, MaskFormat};
///
/// // 16 masks at the size of the image take 2 MiB a sample, not 16.
/// let builder = Loader::builder().mask_size([1024, 1024]).top_k(16).mask_format(MaskFormat::Bits);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MaskFormat {
    /// One byte a cell.
    #[default]
    Bytes,
    /// One bit a cell: an eighth of the memory and of the upload. The first cell of a byte is its highest bit, and each
    /// row is padded with zero bits to whole bytes: `[B, K, H, ceil(W / 8)]`.
    ///
    /// [`Batch::unpacked_masks`](crate::Batch::unpacked_masks) unpacks them on the CPU, and on their device `masks_as`
    /// of a candle batch, and `masks_int` and `masks_float` of a Burn batch. In numpy, that is
    /// `numpy.unpackbits(masks, axis=-1, count=W)`.
    Bits,
}

/// The sizes that determine the shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) batch_size: usize,
    pub(crate) top_k: usize,
    pub(crate) image_side: usize,
    pub(crate) image_dtype: DType,
    pub(crate) mask_size: Option<[usize; 2]>,
    pub(crate) mask_format: MaskFormat,
    pub(crate) coverage: Option<usize>,
    /// Clicks per mask; `None` without prompts.
    pub(crate) clicks: Option<usize>,
}

impl Sizes {
    /// Bytes of a row of the mask grid; `None` if masks are not drawn.
    fn mask_row_bytes(self) -> Option<usize> {
        let [_, columns] = self.mask_size?;
        Some(match self.mask_format {
            MaskFormat::Bytes => columns,
            MaskFormat::Bits => columns.div_ceil(8),
        })
    }
}

macro_rules! dtype {
    (image $sizes:ident) => {
        $sizes.image_dtype
    };
    ($element:ident $sizes:ident) => {
        <$element as crate::dtype::Element>::DTYPE
    };
}

/// One dimension; leaves the function with `None` where the batch does not have it.
macro_rules! dimension {
    (B $sizes:ident) => {
        $sizes.batch_size
    };
    (K $sizes:ident) => {
        $sizes.top_k
    };
    (S $sizes:ident) => {
        $sizes.image_side
    };
    (H $sizes:ident) => {
        $sizes.mask_size?[0]
    };
    (W $sizes:ident) => {
        $sizes.mask_row_bytes()?
    };
    (G $sizes:ident) => {
        $sizes.coverage?
    };
    (P $sizes:ident) => {
        $sizes.clicks.filter(|&clicks| clicks > 0)?
    };
    (J $sizes:ident) => {
        $sizes.clicks.map(|_| 4)?
    };
    ($number:literal $sizes:ident) => {
        $number
    };
}

macro_rules! is_large {
    (large) => {
        true
    };
    (small) => {
        false
    };
}

macro_rules! is_per_mask {
    (B K $($rest:tt)*) => {
        true
    };
    ($($other:tt)*) => {
        false
    };
}

macro_rules! define_field {
    ($(
        $(#[$doc:meta])*
        $variant:ident $name:ident: $element:ident [$($dimension:tt)*] $presence:ident $storage:ident;
    )*) => {
        /// A field of a batch.
        ///
        /// B is the batch size, K the masks per image (`top_k`), S the image side, H x W the mask grid, G the coverage
        /// grid. Rows and masks that are not real are all zero.
        ///
        /// ```
        /// use maskstream::Field;
        ///
        /// let names: Vec<_> = Field::ALL.iter().map(|field| field.name()).collect();
        /// assert_eq!(names[..3], ["images", "masks", "coverage"]);
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Field {
            $($(#[$doc])* $variant,)*
        }

        impl Field {
            /// Every field, in the order in which batches list them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The field's name, which exported files use as well.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)*
                }
            }

            pub(crate) fn dtype(self, sizes: Sizes) -> DType {
                match self {
                    $(Self::$variant => dtype!($element sizes),)*
                }
            }

            /// Whether it has a buffer of its own.
            pub(crate) fn is_large(self) -> bool {
                match self {
                    $(Self::$variant => is_large!($storage),)*
                }
            }

            /// Whether it has values for each mask.
            pub(crate) fn is_per_mask(self) -> bool {
                match self {
                    $(Self::$variant => is_per_mask!($($dimension)*),)*
                }
            }

            /// The shape; `None` if a batch of these sizes does not have the field.
            pub(crate) fn shape(self, sizes: Sizes) -> Option<Vec<usize>> {
                Some(match self {
                    $(Self::$variant => vec![$(dimension!($dimension sizes)),*],)*
                })
            }
        }
    };
}

batch_fields!(define_field);

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
