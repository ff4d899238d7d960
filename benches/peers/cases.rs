//! Generates masks and polygons like those of SA-1B: images with their counts strings and polygons, the same ones in
//! each run.
//!
//! A mask is an ellipse or a cell with straight edges, whose outline is frayed by fractal noise. Some consist only of
//! the veins of that noise, and in a few, single pixels are knocked out. Many masks are small, few are large.

use maskstream::mask::Rle;
use serde::Serialize;

use super::sure;

/// One image: the input of the operations.
#[derive(Serialize)]
pub(super) struct Image {
    pub(super) height: u32,
    pub(super) width: u32,
    /// Counts strings of its masks.
    pub(super) counts: Vec<String>,
    /// Outlines, x and y alternating.
    pub(super) polygons: Vec<Vec<f64>>,
}

/// Height and width.
const SIZES: [[u32; 2]; 5] = [[1500, 2250], [2250, 1500], [1500, 2250], [1500, 2000], [1500, 2250]];

/// All images, each with this many masks and polygons.
pub(super) fn images(masks: usize) -> Vec<Image> {
    let mut rng = Rng(1);
    let image = |[height, width]: [u32; 2]| {
        let size = [height, width].map(f64::from);
        let counts = (0..masks).map(|_| counts([height, width], &mut rng)).collect();
        let polygons = (0..masks).map(|_| polygon(size, &mut rng)).collect();
        Image { height, width, counts, polygons }
    };
    SIZES.map(image).into()
}

fn counts([height, width]: [u32; 2], rng: &mut Rng) -> String {
    // If a mask lies outside the image, another one is drawn.
    loop {
        let runs = Shape::new([height, width].map(f64::from), rng).runs(height, width);
        if runs.len() > 2 {
            return sure(Rle::from_runs(runs, height, width)).to_counts();
        }
    }
}

/// The shape of a mask.
struct Shape {
    /// x and y.
    center: [f64; 2],
    radius: f64,
    axis: [f64; 2],
    /// Ratio of the ellipse's width to its length.
    ratio: f64,
    /// Half-planes whose intersection is the body, if it is not an ellipse.
    planes: Vec<[f64; 2]>,
    /// How far the edge frays, as a fraction of the radius.
    fray: f64,
    /// Pixels per cell of the coarsest noise.
    scale: f64,
    /// The mask is only where the noise is this close to zero.
    veins: f64,
    /// Share of pixels that are knocked out.
    pepper: f64,
    seed: u64,
}

impl Shape {
    fn new([height, width]: [f64; 2], rng: &mut Rng) -> Self {
        let kind = rng.unit();
        let radius = 18.0 * 44_f64.powf(rng.unit().powf(1.15));
        let planes = if kind < 0.4 { (0..rng.between(5, 9)).map(|_| rng.direction()).collect() } else { Vec::new() };
        let thin = (0.86..0.94).contains(&kind);
        Self {
            center: [rng.unit() * width, rng.unit() * height],
            radius,
            axis: rng.direction(),
            ratio: rng.range(0.3, 1.0),
            planes,
            fray: if rng.unit() < 0.3 { 0.05 } else { rng.range(0.1, 0.35) },
            scale: (radius / rng.range(1.0, 4.0)).max(4.0),
            veins: if thin { rng.range(0.03, 0.1) } else { f64::INFINITY },
            pepper: if kind > 0.96 { rng.range(0.005, 0.09) } else { 0.0 },
            seed: rng.bits(),
        }
    }

