//! Closed shapes: polygons made of centres, radii and randomness, and the column spans of the pixels inside them.

use super::rng::{Rng, cos_sin};

/// One or more closed contours, filled by the even-odd rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Outline(Vec<Vec<[f32; 2]>>);

/// Where a shape lies: centre and scale in pixels, and a rotation. Shapes are given around (0, 0), in units of the
/// scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pose {
    pub(super) center: [f32; 2],
    pub(super) scale: f32,
    /// Cosine and sine of the rotation.
    pub(super) axis: [f32; 2],
}

impl Pose {
    /// A pose without rotation.
    pub(super) fn upright(center: [f32; 2], scale: f32) -> Self {
        Self { center, scale, axis: [1.0, 0.0] }
    }

    /// Maps a point of the shape's own plane to pixels.
    pub(super) fn place(&self, [u, v]: [f32; 2]) -> [f32; 2] {
        let [c, s] = self.axis;
        [self.center[0] + (u * c - v * s) * self.scale, self.center[1] + (u * s + v * c) * self.scale]
    }
}

impl Outline {
    /// A polygon through `points`, in pixels.
    pub(super) fn polygon(points: Vec<[f32; 2]>) -> Self {
        Self(vec![points])
    }

    /// A polygon through `points`, in the pose's plane.
    pub(super) fn posed(pose: &Pose, points: &[[f32; 2]]) -> Self {
        Self::polygon(points.iter().map(|&point| pose.place(point)).collect())
    }

    /// An ellipse with half axes `radii` around `at`.
    pub(super) fn ellipse(pose: &Pose, at: [f32; 2], radii: [f32; 2]) -> Self {
        Self::radial(pose, at, 72, |turns| {
            let [c, s] = cos_sin(turns);
            [c * radii[0], s * radii[1]]
        })
    }

    /// A rectangle around `at` with half sides `half` and corners of radius `corner`.
    pub(super) fn rectangle(pose: &Pose, at: [f32; 2], half: [f32; 2], corner: f32) -> Self {
        let corner = corner.min(half[0]).min(half[1]);
        Self::radial(pose, at, 48, |turns| {
            let [c, s] = cos_sin(turns);
            let side = |toward: f32, half: f32| (half - corner).copysign(toward) + corner * toward;
            [side(c, half[0]), side(s, half[1])]
        })
    }

    /// An irregular closed line around an ellipse; it deviates by up to about `wobble` of the radius.
    pub(super) fn blob(pose: &Pose, at: [f32; 2], radii: [f32; 2], wobble: f32, rng: &mut Rng) -> Self {
        // The waves of 2 to 9 periods a turn make the form, the faster ones the ragged edge.
        let waves: Vec<[f32; 3]> = [2, 3, 4, 5, 7, 9, 23, 41]
            .map(|wave| [wave as f32, rng.unit(), rng.range(0.2, 1.0) * wobble / (1.0 + 0.3 * wave as f32)])
            .to_vec();
        Self::radial(pose, at, 200, |turns| {
            let radius = 1.0 + waves.iter().map(|[n, phase, size]| size * cos_sin(n * turns + phase)[1]).sum::<f32>();
            let [c, s] = cos_sin(turns);
            [c * radii[0] * radius, s * radii[1] * radius]
        })
    }

    /// A star, or a regular polygon if `inner` is 1.
    pub(super) fn star(pose: &Pose, points: usize, inner: f32) -> Self {
        let corner = |index: usize| {
            let radius = if index.is_multiple_of(2) { 1.0 } else { inner };
            let [c, s] = cos_sin(index as f32 / (2 * points) as f32);
            pose.place([c * radius, s * radius])
        };
        Self::polygon((0..2 * points).map(corner).collect())
    }

    /// This outline with `hole` cut out.
    pub(super) fn with_hole(mut self, hole: Outline) -> Self {
        self.0.extend(hole.0);
        self
    }

    fn radial(pose: &Pose, at: [f32; 2], points: usize, point: impl Fn(f32) -> [f32; 2]) -> Self {
        let place = |index: usize| {
            let [u, v] = point((index as f32 + 0.5) / points as f32);
            pose.place([at[0] + u, at[1] + v])
        };
        Self::polygon((0..points).map(place).collect())
    }

    /// Calls `f(x, y0, y1)` for each span of pixels `y0..y1` of column `x` whose centres lie inside, within an image of
    /// this size.
    pub(super) fn for_each_span(&self, width: u32, height: u32, mut f: impl FnMut(u32, u32, u32)) {
        // One entry for each crossing of a contour with the centre line of a column: the column, and the first row
        // whose centre lies below the crossing.
        let mut crossings: Vec<(u32, u32)> = Vec::new();
        let first_centre = |position: f32, len: u32| (position - 0.5).ceil().clamp(0.0, len as f32) as u32;
        for contour in &self.0 {
            for (index, &a) in contour.iter().enumerate() {
                let b = contour[(index + 1) % contour.len()];
                let (left, right) = if a[0] <= b[0] { (a, b) } else { (b, a) };
                let slope = (right[1] - left[1]) / (right[0] - left[0]);
                for x in first_centre(left[0], width)..first_centre(right[0], width) {
                    let y = left[1] + (x as f32 + 0.5 - left[0]) * slope;
                    crossings.push((x, first_centre(y, height)));
                }
            }
        }
        // Every closed contour crosses a line an even number of times.
        crossings.sort_unstable();
        for pair in crossings.chunks_exact(2) {
            if pair[0].1 < pair[1].1 {
                f(pair[0].0, pair[0].1, pair[1].1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_hold_the_pixels_whose_centres_are_inside() {
        let ring = Outline::polygon(vec![[1.0, 1.0], [7.0, 1.0], [7.0, 7.0], [1.0, 7.0]])
            .with_hole(Outline::polygon(vec![[3.0, 3.0], [5.0, 3.0], [5.0, 5.0], [3.0, 5.0]]));
        let mut area = 0;
        ring.for_each_span(8, 6, |_, y0, y1| area += y1 - y0);
        // 6 x 5 rows of the outer square fit the image, less the hole.
        assert_eq!(area, 6 * 5 - 4);
    }
}
