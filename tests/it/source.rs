//! Files that change while they are read, files that are no files, and settings that no machine can satisfy: errors
//! with a name, but never a signal or a hang.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use maskstream::index::{IfExists, IndexStatus, Indexer, Sidecar};
use maskstream::source::{self, FileSource, MmapSource, Source};
use maskstream::{
    Batch, Error, ErrorKind, Loader, LoaderBuilder, MaskFilter, OnError, Result, ShardSet, ShardSetBuilder,
};

use crate::fixture::{content, gzip, made_many, shard, within};

fn options() -> LoaderBuilder {
    Loader::builder().batch_size(2).image_size(24).mask_size(Some([8, 8])).num_workers(2)
}

fn shards() -> ShardSetBuilder {
    ShardSet::builder().filter(MaskFilter::all())
}

/// What can happen to a file that is in use.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Emptied,
    Halved,
    /// Overwritten by a shorter file, as `cp` does.
    Overwritten,
    /// Replaced by a shorter file, which was renamed.
    Replaced,
    Grown,
}

impl Change {
    const ALL: [Self; 5] = [Self::Emptied, Self::Halved, Self::Overwritten, Self::Replaced, Self::Grown];

    fn apply(self, path: &Path) {
        let bytes = fs::read(path).unwrap();
        let third = &bytes[bytes.len() / 3..bytes.len() / 3 * 2];
        match self {
            Self::Emptied => truncate(path, 0),
            Self::Halved => truncate(path, bytes.len() as u64 / 2),
            Self::Overwritten => fs::write(path, third).unwrap(),
            Self::Replaced => {
                fs::write(path.with_extension("new"), third).unwrap();
                fs::rename(path.with_extension("new"), path).unwrap();
            }
            Self::Grown => OpenOptions::new().append(true).open(path).unwrap().write_all(&[7; 5000]).unwrap(),
        }
    }

    /// Whether the bytes that were there remain readable.
    fn is_harmless(self) -> bool {
        matches!(self, Self::Replaced | Self::Grown)
    }
}

fn truncate(path: &Path, len: u64) {
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// A shard of 24 samples in a directory of its own.
fn on_disk(is_gzip: bool) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sa_000000.tar");
    let bytes = shard(&made_many(24));
    fs::write(&path, if is_gzip { gzip(&bytes, 6) } else { bytes }).unwrap();
    (dir, path)
}

/// All batches up to the first error; `change` is applied when the first one has arrived.
fn run(loader: &Loader, change: impl FnOnce()) -> (Vec<Batch>, Option<Error>) {
    let (mut batches, mut change) = (Vec::new(), Some(change));
    for batch in loader.epoch(0).unwrap() {
        match batch {
            Ok(batch) => batches.push(batch),
            Err(error) => return (batches, Some(error)),
        }
        if let Some(change) = change.take() {
            change();
        }
    }
    (batches, None)
}

#[test]
fn a_file_that_shrank_is_an_io_error_that_names_both_lengths() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, vec![7; 1 << 20]).unwrap();
    let source = FileSource::open(&path).unwrap();
    let before = source.read(0..1 << 20).unwrap();
    truncate(&path, 100);
    for range in [1 << 19..(1 << 19) + 9, 50..150, 100..101, 0..1 << 20] {
        source.will_need(range.clone());
        let error = source.read(range.clone()).unwrap_err();
        assert!(error.is_io() && error.location().offset == Some(range.start), "{error}");
        assert_eq!(error.location().shard.as_deref(), Some(path.as_path()));
        let text = error.to_string();
        assert!(text.contains("ends at byte 100 now") && text.contains("had 1048576 bytes"), "{text}");
    }
    assert_eq!(source.read(0..100).unwrap()[..], [7; 100], "what is left can be read");
    assert!(before.iter().all(|&byte| byte == 7), "bytes that were read stay what they were");
}

#[test]
fn an_epoch_outlives_a_shard_or_an_index_that_changes() {
    within(|| {
        for is_gzip in [false, true] {
            for change in Change::ALL {
                // The windows of restart points are read from the index file as the epoch goes on.
                for of_index in if is_gzip { &[false, true][..] } else { &[false] } {
                    changed_in_use(is_gzip, change, *of_index);
                }
            }
        }
    });
}

