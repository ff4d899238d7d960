//! Blocks -> closed rings of corners. Comes in: a mask. Goes out: each ring around its pixels, and which of them are the
//! holes of which. Cannot fail.
//!
//! # How
//!
//! A ring turns at corners only, and each corner ends one vertical and one horizontal edge. Between two columns of
//! pixels, the corners are where a stretch of one column starts or ends and none of the other column does the same: in
//! the order of their rows they are, two by two, the ends of the vertical edges. The edge above or below a stretch goes
//! on as long as the next column has a stretch that starts or ends at the same row: a corner opens it and another one
//! closes it. So one pass over the columns finds all corners and both neighbours of each, and what is left is to walk
//! from corner to corner.
//!
//! Where two pixels meet at a corner only, two corners of rings lie at one point. The end of a stretch is taken before
//! the start of another, so that both vertical edges turn towards the mask: it is connected by sides only.

use super::Rle;

/// No corner, or no shape.
const NONE: usize = usize::MAX;

/// A point where a ring turns. The other end of its vertical edge is the corner whose index differs in the last bit; the
/// even one of the two is the upper.
struct Corner {
    x: u32,
    y: u32,
    /// The other end of its horizontal edge.
    beside: usize,
}

/// A horizontal edge that goes on to the right.
#[derive(Clone, Copy)]
struct Edge {
    /// Twice its row, one more if the mask starts below it: the order in which corners of a column are taken.
    key: u64,
    /// The corner at its left end.
    opener: usize,
}

/// All corners of a mask, linked.
#[derive(Default)]
struct Corners {
    corners: Vec<Corner>,
    /// Upper corners that may be the first of a hole, ascending: with the left end of the edge above the stretch that
    /// is cut open there, whose ring belongs to the same shape and has its first corner before.
    hole_starts: Vec<(usize, usize)>,
}

/// Calls `f(ring, shape, is_hole)` for each ring of the mask, which ends with its first point again, in the order of their uppermost corners among their
/// leftmost. Shapes are numbered as their exteriors come; each exterior comes before its holes. A ring has the mask on
/// its right-hand side: in an image, whose rows go down, exteriors run clockwise and holes counterclockwise.
pub(super) fn for_each_ring(mask: &Rle, mut f: impl FnMut(&[[f64; 2]], usize, bool)) {
    let Corners { corners, hole_starts } = Corners::of(mask);
    let mut hole_starts = hole_starts.into_iter().peekable();
    // For each vertical edge.
    let mut shapes = vec![NONE; corners.len() / 2];
    let mut count = 0;
    let mut ring = Vec::new();
    for first in (0..corners.len()).step_by(2) {
        let hole_start = hole_starts.next_if(|&(corner, _)| corner == first);
        if shapes[first / 2] != NONE {
            continue;
        }
        let shape = hole_start.map_or(count, |(_, opener)| shapes[opener / 2]);
        // An exterior sets out along its upper edge, a hole along its lower one.
        let start = if hole_start.is_some() { first + 1 } else { first };
        ring.clear();
        let mut at = start;
        loop {
            let beside = corners[at].beside;
            shapes[beside / 2] = shape;
            ring.extend([at, beside].map(|corner| [f64::from(corners[corner].x), f64::from(corners[corner].y)]));
            at = beside ^ 1;
            if at == start {
                break;
            }
        }
        ring.push(ring[0]);
        f(&ring, shape, hole_start.is_some());
        count += usize::from(hole_start.is_none());
    }
}

impl Corners {
    fn of(mask: &Rle) -> Self {
        let blocks = mask.blocks();
        let mut made = Self::default();
        made.corners.reserve(2 * blocks.len());
        // The edges at the right side of the columns so far, and those of the next column.
        let (mut edges, mut next) = (Vec::new(), Vec::new());
        let mut end = 0;
        for column in blocks.chunk_by(|a, b| a.x0 == b.x0) {
            if end < column[0].x0 {
                made.pass(end, &edges, [].into_iter(), &mut next);
                edges.clear();
            }
            let keys = column.iter().flat_map(|block| [2 * u64::from(block.y0) + 1, 2 * u64::from(block.y1)]);
            made.pass(column[0].x0, &edges, keys, &mut next);
            std::mem::swap(&mut edges, &mut next);
            end = column[0].x1;
        }
        made.pass(end, &edges, [].into_iter(), &mut next);
        made
    }

    /// Compares the edges that arrive at `x` from the left with the keys of those that leave to the right, and puts the
    /// latter into `right`.
    fn pass(&mut self, x: u32, left: &[Edge], keys: impl Iterator<Item = u64>, right: &mut Vec<Edge>) {
        right.clear();
        let mut passed = 0;
        for key in keys {
            while left.get(passed).is_some_and(|edge| edge.key < key) {
                self.close(x, left[passed]);
                passed += 1;
            }
            match left.get(passed) {
                Some(&edge) if edge.key == key => {
                    right.push(edge);
                    passed += 1;
                }
                _ => {
                    let corner = self.corners.len();
                    // On the left, the mask goes on below an upper corner where the one on the right ends.
                    if corner.is_multiple_of(2) && key.is_multiple_of(2) && !passed.is_multiple_of(2) {
                        self.hole_starts.push((corner, left[passed - 1].opener));
                    }
                    self.corners.push(Corner { x, y: (key / 2) as u32, beside: NONE });
                    right.push(Edge { key, opener: corner });
                }
            }
        }
        left[passed..].iter().for_each(|&edge| self.close(x, edge));
    }

    fn close(&mut self, x: u32, edge: Edge) {
        self.corners[edge.opener].beside = self.corners.len();
        self.corners.push(Corner { x, y: (edge.key / 2) as u32, beside: edge.opener });
    }
}
