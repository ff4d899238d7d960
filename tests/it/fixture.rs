//! Fixtures of the tests: small samples made by hand, shards in memory, faulty sources, and a watchdog.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use maskstream::index::Sidecar;
use maskstream::mask::Rle;
use maskstream::source::{MemorySource, Source};
use maskstream::{Batch, Error, LoaderBuilder, MaskFilter, OnCorrupt, Result, ShardSet, ShardSetBuilder};
use serde_json::{Value, json};

/// Length of the header of an index file.
pub(crate) const SIDECAR_HEADER: usize = 56;

/// Makes the checksums of a forged index file match.
pub(crate) fn sign_sidecar(bytes: &mut [u8]) {
    let end = SIDECAR_HEADER + u64::from_le_bytes(bytes[16..24].try_into().unwrap()) as usize;
    let payload = crc32c::crc32c(&bytes[SIDECAR_HEADER..end]);
    bytes[12..16].copy_from_slice(&payload.to_le_bytes());
    let header = crc32c::crc32c(&bytes[..SIDECAR_HEADER - 4]);
    bytes[SIDECAR_HEADER - 4..SIDECAR_HEADER].copy_from_slice(&header.to_le_bytes());
}

/// One gzip member.
pub(crate) fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A small deterministic generator: splitmix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// An image and its annotations, as members of a shard.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) id: i64,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) image: Vec<u8>,
    pub(crate) json: Vec<u8>,
}

impl Made {
    pub(crate) fn image_name(&self) -> String {
        format!("sa_{}.jpg", self.id)
    }

    pub(crate) fn json_name(&self) -> String {
        format!("sa_{}.json", self.id)
    }
}

/// A sample of `masks` random rectangles whose scores repeat, so that there are ties.
pub(crate) fn made(id: i64, width: u32, height: u32, masks: usize) -> Made {
    let mut dice = Dice(id as u64 * 1000 + u64::from(width));
    let annotations: Vec<Value> = (0..masks)
        .map(|n| {
            let (x, y) = (dice.below(u64::from(width)) as u32, dice.below(u64::from(height)) as u32);
            let (w, h) = (1 + dice.below(u64::from(width - x)) as u32, 1 + dice.below(u64::from(height - y)) as u32);
            let mask = rectangle(width, height, [x, y, w, h]);
            let iou = 0.85 + dice.below(5) as f64 * 0.04;
            let stability = 0.9 + dice.below(4) as f64 * 0.03;
            annotation(id * 100 + n as i64, &mask, iou, stability)
        })
        .collect();
    let json = document(id, width, height, &annotations);
    Made { id, width, height, image: jpeg(width, height, id as u64), json }
}

/// The samples 1..=count, of several sizes.
pub(crate) fn made_many(count: i64) -> Vec<Made> {
    let sizes = [(40, 28), (28, 40), (33, 33), (56, 24)];
    (1..=count)
        .map(|id| {
            let (width, height) = sizes[id as usize % sizes.len()];
            made(id, width, height, 3 + id as usize % 5)
        })
        .collect()
}

/// The mask of one rectangle `[x, y, width, height]`.
pub(crate) fn rectangle(width: u32, height: u32, [x, y, w, h]: [u32; 4]) -> Rle {
    let mut bitmap = vec![0; (width * height) as usize];
    for column in x..x + w {
        for row in y..y + h {
            bitmap[(column * height + row) as usize] = 1;
        }
    }
    Rle::from_column_major(&bitmap, height, width).unwrap()
}

/// One annotation object around a mask; its box is SA-1B's, one less than the count of pixels.
pub(crate) fn annotation(id: i64, mask: &Rle, predicted_iou: f64, stability_score: f64) -> Value {
    let [x, y, w, h] = mask.bbox();
    json!({
        "bbox": [x, y, w.saturating_sub(1), h.saturating_sub(1)],
        "area": mask.area(),
        "segmentation": {"size": [mask.height(), mask.width()], "counts": mask.to_counts()},
        "predicted_iou": predicted_iou,
        "point_coords": [[f64::from(x) + 0.5, f64::from(y) + 0.25]],
        "crop_box": [0.0, 0.0, mask.width(), mask.height()],
        "id": id,
        "stability_score": stability_score,
    })
}

/// The bytes of a json member.
pub(crate) fn document(image_id: i64, width: u32, height: u32, annotations: &[Value]) -> Vec<u8> {
    let image =
        json!({"image_id": image_id, "width": width, "height": height, "file_name": format!("sa_{image_id}.jpg")});
    serde_json::to_vec(&json!({"image": image, "annotations": annotations})).unwrap()
}

/// A JPEG of soft noise.
pub(crate) fn jpeg(width: u32, height: u32, seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed ^ 0xabcd);
    let [a, b, c] = [0; 3].map(|_| 1 + dice.below(7) as u32);
    let pixels: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .flat_map(|(x, y)| [x * a + y, y * b + x * 2, 255 - (x + y * c) % 256].map(|v| (v % 256) as u8))
        .collect();
    let mut out = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut out, 92);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    encoder.encode(&pixels, width as u16, height as u16, jpeg_encoder::ColorType::Rgb).unwrap();
    out
}

