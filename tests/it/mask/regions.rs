//! Morphology, components, holes and outlines against references that visit every pixel.

use maskstream::mask::{Connectivity, Polygons, Rle, RleError};

use crate::fixture::Dice;

/// A column-major bitmap, on which all references work. Pixels outside it are background.
#[derive(Clone, Debug, PartialEq)]
struct Pixels {
    height: i64,
    width: i64,
    set: Vec<u8>,
}

impl Pixels {
    fn of(mask: &Rle) -> Self {
        let set = mask.runs().iter().enumerate().flat_map(|(n, &run)| vec![(n % 2) as u8; run as usize]).collect();
        Self { height: mask.height().into(), width: mask.width().into(), set }
    }

    fn at(&self, x: i64, y: i64) -> bool {
        let inside = (0..self.width).contains(&x) && (0..self.height).contains(&y);
        inside && self.set[(x * self.height + y) as usize] != 0
    }

    /// A bitmap of the same size with the pixels for which `f(x, y)` returns true.
    fn map(&self, f: impl Fn(i64, i64) -> bool) -> Self {
        let set = (0..self.width).flat_map(|x| (0..self.height).map(move |y| (x, y))).map(|(x, y)| f(x, y).into());
        Self { set: set.collect(), ..*self }
    }

    fn square(&self, radius: i64) -> impl Iterator<Item = (i64, i64)> {
        (-radius..=radius).flat_map(move |x| (-radius..=radius).map(move |y| (x, y)))
    }

    fn erode(&self, radius: i64) -> Self {
        self.map(|x, y| self.square(radius).all(|(dx, dy)| self.at(x + dx, y + dy)))
    }

    fn dilate(&self, radius: i64) -> Self {
        self.map(|x, y| self.square(radius).any(|(dx, dy)| self.at(x + dx, y + dy)))
    }

    /// The connected regions of pixels equal to `value`, by flood fill, in the order of their first pixels.
    fn regions(&self, value: bool, connectivity: Connectivity) -> Vec<Self> {
        let around: Vec<(i64, i64)> = match connectivity {
            Connectivity::Four => vec![(0, 1), (1, 0), (0, -1), (-1, 0)],
            Connectivity::Eight => self.square(1).collect(),
        };
        let mut found: Vec<Self> = Vec::new();
        for x in 0..self.width {
            for y in 0..self.height {
                if self.at(x, y) != value || found.iter().any(|region| region.at(x, y)) {
                    continue;
                }
                let mut region = self.map(|_, _| false);
                let mut todo = vec![(x, y)];
                while let Some((x, y)) = todo.pop() {
                    let inside = (0..self.width).contains(&x) && (0..self.height).contains(&y);
                    if inside && self.at(x, y) == value && !region.at(x, y) {
                        region.set[(x * self.height + y) as usize] = 1;
                        todo.extend(around.iter().map(|(dx, dy)| (x + dx, y + dy)));
                    }
                }
                found.push(region);
            }
        }
        found
    }

    fn holes(&self, connectivity: Connectivity) -> Vec<Self> {
        let edge = |x, y| x == 0 || y == 0 || x + 1 == self.width || y + 1 == self.height;
        let mut regions = self.regions(false, connectivity);
        regions.retain(|region| !region.map(|x, y| region.at(x, y) && edge(x, y)).set.contains(&1));
        regions
    }
}

/// The pixels of a mask, which must be in canonical form.
fn pixels(mask: &Rle) -> Pixels {
    assert!(mask.is_canonical(), "{mask:?}");
    Pixels::of(mask)
}

fn all_pixels(masks: &[Rle]) -> Vec<Pixels> {
    masks.iter().map(pixels).collect()
}

