//! Repacking: image and json of each sample end up side by side with unchanged bytes, or no file is written.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use maskstream::index::{FindingKind, IfExists, IndexStatus, Indexer, RepackReport, Sidecar};
use maskstream::source::Source;
use maskstream::{OnCorrupt, Result};

use crate::fixture::{Faulty, made_many, members, memory, pack};

type Members = Vec<(String, Vec<u8>)>;

/// A directory with a shard, and another one for its repacked form.
struct Place {
    _dir: tempfile::TempDir,
    source: PathBuf,
    out: PathBuf,
}

impl Place {
    fn with(shard: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (source, out) = (dir.path().join("in/sa_000000.tar"), dir.path().join("out"));
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(&source, shard).unwrap();
        Self { _dir: dir, source, out }
    }

    fn repack(&self, indexer: Indexer) -> Result<RepackReport> {
        indexer.repack(&self.source, &self.out, IfExists::Keep)
    }

    /// Returns whether the shard had to be written.
    fn writes(&self) -> bool {
        self.repack(Indexer::new()).unwrap().written.is_some()
    }

    fn repacked(&self) -> PathBuf {
        self.out.join("sa_000000.tar")
    }

    /// Names of the repacked shard and the files beside it.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(&self.out).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// The members as the `tar` crate reads them from a plain tar, in file order; a directory has no bytes.
fn listed(path: &Path) -> Members {
    let read = |entry: std::io::Result<tar::Entry<'_, fs::File>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (String::from_utf8(entry.path_bytes().into_owned()).unwrap(), content)
    };
    tar::Archive::new(fs::File::open(path).unwrap()).entries().unwrap().map(read).collect()
}

