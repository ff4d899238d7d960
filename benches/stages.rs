//! Measures what each step of the loader costs on full-size samples, in one thread. Run with
//! `cargo bench --bench stages`.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use maskstream::index::{AnnotationFile, ShardIndex};
use maskstream::internals::{Canvas, Decoder, ImageJob, Planes, Simd};
use maskstream::mask::{Grid, GridScratch, Rle};
use maskstream::source::{FileSource, MemorySource, Source};
use maskstream::synth::{Preset, Sample, SynthOptions, pack, sample};
use maskstream::{DType, Fit, Geometry, Loader, MaskFilter, Normalization, ScaledDecode, ShardSet, TopKBy};

/// As in the `maskstream` binary, pages of dropped buffers are reused.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// Full-size samples, drawn once.
static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let options = SynthOptions::new(Preset::Full).seed(1);
    (1..=8).map(|id| sample(id, &options).unwrap_or_else(|e| fail(&e))).collect()
});

/// The masks of the first sample.
static MASKS: LazyLock<Vec<Rle>> = LazyLock::new(|| {
    let file = AnnotationFile::parse(&SAMPLES[0].annotations).unwrap_or_else(|e| fail(&e));
    let (height, width) = (file.image.height, file.image.width);
    let read = |annotation: &maskstream::index::Annotation<'_>| {
        let mut rle = Rle::default();
        annotation.read_mask(height, width, &mut rle).unwrap_or_else(|e| fail(&e));
        rle
    };
    file.annotations.iter().map(read).collect()
});

/// Samples in the shard: more bytes than fit into the caches, as in a real one.
const SHARD_SAMPLES: usize = 96;

/// One shard in memory that repeats the samples.
static SHARD: LazyLock<MemorySource> = LazyLock::new(|| {
    let names: Vec<_> = (0..SHARD_SAMPLES).map(|id| (format!("sa_{id}.jpg"), format!("sa_{id}.json"))).collect();
    let members = SAMPLES.iter().cycle().zip(&names).flat_map(|(sample, (jpg, json))| {
        [(jpg.as_str(), sample.image.as_slice()), (json.as_str(), sample.annotations.as_slice())]
    });
    MemorySource::new(pack(members, false).unwrap_or_else(|e| fail(&e)))
});

fn fail(error: &dyn std::fmt::Display) -> ! {
    eprintln!("{error}");
    std::process::exit(1)
}

/// Per mask, over all masks of an image.
mod masks {
    use super::*;

    fn counts() -> Vec<String> {
        MASKS.iter().map(Rle::to_counts).collect()
    }

    #[divan::bench]
    fn parse(bencher: Bencher) {
        let (counts, mut rle) = (counts(), Rle::default());
        let (height, width) = (MASKS[0].height(), MASKS[0].width());
        bencher.counter(ItemsCount::new(counts.len())).bench_local(|| {
            for counts in &counts {
                let _ = rle.read_counts(counts.as_bytes(), height, width);
            }
        });
    }

    /// Includes parsing, as in a worker.
    fn draw<T: Clone + Default>(
        bencher: Bencher,
        cells: [u32; 2],
        mut draw: impl FnMut(&Grid, &Rle, &mut GridScratch, &mut [T]),
    ) {
        let (counts, mut rle, mut scratch) = (counts(), Rle::default(), GridScratch::default());
        let (height, width) = (MASKS[0].height(), MASKS[0].width());
        let grid = Grid::stretch(height, width, cells[0], cells[1]).unwrap_or_else(|e| fail(&e));
        let mut out = vec![T::default(); grid.rows() * grid.columns()];
        bencher.counter(ItemsCount::new(counts.len())).bench_local(|| {
            for counts in &counts {
                let _ = rle.read_counts(counts.as_bytes(), height, width);
                draw(&grid, &rle, &mut scratch, &mut out);
            }
        });
    }

    #[divan::bench(args = [[64, 64], [256, 256], [683, 1024]])]
    fn nearest(bencher: Bencher, cells: [u32; 2]) {
        draw(bencher, cells, |grid, rle, scratch, out| drop(grid.nearest(rle, scratch, out)));
    }

