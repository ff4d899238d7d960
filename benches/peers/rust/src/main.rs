//! Runs the crate hotcoco without Python in between, for `cargo bench --bench mask -- --rust`. Reads and writes the
//! same lines as `masks.py`. Ends at the first error.

use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, stdin};

use hotcoco::{Rle, mask};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

// As `cargo bench --bench mask` has them.
const GROUP: usize = 16;
const LEAST_NS: f64 = 20e6;

fn main() -> Result<()> {
    let mut lines = stdin().lock().lines();
    let images = read(&serde_json::from_str(&lines.next().ok_or("no images")??)?)?;
    let methods: Vec<_> = OPERATIONS.iter().map(|(name, _)| name.replace(' ', "_")).collect();
    println!("{}", json!({"peers": [{"name": "hotcoco, Rust", "version": "1.3.0", "methods": methods}]}));
    let mut latest: Option<(String, Operation<'_>)> = None;
    for line in lines {
        let request: Value = serde_json::from_str(&line?)?;
        let name = request["operation"].as_str().unwrap_or_default();
        if latest.as_ref().is_none_or(|(latest, _)| latest != name) {
            drop(latest.take());
            let step = request["step"].as_u64().unwrap_or(1) as usize;
            let (_, make) = OPERATIONS.iter().find(|(one, _)| *one == name).ok_or("no such operation")?;
            latest = Some((name.to_owned(), make(&Cases { images: &images, step })));
        }
        if let Some((_, operation)) = &mut latest {
            println!("{}", if request["check"] == true { check(operation)? } else { time(operation)? });
        }
    }
    Ok(())
}

fn check(operation: &mut Operation<'_>) -> Result<Value> {
    let mut digest = Digest { on: true, ..Digest::default() };
    operation(&mut digest)?;
    Ok(json!({"digest": f64::from(digest.crc.finalize()) + digest.sum}))
}

fn time(operation: &mut Operation<'_>) -> Result<Value> {
    let (start, mut passes) = (now(), 0);
    loop {
        operation(&mut Digest::default())?;
        passes += 1;
        let ns = now() - start;
        if ns >= LEAST_NS {
            return Ok(json!({"ns": ns, "passes": passes}));
        }
    }
}

/// CPU time of the process, because large matrices are computed on other threads.
fn now() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

type Operation<'a> = Box<dyn FnMut(&mut Digest) -> Result<()> + 'a>;
type Make = for<'a> fn(&Cases<'a>) -> Operation<'a>;

/// Operations by the names that the bench gives them.
const OPERATIONS: [(&str, Make); 22] = [
    ("parse", |cases| each(cases.masks(), |mask, out| out.mask(&mask.parse()?))),
    ("to string", |cases| each(cases.masks(), |mask, out| out.string(&mask.rle))),
    ("area of string", |cases| {
        each(cases.masks(), |Mask { counts, rle }, out| {
            out.numbers(&[mask::area_from_string(counts, rle.h, rle.w)? as f64])
        })
    }),
    ("box of string", |cases| {
        each(cases.masks(), |Mask { counts, rle }, out| {
            out.numbers(&mask::area_and_bbox_from_string(counts, rle.h, rle.w)?.1)
        })
    }),
    ("area", |cases| each(cases.masks(), |mask, out| out.numbers(&[mask::area(&mask.rle) as f64]))),
    ("box", |cases| each(cases.masks(), |mask, out| out.numbers(&mask::to_bbox(&mask.rle)))),
    ("decode string to bitmap", |cases| each(cases.masks(), |mask, out| out.bytes(&mask::decode(&mask.parse()?)))),
    ("encode bitmap", |cases| each(cases.bitmaps(), |(bitmap, [h, w]), out| out.mask(&mask::encode(bitmap, *h, *w)?))),
    ("encode bitmap to string", |cases| {
        each(cases.bitmaps(), |(bitmap, [h, w]), out| out.string(&mask::encode(bitmap, *h, *w)?))
    }),
    ("union of 2 strings", |cases| each(cases.pairs(), |pair, out| out.string(&mask::merge(&parsed(pair)?, false)?))),
    ("intersection of 2 strings", |cases| {
        each(cases.pairs(), |pair, out| out.string(&mask::merge(&parsed(pair)?, true)?))
    }),
    ("union of 16 strings", |cases| {
        each(cases.groups(), |group, out| out.string(&mask::merge(&parsed(group)?, false)?))
    }),
    ("union of 2", |cases| each(clones(cases.pairs()), |pair, out| out.mask(&mask::merge(pair, false)?))),
    ("intersection of 2", |cases| each(clones(cases.pairs()), |pair, out| out.mask(&mask::merge(pair, true)?))),
    ("union of 16", |cases| each(clones(cases.groups()), |group, out| out.mask(&mask::merge(group, false)?))),
    ("iou of 2 strings", |cases| {
        each(cases.pairs(), |pair, out| {
            let pair = parsed(pair)?;
            out.numbers(&mask::iou(&pair[..1], &pair[1..], &[false])[0])
        })
    }),
    ("iou of 2", |cases| {
        each(clones(cases.pairs()), |pair, out| out.numbers(&mask::iou(&pair[..1], &pair[1..], &[false])[0]))
    }),
    ("iou matrix of strings", |cases| {
        each(cases.lists(), |masks, out| {
            let masks = parsed(masks)?;
            out.numbers(&mask::iou(&masks, &masks, &vec![false; masks.len()]).concat())
        })
    }),
    ("iou matrix", |cases| {
        each(clones(cases.lists()), |masks, out| {
            out.numbers(&mask::iou(masks, masks, &vec![false; masks.len()]).concat())
        })
    }),
    ("iou matrix of boxes", |cases| {
        each(cases.boxes(), |boxes, out| out.numbers(&mask::bbox_iou(boxes, boxes, &vec![false; boxes.len()]).concat()))
    }),
    ("polygon to string", |cases| {
        each(cases.polygons(), |(points, [h, w]), out| out.string(&mask::fr_poly(points, *h, *w)?))
    }),
    ("polygon", |cases| each(cases.polygons(), |(points, [h, w]), out| out.mask(&mask::fr_poly(points, *h, *w)?))),
];