/// Small masks of every kind: noise of any density, overlapping rectangles, rings, tall, wide, empty and full ones.
/// Some of their runs are split by empty runs.
fn random_mask(dice: &mut Dice) -> Rle {
    let size = |dice: &mut Dice| match dice.below(8) {
        0 => dice.below(3) as u32,
        1 => 12 + dice.below(30) as u32,
        _ => 1 + dice.below(14) as u32,
    };
    let (height, width) = (size(dice), size(dice));
    let mut bitmap = vec![0; (height * width) as usize];
    match dice.below(3) {
        0 => {
            let percent = dice.below(101);
            bitmap.iter_mut().for_each(|pixel| *pixel = u8::from(dice.below(100) < percent));
        }
        // Toggled rectangles make holes, islands in holes, and corners that touch.
        _ if bitmap.is_empty() => {}
        kind => {
            for _ in 0..dice.below(12) {
                let mut range = |end: u32| {
                    let from = dice.below(end.into()) as u32;
                    from..from + 1 + dice.below(u64::from(end - from)) as u32
                };
                let (columns, rows) = (range(width), range(height));
                for x in columns {
                    for y in rows.clone() {
                        let pixel = &mut bitmap[(x * height + y) as usize];
                        *pixel = if kind == 1 { *pixel ^ 1 } else { 1 };
                    }
                }
            }
        }
    }
    let mask = Rle::from_column_major(&bitmap, height, width).unwrap();
    if dice.below(3) > 0 {
        return mask;
    }
    let mut runs = Vec::new();
    for &run in mask.runs() {
        let first = dice.below(u64::from(run) + 1) as u32;
        runs.extend([first, 0, run - first]);
    }
    if dice.below(2) == 0 {
        runs.extend([0; 3].iter().take(dice.below(4) as usize));
    }
    Rle::from_runs(runs, height, width).unwrap()
}

#[test]
fn erosion_dilation_and_boundary_look_at_every_pixel_of_the_square() {
    let mut dice = Dice(1);
    for _ in 0..3000 {
        let mask = random_mask(&mut dice);
        let naive = Pixels::of(&mask);
        let radius = [0, 1, 1, 2, 3, 4, 5, 7, 12, 50][dice.below(10) as usize];
        let (eroded, dilated) = (naive.erode(radius), naive.dilate(radius));
        assert_eq!(pixels(&mask.erode(radius as u32).unwrap()), eroded, "{radius} {mask:?}");
        assert_eq!(pixels(&mask.dilate(radius as u32)), dilated, "{radius} {mask:?}");
        let boundary = naive.map(|x, y| naive.at(x, y) && !eroded.at(x, y));
        assert_eq!(pixels(&mask.boundary(radius as u32).unwrap()), boundary, "{radius} {mask:?}");
    }
}

/// The steps of the reference implementation of Boundary IoU: pad with one background pixel, apply a 3 x 3 erosion
/// `radius` times in which pixels outside the padding count as mask, and remove the padding.
#[test]
fn the_boundary_is_that_of_boundary_iou() {
    let mut dice = Dice(2);
    for _ in 0..500 {
        let mask = random_mask(&mut dice);
        let naive = Pixels::of(&mask);
        let radius = 1 + dice.below(4) as u32;
        let at = |padded: &Pixels, x: i64, y: i64| {
            let inside = (0..padded.width).contains(&x) && (0..padded.height).contains(&y);
            !inside || padded.at(x, y)
        };
        let (height, width) = (naive.height + 2, naive.width + 2);
        let size = Pixels { height, width, set: Vec::new() };
        let mut padded = size.map(|x, y| naive.at(x - 1, y - 1));
        for _ in 0..radius {
            padded = padded.map(|x, y| padded.square(1).all(|(dx, dy)| at(&padded, x + dx, y + dy)));
        }
        let boundary = naive.map(|x, y| naive.at(x, y) && !padded.at(x + 1, y + 1));
        assert_eq!(pixels(&mask.boundary(radius).unwrap()), boundary, "{radius} {mask:?}");
    }
}

#[test]
fn components_and_holes_are_those_of_a_flood_fill() {
    let mut dice = Dice(3);
    for _ in 0..3000 {
        let mask = random_mask(&mut dice);
        let naive = Pixels::of(&mask);
        for connectivity in [Connectivity::Four, Connectivity::Eight] {
            let [components, holes] = [mask.components(connectivity).unwrap(), mask.holes(connectivity).unwrap()];
            assert_eq!(all_pixels(&components), naive.regions(true, connectivity), "{connectivity:?} {mask:?}");
            assert_eq!(all_pixels(&holes), naive.holes(connectivity), "{connectivity:?} {mask:?}");
        }
        let holes = naive.holes(Connectivity::Four);
        let filled = naive.map(|x, y| naive.at(x, y) || holes.iter().any(|hole| hole.at(x, y)));
        assert_eq!(pixels(&mask.fill_holes()), filled, "{mask:?}");
    }
}

