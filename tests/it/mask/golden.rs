//! Results recorded from pycocotools for generated masks, polygons and boxes (`scripts/make_mask_vectors.py`).
//!
//! MASKSTREAM_MASK_VECTORS may name a larger file of the same form, which is then tested as well.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::{BufRead, BufReader};

use maskstream::mask::{Grid, GridScratch, Merge, Rle, RleError, Segmentation, box_iou, decode, encode, iou, merge};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

const VECTORS: &str = include_str!("../../golden/masks.jsonl");

/// All kinds of comparisons.
const KINDS: [&str; 25] = [
    "area",
    "bbox",
    "counts of a box",
    "counts of a polygon",
    "counts of runs",
    "counts read",
    "decode",
    "decode a stack",
    "decode packed",
    "decode row-major",
    "encode",
    "encode a stack",
    "encode row-major",
    "intersection area",
    "intersection of several",
    "intersection of two",
    "iou",
    "iou of boxes",
    "iou of boxes with crowds",
    "iou with crowds",
    "segmentation of counts",
    "segmentation of polygons",
    "segmentation of runs",
    "union of several",
    "union of two",
];

/// A line of the file; its form is described in the script.
#[derive(Deserialize)]
struct Line<'a> {
    from: Option<&'a str>,
    #[serde(default)]
    size: [u32; 2],
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(default)]
    mask: Vec<Expected>,
    #[serde(default)]
    merge: Vec<(u8, Vec<usize>, String)>,
    #[serde(default)]
    dt: usize,
    #[serde(default)]
    crowd: Vec<u8>,
    #[serde(borrow, default)]
    iou: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    boxes: Vec<&'a RawValue>,
}

/// Counts, area, bounding box, and the checksums of three forms of the bitmap.
#[derive(Deserialize)]
struct Expected(String, u64, Option<[u32; 4]>, u32, u32, u32);

/// Counts the comparisons and records the differences.
#[derive(Default)]
struct Judge {
    checks: BTreeMap<&'static str, u64>,
    masks: usize,
    differences: usize,
    first_differences: Vec<String>,
}

impl Judge {
    fn equal<T: PartialEq + Debug>(&mut self, kind: &'static str, case: &str, ours: &T, theirs: &T) {
        *self.checks.entry(kind).or_default() += 1;
        if ours != theirs {
            self.differences += 1;
            if self.first_differences.len() < 10 {
                self.first_differences.push(format!("{case}: {kind}: {ours:?} here, {theirs:?} there"));
            }
        }
    }

    fn line(&mut self, name: &str, text: &str) {
        let line: Line = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        if line.from.is_some() { self.group(name, &line) } else { self.boxes(name, &line) }
    }

    fn group(&mut self, name: &str, line: &Line) {
        let [height, width] = line.size;
        let case = |index: usize| format!("{name}, mask {index} of {height} x {width}");
        let mut masks = Vec::new();
        let mut stack = Vec::new();
        for (index, expected) in line.mask.iter().enumerate() {
            let mask = Rle::from_counts(expected.0.as_bytes(), height, width);
            self.equal("counts read", &case(index), &mask.as_ref().err(), &None);
            let Ok(mask) = mask else { return };
            stack.extend(self.mask(&case(index), &mask, expected, line.from));
            masks.push(mask);
        }
        self.masks += masks.len();
        let mut decoded = vec![7; stack.len()];
        decode(&masks, &mut decoded).unwrap();
        self.equal("decode a stack", name, &crc32fast::hash(&decoded), &crc32fast::hash(&stack));
        let encoded: Vec<_> = encode(&stack, masks.len(), height, width).unwrap().iter().map(Rle::to_counts).collect();
        let canonical: Vec<_> = masks.iter().map(|mask| mask.canonical().to_counts()).collect();
        self.equal("encode a stack", name, &encoded, &canonical);

        let made = self.source(name, line);
        self.merges(name, line, &masks);
        if !line.iou.is_empty() {
            let dt = &masks[..line.dt];
            let crowd: Vec<bool> = line.crowd.iter().map(|&flag| flag == 1).collect();
            self.floats("iou", name, iou(dt, &masks, None).unwrap(), line.iou[0]);
            self.floats("iou with crowds", name, iou(dt, &masks, Some(&crowd)).unwrap(), line.iou[1]);
        }
        if let Some(made) = made {
            for (index, (made, expected)) in made.iter().zip(&line.mask).enumerate() {
                let kind = match line.from {
                    Some("runs") => "counts of runs",
                    Some("polygon") => "counts of a polygon",
                    _ => "counts of a box",
                };
                self.equal(kind, &case(index), &made.as_ref().map(|mask| mask.to_counts()), &Ok(expected.0.to_owned()));
            }
        }
    }

