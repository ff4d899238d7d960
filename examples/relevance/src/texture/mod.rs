//! Patch features: what ARR-COC's heads see of an image, 13 numbers per patch, without parameters or gradients.
//!
//! The input is RGB images as bytes; the output is [`Patches`], plain vectors for any framework.
//!
//! Channels: R, G, B; L* / 100 and (a* + 128) / 255 of CIE Lab; horizontal and vertical Sobel edges, and their
//! magnitude; y, x, distance to the centre; the magnitude and L* once more. [`verbatim`] computes them as ARR-COC does,
//! [`grounded()`] in a form that is easier to learn from. `scripts/make_relevance_vectors.py` has the same equations in
//! PyTorch.

mod grounded;
pub mod verbatim;

pub use grounded::grounded;

/// Channels of a patch.
pub const CHANNELS: usize = 13;
/// Number of channels that are computed from pixels; the others depend on the position.
const PIXEL_CHANNELS: usize = 8;
/// Channels of the Sobel edges.
const EDGES: [usize; 3] = [5, 6, 7];
/// Channel of their magnitude.
const EDGE: usize = 7;

/// Features of B images of N = grid x grid patches.
pub struct Patches {
    /// Patches per side.
    pub grid: usize,
    /// `[B, 13, N]`, in [0, 1].
    pub texture: Vec<f32>,
    /// `[B, C, N]`: the input of the scorer, made of `texture`. C is 13, or 13 times the patches of the context
    /// window.
    pub input: Vec<f32>,
    /// `[B, N]`: the scaled entropy of a patch's channels.
    pub information: Vec<f32>,
    /// `[B, N]`: the scaled magnitude of a patch's edges.
    pub edge: Vec<f32>,
    /// `[B, N]`: 1 where a patch is image, 0 where it is padding.
    pub valid: Vec<f32>,
}

impl Patches {
    /// The number of images, B.
    pub fn images(&self) -> usize {
        self.valid.len() / (self.grid * self.grid)
    }

    /// The number of input channels, C.
    pub fn inputs(&self) -> usize {
        self.input.len().checked_div(self.valid.len()).unwrap_or(0)
    }

    /// Extends `input` to the `window` x `window` patches around each patch, with zeros beyond the grid: the unfolded
    /// input of a convolution with that kernel, in the order of its weights. `window` is odd.
    pub fn with_context(mut self, window: usize) -> Self {
        let (grid, reach) = (self.grid, window / 2);
        let mut input = Vec::with_capacity(self.input.len() * window * window);
        for channel in self.input.chunks_exact(grid * grid) {
            for (down, right) in (0..window * window).map(|tap| (tap / window, tap % window)) {
                let at = |patch: usize| {
                    let row = (patch / grid + down).checked_sub(reach).filter(|&row| row < grid)?;
                    let column = (patch % grid + right).checked_sub(reach).filter(|&column| column < grid)?;
                    Some(channel[row * grid + column])
                };
                input.extend((0..grid * grid).map(|patch| at(patch).unwrap_or(0.0)));
            }
        }
        self.input = input;
        self
    }
}

/// Entropy of the softmax over the channels of textures `[B, 13, N]`: `[B, N]`.
pub fn entropy(textures: &[f32], patches: usize) -> Vec<f32> {
    let of_image = |texture: &[f32]| -> Vec<f32> {
        let of_patch = |patch: usize| {
            let values = || (0..CHANNELS).map(move |channel| texture[channel * patches + patch]);
            let largest = values().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = values().map(|value| (value - largest).exp()).sum();
            -values().map(|value| (value - largest).exp() / sum).map(|p| p * (p + 1e-10).ln()).sum::<f32>()
        };
        (0..patches).map(of_patch).collect()
    };
    textures.chunks_exact(CHANNELS * patches).flat_map(of_image).collect()
}

/// One channel of textures `[B, 13, N]`: `[B, N]`.
fn channel(textures: &[f32], patches: usize, channel: usize) -> Vec<f32> {
    let images = textures.chunks_exact(CHANNELS * patches);
    images.flat_map(|texture| &texture[channel * patches..(channel + 1) * patches]).copied().collect()
}

/// The minimum, and the maximum minus the minimum.
fn min_and_span<'a>(values: impl IntoIterator<Item = &'a f32>) -> (f32, f32) {
    let fold = |(min, max): (f32, f32), &value: &f32| (min.min(value), max.max(value));
    let (min, max) = values.into_iter().fold((f32::INFINITY, f32::NEG_INFINITY), fold);
    (min, max - min + 1e-8)
}

/// The channels that need no pixels: y, x, and distance to the centre, for all patches of a grid.
fn positions(grid: usize) -> [Vec<f32>; 3] {
    let line = |index: usize| index as f32 / (grid - 1) as f32;
    let each = |of: &dyn Fn(f32, f32) -> f32| {
        (0..grid * grid).map(|patch| of(line(patch / grid), line(patch % grid))).collect()
    };
    [each(&|y, _| y), each(&|_, x| x), each(&|y, x| (y - 0.5).hypot(x - 0.5) / 0.5_f32.sqrt())]
}

/// sRGB to linear light, both in [0, 1].
pub fn linear(v: f32) -> f32 {
    if v > 0.040_45 { ((v + 0.055) / 1.055).powf(2.4) } else { v / 12.92 }
}

/// Linear RGB in [0, 1] to CIE L*, a*, b* under D65.
pub fn lab([r, g, b]: [f32; 3]) -> [f32; 3] {
    let curve = |t: f32| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 4.0 / 29.0 };
    let x = curve((0.412_453 * r + 0.357_580 * g + 0.180_423 * b) / 0.950_47);
    let y = curve(0.212_671 * r + 0.715_160 * g + 0.072_169 * b);
    let z = curve((0.019_334 * r + 0.119_193 * g + 0.950_227 * b) / 1.088_83);
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// Sobel edges of the brightness of an image of this width: horizontal, vertical, and their magnitude. Border pixels
/// are replicated outwards.
fn edges(rgb: &[Vec<f32>; 3], width: usize) -> [Vec<f32>; 3] {
    let pixels = rgb[0].len();
    let gray = |at: usize| 0.299 * rgb[0][at] + 0.587 * rgb[1][at] + 0.114 * rgb[2][at];
    let gray: Vec<f32> = (0..pixels).map(gray).collect();
    let height = pixels.checked_div(width).unwrap_or(0);
    let near = |index: usize, size: usize| [index.saturating_sub(1), index, (index + 1).min(size - 1)];
    let [mut horizontal, mut vertical, mut magnitude] = [0; 3].map(|_| Vec::with_capacity(pixels));
    for y in 0..height {
        let [above, here, below] = near(y, height).map(|y| &gray[y * width..(y + 1) * width]);
        for x in 0..width {
            let [left, mid, right] = near(x, width);
            let gx = (above[right] - above[left] + 2.0 * (here[right] - here[left]) + below[right] - below[left]) / 8.0;
            let gy = (below[left] - above[left] + 2.0 * (below[mid] - above[mid]) + below[right] - above[right]) / 8.0;
            horizontal.push(gx);
            vertical.push(gy);
            magnitude.push((gx * gx + gy * gy + 1e-8).sqrt());
        }
    }
    [horizontal, vertical, magnitude]
}
