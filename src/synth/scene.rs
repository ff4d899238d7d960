//! Draws a random scene: an image, and the label map of the objects in it.

use super::canvas::{Canvas, color};
use super::labels::LabelMap;
use super::objects;
use super::options::Preset;
use super::outline::{Outline, Pose};
use super::paint::{Camera, paint};
use super::rng::{Rng, cos_sin};
use super::texture::{NoiseTile, Pattern};

/// An image and its label map.
pub(super) struct LabeledImage {
    /// Row-major RGB, 3 bytes a pixel.
    pub(super) rgb: Vec<u8>,
    pub(super) map: LabelMap,
}

/// Draws a background, and objects in front of it from the largest to the smallest.
pub(super) fn draw(preset: Preset, rng: &mut Rng) -> LabeledImage {
    let size = preset.size(rng);
    // From clean to rough and noisy: the size of the JPEG depends on this more than on anything else.
    let [roughness, noise] = preset.roughness(rng);
    let mut canvas = Canvas::new(size, roughness, rng);
    let horizon = match rng.between(0, 3) {
        0 | 1 => landscape(&mut canvas, rng),
        2 => room(&mut canvas, rng),
        _ => table(&mut canvas, rng),
    };
    let [few, many] = preset.objects();
    let mut radii: Vec<f32> = (0..rng.between(few, many)).map(|_| radius(preset, rng)).collect();
    radii.sort_by(|a, b| b.total_cmp(a));
    let ([width, height], short) = (canvas.size(), canvas.short_side());
    for radius in radii {
        let radius = radius * short;
        // Most objects are on the ground; some are in the air.
        let foot = if rng.chance(0.8) { rng.range(horizon, height * 1.02) } else { rng.range(height * 0.1, height) };
        objects::draw(&mut canvas, [rng.range(0.02, 0.98) * width, foot - 0.8 * radius], radius, rng);
    }
    let grain = NoiseTile::new(if preset == Preset::Full { 256 } else { 64 }, rng);
    let camera = Camera { noise, seed: rng.next_u64() };
    let rgb = paint(&canvas.map, &canvas.surfaces, &grain, &camera);
    LabeledImage { rgb, map: canvas.map }
}

/// Radius of an object as a share of the shorter side: many small ones, few large ones.
fn radius(preset: Preset, rng: &mut Rng) -> f32 {
    let t = rng.unit();
    preset.smallest_radius() + 0.05 * t + 0.24 * t * t * t * t
}

/// Draws a sky, sometimes with a sun, and one to four ridges of hills. Returns the row below which objects are placed.
fn landscape(canvas: &mut Canvas, rng: &mut Rng) -> f32 {
    let ([width, height], short) = (canvas.size(), canvas.short_side());
    let horizon = height * rng.range(0.3, 0.55);
    let sky = Pose::upright([width / 2.0, horizon * 0.5], short * 0.5);
    let hue = rng.range(0.5, 0.64);
    let cloudy = rng.chance(0.6);
    let pattern = if cloudy { Pattern::Clouds } else { Pattern::Gradient };
    let colors = [color(hue, rng.range(0.4, 0.75), rng.range(0.65, 0.95)), color(hue, 0.12, 0.97)];
    let mut surface = canvas.surface(&sky, pattern, colors, rng);
    surface.frequency = if cloudy { 0.35 } else { 1.0 };
    surface.grain *= 0.4;
    surface.light = [0.0, 0.08];
    canvas.set_background(surface);
    if rng.chance(0.5) {
        let at = [rng.range(0.1, 0.9) * width, rng.range(0.2, 0.8) * horizon];
        let sun = Pose::upright(at, short * rng.range(0.03, 0.07));
        let surface = canvas.surface(&sun, Pattern::Plain, [color(0.14, 0.3, 1.0); 2], rng);
        canvas.add_region(&Outline::ellipse(&sun, [0.0; 2], [1.0; 2]), surface, None);
    }
    let ridges = rng.between(1, 4);
    let base_hue = rng.range(0.18, 0.4);
    for ridge in 0..ridges {
        let depth = ridge as f32 / ridges as f32;
        let level = horizon + depth * (height - horizon) * 0.6;
        let pose = Pose::upright([width / 2.0, level], short * 0.4);
        let near = 0.4 + 0.5 * depth;
        let hue = base_hue + 0.25 * (1.0 - depth) * rng.unit();
        let colors = [color(hue, near * 0.7, 0.75 - 0.3 * depth), color(hue - 0.04, near * 0.8, 0.6)];
        let mut surface = canvas.surface(&pose, Pattern::Clouds, colors, rng);
        surface.frequency = rng.range(0.5, 1.5);
        surface.light = [0.0, -0.1];
        let rise = short * 0.12 * (1.2 - depth);
        canvas.add_region(&ridge_outline([width, height], level, rise, rng), surface, None);
    }
    horizon
}