/// The pairs among members, found by their names: in the order of their second members, image first.
fn side_by_side(members: &Members) -> Members {
    let mut seen = HashSet::new();
    let find = |name: String| members.iter().find(|member| member.0 == name).unwrap().clone();
    let pair = |stem: &str| [find(format!("{stem}.jpg")), find(format!("{stem}.json"))];
    let complete = |name: &String| {
        let stem = name.rsplit_once('.').unwrap().0.to_owned();
        (!seen.insert(stem.clone())).then_some(stem)
    };
    let stems: Vec<_> = members.iter().map(|(name, _)| name).filter_map(complete).collect();
    let pairs = stems.iter().flat_map(|stem| pair(stem)).map(|(name, content)| (format!("./{name}"), content));
    [("./".to_owned(), Vec::new())].into_iter().chain(pairs).collect()
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn pairs_lie_side_by_side_with_the_names_and_bytes_they_had() {
    let mut scattered = members(&made_many(7));
    scattered.swap(3, 9);
    // One image name is longer than a tar header has room for, another one exactly as long.
    for (stem, bytes) in [("sa_3", 180), ("sa_6", 100)] {
        let dir = "d".repeat(bytes - "./".len() - "/sa_0.jpg".len());
        for (name, _) in scattered.iter_mut().filter(|(name, _)| name.starts_with(&format!("{stem}."))) {
            *name = format!("{dir}/{name}");
        }
    }
    for bytes in [180, 100] {
        assert!(scattered.iter().any(|(name, _)| format!("./{name}").len() == bytes && name.ends_with(".jpg")));
    }
    let borrowed: Vec<_> = scattered.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    for gzip in [false, true] {
        let place = Place::with(&maskstream::synth::pack(borrowed.clone(), gzip).unwrap());
        let repacked = place.repack(Indexer::new()).unwrap();
        assert_eq!((&repacked.path, repacked.source.is_gzip), (&place.repacked(), gzip));
        assert_eq!(repacked.shard_bytes, fs::metadata(place.repacked()).unwrap().len());
        assert_eq!((repacked.source.kept_samples, &repacked.source.findings[..]), (7, &[][..]));
        assert!(listed(&place.repacked()) == side_by_side(&scattered), "other members, or in another order");

        assert_eq!(place.files(), ["sa_000000.tar", "sa_000000.tar.msidx"]);
        let index = Indexer::new().index(place.repacked()).unwrap();
        assert_eq!((&index.status, index.is_gzip()), (&IndexStatus::Loaded, false));
        assert_eq!(index.index.findings(), &[]);
    }
}

#[test]
fn what_makes_no_sample_is_left_out_and_named() {
    let mut all = members(&made_many(4));
    all.retain(|(name, _)| name != "sa_2.json" && name != "sa_3.jpg");
    let wanted = side_by_side(&all);
    assert_eq!(wanted.len(), 1 + 2 * 2);
    all.insert(0, ("README.txt".to_owned(), b"hello".to_vec()));
    // The last member of a name counts.
    all.insert(1, ("sa_1.jpg".to_owned(), b"an earlier one".to_vec()));
    let place = Place::with(&pack(&all));
    let repacked = place.repack(Indexer::new()).unwrap();
    let mut kinds: Vec<_> = repacked.source.findings.iter().map(|finding| finding.kind).collect();
    kinds.sort();
    let expected = [
        FindingKind::ImageWithoutAnnotations,
        FindingKind::AnnotationsWithoutImage,
        FindingKind::Duplicate,
        FindingKind::UnknownMember,
    ];
    assert_eq!(kinds, expected);
    assert!(listed(&place.repacked()) == wanted);
}

#[test]
fn a_repacked_shard_is_left_alone_and_one_that_differs_is_replaced_on_request_only() {
    let samples = made_many(5);
    let place = Place::with(&pack(&members(&samples)));
    let (path, index) = (place.repacked(), place.repacked().with_extension("tar.msidx"));
    assert!(place.writes());
    let (bytes, then) = (fs::read(&path).unwrap(), modified(&path));
    assert!(!place.writes());
    assert_eq!((modified(&path), place.files().len()), (then, 2));

    // A killed process leaves a shard without an index, or with an old one.
    for leave in [fs::remove_file, |index| fs::write(index, b"MSKINDEX?")] {
        leave(&index).unwrap();
        assert!(!place.writes() && modified(&path) == then);
        assert_eq!(Indexer::new().index(&path).unwrap().status, IndexStatus::Loaded);
    }

    let mut flipped = bytes.clone();
    flipped[3000] ^= 1;
    let all = members(&samples);
    let gzip = maskstream::synth::pack(all.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())), true);
    let others = [
        ("damaged", flipped),
        ("cut short", bytes[..bytes.len() / 2].to_vec()),
        ("in another order", fs::read(&place.source).unwrap()),
        ("of fewer samples", pack(&members(&samples[..4]))),
        ("compressed", gzip.unwrap()),
        ("no tar", b"notes of mine".repeat(99)),
        ("empty", Vec::new()),
    ];
    for (what, other) in others {
        for indexed in [false, true] {
            fs::write(&path, &other).unwrap();
            let _ = fs::remove_file(&index);
            if indexed {
                let _ = Indexer::new().index(&path);
            }
            let had_index = index.exists();
            let error = place.repack(Indexer::new()).unwrap_err().to_string();
            assert!(error.contains("out/sa_000000.tar exists already") && error.contains("--force"), "{what}: {error}");
            assert!(fs::read(&path).unwrap() == other, "{what}: replaced");
            assert_eq!(index.exists(), had_index, "{what}: an index beside it");
        }
        let forced = Indexer::new().repack(&place.source, &place.out, IfExists::Replace).unwrap();
        assert!(forced.written.is_some() && fs::read(&path).unwrap() == bytes, "{what}");
        assert!(!place.writes(), "{what}");
    }

    fs::write(&place.source, pack(&members(&samples[..4]))).unwrap();
    assert!(place.repack(Indexer::new()).unwrap_err().to_string().contains("4"), "another source");
    Indexer::new().repack(&place.source, &place.out, IfExists::Replace).unwrap();
    assert!(!place.writes());
    assert_eq!(listed(&path).len(), 1 + 2 * 4);
}