    #[divan::bench(args = [[64, 64], [256, 256], [683, 1024]])]
    fn area(bencher: Bencher, cells: [u32; 2]) {
        draw(bencher, cells, |grid, rle, scratch, out| drop(grid.area(rle, scratch, out)));
    }

    #[divan::bench(args = [[32, 32], [64, 64]])]
    fn coverage(bencher: Bencher, cells: [u32; 2]) {
        draw(bencher, cells, |grid, rle, scratch, out| drop(grid.coverage(rle, scratch, out)));
    }

    #[divan::bench]
    fn full_column_major(bencher: Bencher) {
        let mut out = vec![0; MASKS[0].height() as usize * MASKS[0].width() as usize];
        bencher.counter(ItemsCount::new(MASKS.len())).bench_local(|| {
            for rle in MASKS.iter() {
                drop(rle.write_column_major(&mut out));
            }
        });
    }
}

/// 16 masks at the size of an image, beside a plain fill of the same memory.
mod masks_of_1024 {
    use super::*;

    const COUNT: usize = 16;
    const SIDE: u32 = 1024;

    #[derive(Clone, Copy, Debug)]
    enum Memory {
        /// Written a moment ago.
        Reused,
        /// Not in any cache: as many buffers in turn as take 256 MiB of bytes.
        Cold,
    }

    fn draw(
        bencher: Bencher,
        memory: Memory,
        row_bytes: usize,
        mut draw: impl FnMut(&Grid, &Rle, &mut GridScratch, &mut [u8]),
    ) {
        let geometry = Geometry::new(MASKS[0].width(), MASKS[0].height(), SIDE, Fit::Letterbox);
        let grid = geometry.and_then(|geometry| geometry.grid(SIDE, SIDE)).unwrap_or_else(|e| fail(&e));
        let bytes = SIDE as usize * row_bytes;
        let buffers = match memory {
            Memory::Reused => 1,
            Memory::Cold => (256 << 20) / (COUNT * bytes),
        };
        let mut buffers = vec![vec![1_u8; COUNT * bytes]; buffers];
        let (mut scratch, mut next) = (GridScratch::default(), 0);
        bencher.counter(BytesCount::new(COUNT * bytes)).bench_local(|| {
            next = (next + 1) % buffers.len();
            for (rle, out) in MASKS.iter().zip(buffers[next].chunks_exact_mut(bytes)) {
                draw(&grid, rle, &mut scratch, divan::black_box(out));
            }
        });
    }

    #[divan::bench(args = [Memory::Reused, Memory::Cold])]
    fn fill(bencher: Bencher, memory: Memory) {
        draw(bencher, memory, SIDE as usize, |_, _, _, out| out.fill(0));
    }

    #[divan::bench(args = [Memory::Reused, Memory::Cold])]
    fn nearest(bencher: Bencher, memory: Memory) {
        draw(bencher, memory, SIDE as usize, |grid, rle, scratch, out| drop(grid.nearest(rle, scratch, out)));
    }

    #[divan::bench(args = [Memory::Reused, Memory::Cold])]
    fn nearest_packed(bencher: Bencher, memory: Memory) {
        draw(bencher, memory, SIDE as usize / 8, |grid, rle, scratch, out| {
            drop(grid.nearest_packed(rle, scratch, out));
        });
    }

    #[divan::bench(args = [Memory::Reused, Memory::Cold])]
    fn area(bencher: Bencher, memory: Memory) {
        draw(bencher, memory, SIDE as usize, |grid, rle, scratch, out| drop(grid.area(rle, scratch, out)));
    }
}

/// Per json member.
mod json {
    use super::*;

    #[divan::bench]
    fn parse(bencher: Bencher) {
        let json = &SAMPLES[0].annotations;
        bencher
            .counter(BytesCount::new(json.len()))
            .bench(|| AnnotationFile::parse(json).map(|file| file.annotations.len()));
    }

    #[divan::bench]
    fn top_10(bencher: Bencher) {
        let file = AnnotationFile::parse(&SAMPLES[0].annotations).unwrap_or_else(|e| fail(&e));
        let filter = MaskFilter::default();
        bencher.bench(|| TopKBy::default().top_k(&file, &filter, 10, 0));
    }
}