fn each<'a, T: 'a>(inputs: Vec<T>, mut call: impl FnMut(&T, &mut Digest) -> Result<()> + 'a) -> Operation<'a> {
    Box::new(move |digest| inputs.iter().try_for_each(|input| call(input, digest)))
}

fn parsed(masks: &[&Mask]) -> Result<Vec<Rle>> {
    masks.iter().map(|mask| mask.parse()).collect()
}

fn clones(masks: Vec<Vec<&Mask>>) -> Vec<Vec<Rle>> {
    masks.iter().map(|masks| masks.iter().map(|mask| mask.rle.clone()).collect()).collect()
}

struct Image {
    masks: Vec<Mask>,
    polygons: Vec<Vec<f64>>,
}

struct Mask {
    counts: String,
    rle: Rle,
}

impl Mask {
    fn parse(&self) -> Result<Rle> {
        Ok(mask::rle_from_string(&self.counts, self.rle.h, self.rle.w)?)
    }
}

fn read(images: &Value) -> Result<Vec<Image>> {
    let image = |image: &Value| {
        let size = |name: &str| image[name].as_u64().map(|size| size as u32).ok_or("no size");
        let (height, width) = (size("height")?, size("width")?);
        let strings: Vec<String> = serde_json::from_value(image["counts"].clone())?;
        let mask = |counts: String| Ok(Mask { rle: mask::rle_from_string(&counts, height, width)?, counts });
        let masks = strings.into_iter().map(mask).collect::<Result<_>>()?;
        Ok(Image { masks, polygons: serde_json::from_value(image["polygons"].clone())? })
    };
    images.as_array().ok_or("no images")?.iter().map(image).collect()
}

/// The inputs of the operations; only every n-th mask is used.
struct Cases<'a> {
    images: &'a [Image],
    step: usize,
}

impl<'a> Cases<'a> {
    fn masks(&self) -> Vec<&'a Mask> {
        self.images.iter().flat_map(|image| &image.masks).step_by(self.step).collect()
    }

    fn bitmaps(&self) -> Vec<(Vec<u8>, [u32; 2])> {
        self.masks().iter().map(|Mask { rle, .. }| (mask::decode(rle), [rle.h, rle.w])).collect()
    }

    fn pairs(&self) -> Vec<Vec<&'a Mask>> {
        let pairs = |Image { masks, .. }: &'a Image| masks.iter().zip(masks.iter().cycle().skip(1));
        self.images.iter().flat_map(pairs).map(|(a, b)| vec![a, b]).collect()
    }

    fn groups(&self) -> Vec<Vec<&'a Mask>> {
        self.images
            .iter()
            .flat_map(|image| image.masks.chunks_exact(GROUP))
            .map(|group| group.iter().collect())
            .collect()
    }

    fn lists(&self) -> Vec<Vec<&'a Mask>> {
        self.images.iter().map(|image| image.masks.iter().collect()).collect()
    }

    fn boxes(&self) -> Vec<Vec<[f64; 4]>> {
        self.images.iter().map(|image| image.masks.iter().map(|mask| mask::to_bbox(&mask.rle)).collect()).collect()
    }

    fn polygons(&self) -> Vec<(&'a [f64], [u32; 2])> {
        let size = |image: &Image| image.masks.first().map_or([0; 2], |mask| [mask.rle.h, mask.rle.w]);
        self.images.iter().flat_map(|image| image.polygons.iter().map(move |p| (p.as_slice(), size(image)))).collect()
    }
}

/// As in `benches/peers/digest.rs`; all of these operations agree exactly.
#[derive(Default)]
struct Digest {
    on: bool,
    crc: crc32fast::Hasher,
    sum: f64,
}

impl Digest {
    fn mask(&mut self, mask: &Rle) -> Result<()> {
        black_box(mask);
        if self.on { self.string(mask) } else { Ok(()) }
    }

    /// Includes writing the string.
    fn string(&mut self, mask: &Rle) -> Result<()> {
        self.bytes(mask::rle_to_string(mask).as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        black_box(bytes);
        if self.on {
            self.crc.update(bytes);
        }
        Ok(())
    }

    fn numbers(&mut self, numbers: &[f64]) -> Result<()> {
        black_box(numbers);
        self.sum += if self.on { numbers.iter().sum() } else { 0.0 };
        Ok(())
    }
}