fn changed_in_use(is_gzip: bool, change: Change, of_index: bool) {
    let (dir, path) = on_disk(is_gzip);
    let target = if of_index { Sidecar::Beside.path(&path).unwrap() } else { path.clone() };
    let sound = Arc::new(shards().open(&[&path]).unwrap());
    let (expected, _) = run(&options().build(Arc::clone(&sound)).unwrap(), || ());
    assert_eq!(expected.len(), 12);
    let named = format!("gzip: {is_gzip}, {change:?}, index: {of_index}");
    let list = dir.path().join("bad.jsonl");
    for on_error in [OnError::Stop, OnError::skip(1000)] {
        let set = shards().open(&[&path]).unwrap();
        let loader = options().on_error(on_error).quarantine_log(&list).build(set).unwrap();
        let saved = fs::read(&target).unwrap();
        let modified = fs::metadata(&target).unwrap().modified().unwrap();
        let (batches, error) = run(&loader, || change.apply(&target));
        if change.is_harmless() {
            assert!(error.is_none() && batches.len() == 12, "{named}: {error:?}");
        } else if on_error == OnError::Stop {
            let error = error.unwrap();
            let blamed = error.location().shard.as_deref();
            // Where other bytes can be read instead, their checksums are wrong.
            if !(change == Change::Overwritten && error.is_corrupt() && blamed == Some(path.as_path())) {
                assert_eq!(error.kind(), ErrorKind::Io, "{named}: {error}");
                assert!(error.to_string().contains("truncated or replaced while in use"), "{named}: {error}");
                assert_eq!(blamed, Some(target.as_path()), "{named}: {error}");
            }
        } else {
            assert!(error.is_none() && batches.len() == 12, "{named}: {error:?}");
            let valid: usize = batches.iter().map(Batch::valid_rows).sum();
            let failed: usize = batches.iter().map(|batch| batch.errors().len()).sum();
            assert!(valid + failed == 24 && failed > 0, "{named}: {valid} rows valid, {failed} failed");
        }
        for (batch, expected) in batches.iter().zip(&expected).filter(|(batch, _)| batch.errors().is_empty()) {
            assert_eq!(content(batch), content(expected), "{named}: a wrong row");
        }
        fs::write(&target, saved).unwrap();
        File::options().write(true).open(&target).unwrap().set_modified(modified).unwrap();
    }
    assert_eq!(fs::read(&list).unwrap(), b"", "{named}: samples of a sound shard are called bad");
}

/// Truncates its file before the read with a certain number.
#[derive(Debug)]
struct Shrinking {
    inner: FileSource,
    path: PathBuf,
    reads_left: Arc<AtomicUsize>,
}

impl Source for Shrinking {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if self.reads_left.fetch_sub(1, SeqCst) == 0 {
            truncate(&self.path, self.len() / 3);
        }
        self.inner.read(range)
    }
}

/// Opens shards that shrink before the read with this number, counted over all of them.
fn shrinking(read: usize) -> impl Fn(&Path) -> Result<Arc<dyn Source>> + Send + Sync {
    let reads_left = Arc::new(AtomicUsize::new(read));
    move |path: &Path| {
        let reads_left = Arc::clone(&reads_left);
        Ok(Arc::new(Shrinking { inner: FileSource::open(path)?, path: path.to_owned(), reads_left }))
    }
}

/// Runs `work` on a shard that shrinks before its first read, then on one that shrinks before its second, and so on
/// until it shrinks too late to matter. Before that, `work` must fail and name the cause.
fn at_every_read(is_gzip: bool, work: impl Fn(&Path, usize) -> Option<Error>) {
    for read in 0.. {
        let (_dir, path) = on_disk(is_gzip);
        let Some(error) = work(&path, read) else {
            assert!(read > 1, "nothing has been read");
            return;
        };
        let text = error.to_string();
        let is_named = text.contains("truncated or replaced while in use") || text.contains("changed while");
        assert!(is_named, "read {read}: {text}");
        assert_eq!(error.location().shard.as_deref(), Some(path.as_path()), "read {read}: {text}");
        assert!(!Sidecar::Beside.path(&path).unwrap().exists(), "read {read}: a part of the shard has an index");
    }
}

#[test]
fn a_shard_that_shrinks_while_it_is_indexed_gets_no_index() {
    for is_gzip in [false, true] {
        at_every_read(is_gzip, |path, read| Indexer::new().opener(shrinking(read)).index(path).err());
    }
}

#[test]
fn a_shard_that_shrinks_while_it_is_repacked_is_not_repacked() {
    for is_gzip in [false, true] {
        at_every_read(is_gzip, |path, read| {
            let dir = path.with_file_name("flat");
            let indexer = Indexer::new().opener(shrinking(read)).sidecar(Sidecar::Off);
            let error = indexer.repack(path, &dir, IfExists::Keep).err();
            assert_eq!(error.is_some(), fs::read_dir(dir).unwrap().next().is_none(), "{error:?}");
            error
        });
    }
}

#[test]
fn a_shard_that_shrinks_in_its_first_epoch_is_an_error_of_the_epoch() {
    within(|| {
        for is_gzip in [false, true] {
            at_every_read(is_gzip, |path, read| {
                let set = shards().opener(shrinking(read)).sidecar(Sidecar::Off).open_lazy(&[path]).unwrap();
                let (batches, error) = run(&options().build(set).unwrap(), || ());
                let delivered: usize = batches.iter().map(Batch::valid_rows).sum();
                assert_eq!(error.is_none(), delivered == 24, "read {read}: {delivered} samples, {error:?}");
                error
            });
        }
    });
}