    /// Checks one mask decoded from its counts; returns its column-major bitmap.
    fn mask(&mut self, case: &str, mask: &Rle, expected: &Expected, from: Option<&str>) -> Vec<u8> {
        let Expected(counts, area, bbox, columns, rows, packed) = expected;
        // Only given runs may contain empty ones, which encoding the bitmap does not restore.
        let encoding = if from == Some("runs") { &mask.canonical().to_counts() } else { counts };
        let (height, width) = (mask.height(), mask.width());
        self.equal("counts read", case, &mask.to_counts(), counts);
        self.equal("area", case, &mask.area(), area);
        if let Some(bbox) = bbox {
            self.equal("bbox", case, &mask.bbox(), bbox);
        }
        let pixels = (height * width) as usize;
        let mut bitmap = vec![7; pixels];
        mask.write_column_major(&mut bitmap).unwrap();
        self.equal("decode", case, &crc32fast::hash(&bitmap), columns);
        let encoded = Rle::from_column_major(&bitmap, height, width).unwrap().to_counts();
        self.equal("encode", case, &encoded, encoding);

        let mut by_row = vec![7; pixels];
        mask.write_row_major(&mut by_row).unwrap();
        self.equal("decode row-major", case, &crc32fast::hash(&by_row), rows);
        let encoded = Rle::from_row_major(&by_row, height, width).unwrap().to_counts();
        self.equal("encode row-major", case, &encoded, encoding);
        let mut bits = vec![7; width.div_ceil(8) as usize * height as usize];
        mask.write_packed(&mut bits).unwrap();
        self.equal("decode packed", case, &crc32fast::hash(&bits), packed);
        // The row-major bitmap equals a grid of the image's own size, drawn by nearest centre.
        by_row.fill(7);
        let (grid, mut scratch) = (Grid::stretch(height, width, height, width).unwrap(), GridScratch::default());
        grid.nearest(mask, &mut scratch, &mut by_row).unwrap();
        self.equal("decode row-major", case, &crc32fast::hash(&by_row), rows);

        let json = format!(r#"{{"size":[{height},{width}],"counts":{}}}"#, Value::from(counts.as_str()));
        self.equal("segmentation of counts", case, &segmentation(&json, height, width).as_ref(), &Ok(mask));
        bitmap
    }

    /// Builds the masks from the source that the line describes.
    fn source(&mut self, name: &str, line: &Line) -> Option<Vec<Result<Rle, RleError>>> {
        let [height, width] = line.size;
        let source = line.source?;
        let made = match line.from {
            Some("runs") => {
                let runs: Vec<Vec<u32>> = serde_json::from_str(source.get()).unwrap();
                for (runs, expected) in runs.iter().zip(&line.mask) {
                    let json = format!(r#"{{"size":[{height},{width}],"counts":{runs:?}}}"#);
                    let counts = segmentation(&json, height, width).map(|mask| mask.to_counts());
                    self.equal("segmentation of runs", name, &counts, &Ok(expected.0.to_owned()));
                }
                runs.into_iter().map(|runs| Rle::from_runs(runs, height, width)).collect()
            }
            Some("polygon") => {
                let polygons = floats(source);
                let all = Rle::from_polygons(&polygons, height, width);
                self.equal("segmentation of polygons", name, &segmentation(source.get(), height, width), &all);
                self.several("union", name, polygons.len(), &all, &line.merge[0].2);
                polygons.iter().map(|points| Rle::from_polygon(points, height, width)).collect()
            }
            Some("box") => {
                floats(source).iter().map(|b| Rle::from_box([b[0], b[1], b[2], b[3]], height, width)).collect()
            }
            from => panic!("{name}: masks from {from:?}"),
        };
        Some(made)
    }

    fn merges(&mut self, name: &str, line: &Line, masks: &[Rle]) {
        for (intersect, which, counts) in &line.merge {
            let chosen: Vec<Rle> = which.iter().map(|&index| masks[index].clone()).collect();
            let (kind, how) = [("union", Merge::Union), ("intersection", Merge::Intersection)][usize::from(*intersect)];
            let case = format!("{name}, masks {which:?}");
            self.several(kind, &case, chosen.len(), &merge(&chosen, how), counts);
            if let [a, b] = &chosen[..] {
                let merged = if *intersect == 1 { a.intersection(b) } else { a.union(b) };
                self.several(kind, &case, 2, &merged, counts);
                if *intersect == 1 {
                    let theirs = Rle::from_counts(counts.as_bytes(), line.size[0], line.size[1]);
                    self.equal("intersection area", &case, &a.intersection_area(b), &theirs.map(|mask| mask.area()));
                }
            }
        }
    }

    fn several(&mut self, kind: &str, case: &str, count: usize, ours: &Result<Rle, RleError>, counts: &str) {
        let kind = match (kind, count) {
            ("union", ..=2) => "union of two",
            ("union", _) => "union of several",
            (_, ..=2) => "intersection of two",
            _ => "intersection of several",
        };
        self.equal(kind, case, &ours.as_ref().map(Rle::to_counts), &Ok(counts.to_owned()));
    }

    fn boxes(&mut self, name: &str, line: &Line) {
        let boxes = |raw: &RawValue| -> Vec<[f64; 4]> {
            floats(raw).into_iter().map(|numbers| numbers.try_into().unwrap()).collect()
        };
        let (dt, gt) = (boxes(line.boxes[0]), boxes(line.boxes[1]));
        let crowd: Vec<bool> = line.crowd.iter().map(|&flag| flag == 1).collect();
        self.floats("iou of boxes", name, box_iou(&dt, &gt, None).unwrap(), line.iou[0]);
        self.floats("iou of boxes with crowds", name, box_iou(&dt, &gt, Some(&crowd)).unwrap(), line.iou[1]);
    }

    /// Compares a matrix bit for bit; each number is one check.
    fn floats(&mut self, kind: &'static str, name: &str, ours: Vec<f64>, theirs: &RawValue) {
        let theirs: Vec<&RawValue> = serde_json::from_str(theirs.get()).unwrap();
        self.equal(kind, name, &ours.len(), &theirs.len());
        for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            let theirs = exact(theirs);
            let bits = |value: f64| (value.to_bits(), value);
            self.equal(kind, &format!("{name}, element {index}"), &bits(*ours), &bits(theirs));
        }
    }

    fn finish(&self) {
        let checks: u64 = self.checks.values().sum();
        println!("{} masks, {checks} checks, {} differences: {:?}", self.masks, self.differences, self.checks);
        assert_eq!(self.differences, 0, "the first ones:\n{}", self.first_differences.join("\n"));
        // A kind of check that never ran proves nothing.
        let made: Vec<&str> = self.checks.keys().copied().collect();
        assert_eq!(made, KINDS);
        for (kind, &count) in &self.checks {
            assert!(count >= 50, "{kind}: only {count} checks");
        }
    }
}

/// Parses a number exactly; serde_json alone may be off by one bit.
fn exact(number: &RawValue) -> f64 {
    number.get().parse().unwrap()
}

fn floats(lists: &RawValue) -> Vec<Vec<f64>> {
    let lists: Vec<Vec<&RawValue>> = serde_json::from_str(lists.get()).unwrap();
    lists.into_iter().map(|list| list.into_iter().map(exact).collect()).collect()
}

fn segmentation(json: &str, height: u32, width: u32) -> Result<Rle, RleError> {
    serde_json::from_str::<Segmentation>(json).unwrap().to_rle(height, width)
}

#[test]
fn masks_are_as_in_pycocotools() {
    let mut judge = Judge::default();
    for (number, line) in (1..).zip(VECTORS.lines()) {
        judge.line(&format!("line {number}"), line);
    }
    assert!(judge.masks > 2000);
    judge.finish();
}

#[test]
fn masks_are_as_in_pycocotools_in_the_file_that_the_environment_names() {
    let Some(path) = std::env::var_os("MASKSTREAM_MASK_VECTORS") else { return };
    let mut judge = Judge::default();
    for (number, line) in (1..).zip(BufReader::new(File::open(path).unwrap()).lines()) {
        judge.line(&format!("line {number}"), &line.unwrap());
    }
    judge.finish();
}

/// All places in `value` where a change must be detected.
fn expected_places(value: &Value) -> Vec<String> {
    let length = |pointer: &str| value.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len);
    let mut places = Vec::new();
    for mask in 0..length("/mask") {
        places.extend([0, 1, 3, 4, 5].map(|field| format!("/mask/{mask}/{field}")));
        places.extend((0..length(&format!("/mask/{mask}/2"))).map(|side| format!("/mask/{mask}/2/{side}")));
    }
    places.extend((0..length("/merge")).map(|merge| format!("/merge/{merge}/2")));
    for matrix in 0..length("/iou") {
        places.extend((0..length(&format!("/iou/{matrix}"))).map(|element| format!("/iou/{matrix}/{element}")));
    }
    places
}

#[test]
fn whatever_is_changed_in_a_vector_is_noticed() {
    let mut changed = BTreeMap::new();
    for (number, text) in VECTORS.lines().enumerate().filter(|(_, text)| text.len() < 3000).step_by(7) {
        let line: Value = serde_json::from_str(text).unwrap();
        for place in expected_places(&line) {
            let mut line = line.clone();
            let value = line.pointer_mut(&place).unwrap();
            *value = match value {
                Value::String(counts) => Value::from(format!("{counts}00")),
                Value::Number(number) if number.is_u64() => Value::from(number.as_u64().unwrap() ^ 1),
                Value::Number(number) => Value::from(f64::from_bits(number.as_f64().unwrap().to_bits() ^ 4)),
                other => panic!("{place}: {other}"),
            };
            let mut judge = Judge::default();
            judge.line("", &line.to_string());
            assert!(judge.differences > 0, "line {}: a change at {place} goes unnoticed", number + 1);
            *changed.entry(line["from"].to_string()).or_insert(0) += 1;
        }
    }
    assert!(changed.len() == 5 && changed.values().all(|&count| count > 20), "{changed:?}");
}
