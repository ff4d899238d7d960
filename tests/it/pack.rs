//! Packing: the files of a directory end up in shards byte for byte, each sample's image and json side by side, and
//! whatever is not packed is counted and named.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use maskstream::index::{BadSample, IfExists, IndexStatus, Indexer, PackPlan, PackReport, Packer, Sidecar, StrayKind};
use maskstream::synth::{Preset, SynthOptions};
use maskstream::{ErrorKind, Loader, MaskFilter, OnCorrupt, Result, ShardSet};

use crate::fixture::{Made, content, jpeg, made, made_many, members, pack, read_with_tar};

/// A directory of files, and another one for shards.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        Self { dir }
    }

    /// The samples 1..=count.
    fn of(count: i64) -> Self {
        let place = Self::new();
        made_many(count).iter().for_each(|made| place.add(made));
        place
    }

    fn input(&self) -> PathBuf {
        self.dir.path().join("in")
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.input().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn add(&self, made: &Made) {
        self.write(made.image_name(), &made.image);
        self.write(made.json_name(), &made.json);
    }

    fn plan(&self, packer: Packer) -> Result<PackPlan> {
        packer.plan(&[self.input()], self.out(), &|_| ())
    }

    /// Packs everything.
    fn pack(&self, packer: Packer) -> Vec<PackReport> {
        let plan = self.plan(packer).unwrap();
        (0..plan.shards().len()).map(|shard| plan.write(shard, IfExists::Keep, &|_| ()).unwrap()).collect()
    }

    /// The error of packing a plan of one shard.
    fn refused(&self, packer: Packer) -> String {
        self.plan(packer).unwrap().write(0, IfExists::Keep, &|_| ()).unwrap_err().to_string()
    }

    fn shards(&self) -> BTreeMap<String, Vec<u8>> {
        tars(&self.out())
    }
}

/// The bytes of the shards in a directory, by name. Everything else in it must be an index.
fn tars(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir).into_iter().flatten().map(|file| file.unwrap());
    let mut found = BTreeMap::new();
    for file in files {
        let name = file.file_name().into_string().unwrap();
        if name.ends_with(".tar") {
            found.insert(name, fs::read(file.path()).unwrap());
        } else {
            assert!(name.ends_with(".tar.msidx"), "{name} was left");
        }
    }
    found
}

/// The names of the members, in file order.
fn order(tar: &[u8]) -> Vec<String> {
    let name = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap()
    };
    tar::Archive::new(tar).entries().unwrap().map(name).collect()
}

/// The regular files directly in a directory, with their bytes.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap());
    let read = |file: fs::DirEntry| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap());
    files.filter(|file| file.file_type().unwrap().is_file()).map(read).collect()
}

#[test]
fn packed_shards_unpack_to_the_files_of_the_directory() {
    let place = Place::of(23);
    let long = "l".repeat(200);
    for (id, stem) in [(101, "with spaces in it"), (102, "a\nnew line"), (103, "ünïcödé"), (104, &long)] {
        let made = made(id, 40, 30, 2);
        place.write(format!("{stem}.jpg"), made.image);
        place.write(format!("{stem}.json"), made.json);
    }
    let made = made(105, 30, 40, 2);
    place.write("sa_105.JPEG", made.image);
    place.write("sa_105.json", made.json);
    let most = 25_000;
    let plan = place.plan(Packer::new().shard_bytes(most)).unwrap();
    assert!(plan.shards().len() > 3 && plan.samples() == 28 && plan.files() == 56, "{plan:?}");
    let done = std::sync::atomic::AtomicU64::new(0);
    for (number, planned) in plan.shards().iter().enumerate() {
        let progress = |samples| {
            done.fetch_add(samples, std::sync::atomic::Ordering::Relaxed);
        };
        let report = plan.write(number, IfExists::Keep, &progress).unwrap();
        let len = fs::metadata(&report.path).unwrap().len();
        assert_eq!((report.path.file_name(), report.samples), (planned.path.file_name(), planned.samples));
        assert_eq!((Some(len), len), (planned.bytes, report.shard_bytes), "as planned");
        assert!(len <= most || planned.samples == 1, "{len}");
        let indexed = Indexer::new().index(&report.path).unwrap();
        assert_eq!((indexed.status, indexed.index.findings()), (IndexStatus::Loaded, &[][..]));
    }
    assert_eq!(done.into_inner(), 28);

    let mut unpacked = BTreeMap::new();
    let gnu = place.dir.path().join("gnu");
    fs::create_dir(&gnu).unwrap();
    for (name, bytes) in place.shards() {
        unpacked.extend(read_with_tar(&bytes).into_iter().map(|(name, (_, bytes))| (name, bytes)));
        let tar = Command::new("tar").arg("xf").arg(place.out().join(name)).arg("-C").arg(&gnu).status();
        assert!(tar.is_ok_and(|status| status.success()));
    }
    assert!(unpacked == files(&place.input()), "the tar crate finds other files");
    assert!(files(&gnu) == files(&place.input()), "GNU tar finds other files");
}