type Ring = [[f64; 2]];

/// The pixels whose centres a ring encloses, found by counting the vertical edges to the left of each.
fn enclosed(size: &Pixels, ring: &Ring) -> Pixels {
    let edges: Vec<_> = ring.iter().zip(ring.iter().cycle().skip(1)).collect();
    size.map(|x, y| {
        let y = y as f64 + 0.5;
        let crossed = |a: &[f64; 2], b: &[f64; 2]| a[0] == b[0] && a[0] <= x as f64 && (a[1] > y) != (b[1] > y);
        edges.iter().filter(|(a, b)| crossed(a, b)).count() % 2 == 1
    })
}

/// Twice the signed area, positive for a ring that runs clockwise where y points down.
fn turned_area(ring: &Ring) -> f64 {
    ring.iter().zip(ring.iter().cycle().skip(1)).map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum()
}

#[test]
fn polygons_outline_the_components_and_their_holes() {
    let mut dice = Dice(4);
    for _ in 0..3000 {
        let mask = random_mask(&mut dice);
        let naive = Pixels::of(&mask);
        let found = mask.to_polygons(0.0).unwrap();
        assert_eq!(found.size, [mask.height(), mask.width()]);
        let components = naive.regions(true, Connectivity::Four);
        assert_eq!(found.polygons.len(), components.len(), "{mask:?}");
        let mut length = 0.0;
        for (polygon, component) in found.polygons.iter().zip(&components) {
            let holes = component.holes(Connectivity::Eight);
            let filled = naive.map(|x, y| component.at(x, y) || holes.iter().any(|hole| hole.at(x, y)));
            assert_eq!(enclosed(&naive, &polygon.exterior), filled, "{mask:?}");
            assert!(turned_area(&polygon.exterior) > 0.0);
            assert!(polygon.holes.iter().all(|hole| turned_area(hole) < 0.0));
            let found: Vec<Pixels> = polygon.holes.iter().map(|hole| enclosed(&naive, hole)).collect();
            assert_eq!(found, holes, "{mask:?}");
            for ring in polygon.holes.iter().chain([&polygon.exterior]) {
                for (n, point) in ring.iter().enumerate() {
                    let next = ring[(n + 1) % ring.len()];
                    let after = ring[(n + 2) % ring.len()];
                    // Horizontal and vertical edges alternate, so every point is a turn.
                    let horizontal = point[1] == next[1];
                    assert!(point != &next && horizontal == (next[0] == after[0]), "{mask:?}");
                    length += (point[0] - next[0]).abs() + (point[1] - next[1]).abs();
                }
            }
        }
        let around = [(0, 1), (1, 0), (0, -1), (-1, 0)];
        let sides = |x, y| around.iter().filter(|(dx, dy)| naive.at(x, y) && !naive.at(x + dx, y + dy)).count();
        let all: usize = (0..naive.width).flat_map(|x| (0..naive.height).map(move |y| sides(x, y))).sum();
        assert_eq!(length, all as f64, "{mask:?}");
        assert_eq!(found.to_rle().unwrap(), mask.canonical(), "{mask:?}");
    }
}

/// Whether `part` is `ring` without some points, each at most `tolerance` away from the chord that replaces it.
fn follows(ring: &Ring, part: &Ring, tolerance: f64) -> bool {
    let distance = |p: &[f64; 2], a: &[f64; 2], b: &[f64; 2]| {
        let [dx, dy] = [b[0] - a[0], b[1] - a[1]];
        let along = ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / (dx * dx + dy * dy);
        let along = if along.is_nan() { 0.0 } else { along.clamp(0.0, 1.0) };
        (p[0] - a[0] - along * dx).hypot(p[1] - a[1] - along * dy)
    };
    let mut at = 0;
    let closed: Vec<_> = ring.iter().chain(&ring[..1]).collect();
    part.iter().zip(part.iter().cycle().skip(1)).all(|(from, to)| {
        // A point may occur twice in a ring: it suffices if one of the ways to it stays close.
        let ends = (at + 1..closed.len()).filter(|&end| closed[end] == to);
        let close = |end: &usize| closed[at..*end].iter().all(|p| distance(p, from, to) <= tolerance + 1e-9);
        let Some(end) = ends.into_iter().find(close) else { return false };
        at = end;
        true
    }) && at + 1 == closed.len()
}

