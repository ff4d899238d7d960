//! A file beside the index of a shard that says where the rows of its JPEGs begin, so that crops are decoded from
//! there.
//!
//! # Layout, all little-endian
//!
//! The header: `MSKPOINT`, version (u32), number of images (u32). Then, for each image in the order of their places in
//! the shard, offset (u64), length (u32) and crc32c (u32) of the JPEG, as in the index, and end (u32) and crc32c (u32)
//! of its record; the end is counted from the first record, where the record of the image before ends. Then the crc32c
//! of all before (u32), and the records (see [`RowPoints::to_bytes`]). A JPEG without points has an empty record.
//!
//! A JPEG is found by its place and checksum, so a file that is old or of another shard does no harm: what it does not
//! have is decoded from the top.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::indexed::{IndexedShard, catch_panic};
use super::{Extent, Indexer, pool};
use crate::atomic::write_file;
use crate::image::{RowPoints, damage};
use crate::source::{self, Inflater, Source, is_remote};
use crate::{Error, Result};

const MAGIC: [u8; 8] = *b"MSKPOINT";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const ROW_BYTES: usize = 24;
/// Records by the places of their JPEGs.
type Records = BTreeMap<u64, Vec<u8>>;

/// Images that are read at once: their bytes are in memory.
const AT_ONCE: usize = 64;

/// What [`Indexer::save_row_points`] has done for a shard.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RowPointsReport {
    /// The file.
    pub path: PathBuf,
    /// Number of JPEGs in the shard.
    pub images: usize,
    /// Number of those whose rows' places are known. The others are progressive, have a single row of units, or are
    /// damaged.
    pub with_points: usize,
    /// What is wrong with the damaged ones, in the order of their places; empty if the file was there already.
    pub damaged: Vec<Error>,
    /// Whether the file was there already.
    pub is_kept: bool,
}

/// The file of the index file `index`: `NAME.msidx` has `NAME.mspoints`.
pub(super) fn path_beside(index: &Path) -> PathBuf {
    index.with_extension("mspoints")
}

/// The file, opened.
#[derive(Debug)]
pub(crate) struct RowPointsFile {
    source: Arc<dyn Source>,
    rows: Vec<Row>,
    /// Where the records begin.
    start: u64,
}

/// What the file has of one JPEG.
#[derive(Clone, Copy, Debug)]
struct Row {
    image: Extent,
    /// The end of its record.
    end: u32,
    crc32c: u32,
}

impl RowPointsFile {
    /// Opens a file; an error is a part of a sentence about it.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let cannot = |e: Error| format!("cannot be read: {e}");
        let source = source::open(path).map_err(cannot)?;
        let short = || "is cut short".to_owned();
        let part = |from: u64, to: u64| {
            let is_there = to <= source.len();
            is_there.then(|| source.read(from..to).map_err(cannot)).ok_or_else(short)?
        };
        let header = part(0, HEADER_BYTES as u64)?;
        let half = |bytes: &[u8], at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if header[..8] != MAGIC || half(&header, 8) != VERSION {
            return Err("is no file of row points, or one of another version".to_owned());
        }
        let table_end = HEADER_BYTES as u64 + u64::from(half(&header, 12)) * ROW_BYTES as u64;
        let table = part(HEADER_BYTES as u64, table_end)?;
        let checksum = part(table_end, table_end + 4)?;
        if crc32c::crc32c_append(crc32c::crc32c(&header), &table) != half(&checksum, 0) {
            return Err("is damaged: the checksum of its table does not match".to_owned());
        }
        let rows = table.as_chunks::<ROW_BYTES>().0.iter().map(|row| {
            let offset = u64::from_le_bytes(std::array::from_fn(|i| row[i]));
            let image = Extent { offset, len: half(row, 8), crc32c: half(row, 12) };
            Row { image, end: half(row, 16), crc32c: half(row, 20) }
        });
        Ok(Self { rows: rows.collect(), start: table_end + 4, source })
    }

    /// The points of a JPEG; `None` if the file does not have them, or no longer.
    pub(crate) fn get(&self, image: Extent) -> Option<RowPoints> {
        let (record, crc32c) = self.place(image)?;
        let record = self.source.read(record).ok()?;
        (crc32c::crc32c(&record) == crc32c).then(|| RowPoints::from_bytes(&record))?
    }

    /// Where the record of a JPEG is, and its checksum.
    fn place(&self, image: Extent) -> Option<(Range<u64>, u32)> {
        let at = self.rows.binary_search_by_key(&image.offset, |row| row.image.offset).ok()?;
        let row = self.rows[at];
        let begin = at.checked_sub(1).map_or(0, |before| self.rows[before].end);
        let record = self.start + u64::from(begin)..self.start + u64::from(row.end);
        (row.image == image && record.start <= record.end).then_some((record, row.crc32c))
    }

    /// Of how many of these JPEGs the file has points; `None` if it lacks one of them, or a record is damaged.
    fn count(&self, images: &[Extent]) -> Option<usize> {
        let has_points = |image: &Extent| match self.place(*image)? {
            (record, _) if record.is_empty() => Some(false),
            _ => self.get(*image).map(|_| true),
        };
        let found: Option<Vec<bool>> = images.iter().map(has_points).collect();
        Some(found?.into_iter().filter(|&has_points| has_points).count())
    }
}