#[test]
fn batches_of_packed_shards_are_those_of_the_shard_that_was_extracted() {
    let place = Place::new();
    let original = place.dir.path().join("original.tar");
    let options = SynthOptions::new(Preset::Small).samples(9).gzip(true);
    maskstream::synth::write_shard(&original, 0, &options).unwrap();
    let status = Command::new("tar").arg("xzf").arg(&original).arg("-C").arg(place.input()).status().unwrap();
    assert!(status.success());
    place.pack(Packer::new().samples(4));
    assert_eq!(place.shards().len(), 3);

    let batches = |shards: &Path| -> BTreeMap<i64, BTreeMap<String, Vec<u8>>> {
        let set = ShardSet::builder().filter(MaskFilter::all()).sidecar(Sidecar::Beside).open(&[shards]).unwrap();
        let loader = Loader::builder().batch_size(1).image_size(64).coverage(8).build(set).unwrap();
        let by_image = |batch: Result<maskstream::Batch>| {
            let batch = batch.unwrap();
            let mut fields = content(&batch);
            fields.retain(|name, _| name != "step" && name != "samples");
            (batch.image_ids()[0], fields)
        };
        loader.epoch(0).unwrap().map(by_image).collect()
    };
    let (packed, wanted) = (batches(&place.out()), batches(&original));
    assert_eq!(wanted.len(), 9);
    assert!(packed == wanted);
}

#[test]
fn names_are_in_the_order_of_their_numbers() {
    let place = Place::new();
    let stems = ["b2", "sa_1", "sa_01", "sa_2", "sa_2b", "sa_10", "sa_99999999999999999999999", "sa_a", "b10"];
    for (id, stem) in stems.iter().enumerate() {
        let made = made(id as i64, 30, 20, 1);
        place.write(format!("{stem}.jpg"), made.image);
        place.write(format!("{stem}.json"), made.json);
    }
    place.pack(Packer::new());
    let shards = place.shards();
    let found: Vec<_> = order(&shards["sa_000000.tar"]).into_iter().filter(|name| name.ends_with(".jpg")).collect();
    let wanted = ["b2", "b10", "sa_01", "sa_1", "sa_2", "sa_2b", "sa_10", "sa_99999999999999999999999", "sa_a"];
    assert_eq!(found, wanted.map(|stem| format!("./{stem}.jpg")));
}