    fn runs(&self, height: u32, width: u32) -> Vec<u32> {
        let reach = self.radius * (1.0 + self.fray);
        let range = |center: f64, len: u32| {
            let limit = |at: f64| at.clamp(0.0, f64::from(len)) as u32;
            limit(center - reach)..limit(center + reach)
        };
        let (mut runs, mut run, mut value) = (Vec::new(), 0, false);
        let mut push = |len: u32, pixel: bool| {
            if len > 0 && pixel != value {
                runs.push(std::mem::take(&mut run));
                value = pixel;
            }
            run += len;
        };
        let (columns, rows) = (range(self.center[0], width), range(self.center[1], height));
        push(columns.start * height, false);
        for x in columns.clone() {
            push(rows.start, false);
            rows.clone().for_each(|y| push(1, self.contains(x, y)));
            push(height - rows.end, false);
        }
        push((width - columns.end) * height, false);
        runs.push(run);
        runs
    }

    fn contains(&self, x: u32, y: u32) -> bool {
        let at = [(f64::from(x) - self.center[0]) / self.radius, (f64::from(y) - self.center[1]) / self.radius];
        let along = |axis: [f64; 2]| at[0] * axis[0] + at[1] * axis[1];
        let distance = if self.planes.is_empty() {
            length([along(self.axis), along([-self.axis[1], self.axis[0]]) / self.ratio])
        } else {
            self.planes.iter().map(|&plane| along(plane) / 0.7).fold(length(at), f64::max)
        };
        if distance > 1.0 + self.fray {
            return false;
        }
        if distance < 1.0 - 2.0 * self.fray && self.veins.is_infinite() {
            return self.pepper == 0.0 || unit(hash(x.into(), y.into(), self.seed)) >= self.pepper;
        }
        let noise = fractal(f64::from(x) / self.scale, f64::from(y) / self.scale, self.seed);
        distance + self.fray * noise < 1.0 && noise.abs() < self.veins
    }
}

/// A closed outline of 20 to 300 points around a centre in the image, clipped to it.
fn polygon([height, width]: [f64; 2], rng: &mut Rng) -> Vec<f64> {
    let points = (20.0 * 15_f64.powf(rng.unit())) as usize;
    let radius = 3.0 * points as f64 * rng.range(0.3, 1.0);
    let (center, seed) = ([rng.unit() * width, rng.unit() * height], rng.bits());
    let point = |index: usize| {
        let (sin, cos) = (index as f64 / points as f64 * std::f64::consts::TAU).sin_cos();
        let radius = radius * (1.0 + 0.25 * fractal(2.0 * cos + 9.0, 2.0 * sin + 9.0, seed));
        [(center[0] + radius * cos).clamp(0.0, width), (center[1] + radius * sin).clamp(0.0, height)]
    };
    (0..points).flat_map(point).collect()
}

fn length([x, y]: [f64; 2]) -> f64 {
    (x * x + y * y).sqrt()
}

/// Noise of four scales, mostly in [-1, 1].
fn fractal(x: f64, y: f64, seed: u64) -> f64 {
    (0..4)
        .map(|octave| {
            let scale = f64::from(1 << octave);
            smooth(x * scale, y * scale, seed + octave) / scale
        })
        .sum()
}

/// Noise of scale 1, in [-1, 1]; `x` and `y` are positive.
fn smooth(x: f64, y: f64, seed: u64) -> f64 {
    let [left, top] = [x as u64, y as u64];
    let [u, v] = [x - left as f64, y - top as f64].map(|t| t * t * (3.0 - 2.0 * t));
    let corner = |dx: u64, dy: u64| unit(hash(left + dx, top + dy, seed));
    let mix = |a: f64, b: f64, t: f64| a + (b - a) * t;
    2.0 * mix(mix(corner(0, 0), corner(1, 0), u), mix(corner(0, 1), corner(1, 1), u), v) - 1.0
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// In `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        unit(self.bits())
    }

    fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.bits() % (high - low)
    }

    /// A vector of length 1.
    fn direction(&mut self) -> [f64; 2] {
        let (sin, cos) = self.range(0.0, std::f64::consts::TAU).sin_cos();
        [cos, sin]
    }
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn hash(x: u64, y: u64, seed: u64) -> u64 {
    mix(seed ^ (x << 32) ^ y)
}

fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
