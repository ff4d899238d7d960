//! The same numbers, so that a head can learn from them. Comes in: canvases, and how much of each is image. Goes out:
//! [`Patches`] with the padding marked. Cannot fail.
//!
//! Four things are otherwise than ARR-COC has them: images keep their shape if the loader letterboxes them, and what is
//! padding is zero and left out of every mean; a patch is the mean of all its pixels; edges are scaled by the least and
//! the largest patch of their own image, so that what is seen of an image does not depend on its batch; and what is
//! embedded or mixed has mean 0 and deviation 1 over its image.

use rayon::prelude::*;

use super::{CHANNELS, EDGE, EDGES, OF_PIXELS, Patches, channel, edges, entropy, extent, lab, linear, places};

/// What is seen of canvases `[B, 3, side, side]`. `content` says how many rows and columns of each are image, from its
/// upper left corner on. A patch is image if its centre is.
pub(crate) fn grounded(images: &[u8], side: usize, content: &[[usize; 2]], grid: usize) -> Patches {
    let to_linear: Vec<f32> = (0..256).map(|byte| linear(byte as f32 / 255.0)).collect();
    let canvas = Canvas { side, grid, to_linear };
    let seen: Vec<(Vec<f32>, Vec<f32>)> = images
        .par_chunks_exact(3 * side * side)
        .zip(content)
        .map(|(image, &content)| (canvas.texture(image, content), canvas.valid(content)))
        .collect();
    let (textures, valid): (Vec<_>, Vec<_>) = seen.into_iter().unzip();
    let (texture, valid) = (textures.concat(), valid.concat());
    let patches = grid * grid;
    let maps = |maps: Vec<f32>| {
        let images = maps.chunks_exact(patches).zip(valid.chunks_exact(patches));
        images.flat_map(|(map, valid)| standardized(map, valid, 1e-6)).collect()
    };
    let (information, edge) = (maps(entropy(&texture, patches)), maps(channel(&texture, patches, EDGE)));
    // A channel that hardly varies is mostly noise, and stays small.
    let images = texture.par_chunks_exact(CHANNELS * patches).zip(valid.par_chunks_exact(patches));
    let input = images.flat_map_iter(|(image, valid)| {
        image.chunks_exact(patches).flat_map(|channel| standardized(channel, valid, 1e-3))
    });
    Patches { grid, input: input.collect(), texture, information, edge, valid }
}

/// What all images of a batch have in common.
struct Canvas {
    side: usize,
    grid: usize,
    /// For each byte.
    to_linear: Vec<f32>,
}

impl Canvas {
    /// Patches of an axis whose centre lies in the first `content` pixels.
    fn inside(&self, content: usize) -> usize {
        let patch = self.side / self.grid;
        (0..self.grid).take_while(|index| (2 * index + 1) * patch < 2 * content).count()
    }

    /// `[N]`: which patches are image.
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
            let (least, span) = extent((0..rows).flat_map(|row| &plane[valid(row)]));
            (0..rows).for_each(|row| plane[valid(row)].iter_mut().for_each(|edge| *edge = (*edge - least) / span));
        }
        let mut places = places(self.grid);
        for place in places.iter_mut().flat_map(|channel| channel.iter_mut().enumerate()) {
            if place.0 / self.grid >= rows || place.0 % self.grid >= columns {
                *place.1 = 0.0;
            }
        }
        out.extend(places.into_iter().flatten());
        for again in [EDGE, 3] {
            out.extend_from_within(again * patches..(again + 1) * patches);
        }
        out
    }

    /// What each pixel of the image has, without the padding.
    fn planes(&self, image: &[u8], [height, width]: [usize; 2]) -> [Vec<f32>; OF_PIXELS] {
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
        let [across, down, size] = edges(&rgb, width);
        let [r, g, b] = rgb;
        [r, g, b, l, a, across, down, size]
    }

    /// The mean of each patch over its pixels; 0 where a patch is padding.
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

/// An image's valid numbers to mean 0 and deviation 1, less where they hardly differ; 0 elsewhere.
fn standardized(numbers: &[f32], valid: &[f32], least: f64) -> Vec<f32> {
    let of_valid = |of: &dyn Fn(f64) -> f64| -> f64 {
        numbers.iter().zip(valid).filter(|(_, valid)| **valid > 0.0).map(|(&number, _)| of(f64::from(number))).sum()
    };
    let count = of_valid(&|_| 1.0);
    let mean = of_valid(&|number| number) / count.max(1.0);
    let deviation = (of_valid(&|number| (number - mean).powi(2)) / (count - 1.0).max(1.0)).sqrt();
    let scaled = |number: f32| ((f64::from(number) - mean) / (deviation + least)) as f32;
    numbers.iter().zip(valid).map(|(&number, &valid)| if valid > 0.0 { scaled(number) } else { 0.0 }).collect()
}