#[test]
fn the_same_files_give_the_same_shards_wherever_they_lie_and_whoever_packs_them() {
    let samples = made_many(30);
    let flat = Place::new();
    samples.iter().for_each(|made| flat.add(made));
    let nested = Place::new();
    for made in samples.iter().rev() {
        for (name, bytes) in [(made.json_name(), &made.json), (made.image_name(), &made.image)] {
            let path = format!("{}/sa_00000{}/{name}", if made.id % 2 == 0 { "b" } else { "a" }, made.id % 3);
            nested.write(&path, bytes);
            let file = fs::File::options().write(true).open(nested.input().join(path)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(made.id as u64 * 999)).unwrap();
            file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    for packer in [Packer::new().samples(7), Packer::new().shard_bytes(20_000)] {
        let mut found = Vec::new();
        for (place, threads) in [(&flat, 1), (&flat, 7), (&nested, 3)] {
            let _ = fs::remove_dir_all(place.out());
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| place.pack(packer));
            found.push(place.shards());
        }
        assert!(found[0].len() > 3 && found[1] == found[0] && found[2] == found[0]);
        // In any order of the shards, one alone, and with directories named one by one.
        let parts = [nested.input().join("b"), nested.input().join("a")];
        let _ = fs::remove_dir_all(nested.out());
        let plan = packer.plan(&parts, nested.out(), &|_| ()).unwrap();
        for shard in (0..plan.shards().len()).rev() {
            plan.write(shard, IfExists::Keep, &|_| ()).unwrap();
        }
        assert!(nested.shards() == found[0]);
    }
}

#[test]
fn whatever_is_no_sample_is_counted_and_named() {
    let place = Place::of(3);
    let image = jpeg(30, 20, 1);
    place.write("alone_10.jpg", &image);
    place.write("alone_9.jpg", &image);
    place.write("sub/alone.json", "{}");
    // In the same directory, or it is no pair.
    place.write("sub/parted.jpg", &image);
    place.write("parted.json", "{}");
    // A directory is no image.
    fs::create_dir(place.input().join("folder.jpg")).unwrap();
    place.write("folder.json", "{}");
    place.write("sa_1.jpeg", "another one");
    place.write("sa_2.JSON", "{}");
    place.write("._sa_1.jpg", "attributes");
    place.write(".jpg", "no name");
    place.write("notes.txt", "");
    place.write("none", "");
    place.write("old.tar", "");
    place.write(OsStr::from_bytes(b"sa_\xff.jpg"), &image);
    place.write(OsStr::from_bytes(b"sa_\xff.json"), "{}");
    symlink("nowhere", place.input().join("gone.jpg")).unwrap();
    symlink("loop.json", place.input().join("loop.json")).unwrap();
    assert!(Command::new("mkfifo").arg(place.input().join("pipe.jpg")).status().unwrap().success());

    let plan = place.plan(Packer::new()).unwrap();
    let dir = place.input();
    let found: Vec<_> = plan.strays().iter().map(|stray| (stray.kind, stray.count, stray.first.clone())).collect();
    let wanted: [(StrayKind, u64, &[&[u8]]); 8] = [
        (StrayKind::ImageWithoutAnnotations, 3, &[b"alone_10.jpg", b"alone_9.jpg", b"sub/parted.jpg"]),
        (StrayKind::AnnotationsWithoutImage, 3, &[b"folder.json", b"parted.json", b"sub/alone.json"]),
        (StrayKind::Duplicate, 2, &[b"sa_1.jpeg", b"sa_2.JSON"]),
        (StrayKind::NotUtf8, 2, &[b"sa_\xff.jpg", b"sa_\xff.json"]),
        (StrayKind::BrokenLink, 2, &[b"gone.jpg", b"loop.json"]),
        (StrayKind::NotRegular, 1, &[b"pipe.jpg"]),
        (StrayKind::Tar, 1, &[b"old.tar"]),
        (StrayKind::Other, 4, &[b"._sa_1.jpg", b".jpg", b"none", b"notes.txt"]),
    ];
    let path = |name: &&[u8]| dir.join(OsStr::from_bytes(name));
    let wanted = wanted.map(|(kind, count, first)| (kind, count, first.iter().map(path).collect::<Vec<_>>()));
    assert_eq!(found, wanted);
    assert_eq!((plan.samples(), plan.files()), (3, 6 + 18));
    // The samples are packed all the same.
    let report = plan.write(0, IfExists::Keep, &|_| ()).unwrap();
    assert_eq!((report.samples, report.bad), (3, vec![]));
    let packed = read_with_tar(&place.shards()["sa_000000.tar"]);
    assert_eq!(packed["sa_1.jpg"].1, made_many(3)[0].image);

    // Of many, the first ones are named.
    (0..50).for_each(|n| place.write(format!("more/{n:02}.txt"), ""));
    let plan = place.plan(Packer::new()).unwrap();
    let other = plan.strays().iter().find(|stray| stray.kind == StrayKind::Other).unwrap();
    assert_eq!((other.count, other.first.len()), (54, 20));
    assert!(other.first.is_sorted() && other.first[19].ends_with("more/17.txt"), "{:?}", other.first[19]);
}

#[test]
fn links_are_followed_and_no_directory_is_packed_twice() {
    let place = Place::of(2);
    let other = place.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    let [linked, elsewhere] = [made(7, 30, 20, 1), made(8, 20, 30, 1)];
    for (name, bytes) in [(linked.image_name(), &linked.image), (linked.json_name(), &linked.json)] {
        fs::write(other.join(&name), bytes).unwrap();
    }
    for (name, bytes) in [("x", &elsewhere.image), ("y", &elsewhere.json)] {
        fs::write(place.dir.path().join(name), bytes).unwrap();
    }
    symlink(place.dir.path().join("x"), place.input().join("sa_8.jpg")).unwrap();
    symlink("../y", place.input().join("sa_8.json")).unwrap();
    symlink(&other, place.input().join("a")).unwrap();
    symlink(&other, place.input().join("b")).unwrap();
    symlink(".", place.input().join("myself")).unwrap();
    symlink("../in", other.join("back")).unwrap();
    let plan = Packer::new().plan(&[place.input(), place.input(), other], place.out(), &|_| ()).unwrap();
    assert_eq!((plan.samples(), plan.strays()), (4, &[][..]));
    plan.write(0, IfExists::Keep, &|_| ()).unwrap();
    let packed = read_with_tar(&place.shards()["sa_000000.tar"]);
    assert_eq!(packed.len(), 8);
    assert!(packed["sa_8.json"].1 == elsewhere.json && packed["sa_7.jpg"].1 == linked.image);
}

#[test]
fn a_bad_sample_is_refused_and_named_or_left_out_and_named() {
    let image = |width, height| jpeg(width, height, 4);
    let good = made(4, 40, 28, 3);
    let cut = good.image[..good.image.len() - 2].to_vec();
    let cases: [(&str, Vec<u8>, Vec<u8>, &str); 8] = [
        ("sa_4.jpg", Vec::new(), good.json.clone(), "it is empty"),
        ("sa_4.json", good.image.clone(), Vec::new(), "it is empty"),
        ("sa_4.json", good.image.clone(), b"{\"image\": ".to_vec(), "json: EOF"),
        ("sa_4.json", good.image.clone(), b"[]".to_vec(), "json: "),
        ("sa_4.jpg", image(28, 40), good.json.clone(), "the image is 28 x 40, but its annotations say 40 x 28"),
        ("sa_4.jpg", cut, good.json.clone(), "cut short: no end marker"),
        ("sa_4.jpg", b"<html>not found</html>".to_vec(), good.json.clone(), "jpeg"),
        ("sa_4.jpg", good.image[..3].to_vec(), good.json.clone(), "jpeg"),
    ];
    for (file, jpeg, json, reason) in cases {
        let place = Place::of(6);
        place.write("sa_4.jpg", jpeg);
        place.write("sa_4.json", json);
        let path = place.input().join(file);
        let error = place.plan(Packer::new()).unwrap().write(0, IfExists::Keep, &|_| ()).unwrap_err();
        let text = error.to_string();
        assert!(error.is_corrupt() && text.contains("1 of 6 samples are bad: "), "{text}");
        assert!(text.contains(&format!("{}: ", path.display())) && text.contains(reason), "{text}");
        assert!(text.contains("set on_corrupt") && place.shards().is_empty(), "{text}");

        let skip = Packer::new().on_corrupt(OnCorrupt::skip(1));
        let report = &place.pack(skip)[0];
        let is_it = |bad: &BadSample| bad.path == path && bad.reason.contains(reason);
        assert!(report.samples == 5 && report.bad.len() == 1 && is_it(&report.bad[0]), "{report:?}");
        let wanted: Vec<_> = made_many(6).into_iter().filter(|made| made.id != 4).collect();
        let packed = read_with_tar(&place.shards()["sa_000000.tar"]);
        assert_eq!(packed.len(), 10);
        assert!(wanted.iter().all(|made| packed[&made.image_name()].1 == made.image));
        // It is up to date, and says so again; without the budget, it is a file of another kind.
        let again = &place.pack(skip)[0];
        assert_eq!((&again.written, &again.bad, again.samples), (&None, &report.bad, 5));
        assert!(place.refused(Packer::new()).contains("it lacks 1 samples"));
        place.add(&good);
        assert!(place.refused(skip).contains("it lacks "), "the sample is whole now");
    }
}

#[test]
fn all_bad_samples_of_a_shard_are_counted_and_others_have_the_same_samples_as_without_them() {
    let place = Place::of(200);
    let whole = {
        let other = Place::of(200);
        other.pack(Packer::new().samples(100));
        other.shards()
    };
    for id in [3, 70, 71, 99] {
        place.write(format!("sa_{id}.json"), "{}");
    }
    let packer = Packer::new().samples(100);
    let error = place.refused(packer);
    assert!(error.contains("4 of 100 samples are bad") && error.contains("sa_3.json") && error.contains("; ...;"));
    let error = place.refused(packer.on_corrupt(OnCorrupt::skip(3)));
    assert!(error.contains("4 of 100 samples are bad, more than the budget of 3 (on_corrupt)"), "{error}");
    assert!(place.shards().is_empty());
    let reports = place.pack(packer.on_corrupt(OnCorrupt::skip(4)));
    assert_eq!(
        reports.iter().map(|report| (report.samples, report.bad.len())).collect::<Vec<_>>(),
        [(96, 4), (100, 0)]
    );
    assert!(place.shards()["sa_000001.tar"] == whole["sa_000001.tar"]);

    for id in 1..=100 {
        place.write(format!("sa_{id}.json"), "{}");
    }
    fs::remove_dir_all(place.out()).unwrap();
    let error = place.refused(packer.on_corrupt(OnCorrupt::KEEP));
    assert!(error.contains("no sample is valid: ") && place.shards().is_empty(), "{error}");
}

#[test]
fn a_shard_that_holds_the_samples_is_kept_and_any_other_file_is_replaced_on_request_only() {
    let place = Place::of(6);
    let written = |existing: IfExists| -> Result<bool> {
        Ok(place.plan(Packer::new())?.write(0, existing, &|_| ())?.written.is_some())
    };
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert!(written(IfExists::Keep).unwrap());
    let shard = place.out().join("sa_000000.tar");
    let index = place.out().join("sa_000000.tar.msidx");
    let (bytes, then) = (fs::read(&shard).unwrap(), modified(&shard));
    for planned_by in [Packer::new(), Packer::new().samples(6)] {
        let report = place.plan(planned_by).unwrap().write(0, IfExists::Keep, &|_| panic!("progress")).unwrap();
        assert_eq!((report.written, report.samples, report.shard_bytes), (None, 6, bytes.len() as u64));
    }
    // A killed process leaves a shard without an index, or with an old one.
    for leave in [fs::remove_file, |index| fs::write(index, b"MSKINDEX?")] {
        leave(&index).unwrap();
        assert!(!written(IfExists::Keep).unwrap() && modified(&shard) == then);
        assert_eq!(Indexer::new().index(&shard).unwrap().status, IndexStatus::Loaded);
    }

    let samples = made_many(6);
    let mut flipped = bytes.clone();
    flipped[3000] ^= 1;
    let gzip = maskstream::synth::pack([("sa_1.jpg", &b"x"[..])], true).unwrap();
    let apart: Vec<_> = samples.iter().flat_map(|made| [(made.json_name(), made.json.clone())]).collect();
    let apart: Vec<_> = apart.into_iter().chain(samples.iter().map(|m| (m.image_name(), m.image.clone()))).collect();
    let both = |made: &Made| [(made.image_name(), made.image.clone()), (made.json_name(), made.json.clone())];
    let backwards: Vec<_> = samples.iter().rev().flat_map(both).collect();
    let more: Vec<_> = made_many(7).iter().flat_map(both).collect();
    let fewer: Vec<_> = samples[..5].iter().flat_map(both).collect();
    let others = [
        ("damaged", flipped),
        ("cut short", bytes[..bytes.len() / 2].to_vec()),
        ("not side by side", pack(&apart)),
        ("in another order", pack(&backwards)),
        ("of more samples", pack(&more)),
        ("of fewer samples", pack(&fewer)),
        ("compressed", gzip),
        ("no tar", b"notes of mine".repeat(99)),
        ("empty", Vec::new()),
    ];
    for (what, other) in others {
        fs::write(&shard, &other).unwrap();
        let _ = fs::remove_file(&index);
        let error = written(IfExists::Keep).unwrap_err();
        let text = error.to_string();
        assert!(error.kind() == ErrorKind::Config && text.contains("--force"), "{what}: {text}");
        let start = format!("{}: it exists already and is no shard of these samples (", shard.display());
        assert!(text.starts_with(&start), "{what}: {text}");
        assert!(fs::read(&shard).unwrap() == other && !index.exists(), "{what}: changed");
        assert!(written(IfExists::Replace).unwrap() && fs::read(&shard).unwrap() == bytes, "{what}");
        assert!(!written(IfExists::Keep).unwrap(), "{what}");
    }
    for (kind, make) in [
        ("a directory", (|path| fs::create_dir(path)) as fn(&Path) -> std::io::Result<()>),
        ("a symbolic link", |path| symlink("nowhere", path)),
    ] {
        fs::remove_file(&shard).unwrap();
        make(&shard).unwrap();
        for existing in [IfExists::Keep, IfExists::Replace] {
            let error = written(existing).unwrap_err().to_string();
            assert!(error.contains(kind), "{error}");
        }
        let _ = fs::remove_dir(&shard);
        fs::write(&shard, &bytes).unwrap();
    }
}

#[test]
fn a_source_that_changed_after_its_shard_was_made_is_noticed() {
    let place = Place::of(4);
    let report = place.pack(Packer::new()).remove(0);
    let keeps = |place: &Place| place.plan(Packer::new()).unwrap().write(0, IfExists::Keep, &|_| ());
    // It is newer than the shard, but has the same bytes.
    place.add(&made_many(4)[1]);
    assert!(keeps(&place).unwrap().written.is_none());
    // Other bytes, of the same length and, as an archive would set it, an old time.
    let path = place.input().join("sa_2.jpg");
    let mut other = fs::read(&path).unwrap();
    let middle = other.len() / 2;
    other[middle] ^= 1;
    fs::write(&path, &other).unwrap();
    let old = SystemTime::now() - Duration::from_secs(1 << 24);
    fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    let error = keeps(&place).unwrap_err().to_string();
    assert!(error.contains("sa_2.jpg has other bytes"), "{error}");
    place.write("sa_2.jpg", [&other[..], b"and more"].concat());
    let error = keeps(&place).unwrap_err().to_string();
    assert!(error.contains("sa_2.jpg has ") && error.contains(" there)"), "{error}");
    assert_eq!(fs::metadata(&report.path).unwrap().len(), report.shard_bytes);
}

#[test]
fn a_packed_shard_that_was_damaged_is_not_kept() {
    let place = Place::of(4);
    let report = place.pack(Packer::new()).remove(0);
    let image = Indexer::new().index(&report.path).unwrap().index.entries()[2].image;
    let mut bytes = fs::read(&report.path).unwrap();
    bytes[(image.offset + u64::from(image.len) / 2) as usize] ^= 1;
    let index = Sidecar::Beside.path(&report.path).unwrap();
    // The time shows that the shard is another one, or nothing does because the index is gone.
    for has_index in [true, false] {
        fs::write(&report.path, &bytes).unwrap();
        if !has_index {
            fs::remove_file(&index).unwrap();
        }
        let error = place.plan(Packer::new()).unwrap().write(0, IfExists::Keep, &|_| ()).unwrap_err().to_string();
        assert!(error.contains("sa_3.jpg has other bytes"), "{error}");
    }
}

#[test]
fn shards_of_another_packing_are_not_mixed_with_these() {
    let place = Place::of(4);
    place.pack(Packer::new().samples(1));
    let error = place.plan(Packer::new().samples(2)).unwrap_err().to_string();
    assert!(error.contains("has sa_000002.tar, which is none of the 2 shards"), "{error}");
    fs::remove_file(place.out().join("sa_000002.tar")).unwrap();
    assert!(place.plan(Packer::new().samples(2)).unwrap_err().to_string().contains("has sa_000003.tar"));
}

#[test]
fn a_file_that_changes_or_vanishes_after_the_plan_is_named() {
    for (packer, sees_length) in [(Packer::new(), true), (Packer::new().samples(9), false)] {
        let place = Place::of(5);
        let plan = place.plan(packer).unwrap();
        let error = |plan: &PackPlan| plan.write(0, IfExists::Keep, &|_| ()).unwrap_err();
        if sees_length {
            let longer = [&made_many(5)[2].image[..], b"more"].concat();
            let (then, now) = (longer.len() - 4, longer.len());
            place.write("sa_3.jpg", longer);
            let text = error(&plan).to_string();
            let change = format!("had {then} bytes when it was listed and has {now} now");
            assert!(text.contains("in/sa_3.jpg") && text.contains(&change), "{text}");
            place.add(&made_many(5)[2]);
        }
        fs::remove_file(place.input().join("sa_2.json")).unwrap();
        let gone = error(&plan);
        assert!(gone.is_io() && gone.to_string().contains("in/sa_2.json was there when"), "{gone}");
        fs::create_dir(place.input().join("sa_2.json")).unwrap();
        let text = error(&plan).to_string();
        assert!(text.contains("in/sa_2.json is no regular file any more"), "{text}");
        fs::remove_dir(place.input().join("sa_2.json")).unwrap();
        assert!(Command::new("mkfifo").arg(place.input().join("sa_2.json")).status().unwrap().success());
        let text = error(&plan).to_string();
        assert!(text.contains("in/sa_2.json is no regular file any more"), "{text}");
        assert!(place.shards().is_empty());
    }
}

#[test]
fn a_shard_that_is_not_what_was_read_from_the_files_gets_no_name() {
    let place = Place::new();
    for mut made in made_many(200) {
        // Spaces do not change what json says, and take a while to write.
        made.json.resize(made.json.len() + 200_000, b' ');
        place.add(&made);
    }
    let plan = place.plan(Packer::new()).unwrap();
    // Changes a byte of the first image behind the writer's back, as soon as it has been written.
    let tamper = |is_done: &std::sync::atomic::AtomicBool| {
        while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
            for file in fs::read_dir(place.out()).into_iter().flatten().flatten() {
                let is_draft = file.file_name().to_string_lossy().starts_with(".maskstream_sa_000000.tar_");
                if is_draft && file.metadata().is_ok_and(|found| found.len() > 1 << 20) {
                    let file = fs::File::options().write(true).open(file.path());
                    let _ = file.and_then(|file| std::os::unix::fs::FileExt::write_at(&file, b"?", 1030));
                    return;
                }
            }
        }
    };
    let mut refused = None;
    // It may come too late.
    for _ in 0..30 {
        let is_done = std::sync::atomic::AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            scope.spawn(|| tamper(&is_done));
            let written = plan.write(0, IfExists::Replace, &|_| ());
            is_done.store(true, std::sync::atomic::Ordering::Relaxed);
            written
        });
        if let Err(error) = written {
            refused = Some(error);
            break;
        }
        fs::remove_dir_all(place.out()).unwrap();
    }
    let error = refused.unwrap();
    assert!(error.is_corrupt() && error.to_string().contains("sample 0 is not that of the original"), "{error}");
    assert_eq!(error.location().member.as_deref(), Some("./sa_1.jpg"));
    assert!(place.shards().is_empty());
    // Undisturbed, it is written.
    plan.write(0, IfExists::Keep, &|_| ()).unwrap();
    assert!(read_with_tar(&place.shards()["sa_000000.tar"])["sa_1.jpg"].1 == made_many(1)[0].image);
}

