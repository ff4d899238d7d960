//! A scene under construction: outlines with surfaces, added back to front.
//!
//! The result is the label map and the surfaces that [`paint`](super::paint) needs.

use super::labels::LabelMap;
use super::outline::{Outline, Pose};
use super::rng::{Rng, cos_sin};
use super::texture::{Color, Pattern, Surface};

/// The label map, and the surface of each label.
pub(super) struct Canvas {
    pub(super) map: LabelMap,
    pub(super) surfaces: Vec<Surface>,
    /// Light of the whole scene: how brightness grows to the right and downwards.
    light: [f32; 2],
    /// Strength of the surfaces' grain, in levels of 255.
    roughness: f32,
    /// Hue of the latest object, in turns.
    hue: f32,
}

impl Canvas {
    /// An empty canvas. Its background, label 0, is plain grey until [`Canvas::set_background`].
    pub(super) fn new([width, height]: [u32; 2], roughness: f32, rng: &mut Rng) -> Self {
        let light = [rng.range(-0.2, 0.2), rng.range(-0.3, -0.05)];
        let mut canvas =
            Self { map: LabelMap::new(width, height), surfaces: Vec::new(), light, roughness, hue: rng.unit() };
        let base = canvas.surface(&Pose::upright([0.0, 0.0], 1.0), Pattern::Plain, [[128.0; 3]; 2], rng);
        canvas.surfaces.push(base);
        canvas
    }

    /// Width and height in pixels.
    pub(super) fn size(&self) -> [f32; 2] {
        [self.map.width as f32, self.map.height as f32]
    }

    /// The shorter side in pixels.
    pub(super) fn short_side(&self) -> f32 {
        self.map.width.min(self.map.height) as f32
    }

    /// Sets the surface of the background.
    pub(super) fn set_background(&mut self, surface: Surface) {
        self.surfaces[0] = surface;
    }

    /// Adds a region without pixels of its own: its mask is that of its parts.
    pub(super) fn add_group(&mut self) -> u16 {
        self.surfaces.push(self.surfaces[0].clone());
        self.map.add(None)
    }

    /// Adds a region in front of everything drawn so far.
    pub(super) fn add_region(&mut self, outline: &Outline, surface: Surface, parent: Option<u16>) -> u16 {
        let label = self.map.add(parent);
        self.surfaces.push(surface);
        self.map.fill(outline, label, None);
        label
    }

    /// Adds a part to region `whole`, where that region is visible.
    pub(super) fn add_part(&mut self, outline: &Outline, surface: Surface, whole: u16) -> u16 {
        let label = self.map.add(Some(whole));
        self.surfaces.push(surface);
        self.map.fill(outline, label, Some(whole));
        label
    }

    /// A surface in the scene's light.
    pub(super) fn surface(&self, pose: &Pose, pattern: Pattern, colors: [Color; 2], rng: &mut Rng) -> Surface {
        Surface {
            pose: *pose,
            pattern,
            frequency: 1.0,
            colors,
            light: self.light,
            bulge: 0.0,
            grain: self.roughness * rng.range(0.4, 1.6),
            grain_start: [rng.between(0, 511), rng.between(0, 511)],
        }
    }

    /// A surface of random colours and pattern, whose hue is far from that of the one before.
    pub(super) fn random_surface(&mut self, pose: &Pose, rng: &mut Rng) -> Surface {
        use Pattern::{Bricks, Checks, Clouds, Dots, Gradient, Plain, Stripes};
        // The golden angle keeps the hues of successive objects far apart.
        self.hue += 0.618_034 + rng.range(-0.08, 0.08);
        let patterns =
            [Plain, Plain, Plain, Gradient, Gradient, Clouds, Clouds, Stripes, Stripes, Checks, Dots, Bricks];
        let pattern = patterns[rng.between(0, patterns.len() - 1)];
        let (saturation, value) = (0.15 + 0.75 * rng.unit() * rng.range(0.4, 1.0), rng.range(0.4, 0.95));
        let second_hue = self.hue + rng.range(-0.12, 0.12);
        let second_value = if value > 0.7 { value - rng.range(0.15, 0.4) } else { value + rng.range(0.15, 0.35) };
        let colors = [color(self.hue, saturation, value), color(second_hue, saturation * 0.8, second_value)];
        let turned = Pose { axis: cos_sin(rng.unit()), ..*pose };
        let pose = if matches!(pattern, Gradient | Bricks) { pose } else { &turned };
        let mut surface = self.surface(pose, pattern, colors, rng);
        surface.frequency = match pattern {
            Gradient => 1.0,
            Clouds => rng.range(0.5, 2.0),
            _ => rng.range(1.5, 5.0),
        };
        surface
    }
}

/// A colour from hue in turns, saturation and brightness from 0 to 1.
pub(super) fn color(hue: f32, saturation: f32, value: f32) -> Color {
    [5.0, 3.0, 1.0].map(|start| {
        let k = (start + 6.0 * (hue - hue.floor())) % 6.0;
        255.0 * (value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0))
    })
}
