//! Simplification of rings by the Douglas-Peucker algorithm.
//!
//! The result is a subset of a ring's corners that keeps every removed corner within a given distance in pixels.

type Point = [f64; 2];

/// Number of successive cuts after which the rest of a ring is halved instead. Bounds the time for adversarial rings
/// and long combs; outlines of real objects need a few dozen.
const MAX_DEPTH: u32 = 128;

/// Buffers that are reused for all rings.
#[derive(Default)]
pub(super) struct Simplifier {
    keep: Vec<bool>,
    /// Parts of the ring between kept corners, as start, end and the number of cuts that led to them.
    parts: Vec<(usize, usize, u32)>,
}

impl Simplifier {
    /// Returns the corners to keep of `ring`, whose last point repeats its first. Kept are the first corner, the corner
    /// farthest from it and then, while a corner between two kept ones is more than `tolerance` away from their chord,
    /// the farthest such corner. Two corners enclose nothing, so in this case none is returned. An exterior also keeps
    /// the farthest corner on either side of the first two, hence at least four.
    pub(super) fn simplify(&mut self, ring: &[Point], tolerance: f64, is_exterior: bool) -> Vec<Point> {
        let [corners @ .., last] = ring else { return Vec::new() };
        let Some((far, _)) = farthest(corners, |[x, y]| square([x - last[0], y - last[1]])) else { return Vec::new() };
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
            // Squared distances times the squared chord: no division, and exact for images of usual size.
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
            let Some((at, distance)) = farthest(&ring[from + 1..to], distance) else { continue };
            let at = from + 1 + at;
            if distance > tolerance * tolerance * scale || is_exterior && depth == 0 {
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

/// The index of the first point for which `value`, which must not be negative, is largest, together with that value.
fn farthest(points: &[Point], value: impl Fn(Point) -> f64) -> Option<(usize, f64)> {
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