#[test]
fn a_damaged_shard_is_refused_unless_its_sound_samples_are_asked_for() {
    // The json members come first, so a cut among the images leaves unpaired members.
    let mut all = members(&made_many(6));
    all.sort_by_key(|(name, _)| !name.ends_with(".json"));
    let borrowed: Vec<_> = all.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    for gzip in [false, true] {
        let bytes = maskstream::synth::pack(borrowed.clone(), gzip).unwrap();
        let place = Place::with(&bytes[..bytes.len() * 4 / 5]);
        let skip = |budget| place.repack(Indexer::new().on_corrupt(OnCorrupt::Skip { budget }));
        for error in [place.repack(Indexer::new()).unwrap_err(), skip(0).unwrap_err()] {
            assert!(error.is_corrupt() && error.to_string().contains("sa_000000.tar"), "{error}");
        }
        assert!(place.files().is_empty());

        if gzip {
            // A plain tar has no checksum, so it would pass doubtful samples on as valid.
            let error = skip(6).unwrap_err();
            assert!(error.to_string().contains("no sample is valid") && place.files().is_empty(), "{error}");
            continue;
        }
        let repacked = skip(6).unwrap();
        let (samples, missing) = (repacked.source.samples, repacked.source.left_out.damaged());
        assert!((1..6).contains(&samples) && missing == 6 - samples as u64, "{samples} samples, {missing} missing");
        assert!(repacked.source.findings.iter().any(|finding| finding.kind == FindingKind::BrokenShard));
        let wanted = side_by_side(&all[..6 + samples].to_vec());
        assert!(listed(&place.repacked()) == wanted);
        // It is valid now.
        assert_eq!(Indexer::new().index(place.repacked()).unwrap().index.findings(), &[]);
        assert!(skip(6).unwrap().written.is_none());
    }
}

#[test]
fn a_shard_is_never_repacked_onto_itself() {
    let bytes = pack(&members(&made_many(3)));
    let place = Place::with(&bytes);
    let dir = place.source.parent().unwrap();
    let indexer = Indexer::new();
    let refused = |out: &Path| indexer.repack(&place.source, out, IfExists::Replace).unwrap_err().to_string();
    assert!(refused(dir).contains("overwrite itself"));
    assert!(refused(&dir.join("../in/.")).contains("overwrite itself"));
    #[cfg(unix)]
    {
        let link = dir.with_file_name("link");
        std::os::unix::fs::symlink(dir, &link).unwrap();
        assert!(refused(&link).contains("overwrite itself"));
    }
    assert_eq!(fs::read(&place.source).unwrap(), bytes);
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1, "no index was left either");

    fs::create_dir(&place.out).unwrap();
    let clash = place.repack(Indexer::new().sidecar(Sidecar::Dir(place.out.clone()))).unwrap_err();
    assert!(clash.to_string().contains("sa_000000.tar.msidx"), "{clash}");
    assert!(place.files().is_empty());
}

#[test]
fn a_member_that_is_not_what_was_indexed_is_named_and_leaves_no_file() {
    let bytes = pack(&members(&made_many(3)));
    let place = Place::with(&bytes);
    let index = Indexer::new().index(&place.source).unwrap();
    let image = index.index.entries()[1].image;
    let changed = Faulty::new(bytes, move |range, bytes| {
        let mut bytes = bytes.to_vec();
        if range == image.range() {
            bytes[7] ^= 0x10;
        }
        Ok(bytes.into())
    });
    changed.arm();
    let opener = move |_: &Path| Ok(Arc::clone(&changed) as Arc<dyn Source>);
    let error = place.repack(Indexer::new().opener(opener)).unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("crc32c"), "{error}");
    let at = error.location();
    assert_eq!((at.member.clone(), at.offset), (Some(index.index.entries()[1].image_name()), Some(image.offset)));
    assert_eq!(at.shard.as_ref(), Some(&place.source));
    assert!(place.files().is_empty());

    let panics = place.repack(Indexer::new().opener(|_| panic!("the opener"))).unwrap_err();
    assert!(panics.to_string().contains("the opener"), "{panics}");
    let cut = place.repack(Indexer::new().opener(|_| Ok(memory(vec![0; 700])))).unwrap_err();
    assert!(cut.is_corrupt() && cut.to_string().contains("ends at byte 700"), "{cut}");
    assert!(place.files().is_empty());
}

#[test]
fn what_a_killed_process_left_behind_is_removed_and_nothing_else() {
    let place = Place::with(&pack(&members(&made_many(2))));
    fs::create_dir(&place.out).unwrap();
    let [left, held, other] = ["000000.tar_left", "000000.tar_held", "000001.tar_left"]
        .map(|name| place.out.join(format!(".maskstream_sa_{name}.tmp")));
    for path in [&left, &held, &other] {
        fs::write(path, b"half of it").unwrap();
    }
    let under_way = fs::File::open(&held).unwrap();
    under_way.lock().unwrap();
    assert!(place.writes());
    assert_eq!([left, held, other].map(|path| path.exists()), [false, true, true]);
}