#[test]
fn simplified_rings_stay_within_the_tolerance() {
    let mut dice = Dice(5);
    for _ in 0..3000 {
        let mask = random_mask(&mut dice);
        let tolerance = [1e-9, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 1000.0, f64::INFINITY][dice.below(9) as usize];
        let [full, less] = [0.0, tolerance].map(|tolerance| mask.to_polygons(tolerance).unwrap());
        assert_eq!(full.polygons.len(), less.polygons.len());
        for (full, less) in full.polygons.iter().zip(&less.polygons) {
            assert!(less.exterior.len() >= 4 && less.exterior.len() <= full.exterior.len());
            assert!(tolerance < 1000.0 || less.exterior.len() == 4 && less.holes.is_empty());
            assert!(follows(&full.exterior, &less.exterior, tolerance), "{tolerance} {mask:?}");
            let mut holes = less.holes.iter().peekable();
            for hole in &full.holes {
                let kept = holes.next_if(|less| less.len() >= 3 && follows(hole, less, tolerance));
                // A dropped hole was nowhere farther than the tolerance from the line between two of its points.
                let gone = || hole.iter().any(|far| follows(hole, &[hole[0], *far], tolerance));
                assert!(kept.is_some() || gone(), "{tolerance} {mask:?}");
            }
            assert!(holes.next().is_none());
        }
        if tolerance < 0.5 {
            assert_eq!(full, less);
        }
        // Simplified rings may cross, but can always be drawn.
        assert_eq!(less.to_rle().unwrap().bbox()[2..] == [0, 0], less.to_rle().unwrap().area() == 0);
    }
}

/// Each tooth is longer than the one before, so the farthest corner always is the last but one.
#[test]
fn a_comb_with_growing_teeth_is_simplified_too() {
    let (height, teeth) = (700, 600);
    let column = |x: u32| if x.is_multiple_of(2) { x / 2 + 20 } else { 10 };
    let runs = (0..2 * teeth).flat_map(|x| [column(x), height - column(x)]);
    let mask = Rle::from_runs([0].into_iter().chain(runs).collect(), height, 2 * teeth).unwrap();
    let [full, less] = [0.0, 2.0].map(|tolerance| mask.to_polygons(tolerance).unwrap().polygons);
    assert_eq!((full.len(), full[0].exterior.len()), (1, 4 * teeth as usize + 2));
    assert!(follows(&full[0].exterior, &less[0].exterior, 2.0));
    assert!(less[0].exterior.len() < full[0].exterior.len());
}

#[test]
fn a_tolerance_is_a_distance() {
    let mask = Rle::from_runs(vec![0, 4], 2, 2).unwrap();
    assert_eq!(mask.to_polygons(-1.0), Err(RleError::Tolerance { value: -1.0 }));
    assert!(matches!(mask.to_polygons(f64::NAN), Err(RleError::Tolerance { value }) if value.is_nan()));
    assert_eq!(mask.to_polygons(-0.0), mask.to_polygons(0.0));
}