#[test]
fn directories_without_samples_say_what_they_have() {
    let place = Place::new();
    let text = |place: &Place| place.plan(Packer::new()).unwrap_err().to_string();
    let shown = place.input().display().to_string();
    assert!(text(&place).starts_with(&format!("{shown} has no sample, ")));
    assert!(text(&place).ends_with("but no file at all"), "{}", text(&place));
    place.write("sa_000000.tar", pack(&members(&made_many(2))));
    place.write("sa_000001.tar", "");
    let error = text(&place);
    assert!(error.contains("but 2 x tar archive such as sa_000000.tar; tar shards need not be packed"), "{error}");
    place.write("a/sa_1.jpg", "");
    assert!(text(&place).contains("1 x image without json such as a/sa_1.jpg, 2 x tar"), "{}", text(&place));

    let plan = |dir: PathBuf, out: PathBuf| Packer::new().plan(&[dir], out, &|_| ()).unwrap_err();
    let missing = plan(place.dir.path().join("none"), place.out());
    assert!(missing.is_io() && missing.to_string().contains("cannot look at"), "{missing}");
    let file = plan(place.input().join("sa_000000.tar"), place.out()).to_string();
    assert!(file.contains("is no directory"), "{file}");
    let none = Packer::new().plan::<&Path>(&[], place.out(), &|_| ()).unwrap_err();
    assert!(none.to_string().contains("no directories were given"), "{none}");
}

