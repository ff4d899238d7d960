//! Rings with fewer corners (Douglas-Peucker). Comes in: a ring and a distance in pixels. Goes out: those of its corners
//! that keep every other one within that distance. Cannot fail.

type Point = [f64; 2];

/// Chords cut off a ring one after the other before what is left is halved: it bounds the time that a ring made for
/// it, or a long comb, can take. Outlines of things need a few dozen.
const MAX_DEPTH: u32 = 128;

/// Memory that is used again from ring to ring.
#[derive(Default)]
pub(super) struct Simplifier {
    keep: Vec<bool>,
    /// Parts of the ring between corners that stay, and how often the ring was cut for them.
    parts: Vec<(usize, usize, u32)>,
}

impl Simplifier {
    /// The corners that stay of a `ring` whose last point is its first again: the first, the one furthest from it, and
    /// then, as long as a corner between two of them is more than `tolerance` away from their chord, the one furthest
    /// from it. Two enclose nothing: then there are no corners. Of a `solid` ring the furthest on either way between the
    /// first two always stays: four that follow the ring.
    pub(super) fn simplify(&mut self, ring: &[Point], tolerance: f64, solid: bool) -> Vec<Point> {
        let [corners @ .., last] = ring else { return Vec::new() };
        let Some((far, _)) = furthest(corners, |[x, y]| square([x - last[0], y - last[1]])) else { return Vec::new() };
        self.keep.clear();
        self.keep.resize(corners.len(), false);
        (self.keep[0], self.keep[far]) = (true, true);
        let mut kept = 2;
        self.parts.clear();
        self.parts.extend([(0, far, 0), (far, corners.len(), 0)]);
        while let Some((from, to, depth)) = self.parts.pop() {
            let ([ax, ay], [bx, by]) = (ring[from], ring[to]);
            let [cx, cy] = [bx - ax, by - ay];
            let length = square([cx, cy]);
            // Squares of distances, times that of the chord: no division, and exact for images of usual size.
            let scale = if length > 0.0 { length } else { 1.0 };
            let distance = |[x, y]: Point| {
                let [dx, dy] = [x - ax, y - ay];
                let along = dx * cx + dy * cy;
                if along <= 0.0 {
                    square([dx, dy]) * scale
                } else if along >= length {
                    square([x - bx, y - by]) * scale
                } else {
                    let across = dx * cy - dy * cx;
                    across * across
                }
            };
            let Some((at, distance)) = furthest(&ring[from + 1..to], distance) else { continue };
            let at = from + 1 + at;
            if distance > tolerance * tolerance * scale || solid && depth == 0 {
                let at = if depth < MAX_DEPTH { at } else { usize::midpoint(from, to) };
                self.keep[at] = true;
                kept += 1;
                self.parts.extend([(from, at, depth + 1), (at, to, depth + 1)]);
            }
        }
        if kept < 3 {
            return Vec::new();
        }
        corners.iter().zip(&self.keep).filter(|&(_, &keep)| keep).map(|(&corner, _)| corner).collect()
    }
}

/// The place of the first point for which `value`, which is not negative, is largest, and that value.
fn furthest(points: &[Point], value: impl Fn(Point) -> f64) -> Option<(usize, f64)> {
    let (mut at, mut most) = (0, -1.0);
    for (index, &point) in points.iter().enumerate() {
        let value = value(point);
        if value > most {
            (at, most) = (index, value);
        }
    }
    if points.is_empty() { None } else { Some((at, most)) }
}

fn square([x, y]: Point) -> f64 {
    x * x + y * y
}
