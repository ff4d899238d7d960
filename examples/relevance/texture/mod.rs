//! What ARR-COC's heads see of an image: 13 numbers for each patch, without a parameter and without a gradient. Comes
//! in: RGB images as bytes. Goes out: [`Patches`], plain numbers that any framework takes. Cannot fail.
//!
//! Channels: R, G, B; L* / 100 and (a* + 128) / 255 of CIE Lab; Sobel edges to the right, downwards, and their
//! magnitude; y, x, distance to the centre; the magnitude and L* once more. [`verbatim`] computes them as ARR-COC does,
//! [`grounded`] so that they are good to learn from. `scripts/make_relevance_vectors.py` has the same equations in
//! PyTorch.

mod grounded;
pub(crate) mod verbatim;

pub(crate) use grounded::grounded;

/// Numbers of a patch.
pub(crate) const CHANNELS: usize = 13;
/// The channels that come from pixels; of them, those of the edges, and their magnitude.
const OF_PIXELS: usize = 8;
const EDGES: [usize; 3] = [5, 6, 7];
const EDGE: usize = 7;

/// What is seen of B images of N = grid x grid patches.
pub(crate) struct Patches {
    /// Patches a side.
    pub(crate) grid: usize,
    /// `[B, 13, N]`, in 0 to 1.
    pub(crate) texture: Vec<f32>,
    /// `[B, C, N]`: of it, what the scorer embeds; C is 13, or 13 for each patch of a window around it.
    pub(crate) input: Vec<f32>,
    /// `[B, N]`: the entropy of a patch's numbers, scaled.
    pub(crate) information: Vec<f32>,
    /// `[B, N]`: how strong its edges are, scaled.
    pub(crate) edge: Vec<f32>,
    /// `[B, N]`: 1 where a patch is image, 0 where it is padding.
    pub(crate) valid: Vec<f32>,
}

impl Patches {
    /// Number of images B.
    pub(crate) fn images(&self) -> usize {
        self.valid.len() / (self.grid * self.grid)
    }

    /// Numbers C of a patch that the scorer embeds.
    pub(crate) fn inputs(&self) -> usize {
        self.input.len().checked_div(self.valid.len()).unwrap_or(0)
    }

    /// The same where the scorer embeds a window of `window` x `window` patches around each, beyond the grid zeros:
    /// what a convolution with that kernel takes, in the order of its weights. `window` is odd.
    pub(crate) fn with_context(mut self, window: usize) -> Self {
        let (grid, reach) = (self.grid, window / 2);
        let mut input = Vec::with_capacity(self.input.len() * window * window);
        for channel in self.input.chunks_exact(grid * grid) {
            for (down, right) in (0..window * window).map(|place| (place / window, place % window)) {
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
pub(crate) fn entropy(textures: &[f32], patches: usize) -> Vec<f32> {
    let of_image = |texture: &[f32]| -> Vec<f32> {
        let of_patch = |patch: usize| {
            let numbers = || (0..CHANNELS).map(move |channel| texture[channel * patches + patch]);
            let largest = numbers().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = numbers().map(|number| (number - largest).exp()).sum();
            -numbers().map(|number| (number - largest).exp() / sum).map(|p| p * (p + 1e-10).ln()).sum::<f32>()
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

/// The smallest number, and how far the largest is above it.
fn extent<'a>(numbers: impl IntoIterator<Item = &'a f32>) -> (f32, f32) {
    let fold = |(least, most): (f32, f32), &number: &f32| (least.min(number), most.max(number));
    let (least, most) = numbers.into_iter().fold((f32::INFINITY, f32::NEG_INFINITY), fold);
    (least, most - least + 1e-8)
}

/// What needs no pixels: y, x, and distance to the centre, for all patches of a grid.
fn places(grid: usize) -> [Vec<f32>; 3] {
    let line = |index: usize| index as f32 / (grid - 1) as f32;
    let each = |of: &dyn Fn(f32, f32) -> f32| {
        (0..grid * grid).map(|patch| of(line(patch / grid), line(patch % grid))).collect()
    };
    [each(&|y, _| y), each(&|_, x| x), each(&|y, x| (y - 0.5).hypot(x - 0.5) / 0.5_f32.sqrt())]
}

/// sRGB to linear light, both 0 to 1.
pub(crate) fn linear(v: f32) -> f32 {
    if v > 0.040_45 { ((v + 0.055) / 1.055).powf(2.4) } else { v / 12.92 }
}

/// Linear RGB in 0 to 1 to CIE L*, a*, b* under D65.
pub(crate) fn lab([r, g, b]: [f32; 3]) -> [f32; 3] {
    let curve = |t: f32| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 4.0 / 29.0 };
    let x = curve((0.412_453 * r + 0.357_580 * g + 0.180_423 * b) / 0.950_47);
    let y = curve(0.212_671 * r + 0.715_160 * g + 0.072_169 * b);
    let z = curve((0.019_334 * r + 0.119_193 * g + 0.950_227 * b) / 1.088_83);
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// Sobel edges of the brightness of an image with lines of `width`: to the right, downwards, and their magnitude.
/// Borders are repeated outwards.
fn edges(rgb: &[Vec<f32>; 3], width: usize) -> [Vec<f32>; 3] {
    let pixels = rgb[0].len();
    let gray = |at: usize| 0.299 * rgb[0][at] + 0.587 * rgb[1][at] + 0.114 * rgb[2][at];
    let gray: Vec<f32> = (0..pixels).map(gray).collect();
    let height = pixels.checked_div(width).unwrap_or(0);
    let near = |index: usize, size: usize| [index.saturating_sub(1), index, (index + 1).min(size - 1)];
    let [mut across, mut down, mut size] = [0; 3].map(|_| Vec::with_capacity(pixels));
    for y in 0..height {
        let [above, here, below] = near(y, height).map(|y| &gray[y * width..(y + 1) * width]);
        for x in 0..width {
            let [left, mid, right] = near(x, width);
            let gx = (above[right] - above[left] + 2.0 * (here[right] - here[left]) + below[right] - below[left]) / 8.0;
            let gy = (below[left] - above[left] + 2.0 * (below[mid] - above[mid]) + below[right] - above[right]) / 8.0;
            across.push(gx);
            down.push(gy);
            size.push((gx * gx + gy * gy + 1e-8).sqrt());
        }
    }
    [across, down, size]
}