/// A plain tar of these members.
pub(crate) fn pack(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    maskstream::synth::pack(members.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())), false).unwrap()
}

/// All json members first, then all images: no pair is adjacent, and samples are complete in the order of their ids.
pub(crate) fn members(samples: &[Made]) -> Vec<(String, Vec<u8>)> {
    let images = samples.iter().map(|s| (s.image_name(), s.image.clone()));
    let jsons = samples.iter().map(|s| (s.json_name(), s.json.clone()));
    jsons.chain(images).collect()
}

/// One shard in memory.
pub(crate) fn shard(samples: &[Made]) -> Vec<u8> {
    pack(&members(samples))
}

pub(crate) fn memory(bytes: Vec<u8>) -> Arc<dyn Source> {
    Arc::new(MemorySource::new(bytes))
}

/// Options that keep all samples and write no files.
pub(crate) fn lenient() -> ShardSetBuilder {
    ShardSet::builder().filter(MaskFilter::all()).sidecar(Sidecar::Off).on_corrupt(OnCorrupt::KEEP)
}

/// A set of these shards, called a, b, c ...
pub(crate) fn set_of(shards: Vec<Vec<u8>>) -> ShardSet {
    set_of_sources(shards.into_iter().map(memory).collect())
}

pub(crate) fn set_of_sources(sources: Vec<Arc<dyn Source>>) -> ShardSet {
    let named = sources.into_iter().zip('a'..).map(|(source, name)| (name.to_string(), source)).collect();
    lenient().from_sources(named).unwrap()
}

/// What the `tar` crate reads: members by name without `./`, and the offset of each one's bytes.
pub(crate) fn read_with_tar(bytes: &[u8]) -> BTreeMap<String, (u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        found.insert(name.trim_start_matches("./").to_owned(), (entry.raw_file_position(), content));
    }
    found
}

/// How a read is changed once the source is armed.
type Fault = dyn Fn(Range<u64>, Bytes) -> Result<Bytes> + Send + Sync;

/// A source in memory that has no faults until it is armed.
pub(crate) struct Faulty {
    inner: MemorySource,
    armed: AtomicBool,
    fault: Box<Fault>,
}

impl Faulty {
    pub(crate) fn new(
        bytes: Vec<u8>,
        fault: impl Fn(Range<u64>, Bytes) -> Result<Bytes> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { inner: MemorySource::new(bytes), armed: AtomicBool::new(false), fault: Box::new(fault) })
    }

    pub(crate) fn arm(&self) {
        self.armed.store(true, SeqCst);
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl Source for Faulty {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.inner.read(range.clone())?;
        if self.armed.load(SeqCst) { (self.fault)(range, bytes) } else { Ok(bytes) }
    }
}

/// Panics when its bytes are dropped, which a worker does once a sample is decoded.
pub(crate) struct Bomb(pub(crate) Bytes);

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the bomb went off");
        }
    }
}

/// A memory budget for this number of batches.
pub(crate) fn budget(options: LoaderBuilder, set: &Arc<ShardSet>, batches: u64) -> u64 {
    let plan = *options.build(Arc::clone(set)).unwrap().memory_plan();
    plan.fixed_bytes() + batches * plan.batch_bytes
}

/// A source whose advice panics.
#[derive(Debug)]
pub(crate) struct BadAdvice(pub(crate) MemorySource);

impl Source for BadAdvice {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.0.read(range)
    }

    fn will_need(&self, _: Range<u64>) {
        panic!("bad advice");
    }
}

/// An error such as a source would return, which names `offset`.
pub(crate) fn read_error(offset: u64) -> Error {
    MemorySource::new(Vec::new()).read(offset..offset + 1).unwrap_err()
}

/// Runs `life` on a thread of its own; a hang becomes a failure.
pub(crate) fn within<T: Send + 'static>(life: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, outcome) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _ = done.send(life());
    });
    match outcome.recv_timeout(Duration::from_secs(60)) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("still running after 60 s: a hang"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(payload) => std::panic::resume_unwind(payload),
            Ok(()) => panic!("the thread ended without a value"),
        },
    }
}

/// Every byte of every field of a batch, by name, and the batch's description of itself.
pub(crate) fn content(batch: &Batch) -> BTreeMap<String, Vec<u8>> {
    let mut content: BTreeMap<String, Vec<u8>> =
        batch.fields().map(|field| (field.spec.name().to_owned(), field.bytes.to_vec())).collect();
    content.insert("step".to_owned(), batch.step().to_le_bytes().to_vec());
    content.insert("samples".to_owned(), format!("{:?}", batch.samples()).into_bytes());
    content
}
