//! How a surface looks: colours, pattern, light and grain, and the loop that paints a row of its pixels.

use super::outline::Pose;
use super::rng::Rng;

/// A colour as red, green and blue from 0 to 255.
pub(super) type Color = [f32; 3];

/// The pattern of the second colour on the first. One period is one unit of the surface's own plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Plain,
    Stripes,
    Checks,
    Dots,
    Bricks,
    /// Soft patches of both colours.
    Clouds,
    /// From the first colour down to the second, over two units.
    Gradient,
}

/// Everything that a pixel's colour depends on, except for the camera's noise.
#[derive(Clone, Debug)]
pub(super) struct Surface {
    /// The plane in which pattern and light are given; its scale is about the size of the object.
    pub(super) pose: Pose,
    pub(super) pattern: Pattern,
    /// Periods of the pattern per unit of the pose.
    pub(super) frequency: f32,
    pub(super) colors: [Color; 2],
    /// How brightness grows to the right and downwards.
    pub(super) light: [f32; 2],
    /// How brightness falls off toward the rim, as on a ball.
    pub(super) bulge: f32,
    /// Strength of the fine grain, in levels of 255, and its offset in the noise tile.
    pub(super) grain: f32,
    pub(super) grain_start: [usize; 2],
}

/// A seamless tile of value noise in -1..1; its side is a power of two.
pub(super) struct NoiseTile {
    side: usize,
    tile: Vec<f32>,
}

impl NoiseTile {
    /// Sums octaves of random values, each twice as coarse as the one before.
    pub(super) fn new(side: usize, rng: &mut Rng) -> Self {
        let mut tile = vec![0.0_f32; side * side];
        let mut coarse = Vec::new();
        for octave in 1..side.ilog2() - 1 {
            let (step, cells) = (1_usize << octave, side >> octave);
            coarse.clear();
            coarse.extend((0..cells * cells).map(|_| rng.range(-0.33, 0.33)));
            for y in 0..side {
                let (top, fy) = (y / step * cells, smooth((y % step) as f32 / step as f32));
                let bottom = (y / step + 1) % cells * cells;
                for x in 0..side {
                    let (left, fx) = (x / step, smooth((x % step) as f32 / step as f32));
                    let right = (left + 1) % cells;
                    let row = |row: usize| lerp(coarse[row + left], coarse[row + right], fx);
                    tile[y * side + x] += lerp(row(top), row(bottom), fy);
                }
            }
        }
        Self { side, tile }
    }

    /// Row `y` of the tile, which repeats.
    #[inline]
    fn row(&self, y: usize) -> &[f32] {
        &self.tile[(y & (self.side - 1)) * self.side..][..self.side]
    }

    /// Bilinear interpolation at (`p`, `q`), in points of the tile.
    #[inline]
    fn interpolate(&self, p: f32, q: f32) -> f32 {
        let ([x, y], mask) = ([floor(p), floor(q)], self.side - 1);
        let ([fx, fy], left) = ([p - x as f32, q - y as f32], x as usize & mask);
        let across = |row: &[f32]| lerp(row[left], row[(left + 1) & mask], fx);
        lerp(across(self.row(y as usize)), across(self.row((y as usize).wrapping_add(1))), fy)
    }
}

impl Surface {
    /// Paints the pixels of row `y` from column `x` on: 3 bytes each.
    pub(super) fn paint(&self, grain: &NoiseTile, x: usize, y: usize, out: &mut [u8]) {
        // One loop per pattern, so that the inner loop does not branch on the pattern.
        match self.pattern {
            Pattern::Plain => self.paint_with(grain, x, y, out, |_, _| 0.0),
            Pattern::Stripes => self.paint_with(grain, x, y, out, |p, _| edge(wave(p), 4.0)),
            Pattern::Checks => self.paint_with(grain, x, y, out, |p, q| edge(wave(p) * wave(q), 8.0)),
            Pattern::Dots => self.paint_with(grain, x, y, out, |p, q| {
                let (p, q) = (fraction(p) - 0.5, fraction(q) - 0.5);
                edge(0.09 - p * p - q * q, 12.0)
            }),
            Pattern::Bricks => self.paint_with(grain, x, y, out, |p, q| {
                let shift = if floor(q) & 1 == 0 { 0.0 } else { 0.5 };
                let joint = |position: f32, share: f32| (fraction(position) - 0.5).abs() - (0.5 - share);
                edge(joint(p * 0.5 + shift, 0.04).max(joint(q, 0.08)), 30.0)
            }),
            Pattern::Clouds => {
                let scale = grain.side as f32 / 16.0;
                self.paint_with(grain, x, y, out, |p, q| edge(grain.interpolate(p * scale, q * scale), 1.2));
            }
            Pattern::Gradient => self.paint_with(grain, x, y, out, |_, q| edge(q * 0.5, 1.0)),
        }
    }

    #[inline(always)]
    fn paint_with(&self, grain: &NoiseTile, x: usize, y: usize, out: &mut [u8], pattern: impl Fn(f32, f32) -> f32) {
        let Pose { center, scale, axis: [c, s] } = self.pose;
        let [a, b] = self.colors;
        let step = [b[0] - a[0], b[1] - a[1], b[2] - a[2]];
        let per_pixel = 1.0 / scale;
        let dy = (y as f32 + 0.5 - center[1]) * per_pixel;
        let grain_row = grain.row(y + self.grain_start[1]);
        for (column, pixel) in out.chunks_exact_mut(3).enumerate() {
            let dx = ((x + column) as f32 + 0.5 - center[0]) * per_pixel;
            let (p, q) = (dx * c + dy * s, dy * c - dx * s);
            let share = pattern(p * self.frequency, q * self.frequency);
            let shade = (1.0 + self.light[0] * dx + self.light[1] * dy - self.bulge * (dx * dx + dy * dy)).max(0.25);
            let grain = self.grain * grain_row[(x + column + self.grain_start[0]) & (grain_row.len() - 1)];
            for channel in 0..3 {
                let level = (a[channel] + step[channel] * share) * shade + grain;
                pixel[channel] = (level as i32).clamp(0, 255) as u8;
            }
        }
    }
}

/// A ramp from 0 to 1, centred at zero, with the given slope.
#[inline]
fn edge(value: f32, slope: f32) -> f32 {
    (value * slope + 0.5).clamp(0.0, 1.0)
}

/// A triangle wave from -1 to 1.
#[inline]
fn wave(position: f32) -> f32 {
    (fraction(position) - 0.5).abs() * 4.0 - 1.0
}

#[inline]
fn fraction(position: f32) -> f32 {
    position - floor(position) as f32
}

/// The standard `floor` is a function call on targets without a rounding instruction.
#[inline]
fn floor(position: f32) -> i32 {
    let whole = position as i32;
    whole - i32::from(position < whole as f32)
}

#[inline]
fn smooth(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

#[inline]
fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}