#[test]
fn the_output_may_lie_in_the_input_and_is_not_packed_but_never_is_the_input_itself() {
    let place = Place::of(5);
    let inside = place.input().join("shards");
    let packer = Packer::new().samples(2);
    let pack_all = || {
        let plan = packer.plan(&[place.input()], &inside, &|_| ()).unwrap();
        let reports = (0..3).map(|shard| plan.write(shard, IfExists::Keep, &|_| ()).unwrap());
        (plan.samples(), plan.strays().to_vec(), reports.filter(|report| report.written.is_some()).count())
    };
    assert_eq!(pack_all(), (5, vec![], 3));
    // Not even samples in it are.
    fs::copy(place.input().join("sa_1.jpg"), inside.join("x.jpg")).unwrap();
    fs::copy(place.input().join("sa_1.json"), inside.join("x.json")).unwrap();
    assert_eq!(pack_all(), (5, vec![], 0));
    let before = files(&place.input());
    symlink("in", place.dir.path().join("link")).unwrap();
    for out in [place.input(), place.dir.path().join("link"), place.input().join("shards/..")] {
        let error = packer.plan(&[place.input()], &out, &|_| ()).unwrap_err().to_string();
        assert!(error.contains("choose another directory"), "{error}");
    }
    assert!(files(&place.input()) == before);
}