/// Indexing a shard in memory against parsing its json members alone.
mod index {
    use super::*;

    /// The same shard as a file, in the page cache.
    static FILE: LazyLock<FileSource> = LazyLock::new(|| {
        let mut file = tempfile::NamedTempFile::new().unwrap_or_else(|e| fail(&e));
        let bytes = SHARD.read(0..SHARD.len()).unwrap_or_else(|e| fail(&e));
        file.write_all(&bytes).unwrap_or_else(|e| fail(&e));
        FileSource::open(file.path()).unwrap_or_else(|e| fail(&e))
    });

    #[derive(Clone, Copy, Debug)]
    enum From {
        Memory,
        File,
    }

    fn shard(from: From) -> &'static dyn Source {
        match from {
            From::Memory => &*SHARD,
            From::File => &*FILE,
        }
    }

    #[divan::bench(args = [From::Memory, From::File])]
    fn whole_shard(bencher: Bencher, from: From) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap_or_else(|e| fail(&e));
        bencher
            .counter(ItemsCount::new(SHARD_SAMPLES))
            .bench(|| pool.install(|| ShardIndex::build(shard(from), &|_| {}).map(|index| index.entries().len())));
    }

    #[divan::bench(args = [From::Memory, From::File])]
    fn json_alone(bencher: Bencher, from: From) {
        let index = ShardIndex::build(shard(from), &|_| {}).unwrap_or_else(|e| fail(&e));
        bencher.counter(ItemsCount::new(SHARD_SAMPLES)).bench(|| {
            let members = index.entries().iter().flat_map(|entry| shard(from).read(entry.annotations.range()));
            members.filter_map(|json| AnnotationFile::parse(&json).map(|f| f.annotations.len()).ok()).sum::<usize>()
        });
    }

    /// The checksums alone: the minimum cost of reading every byte.
    #[divan::bench]
    fn crc32c_alone(bencher: Bencher) {
        let bytes = SHARD.read(0..SHARD.len()).unwrap_or_else(|e| fail(&e));
        bencher
            .counter(ItemsCount::new(SHARD_SAMPLES))
            .counter(BytesCount::new(bytes.len()))
            .bench(|| crc32c::crc32c(&bytes));
    }
}

/// A gzip shard, compared with the library that flate2 uses.
mod gzip {
    use std::io::Read;

    use maskstream::source::Inflater;

    use super::*;

    /// Eight samples, no two members of one kind side by side.
    static GZIP: LazyLock<MemorySource> = LazyLock::new(|| {
        let names: Vec<_> = (0..SAMPLES.len()).map(|id| (format!("sa_{id}.jpg"), format!("sa_{id}.json"))).collect();
        let members = SAMPLES.iter().zip(&names).flat_map(|(sample, (jpg, json))| {
            [(jpg.as_str(), sample.image.as_slice()), (json.as_str(), sample.annotations.as_slice())]
        });
        MemorySource::new(pack(members, true).unwrap_or_else(|e| fail(&e)))
    });

    fn inflated_bytes() -> usize {
        SAMPLES.iter().map(|sample| sample.image.len() + sample.annotations.len()).sum()
    }

    /// The whole stream from front to back: the minimum for any reader without an index.
    #[divan::bench]
    fn whole_stream_with_zlib_rs(bencher: Bencher) {
        let bytes = GZIP.read(0..GZIP.len()).unwrap_or_else(|e| fail(&e));
        let mut buffer = vec![0; 256 << 10];
        bencher.counter(BytesCount::new(inflated_bytes())).bench_local(|| {
            let mut stream = flate2::bufread::GzDecoder::new(&bytes[..]);
            while stream.read(&mut buffer).unwrap_or_else(|e| fail(&e)) > 0 {}
        });
    }

    /// The same, and tar headers, checksums, annotations and restart points in addition.
    #[divan::bench]
    fn index(bencher: Bencher) {
        bencher
            .counter(BytesCount::new(inflated_bytes()))
            .bench(|| ShardIndex::build(&*GZIP, &|_| {}).map(|index| index.entries().len()));
    }