#[test]
fn holes_hang_on_the_exterior_by_bridges_walked_twice() {
    // 3 rows, 7 columns: two holes.
    let mask = Rle::from_runs(vec![0, 4, 1, 5, 1, 10], 3, 7).unwrap();
    let found = mask.to_polygons(0.0).unwrap();
    let [polygon] = &found.polygons[..] else { panic!("{found:?}") };
    assert_eq!(polygon.exterior, [[0.0, 0.0], [7.0, 0.0], [7.0, 3.0], [0.0, 3.0]]);
    assert_eq!(polygon.holes[0], [[1.0, 2.0], [2.0, 2.0], [2.0, 1.0], [1.0, 1.0]]);
    assert_eq!(polygon.holes[1], [[3.0, 2.0], [4.0, 2.0], [4.0, 1.0], [3.0, 1.0]]);
    let flat = [
        &[0.0, 0.0, 7.0, 0.0, 7.0, 3.0, 0.0, 3.0, 0.0, 0.0][..],
        &[1.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 2.0],
        &[3.0, 2.0, 4.0, 2.0, 4.0, 1.0, 3.0, 1.0, 3.0, 2.0, 1.0, 2.0],
    ];
    assert_eq!(found.to_coco(), [flat.concat()]);
    assert_eq!(found.to_rle().unwrap(), mask);
    // A polygon of one ring is not closed explicitly; polygons made by hand may have no ring.
    assert_eq!(Rle::from_runs(vec![0, 1], 1, 1).unwrap().to_polygons(0.0).unwrap().to_coco()[0].len(), 8);
    let empty = Polygons { size: [3, 7], polygons: vec![Default::default()] };
    assert_eq!(empty.to_rle(), Err(RleError::Points { numbers: 0 }));
    assert_eq!(Polygons { size: [3, 7], polygons: Vec::new() }.to_rle(), Rle::empty(3, 7));
}

#[test]
fn images_beyond_32_bits_keep_their_regions() {
    const SIDE: u32 = 70_000;
    let empty = Rle::empty(SIDE, SIDE).unwrap();
    let full = empty.complement();
    assert!(
        empty.components(Connectivity::Eight).unwrap().is_empty() && full.holes(Connectivity::Four).unwrap().is_empty()
    );
    assert_eq!(empty.erode(3).unwrap(), empty);
    assert_eq!(empty.dilate(u32::MAX), empty);
    assert_eq!(full.components(Connectivity::Four).unwrap(), std::slice::from_ref(&full));
    assert_eq!(full.fill_holes(), full);
    assert_eq!(full.dilate(40_000), full);
    assert_eq!(full.erode(35_000).unwrap(), empty);
    let eroded = full.erode(34_000).unwrap();
    assert_eq!(eroded.bbox(), [34_000, 34_000, 2_000, 2_000]);
    assert_eq!(eroded.dilate(34_000), full);
    assert_eq!(eroded.dilate(33_999).bbox(), [1, 1, SIDE - 2, SIDE - 2]);
    assert_eq!(full.boundary(34_000).unwrap().holes(Connectivity::Eight).unwrap(), std::slice::from_ref(&eroded));
    assert_eq!(full.boundary(34_000).unwrap().fill_holes(), full);
    let outlines = full.boundary(34_000).unwrap().to_polygons(0.0).unwrap();
    assert_eq!((outlines.polygons.len(), outlines.polygons[0].holes.len()), (1, 1));
    assert_eq!(outlines.to_rle().unwrap(), full.boundary(34_000).unwrap());
}

#[test]
fn wide_runs_cost_no_more_than_their_length_in_the_string() {
    // One row, or one column, of the longest possible side.
    for (height, width) in [(1, u32::MAX), (u32::MAX, 1)] {
        let full = Rle::from_runs(vec![0, u32::MAX], height, width).unwrap();
        assert_eq!(full.components(Connectivity::Eight).unwrap(), std::slice::from_ref(&full));
        assert!(full.complement().components(Connectivity::Eight).unwrap().is_empty());
        assert!(full.complement().holes(Connectivity::Eight).unwrap().is_empty());
        assert_eq!(full.fill_holes(), full);
        assert_eq!(full.erode(1), Err(RleError::Image { height, width }));
        assert_eq!(full.dilate(u32::MAX), full);
        let dot = Rle::from_runs(vec![1 << 31, 1, (1 << 31) - 2], height, width).unwrap();
        let [w, h] = [width, height].map(f64::from);
        let outlines = full.to_polygons(0.0).unwrap();
        assert_eq!(outlines.polygons[0].exterior, [[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]]);
        assert_eq!(dot.to_polygons(1.0).unwrap().polygons[0].exterior.len(), 4);
        assert_eq!(dot.components(Connectivity::Eight).unwrap(), std::slice::from_ref(&dot));
        assert_eq!(dot.dilate(7).area(), 15);
        assert_eq!(dot.dilate(u32::MAX), full);
        assert_eq!(dot.complement().components(Connectivity::Eight).unwrap().len(), 2);
    }
}