impl Indexer {
    /// Reads the codes of all JPEGs of a shard once, and saves where their rows begin, in a file beside its index file.
    /// A loader that crops ([`Crop`](crate::Crop)) then need not decode what lies above a crop. The file takes about a
    /// kilobyte for each image. One that is there and complete is kept, unless [`Indexer::rebuild`] asks for a new one.
    ///
    /// Images are read in parallel on the current rayon pool. `progress` is called with the number of bytes read.
    ///
    /// ```
    /// # #[cfg(feature = "synth")] {
    /// # use maskstream::synth::{Preset, SynthOptions, write_shards};
    /// use maskstream::index::Indexer;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # write_shards(dir.path(), 1, &SynthOptions::new(Preset::Small).samples(3), &|_| ())?;
    /// # let path = dir.path().join("sa_000000.tar");
    /// let indexer = Indexer::new();
    /// let report = indexer.save_row_points(&indexer.index(&path)?)?;
    /// assert_eq!((report.images, report.with_points), (3, 3));
    /// # }
    /// # Ok::<(), maskstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the shard has no index file, or cannot be read, or the file cannot be written. Damaged JPEGs are no error:
    /// they are listed.
    pub fn save_row_points(&self, shard: &IndexedShard) -> Result<RowPointsReport> {
        pool::start()?;
        let Some(index) = &shard.index_file else {
            return Err(Error::config("row points are kept beside the index file, and the shard has none")
                .in_shard(&shard.path));
        };
        if is_remote(index) {
            let text = "row points are read one image at a time, so they are kept on a disk only: give the indexes a \
                        local directory, with Sidecar::Dir";
            return Err(Error::config(text).in_shard(&shard.path));
        }
        let path = path_beside(index);
        let mut images: Vec<Extent> = shard.index.entries().iter().map(|entry| entry.image).collect();
        images.sort_unstable_by_key(|image| image.offset);
        images.dedup();
        let kept = RowPointsFile::open(&path).ok().filter(|_| !self.rebuild).and_then(|file| file.count(&images));
        if let Some(with_points) = kept {
            images.iter().for_each(|image| (self.progress)(u64::from(image.len)));
            return Ok(RowPointsReport { path, images: images.len(), with_points, damaged: Vec::new(), is_kept: true });
        }
        let (records, damaged) = catch_panic(&shard.path, || {
            let file = self.open(&shard.path)?;
            read_all(&images, shard.source(file)?.as_ref(), &*self.progress)
        })?;
        let with_points = records.values().filter(|record| !record.is_empty()).count();
        let cannot = |e| Error::io(format!("cannot write {}", path.display()), e);
        let (table, records) = encode(&images, &records)
            .ok_or_else(|| Error::limit("the row points of a shard exceed 4 GiB".to_owned()).in_shard(&shard.path))?;
        write_file(&path, |out| out.write_all(&table).and_then(|()| out.write_all(&records))).map_err(cannot)?;
        Ok(RowPointsReport { path, images: images.len(), with_points, damaged, is_kept: false })
    }
}

/// The record of each JPEG, by its offset; empty for one without points. And what is wrong with the damaged ones.
fn read_all(
    images: &[Extent],
    source: &dyn Source,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(Records, Vec<Error>)> {
    let (mut records, mut damaged) = (Records::new(), Vec::new());
    for images in images.chunks(AT_ONCE) {
        let read = |image: &Extent| {
            let mut inflater = Inflater::default();
            let fetched = source.fetch(image.range()).map_err(|e| e.at_offset(image.offset))?;
            let jpeg = fetched.inflate(&mut inflater).map_err(|e| e.at_offset(image.offset))?;
            let points = image.verify(jpeg).ok().and_then(|()| RowPoints::of(jpeg));
            let damage = if points.is_none() { damage(jpeg).map(|e| e.at_offset(image.offset)) } else { None };
            progress(u64::from(image.len));
            Ok((image.offset, points.map(|points| points.to_bytes()).unwrap_or_default(), damage))
        };
        for (offset, record, damage) in images.par_iter().map(read).collect::<Result<Vec<_>>>()? {
            records.insert(offset, record);
            damaged.extend(damage);
        }
    }
    Ok((records, damaged))
}

/// The header with the table and its checksum, and the records; `None` if they are too long.
fn encode(images: &[Extent], records: &Records) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut table = MAGIC.to_vec();
    table.extend(VERSION.to_le_bytes());
    table.extend(u32::try_from(images.len()).ok()?.to_le_bytes());
    let mut all = Vec::new();
    for image in images {
        let record = records.get(&image.offset).map_or(&[][..], Vec::as_slice);
        all.extend_from_slice(record);
        table.extend(image.offset.to_le_bytes());
        let end = u32::try_from(all.len()).ok()?;
        [image.len, image.crc32c, end, crc32c::crc32c(record)].iter().for_each(|half| table.extend(half.to_le_bytes()));
    }
    let checksum = crc32c::crc32c(&table);
    table.extend(checksum.to_le_bytes());
    Some((table, all))
}