    /// Each member by its restart point.
    #[divan::bench]
    fn each_member(bencher: Bencher) {
        let source: Arc<dyn Source> = Arc::new(GZIP.clone());
        let set = ShardSet::builder().from_sources(vec![("memory".to_owned(), source)]).unwrap_or_else(|e| fail(&e));
        let index = ShardIndex::build(&*GZIP, &|_| {}).unwrap_or_else(|e| fail(&e));
        let source = set.source(0).unwrap_or_else(|e| fail(&e));
        let mut inflater = Inflater::default();
        bencher.counter(BytesCount::new(inflated_bytes())).bench_local(|| {
            for extent in index.entries().iter().flat_map(|entry| [entry.image, entry.annotations]) {
                let fetched = source.fetch(extent.range()).unwrap_or_else(|e| fail(&e));
                divan::black_box(fetched.inflate(&mut inflater).unwrap_or_else(|e| fail(&e)));
            }
        });
    }
}

/// Per image.
mod image {
    use super::*;

    fn size() -> (u32, u32) {
        (MASKS[0].width(), MASKS[0].height())
    }

    fn wanted() -> (u32, u32) {
        let geometry = Geometry::new(size().0, size().1, 1024, Fit::Letterbox).unwrap_or_else(|e| fail(&e));
        (geometry.content_width(), geometry.content_height())
    }

    /// From the JPEG to the planes of a canvas of 1024 x 1024 pixels.
    fn decode(bencher: Bencher, scaled: ScaledDecode, simd: Simd, together: usize, image_dtype: DType) {
        let planes = Planes::new(image_dtype, Normalization::UNIT).unwrap_or_else(|e| fail(&e));
        let mut outs = vec![vec![0_f32; 3 * 1024 * 1024]; together];
        let mut decoder = Decoder::new(scaled, u64::MAX).simd(simd);
        let bytes: usize = SAMPLES.iter().take(together).map(|sample| sample.image.len()).sum();
        bencher.counter(BytesCount::new(bytes)).counter(ItemsCount::new(together)).bench_local(|| {
            let jobs = SAMPLES.iter().zip(&mut outs).map(|(sample, out)| {
                let out: &mut [u8] = bytemuck::cast_slice_mut(out);
                let out = &mut out[..3 * 1024 * 1024 * image_dtype.bytes()];
                ImageJob::new(&sample.image, size(), Canvas::new(&planes, wanted(), 1024, out))
            });
            decoder.decode_all(&mut jobs.collect::<Vec<_>>())
        });
    }

    #[divan::bench(args = [DType::U8, DType::F32, DType::Bf16])]
    fn auto(bencher: Bencher, image_dtype: DType) {
        decode(bencher, ScaledDecode::Auto, Simd::best(), 1, image_dtype);
    }

    #[divan::bench(args = [2, 3, 8])]
    fn auto_together(bencher: Bencher, images: usize) {
        decode(bencher, ScaledDecode::Auto, Simd::best(), images, DType::U8);
    }

    #[divan::bench]
    fn auto_without_avx2(bencher: Bencher) {
        decode(bencher, ScaledDecode::Auto, Simd::PORTABLE, 1, DType::U8);
    }

    #[divan::bench]
    fn full(bencher: Bencher) {
        decode(bencher, ScaledDecode::Full, Simd::best(), 1, DType::U8);
    }
}

/// The whole loader on one worker, per sample.
mod loader {
    use super::*;

    #[divan::bench(args = [Some(256), None], sample_count = 3)]
    fn epoch(bencher: Bencher, masks: Option<u32>) {
        let source: Arc<dyn Source> = Arc::new(SHARD.clone());
        let set = ShardSet::builder().from_sources(vec![("memory".to_owned(), source)]).unwrap_or_else(|e| fail(&e));
        let loader = Loader::builder()
            .batch_size(4)
            .num_workers(1)
            .mask_size(masks.map(|side| [side, side]))
            .build(set)
            .unwrap_or_else(|e| fail(&e));
        bencher.counter(ItemsCount::new(SHARD_SAMPLES)).bench_local(|| {
            loader.epoch(0).map(|epoch| epoch.filter_map(Result::ok).map(|batch| batch.valid_rows()).sum::<usize>())
        });
    }
}
