//! Images -> what is known of each patch. Comes in: a batch with 8-bit images and coverage. Goes out: [`Features`], all
//! on the batch's device. Fails as candle does, or if the batch holds no coverage.

use candle_core::{DType, Device, Result, Tensor, bail};
use maskstream::adapter::CandleBatch;

/// Patches a side: the grid that relevance is predicted on.
pub(crate) const GRID: usize = 32;
/// Patches of an image.
pub(crate) const PATCHES: usize = GRID * GRID;
/// Numbers per patch: mean and spread of red, green and blue and edge strength, the same around it, y, x, and a one.
pub(crate) const CHANNELS: usize = 17;

/// What is known of a batch's patches. B is the batch size, P the patches of an image.
pub(crate) struct Features {
    /// [B, P, CHANNELS]; what comes from pixels has mean 0 and spread 1 over its image.
    pub(crate) patches: Tensor,
    /// [B, P, 3]: mean colour, 0 to 1.
    pub(crate) colors: Tensor,
    /// [B, P], f32: 1 where the patch is image, 0 where it is padding.
    pub(crate) valid: Tensor,
}

impl Features {
    /// Describes the patches of a batch of u8 images whose side is a multiple of the grid's.
    pub(crate) fn new(batch: &CandleBatch) -> Result<Self> {
        let images = &batch.images;
        let Some(patch_valid) = &batch.patch_valid else { bail!("the loader was not asked for coverage") };
        let (batch, _, side, _) = images.dims4()?;
        let patch = side / GRID;
        let valid = patch_valid.to_dtype(DType::F32)?.reshape((batch, 1, PATCHES))?;

        let pixels = (images.to_dtype(DType::F32)? * (1.0 / 255.0))?;
        let mean = pixels.avg_pool2d(patch)?;
        let spread = (pixels.sqr()?.avg_pool2d(patch)? - mean.sqr()?)?.relu()?.sqrt()?;
        // Green alone stands for brightness: it is most of it.
        let green = pixels.narrow(1, 1, 1)?;
        let texture = Tensor::cat(&[&mean, &spread, &edges(&green, patch)?], 1)?.reshape((batch, (), PATCHES))?;

        let texture = standardize(&texture, &valid)?;
        let patches = Tensor::cat(&[&texture, &around(&texture)?, &positions(batch, images.device())?], 1)?;
        Ok(Self {
            patches: patches.transpose(1, 2)?.contiguous()?,
            colors: mean.reshape((batch, 3, PATCHES))?.transpose(1, 2)?.contiguous()?,
            valid: valid.reshape((batch, PATCHES))?,
        })
    }
}

/// Mean size of the step to the next pixel, across plus down: [B, 1, S, S] -> [B, 1, G, G].
fn edges(plane: &Tensor, patch: usize) -> Result<Tensor> {
    let side = plane.dim(3)?;
    let step = |axis: usize| {
        let step = (plane.narrow(axis, 1, side - 1)? - plane.narrow(axis, 0, side - 1)?)?.abs()?;
        step.pad_with_zeros(axis, 0, 1)?.avg_pool2d(patch)
    };
    step(2)? + step(3)?
}

/// Each channel of `maps` [B, C, P] to mean 0 and spread 1 over the valid patches of its image; 0 elsewhere.
fn standardize(maps: &Tensor, valid: &Tensor) -> Result<Tensor> {
    let count = valid.sum_keepdim(2)?.maximum(1.0)?;
    let mean = maps.broadcast_mul(valid)?.sum_keepdim(2)?.broadcast_div(&count)?;
    let centred = maps.broadcast_sub(&mean)?.broadcast_mul(valid)?;
    let variance = centred.sqr()?.sum_keepdim(2)?.broadcast_div(&count)?;
    centred.broadcast_div(&(variance + 1e-5)?.sqrt()?)
}

/// Mean over each patch and its eight neighbours: [B, C, P].
fn around(maps: &Tensor) -> Result<Tensor> {
    let (batch, channels, _) = maps.dims3()?;
    let grid = maps.reshape((batch, channels, GRID, GRID))?;
    let framed = grid.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
    framed.avg_pool2d_with_stride(3, 1)?.reshape((batch, channels, PATCHES))
}

/// y and x of each patch, scaled to the spread of an even distribution, and a one that spares the first layer its bias:
/// [B, 3, P].
fn positions(batch: usize, device: &Device) -> Result<Tensor> {
    let scaled = |index: usize| (centre(index) - 0.5) * 12_f32.sqrt();
    let y = (0..PATCHES).map(|p| scaled(p / GRID));
    let x = (0..PATCHES).map(|p| scaled(p % GRID));
    let all = y.chain(x).chain((0..PATCHES).map(|_| 1.0));
    Tensor::from_iter(all, device)?.reshape((1, 3, PATCHES))?.repeat((batch, 1, 1))
}

/// Centre of a row or column of patches on the canvas, 0 to 1.
pub(crate) fn centre(index: usize) -> f32 {
    (index as f32 + 0.5) / GRID as f32
}

/// Distance between the centres of two patches, where the canvas has side 1.
pub(crate) fn distance(a: usize, b: usize) -> f32 {
    let dx = centre(a % GRID) - centre(b % GRID);
    let dy = centre(a / GRID) - centre(b / GRID);
    dx.hypot(dy)
}
