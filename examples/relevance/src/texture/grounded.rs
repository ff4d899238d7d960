//! The features in a form that is easier to learn from.
//!
//! Four differences from ARR-COC: images keep their aspect ratio if the loader letterboxes them, and padding is zero
//! and excluded from every mean; a patch is the mean of all its pixels; edges are scaled by the minimum and maximum
//! over their own image, so that an image's features do not depend on its batch; the scorer's inputs and the maps are
//! standardized over their image.

use rayon::prelude::*;

use super::{
    CHANNELS, EDGE, EDGES, PIXEL_CHANNELS, Patches, channel, edges, entropy, lab, linear, min_and_span, positions,
};

/// Features of canvases `[B, 3, side, side]`. `content` is the height and width of the part of each canvas, from its
/// upper left corner, that is image. A patch is valid if its centre is in that part.
pub fn grounded(images: &[u8], side: usize, content: &[[usize; 2]], grid: usize) -> Patches {
    let to_linear: Vec<f32> = (0..256).map(|byte| linear(byte as f32 / 255.0)).collect();
    let canvas = Canvas { side, grid, to_linear };
    let features: Vec<(Vec<f32>, Vec<f32>)> = images
        .par_chunks_exact(3 * side * side)
        .zip(content)
        .map(|(image, &content)| (canvas.texture(image, content), canvas.valid(content)))
        .collect();
    let (textures, valid): (Vec<_>, Vec<_>) = features.into_iter().unzip();
    let (texture, valid) = (textures.concat(), valid.concat());
    let patches = grid * grid;
    let maps = |maps: Vec<f32>| {
        let images = maps.chunks_exact(patches).zip(valid.chunks_exact(patches));
        images.flat_map(|(map, valid)| standardized(map, valid, 1e-6)).collect()
    };
    let (information, edge) = (maps(entropy(&texture, patches)), maps(channel(&texture, patches, EDGE)));
    // A channel that hardly varies is mostly noise: the larger epsilon keeps it small.
    let images = texture.par_chunks_exact(CHANNELS * patches).zip(valid.par_chunks_exact(patches));
    let input = images.flat_map_iter(|(image, valid)| {
        image.chunks_exact(patches).flat_map(|channel| standardized(channel, valid, 1e-3))
    });
    Patches { grid, input: input.collect(), texture, information, edge, valid }
}

/// The sizes and the table that all images of a batch share.
struct Canvas {
    side: usize,
    grid: usize,
    /// sRGB to linear light, for each byte.
    to_linear: Vec<f32>,
}

impl Canvas {
    /// Number of patches along an axis whose centre lies in the first `content` pixels.
    fn inside(&self, content: usize) -> usize {
        let patch = self.side / self.grid;
        (0..self.grid).take_while(|index| (2 * index + 1) * patch < 2 * content).count()
    }

    /// `[N]`: 1 where a patch is image, 0 where it is padding.
    fn valid(&self, [height, width]: [usize; 2]) -> Vec<f32> {
        let (rows, columns) = (self.inside(height), self.inside(width));
        (0..self.grid * self.grid)
            .map(|i| f32::from(u8::from(i / self.grid < rows && i % self.grid < columns)))
            .collect()
    }

    /// `[13, N]`
    fn texture(&self, image: &[u8], content: [usize; 2]) -> Vec<f32> {
        let (patches, [_, width]) = (self.grid * self.grid, content);
        let mut out = Vec::with_capacity(CHANNELS * patches);
        for plane in self.planes(image, content) {
            out.extend(self.means(&plane, width, content));
        }
        let (rows, columns) = (self.inside(content[0]), self.inside(width));
        let valid = |row: usize| row * self.grid..row * self.grid + columns;
        for channel in EDGES {
            let plane = &mut out[channel * patches..(channel + 1) * patches];
            let (min, span) = min_and_span((0..rows).flat_map(|row| &plane[valid(row)]));
            (0..rows).for_each(|row| plane[valid(row)].iter_mut().for_each(|edge| *edge = (*edge - min) / span));
        }
        let mut positions = positions(self.grid);
        for (patch, value) in positions.iter_mut().flat_map(|channel| channel.iter_mut().enumerate()) {
            if patch / self.grid >= rows || patch % self.grid >= columns {
                *value = 0.0;
            }
        }
        out.extend(positions.into_iter().flatten());
        for repeated in [EDGE, 3] {
            out.extend_from_within(repeated * patches..(repeated + 1) * patches);
        }
        out
    }

    /// The pixel channels of the image, without the padding.
    fn planes(&self, image: &[u8], [height, width]: [usize; 2]) -> [Vec<f32>; PIXEL_CHANNELS] {
        let plane = |channel: usize, of: &dyn Fn(u8) -> f32| -> Vec<f32> {
            let lines = image[channel * self.side * self.side..].chunks_exact(self.side).take(height);
            lines.flat_map(|line| &line[..width]).map(|&byte| of(byte)).collect()
        };
        let rgb = [0, 1, 2].map(|channel| plane(channel, &|byte| f32::from(byte) / 255.0));
        let light = [0, 1, 2].map(|channel| plane(channel, &|byte| self.to_linear[usize::from(byte)]));
        let (l, a) = (0..height * width)
            .map(|at| lab([light[0][at], light[1][at], light[2][at]]))
            .map(|[l, a, _]| (l / 100.0, (a + 128.0) / 255.0))
            .unzip();
        let [horizontal, vertical, magnitude] = edges(&rgb, width);
        let [r, g, b] = rgb;
        [r, g, b, l, a, horizontal, vertical, magnitude]
    }

    /// `[N]`: the mean of each patch over its pixels; 0 where it is padding.
    fn means(&self, plane: &[f32], width: usize, [height, _]: [usize; 2]) -> Vec<f32> {
        let patch = self.side / self.grid;
        let (rows, columns) = (self.inside(height), self.inside(width));
        let mut out = vec![0.0; self.grid * self.grid];
        for row in 0..rows {
            let lines = row * patch..height.min((row + 1) * patch);
            let sums = &mut out[row * self.grid..row * self.grid + columns];
            for line in plane[lines.start * width..lines.end * width].chunks_exact(width) {
                sums.iter_mut().zip(line.chunks(patch)).for_each(|(sum, pixels)| *sum += pixels.iter().sum::<f32>());
            }
            for (column, sum) in sums.iter_mut().enumerate() {
                *sum /= (lines.len() * (width - column * patch).min(patch)) as f32;
            }
        }
        out
    }
}

/// Standardizes an image's valid values to mean 0 and standard deviation 1, with `epsilon` added to the deviation; 0
/// elsewhere.
fn standardized(values: &[f32], valid: &[f32], epsilon: f64) -> Vec<f32> {
    let sum_over_valid = |of: &dyn Fn(f64) -> f64| -> f64 {
        values.iter().zip(valid).filter(|(_, valid)| **valid > 0.0).map(|(&value, _)| of(f64::from(value))).sum()
    };
    let count = sum_over_valid(&|_| 1.0);
    let mean = sum_over_valid(&|value| value) / count.max(1.0);
    let deviation = (sum_over_valid(&|value| (value - mean).powi(2)) / (count - 1.0).max(1.0)).sqrt();
    let scaled = |value: f32| ((f64::from(value) - mean) / (deviation + epsilon)) as f32;
    values.iter().zip(valid).map(|(&value, &valid)| if valid > 0.0 { scaled(value) } else { 0.0 }).collect()
}
