//! Rings with fewer corners (Douglas-Peucker). Comes in: a ring and a distance in pixels. Goes out: those of its corners
//! from whose ring no dropped corner is further away. Cannot fail.

type Point = [f64; 2];

/// Which corners of one ring stay; its memory is used again from ring to ring.
#[derive(Default)]
pub(super) struct Simplifier {
    keep: Vec<bool>,
    /// Chords between corners that stay, whose inner corners are still to be looked at.
    chords: Vec<(usize, usize)>,
}

impl Simplifier {
    /// The corners of `ring` that stay: its first, the one furthest from that, and then, as long as a corner between two
    /// that stay next to each other is more than `tolerance` away from their chord, the one furthest from it. If only
    /// two are left, which enclose nothing, then `solid` keeps the furthest on both sides of their chord as well: four
    /// corners that still follow the ring. Otherwise the ring is gone: no corners.
    pub(super) fn simplify(&mut self, ring: &[Point], tolerance: f64, solid: bool) -> Vec<Point> {
        // Past the last corner comes the first again.
        let point = |index: usize| if index < ring.len() { ring[index] } else { ring[0] };
        let distance = |index: usize| square([0, 1].map(|axis| point(index)[axis] - point(0)[axis]));
        let Some((far, _)) = furthest(1, ring.len(), distance) else { return Vec::new() };
        self.keep.clear();
        self.keep.resize(ring.len(), false);
        (self.keep[0], self.keep[far]) = (true, true);
        let mut kept = 2;
        let mut sides = Vec::new();
        self.chords.clear();
        self.chords.extend([(0, far), (far, ring.len())]);
        while let Some((from, to)) = self.chords.pop() {
            let Some((at, distance)) = furthest(from + 1, to, to_chord(point(from), point(to), point)) else {
                continue;
            };
            if distance > tolerance * tolerance {
                self.keep[at] = true;
                kept += 1;
                self.chords.extend([(from, at), (at, to)]);
            } else if kept == 2 {
                sides.push(at);
            }
        }
        if kept == 2 {
            if !solid {
                return Vec::new();
            }
            sides.into_iter().for_each(|at| self.keep[at] = true);
        }
        ring.iter().zip(&self.keep).filter(|&(_, &keep)| keep).map(|(&point, _)| point).collect()
    }
}

/// The index in `from..to` with the largest value, and that value. Of equal ones it takes one towards the middle: rings
/// like combs, on which all are equal, are then cut in halves.
fn furthest(from: usize, to: usize, value: impl Fn(usize) -> f64) -> Option<(usize, f64)> {
    let middle = usize::midpoint(from, to);
    let mut best = None;
    for index in (middle..to).chain((from..middle).rev()) {
        let value = value(index);
        if best.is_none_or(|(_, most)| value > most) {
            best = Some((index, value));
        }
    }
    best
}

/// The squared distance of a corner from the chord between two others.
fn to_chord(from: Point, to: Point, point: impl Fn(usize) -> Point) -> impl Fn(usize) -> f64 {
    let chord = [to[0] - from[0], to[1] - from[1]];
    let length = square(chord);
    move |index| {
        let [x, y] = point(index);
        let [dx, dy] = [x - from[0], y - from[1]];
        let along = dx * chord[0] + dy * chord[1];
        if along <= 0.0 {
            square([dx, dy])
        } else if along >= length {
            square([x - to[0], y - to[1]])
        } else {
            let across = dx * chord[1] - dy * chord[0];
            across * across / length
        }
    }
}

fn square([x, y]: Point) -> f64 {
    x * x + y * y
}
