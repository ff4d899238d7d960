//! Traces the outlines of a mask: closed rings of corners, and which exterior each hole belongs to.
//!
//! # Algorithm
//!
//! A ring turns only at corners, and each corner is the end of one vertical and one horizontal edge. On the boundary
//! between two pixel columns, there is a corner wherever a span of one column starts or ends and no span of the other
//! column does the same. In the order of their rows, these corners are pairwise the ends of the vertical edges. The
//! horizontal edge above or below a span continues while the next column has a span that starts or ends at the same
//! row. One corner opens such an edge and another closes it. One pass over the columns therefore finds all corners and
//! both neighbours of each; what remains is to walk from corner to corner.
//!
//! Where two pixels share only a corner, two corners of rings lie at the same point. The end of a span is processed
//! before the start of another, so both vertical edges turn towards the mask: the mask is four-connected.

use super::Rle;

/// No corner, or no shape.
const NONE: usize = usize::MAX;

/// A point where a ring turns. The corner at the other end of its vertical edge has the index that differs in the last
/// bit; the upper end has the even index.
struct Corner {
    x: u32,
    y: u32,
    /// The corner at the other end of its horizontal edge.
    partner: usize,
}

/// A horizontal edge that continues to the right.
#[derive(Clone, Copy)]
struct Edge {
    /// Twice its row, plus one if the mask starts below it. Corners of a column are processed in this order.
    key: u64,
    /// The corner at its left end.
    start: usize,
}

/// All corners of a mask, linked to their neighbours.
#[derive(Default)]
struct Corners {
    corners: Vec<Corner>,
    /// Upper corners that may be the first of a hole, ascending. Each is paired with the left end of the edge above the
    /// span that the hole interrupts; that edge's ring belongs to the same shape and has an earlier first corner.
    hole_starts: Vec<(usize, usize)>,
}

/// Calls `f(ring, shape, is_hole)` for each ring of the mask. The last point of a ring repeats its first.
///
/// Rings come in the order of their first corners, which are their leftmost corners and the uppermost of these. Shapes
/// are numbered in the order of their exteriors; each exterior comes before its holes. A ring has the mask on its
/// right-hand side: since rows go down, exteriors run clockwise and holes counterclockwise.
pub(super) fn for_each_ring(mask: &Rle, mut f: impl FnMut(&[[f64; 2]], usize, bool)) {
    let Corners { corners, hole_starts } = Corners::of(mask);
    let mut hole_starts = hole_starts.into_iter().peekable();
    // The shape of each vertical edge.
    let mut shapes = vec![NONE; corners.len() / 2];
    let mut count = 0;
    let mut ring = Vec::new();
    for first in (0..corners.len()).step_by(2) {
        let hole_start = hole_starts.next_if(|&(corner, _)| corner == first);
        if shapes[first / 2] != NONE {
            continue;
        }
        let shape = hole_start.map_or(count, |(_, start)| shapes[start / 2]);
        // An exterior starts along its upper edge, a hole along its lower edge.
        let start = if hole_start.is_some() { first + 1 } else { first };
        ring.clear();
        let mut at = start;
        loop {
            let partner = corners[at].partner;
            shapes[partner / 2] = shape;
            ring.extend([at, partner].map(|corner| [f64::from(corners[corner].x), f64::from(corners[corner].y)]));
            at = partner ^ 1;
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
        let mut traced = Self::default();
        traced.corners.reserve(2 * blocks.len());
        // The edges that reach the right side of the current column, and those of the next column.
        let (mut edges, mut next) = (Vec::new(), Vec::new());
        let mut end = 0;
        for column in blocks.chunk_by(|a, b| a.x0 == b.x0) {
            if end < column[0].x0 {
                traced.cross(end, &edges, [].into_iter(), &mut next);
                edges.clear();
            }
            let keys = column.iter().flat_map(|block| [2 * u64::from(block.y0) + 1, 2 * u64::from(block.y1)]);
            traced.cross(column[0].x0, &edges, keys, &mut next);
            std::mem::swap(&mut edges, &mut next);
            end = column[0].x1;
        }
        traced.cross(end, &edges, [].into_iter(), &mut next);
        traced
    }

    /// Compares the edges that arrive at `x` from the left with the keys of the edges that leave to the right, and
    /// stores the latter in `right`.
    fn cross(&mut self, x: u32, left: &[Edge], keys: impl Iterator<Item = u64>, right: &mut Vec<Edge>) {
        right.clear();
        let mut passed = 0;
        for key in keys {
            while left.get(passed).is_some_and(|edge| edge.key < key) {
                self.end_edge(x, left[passed]);
                passed += 1;
            }
            match left.get(passed) {
                Some(&edge) if edge.key == key => {
                    right.push(edge);
                    passed += 1;
                }
                _ => {
                    let corner = self.corners.len();
                    // The column on the left continues with mask below an upper corner where a span on the right ends.
                    if corner.is_multiple_of(2) && key.is_multiple_of(2) && !passed.is_multiple_of(2) {
                        self.hole_starts.push((corner, left[passed - 1].start));
                    }
                    self.corners.push(Corner { x, y: (key / 2) as u32, partner: NONE });
                    right.push(Edge { key, start: corner });
                }
            }
        }
        left[passed..].iter().for_each(|&edge| self.end_edge(x, edge));
    }

    fn end_edge(&mut self, x: u32, edge: Edge) {
        self.corners[edge.start].partner = self.corners.len();
        self.corners.push(Corner { x, y: (edge.key / 2) as u32, partner: edge.start });
    }
}