/// The outline of everything below a wavy line at `level` with an amplitude of about `rise`.
fn ridge_outline([width, height]: [f32; 2], level: f32, rise: f32, rng: &mut Rng) -> Outline {
    let waves: Vec<[f32; 3]> =
        [1.3, 2.7, 5.1, 17.0, 43.0].map(|wave| [wave, rng.unit(), rng.range(0.3, 1.0) * rise / wave]).to_vec();
    let mut points = vec![[-1.0, height + 1.0]];
    points.extend((0..=160).map(|step| {
        let t = step as f32 / 160.0;
        let wave: f32 = waves.iter().map(|[n, phase, size]| size * cos_sin(n * t + phase)[1]).sum();
        [t * (width + 2.0) - 1.0, level - wave]
    }));
    points.push([width + 1.0, height + 1.0]);
    Outline::polygon(points)
}

/// Draws a wall with up to two framed pictures, a skirting board and a floor. Returns the row below which objects are
/// placed.
fn room(canvas: &mut Canvas, rng: &mut Rng) -> f32 {
    let ([width, height], short) = (canvas.size(), canvas.short_side());
    let floor_level = height * rng.range(0.5, 0.75);
    let upright = |y: f32| Pose::upright([width / 2.0, y], short * 0.5);
    let (hue, value) = (rng.unit(), rng.range(0.6, 0.9));
    let colors = [color(hue, 0.25, value), color(hue, 0.3, value - 0.08)];
    let pattern = [Pattern::Plain, Pattern::Stripes, Pattern::Bricks, Pattern::Clouds][rng.between(0, 3)];
    let mut wall = canvas.surface(&upright(0.0), pattern, colors, rng);
    wall.frequency = 5.0;
    canvas.set_background(wall);
    let below = |y: f32| vec![[-1.0, y], [width + 1.0, y], [width + 1.0, height + 1.0], [-1.0, height + 1.0]];
    let board = canvas.surface(&upright(floor_level), Pattern::Plain, [color(hue, 0.1, 0.9); 2], rng);
    canvas.add_region(&Outline::polygon(below(floor_level - short * 0.03)), board, None);
    let pattern = [Pattern::Stripes, Pattern::Checks, Pattern::Clouds][rng.between(0, 2)];
    let floor_hue = rng.range(0.04, 0.12);
    let colors = [color(floor_hue, 0.5, 0.45), color(floor_hue, 0.45, 0.62)];
    let mut floor = canvas.surface(&upright(height), pattern, colors, rng);
    floor.frequency = 3.0;
    floor.light = [0.0, 0.15];
    canvas.add_region(&Outline::polygon(below(floor_level)), floor, None);
    for _ in 0..rng.between(0, 2) {
        let at = [rng.range(0.1, 0.9) * width, floor_level * rng.range(0.25, 0.6)];
        let pose = Pose::upright(at, short * rng.range(0.08, 0.16));
        let frame_surface = canvas.random_surface(&pose, rng);
        let frame = canvas.add_region(&Outline::rectangle(&pose, [0.0; 2], [1.0, 0.75], 0.0), frame_surface, None);
        let surface = canvas.random_surface(&pose, rng);
        canvas.add_part(&Outline::rectangle(&pose, [0.0; 2], [0.88, 0.63], 0.0), surface, frame);
    }
    floor_level
}

/// Draws a table from above, with one to four large cloths on it. Returns the row below which objects are placed.
fn table(canvas: &mut Canvas, rng: &mut Rng) -> f32 {
    let ([width, height], short) = (canvas.size(), canvas.short_side());
    let middle = Pose::upright([width / 2.0, height / 2.0], short * 0.6);
    let top = canvas.random_surface(&middle, rng);
    canvas.set_background(top);
    for _ in 0..rng.between(1, 4) {
        let center = [rng.range(0.1, 0.9) * width, rng.range(0.1, 0.9) * height];
        let pose = Pose { center, scale: short * rng.range(0.25, 0.5), axis: cos_sin(rng.unit()) };
        let cloth = canvas.random_surface(&pose, rng);
        let outline = if rng.chance(0.5) {
            Outline::rectangle(&pose, [0.0; 2], [1.0, rng.range(0.5, 0.9)], 0.05)
        } else {
            Outline::blob(&pose, [0.0; 2], [1.0, 0.8], 0.15, rng)
        };
        canvas.add_region(&outline, cloth, None);
    }
    height * 0.1
}