#[test]
fn two_samples_of_the_same_name_are_refused() {
    let place = Place::of(3);
    let twice = made(2, 30, 30, 1);
    place.write("again/sa_2.jpeg", &twice.image);
    place.write("again/sa_2.json", &twice.json);
    let error = place.plan(Packer::new()).unwrap_err().to_string();
    assert!(error.contains("in/sa_2.jpg") && error.contains("in/again/sa_2.jpeg"), "{error}");
    assert!(error.contains("have the same name"), "{error}");
}

#[test]
fn a_disk_without_room_is_noticed_before_anything_is_written() {
    let place = Place::new();
    let found = rustix::fs::statvfs(place.dir.path()).unwrap();
    let free = found.f_bavail * found.f_frsize;
    let made = made(1, 30, 20, 1);
    let huge = free / u64::from(u32::MAX) + 2;
    if huge > 20_000 {
        return;
    }
    for id in 0..huge {
        place.write(format!("sa_{id}.json"), &made.json);
        place.write(format!("sa_{id}.jpg"), "");
        // A hole takes no room.
        let image = fs::File::options().write(true).open(place.input().join(format!("sa_{id}.jpg"))).unwrap();
        image.set_len(u32::MAX.into()).unwrap();
    }
    let plan = place.plan(Packer::new()).unwrap();
    let all: Vec<usize> = (0..plan.shards().len()).collect();
    let error = plan.check_space(&all).unwrap_err().to_string();
    assert!(error.contains("the shards need ") && error.contains(" GB left: make room"), "{error}");
    plan.check_space(&[]).unwrap();
    // What is there already needs no room.
    fs::create_dir(place.out()).unwrap();
    plan.shards().iter().for_each(|shard| fs::write(&shard.path, "").unwrap());
    plan.check_space(&all).unwrap();
}