/// Paths of a fifo, a socket, a device and a directory, and what they are called.
fn special_files(dir: &Path) -> (Vec<(PathBuf, &'static str)>, UnixListener) {
    let path = |name: &str| dir.join(name);
    fifo(&path("fifo.tar"));
    fs::create_dir(path("directory.tar")).unwrap();
    let socket = UnixListener::bind(path("socket.tar")).unwrap();
    let files = vec![
        (path("fifo.tar"), "a fifo"),
        (path("socket.tar"), "a socket"),
        ("/dev/zero".into(), "a device"),
        (path("directory.tar"), "directory"),
    ];
    (files, socket)
}

fn fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn what_is_no_regular_file_is_named_and_not_waited_for() {
    within(|| {
        let dir = tempfile::tempdir().unwrap();
        let (files, _socket) = special_files(dir.path());
        for (path, what) in files {
            let named = |error: Error| {
                let text = error.to_string();
                assert!(error.is_io() && text.contains(what), "{text}");
                assert_eq!(error.location().shard.as_deref(), Some(path.as_path()), "{text}");
            };
            named(source::open(&path).unwrap_err());
            named(MmapSource::open(&path).unwrap_err());
            named(Indexer::new().sidecar(Sidecar::Off).index(&path).unwrap_err());
            // A directory means the shards in it.
            if !path.is_dir() {
                named(shards().sidecar(Sidecar::Off).open(&[&path]).unwrap_err());
                named(shards().sidecar(Sidecar::Off).open_lazy(&[&path]).unwrap_err());
            }
        }
    });
}

#[test]
fn an_index_file_that_is_a_fifo_is_not_waited_for() {
    within(|| {
        let (dir, path) = on_disk(false);
        let sidecar = Sidecar::Dir(dir.path().join("indexes"));
        fs::create_dir(dir.path().join("indexes")).unwrap();
        fifo(&sidecar.path(&path).unwrap());
        let indexed = Indexer::new().sidecar(sidecar).index(&path).unwrap();
        assert_eq!(indexed.index.entries().len(), 24);
        let (IndexStatus::Built(reason) | IndexStatus::Unsaved(reason)) = indexed.status else { panic!("loaded") };
        assert!(reason.contains("fifo") || reason.contains("named pipe"), "{reason}");
    });
}

#[test]
fn settings_beyond_any_machine_are_errors_of_build() {
    let (_dir, path) = on_disk(false);
    let set = Arc::new(shards().sidecar(Sidecar::Off).open(&[&path]).unwrap());
    for (name, options) in [
        ("num_workers is 20000", options().num_workers(20_000)),
        ("num_workers is 1025", options().num_workers(1025)),
        ("prefetch_batches is 1025", options().prefetch_batches(1025)),
    ] {
        let error = options.build(Arc::clone(&set)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(name) && error.to_string().contains("1 and 1024"), "{error}");
    }
    assert!(options().num_workers(1024).prefetch_batches(1024).build(set).is_ok());
    for open in [usize::MAX, 1 << 30] {
        let builder = || shards().sidecar(Sidecar::Off).open_shards(open);
        for error in [builder().open(&[&path]).unwrap_err(), builder().open_lazy(&[&path]).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("open_shards is {open}")) && text.contains("ulimit -n"), "{text}");
        }
    }
}

#[cfg(feature = "cli")]
mod command {
    use std::process::{Command, Output};

    use super::*;

    /// Runs the command with at most `files` open files.
    fn limited(files: u32, dir: &Path, args: &str) -> Output {
        let line = format!("ulimit -n {files} && exec \"$0\" {args}");
        let mut command = Command::new("sh");
        command.current_dir(dir).env("RAYON_NUM_THREADS", "1");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_maskstream")]).output().unwrap()
    }

    fn stderr(output: &Output) -> String {
        String::from_utf8(output.stderr.clone()).unwrap()
    }

    #[test]
    fn more_shards_than_open_files_are_read_and_too_few_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert!(limited(100, dir, "synth data --shards 16 --samples 1 --preset small --gzip").status.success());
        assert!(limited(100, dir, "index data").status.success());
        let bench = "bench data --shuffle --image-size 32 --batch-size 4 --num-workers 1 --epochs 2";
        let enough = limited(24, dir, bench);
        assert!(enough.status.success(), "{}", stderr(&enough));
        let few = limited(4, dir, bench);
        assert_eq!(few.status.code(), Some(1));
        assert!(stderr(&few).contains("`ulimit -n`") && stderr(&few).contains("4 now"), "{}", stderr(&few));
    }

    #[test]
    fn a_fifo_on_the_command_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fifo(&dir.path().join("pipe.tar"));
        for args in ["index pipe.tar", "inspect pipe.tar", "repack pipe.tar -o flat", "bench pipe.tar"] {
            let output = limited(100, dir.path(), args);
            assert_eq!(output.status.code(), Some(1), "{args}");
            assert!(stderr(&output).contains("it is a fifo (a pipe)"), "{args}: {}", stderr(&output));
        }
    }

    #[test]
    fn more_jobs_than_any_machine_has_cores_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for command in ["index data", "repack data -o flat"] {
            for jobs in [0, 1025, 20_000] {
                let output = limited(100, dir.path(), &format!("{command} --jobs {jobs}"));
                assert_eq!(output.status.code(), Some(2));
                assert!(stderr(&output).contains("--jobs"), "{}", stderr(&output));
            }
        }
    }
}