/// The command.
#[cfg(feature = "cli")]
mod command {
    use std::os::unix::process::CommandExt;
    use std::process::{Output, Stdio};

    use serde_json::Value;

    use super::*;

    fn run(place: &Place, args: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_maskstream"));
        command.current_dir(place.dir.path()).args(args.split(' ')).output().unwrap()
    }

    fn succeeds(place: &Place, args: &str) -> String {
        let output = run(place, args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && error.is_empty(), "{args}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(place: &Place, status: i32, args: &str) -> String {
        let output = run(place, args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{args}: {error}");
        error
    }

    #[test]
    fn tasks_and_jobs_together_make_the_shards_of_one_run() {
        let place = Place::of(40);
        for size in ["--samples 6", "--shard-size 20kB"] {
            succeeds(&place, &format!("pack in -o one {size} --jobs 1 --readers 1"));
            let one = tars(&place.dir.path().join("one"));
            assert!(one.len() > 5);
            for (count, jobs) in [(3, 1), (2, 4), (50, 2)] {
                for task in 0..count {
                    let said = succeeds(&place, &format!("pack in -o out {size} --task {task}/{count} --jobs {jobs}"));
                    assert!(said.contains(&format!("task {task}/{count}: ")), "{said}");
                }
                assert!(place.shards() == one, "{size}: {count} tasks");
                fs::remove_dir_all(place.out()).unwrap();
            }
            fs::remove_dir_all(place.dir.path().join("one")).unwrap();
        }
    }

    #[test]
    fn a_run_that_is_killed_leaves_whole_shards_and_the_next_one_writes_the_others() {
        let place = Place::of(400);
        let args = "pack in -o out --samples 25 --jobs 3";
        succeeds(&place, args);
        let wanted = place.shards();
        let (mut stopped, mut kept_some) = (0, false);
        for delay in 0..25 {
            let _ = fs::remove_dir_all(place.out());
            let mut command = Command::new(env!("CARGO_BIN_EXE_maskstream"));
            command.current_dir(place.dir.path()).args(args.split(' ')).stdout(Stdio::null());
            let mut child = command.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(6 * delay));
            child.kill().unwrap();
            stopped += usize::from(!child.wait().unwrap().success());
            let names: Vec<_> = fs::read_dir(place.out()).into_iter().flatten().map(|f| f.unwrap().path()).collect();
            let left: Vec<_> = names.iter().filter(|path| path.extension().is_some_and(|e| e == "tar")).collect();
            for path in &left {
                let name = path.file_name().unwrap().to_str().unwrap();
                assert!(fs::read(path).unwrap() == wanted[name], "{name} is not whole");
            }
            let said = succeeds(&place, args);
            let counts = format!("{} shards written, {} up to date, 0 failed", 16 - left.len(), left.len());
            assert!(said.contains(&counts), "{said}");
            kept_some |= (1..16).contains(&left.len());
            // Temporary files of the killed run are gone as well.
            assert!(place.shards() == wanted);
        }
        assert!(stopped > 0 && kept_some, "{stopped} runs were stopped");
    }

    #[test]
    fn a_file_that_may_not_be_read_is_a_bad_sample() {
        let place = Place::of(4);
        let path = place.input().join("sa_3.json");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        // Root may read everything, so the command runs as nobody.
        fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let program = place.dir.path().join("maskstream");
        fs::copy(env!("CARGO_BIN_EXE_maskstream"), &program).unwrap();
        let run = |args: &str| {
            let mut command = Command::new(&program);
            if rustix::process::getuid().is_root() {
                command.uid(65_534).gid(65_534);
            }
            let output = command.current_dir(place.dir.path()).args(args.split(' ')).output().unwrap();
            (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
        };
        let (status, said) = run("pack in -o out");
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("1 of 4 samples are bad: in/sa_3.json: cannot be read: Permission denied"), "{said}");
        let (status, said) = run("pack in -o out --skip 1");
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("left out: in/sa_3.json: cannot be read"), "{said}");
        assert_eq!(read_with_tar(&place.shards()["sa_000000.tar"]).len(), 6);

        fs::create_dir(place.input().join("closed")).unwrap();
        fs::set_permissions(place.input().join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        let (status, said) = run("pack in -o out --skip 1");
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("cannot list the directory in/closed") && said.contains("Permission denied"), "{said}");
        fs::set_permissions(place.input().join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn the_command_reports_shards_totals_and_what_is_left_out() {
        let place = Place::of(10);
        place.write("notes.txt", "");
        place.write("with a rather long name that does not fit beside the rest of its line.jpg", "");
        place.write("sa_4.json", "");
        let said = succeeds(&place, "pack in -o out --samples 5 --skip 1");
        for line in [
            "22 files: 10 samples for 2 shards",
            "  not packed: 1 x other file: in/notes.txt",
            "out/sa_000000.tar: 4 samples, ",
            "  left out: in/sa_4.json: it is empty",
            "2 shards written, 0 up to date, 0 failed: 9 samples, 1 bad ones left out, ",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
        assert!(said.contains("  not packed: 1 x image without json:"), "{said}");
        let long = |line: &&str| line.chars().count() > 80 && !line.contains("long name");
        assert_eq!(said.lines().find(long), None);

        let lines = succeeds(&place, "pack in -o out --samples 5 --skip 1 --json");
        let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let totals = lines.pop().unwrap()["totals"].take();
        lines.sort_by_key(|line| line["shard"].as_str().unwrap().to_owned());
        assert_eq!(lines.len(), 2);
        for (line, samples) in lines.iter().zip([4, 5]) {
            let bytes = fs::metadata(place.dir.path().join(line["shard"].as_str().unwrap())).unwrap().len();
            assert_eq!((line["samples"].as_u64(), line["bytes"].as_u64()), (Some(samples), Some(bytes)));
            assert_eq!(line["outcome"], "up to date");
        }
        assert_eq!(lines[0]["bad_samples"], serde_json::json!(["in/sa_4.json: it is empty"]));
        let number = |name: &str| totals[name].as_u64().unwrap();
        assert_eq!(["files", "samples", "bad_samples", "shards", "up_to_date"].map(number), [22, 9, 1, 2, 2]);
        assert_eq!(["written", "failed"].map(number), [0, 0]);
        assert_eq!(totals["not_packed"][1]["cause"], "other file");
        assert_eq!(totals["not_packed"][1]["first"], serde_json::json!(["in/notes.txt"]));

        // One shard that fails keeps no other from being packed.
        fs::remove_dir_all(place.out()).unwrap();
        let error = fails(&place, 1, "pack in -o out --samples 5");
        assert!(error.contains("maskstream: out/sa_000000.tar: 1 of 5 samples are bad: in/sa_4.json"), "{error}");
        assert!(error.contains("set --skip N") && error.contains("1 of 2 shards could not be packed"), "{error}");
        assert_eq!(place.shards().keys().collect::<Vec<_>>(), ["sa_000001.tar"]);
        fails(&place, 2, "pack in -o out --samples 0");
        fails(&place, 2, "pack in -o out --samples 5 --shard-size 1GB");
        fails(&place, 2, "pack in");
        let error = fails(&place, 1, "pack in -o in");
        assert!(error.contains("choose another directory"), "{error}");
        let help = succeeds(&place, "pack --help");
        assert!(help.contains("Exit status: 0 if all shards are packed or up to date"), "{help}");
    }

    #[test]
    fn commands_that_find_pairs_instead_of_shards_name_this_one() {
        let place = Place::of(3);
        for (command, shards) in [("inspect", "in"), ("bench", "in"), ("index", "in/*.tar"), ("repack -o x", "in")] {
            let error = fails(&place, 1, &format!("{command} {shards}"));
            let remedy = "3 image/json pairs (sa_1.jpg, ...): make shards of it with `maskstream pack in -o OUT`";
            assert!(error.contains(remedy), "{error}");
        }
        // What the error says works.
        succeeds(&place, "pack in -o out");
        assert!(succeeds(&place, "inspect out").contains("3 samples"));
    }
}
