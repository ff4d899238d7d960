//! The `maskstream` command, run as a user runs it.

use std::path::Path;
use std::process::{Command, Output};

use maskstream::{Augment, Batch, Loader, Prompts, SampleId, ShardSet};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::command::{command, run, succeeds, text};
use crate::fixture::{Made, annotation, document, gzip, made, made_many, members, pack, rectangle, shard};

/// Standard error of a command that fails.
fn fails(dir: &Path, args: &str) -> String {
    let output = run(dir, args);
    assert!(!output.status.success(), "{args}: {}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn made_shards_can_be_indexed_inspected_measured_and_exported() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --shards 2 --samples 5 --preset small --seed 3");
    assert!(succeeds(dir, "index data --jobs 1 --index-dir elsewhere").contains("2 shards"));
    assert!(dir.join("elsewhere/sa_000001.tar.msidx").exists());
    assert!(succeeds(dir, "index data --index-dir elsewhere").contains("up to date"));

    let shards: Vec<Value> =
        succeeds(dir, "inspect data --json").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shards.iter().map(|shard| shard["samples"].as_u64().unwrap()).collect::<Vec<_>>(), [5, 5]);
    assert!(succeeds(dir, "inspect data/sa_000000.tar").contains("no problems"));

    let shape =
        "--batch-size 4 --image-size 64 --mask-size 16 --coverage 8 --top-k 3 --num-workers 2 --prefetch-batches 1";
    let figures: Value = serde_json::from_str(&succeeds(dir, &format!("bench data --json --shuffle {shape}"))).unwrap();
    assert_eq!((figures["batches"].as_u64(), figures["samples"].as_u64()), (Some(3), Some(10)));
    let stages = figures["stages_ms"].as_array().unwrap();
    assert!(stages.iter().all(|stage| stage[1].as_f64().unwrap() >= 0.0) && stages.len() == 6);

    succeeds(dir, &format!("export data --batches 2 --fit stretch -o batch.safetensors {shape}"));
    let file = std::fs::read(dir.join("batch.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let shape_of = |name: &str| tensors.tensor(name).unwrap().shape().to_vec();
    assert_eq!(shape_of("images"), [8, 3, 64, 64]);
    assert_eq!(shape_of("masks"), [8, 3, 16, 16]);
    assert_eq!(shape_of("coverage"), [8, 3, 8, 8]);
    assert_eq!(shape_of("boxes"), [8, 3, 4]);
    assert_eq!(tensors.tensor("image_valid").unwrap().data(), [1; 8]);
    // One bit a cell, the first of a byte in its highest bit.
    succeeds(dir, &format!("export data --batches 2 --fit stretch -o bits.safetensors {shape} --mask-format bits"));
    let bits = std::fs::read(dir.join("bits.safetensors")).unwrap();
    let bits = SafeTensors::deserialize(&bits).unwrap();
    assert_eq!(bits.tensor("masks").unwrap().shape(), [8, 3, 16, 2]);
    let packed = |cells: &[u8]| cells.iter().fold(0, |byte, cell| (byte << 1) | cell);
    let expected: Vec<u8> = tensors.tensor("masks").unwrap().data().chunks(8).map(packed).collect();
    assert_eq!(bits.tensor("masks").unwrap().data(), expected);
    // The crate that defines the format writes the same bytes.
    let (_, header) = SafeTensors::read_metadata(&file).unwrap();
    assert!(safetensors::serialize(tensors.tensors(), header.metadata().clone()).unwrap() == file);
}

#[test]
fn gzip_shards_are_read_as_plain_ones_are() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth packed --samples 3 --preset small --seed 4 --gzip");
    succeeds(dir, "synth plain --samples 3 --preset small --seed 4");
    assert!(std::fs::read(dir.join("packed/sa_000000.tar")).unwrap().starts_with(&[0x1f, 0x8b]));
    assert!(!std::fs::read(dir.join("plain/sa_000000.tar")).unwrap().starts_with(&[0x1f, 0x8b]));
    for shards in ["packed", "plain"] {
        assert!(succeeds(dir, &format!("index {shards}")).contains("3 samples"));
        assert!(succeeds(dir, &format!("inspect {shards}")).contains("no problems"));
        succeeds(dir, &format!("export {shards} --batches 1 --batch-size 3 --image-size 64 -o {shards}.safetensors"));
    }
    let [packed, plain] =
        ["packed", "plain"].map(|name| std::fs::read(dir.join(format!("{name}.safetensors"))).unwrap());
    assert!(packed == plain, "the same samples give the same file");
}

#[test]
fn what_cannot_be_done_is_one_line_and_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert!(fails(dir, "bench nowhere/*.tar").contains("nowhere"));
    succeeds(dir, "synth data --samples 2 --preset small");
    assert!(fails(dir, "bench data --batch-size 0").contains("invalid value '0' for '--batch-size <B>'"));
    assert!(
        fails(dir, "bench data --min-predicted-iou 7")
            .contains("none of the 2 samples in 1 shards passes the filter (predicted_iou >= 7, at")
    );
    assert!(fails(dir, "export data -o missing/batch.safetensors").contains("maskstream:"));
}

#[test]
fn arguments_without_effect_are_refused_in_the_words_of_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --samples 2 --preset small");
    assert!(fails(dir, "bench data --imagenet").contains("--imagenet has no effect on u8 images: add --image-dtype"));
    assert!(fails(dir, "bench data --chunk-bytes 99999").contains("--chunk-bytes has no effect without --shuffle"));
    assert!(fails(dir, "bench data --mask-size 0 --mask-kind area").contains("--mask-kind has no effect"));
    assert!(fails(dir, "bench data --mask-size 0 --no-keep-thin-masks").contains("--no-keep-thin-masks has no effect"));
    assert!(fails(dir, "bench data --mask-size 0 --mask-format bits").contains("--mask-format has no effect"));
    assert!(fails(dir, "bench data --mask-kind area --mask-format bits").contains("--mask-format bits holds 0 or 1"));
    let seeded = run(dir, "bench data --image-size 32 --seed 3");
    assert!(seeded.status.success() && text(&seeded.stderr).contains("--seed has no effect without --shuffle"));
    succeeds(dir, "bench data --image-size 32 --seed 3 --top-k-by random");
}

#[test]
fn rankings_have_the_names_of_the_library_and_the_old_ones_still_work() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --samples 2 --preset small");
    let exported = |name: &str| {
        let shape = "--image-size 32 --mask-size 0 --batch-size 2 --top-k 3 --min-predicted-iou none";
        succeeds(dir, &format!("export data {shape} --top-k-by {name} --force -o o.safetensors"));
        std::fs::read(dir.join("o.safetensors")).unwrap()
    };
    let names = [
        ("stability-score", "stability"),
        ("predicted-iou", "confidence"),
        ("largest-area", "largest"),
        ("smallest-area", "smallest"),
        ("area-stratified", "stratified"),
        // Epoch 0 is the epoch whose draw the fixed forms have.
        ("area-stratified", "fixed-area-stratified"),
        ("random", "fixed-random"),
    ];
    let different: std::collections::BTreeSet<Vec<u8>> = names
        .map(|(name, other)| {
            let bytes = exported(name);
            assert!(exported(other) == bytes, "{name}, {other}");
            bytes
        })
        .into();
    assert!(different.len() >= 5, "{}", different.len());
    let help = succeeds(dir, "bench --help");
    assert!(help.contains("predicted-iou:") && !help.contains("confidence"), "{help}");
}

#[test]
fn a_damaged_shard_is_named_and_can_be_used_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --samples 6 --preset small");
    let shard = dir.join("data/sa_000000.tar");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &bytes[..bytes.len() * 3 / 4]).unwrap();
    assert!(fails(dir, "index data").contains("damaged"));
    assert!(fails(dir, "bench data --image-size 32").contains("broken shard"));
    let figures: Value = serde_json::from_str(&succeeds(dir, "bench data --image-size 32 --skip 6 --json")).unwrap();
    let delivered = figures["samples"].as_u64().unwrap();
    assert!((1..6).contains(&delivered), "{delivered} of 6 samples");
}

#[test]
fn tasks_share_out_all_shards_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --shards 5 --samples 1 --preset small");
    for count in [1, 2, 3, 7] {
        let mut done = Vec::new();
        for task in 0..count {
            let lines = succeeds(dir, &format!("index data --json --index-dir by_{count} --task {task}/{count}"));
            let shard = |line| serde_json::from_str::<Value>(line).unwrap()["shard"].as_str().unwrap().to_owned();
            done.extend(lines.lines().map(shard));
        }
        done.sort();
        let all: Vec<_> = (0..5).map(|shard| format!("data/sa_{shard:06}.tar")).collect();
        assert_eq!(done, all, "{count} tasks");
    }
    // In any order in which a shell lists them.
    let own = succeeds(dir, "index data/sa_000003.tar data/sa_000000.tar data/sa_000001.tar --task 0/2");
    assert!(own.contains("sa_000000") && own.contains("sa_000003") && !own.contains("sa_000001"), "{own}");
    assert!(succeeds(dir, "index data --task 6/7").contains("none of the 5 shards"));
    assert!(succeeds(dir, "repack data -o flat --task 4/5").contains("1 shards written"));
    assert!(dir.join("flat/sa_000004.tar").exists() && !dir.join("flat/sa_000000.tar").exists());
}

#[test]
fn what_is_no_task_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    succeeds(dir.path(), "synth data --samples 1 --preset small");
    let cases = [("3/3", "from 0 to 2"), ("a/b", "not a number"), ("1/0", "at least one"), ("2", "no /"), ("/", "0/8")];
    for (task, reason) in cases {
        let error = fails(dir.path(), &format!("index data --task {task}"));
        assert!(error.contains(reason) && error.contains("--task"), "{task}: {error}");
    }
    assert!(!dir.path().join("data/sa_000000.tar.msidx").exists());
}

#[test]
fn shards_can_be_repacked_and_what_fails_keeps_no_other_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --shards 2 --samples 4 --preset small --gzip");
    assert!(succeeds(dir, "repack data -o flat").contains("2 shards written, 0 up to date"));
    assert!(succeeds(dir, "repack data -o flat").contains("0 shards written, 2 up to date"));
    assert!(succeeds(dir, "repack data -o flat --force --jobs 1").contains("2 shards written"));
    for line in succeeds(dir, "repack data -o flat --json").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((line["samples"].as_u64(), line["outcome"].as_str()), (Some(4), Some("up to date")));
    }
    let shape = "--batch-size 4 --image-size 64 --mask-size 16 --json";
    let figures: Value = serde_json::from_str(&succeeds(dir, &format!("bench flat {shape}"))).unwrap();
    assert_eq!(figures["samples"].as_u64(), Some(8));

    let shard = dir.join("data/sa_000000.tar");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &bytes[..bytes.len() * 3 / 4]).unwrap();
    let error = fails(dir, "repack data -o other");
    assert!(error.contains("data/sa_000000.tar") && error.contains("1 of 2 shards could not"), "{error}");
    assert!(!dir.join("other/sa_000000.tar").exists() && dir.join("other/sa_000001.tar").exists());
    let used = succeeds(dir, "repack data -o other --skip 4");
    assert!(used.contains("samples are missing") && used.contains("1 shards written, 1 up to date"), "{used}");
    assert!(fails(dir, "repack data -o data").contains("overwrite itself"));
    assert!(fails(dir, "repack data flat -o both").contains("same file name"));
}

#[test]
fn a_batch_is_replayed_from_its_cursor_and_other_settings_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --shards 2 --samples 5 --preset small --seed 3");
    let set = ShardSet::builder().open(&[dir.join("data")]).unwrap();
    // Settings that draw nothing are settings, too.
    let options = Loader::builder().batch_size(2).rank(1, 2).image_size(48).top_k(3).shuffle(5);
    let loader = options.augment(Augment::none()).prompts(Prompts::none()).build(set).unwrap();
    let batches: Vec<Batch> = loader.epoch(6).unwrap().map(Result::unwrap).collect();
    let cursor = serde_json::to_string(&batches[1].cursor().unwrap()).unwrap();
    std::fs::write(dir.join("cursor.json"), &cursor).unwrap();

    let replay = "replay data --cursor cursor.json --shuffle --rank 1 --world-size 2 --batch-size 2 --top-k 3";
    for (more, step) in [("", 1), (" --batch 0 --image-size 64", 0), (" --batch 2 --mask-size 0", 2)] {
        let shown: Value = serde_json::from_str(&succeeds(dir, &format!("{replay} --seed 5 --json{more}"))).unwrap();
        assert_eq!((&shown["epoch"], &shown["batch"]), (&6.into(), &step.into()));
        let ids: Vec<_> =
            shown["rows"].as_array().unwrap().iter().map(|row| row["image_id"].as_i64().unwrap()).collect();
        assert_eq!(ids, batches[step].image_ids()[..ids.len()], "batch {step}");
        assert_eq!(ids.len(), batches[step].valid_rows());
        let offset = shown["rows"][0]["image_offset"].as_u64().unwrap();
        let entry = loader.shards().unwrap().entry(batches[step].samples()[0].unwrap()).unwrap();
        assert_eq!(offset, entry.image.offset);
        let boxes = &shown["fields"].as_array().unwrap().iter().find(|field| field["name"] == "boxes").unwrap();
        assert!(boxes["max"].as_f64().unwrap() <= 1.0 && boxes["not_finite"] == 0);
    }
    let table = succeeds(dir, &format!("{replay} --seed 5 --image-size 48 -o batch.safetensors"));
    assert!(table.contains("epoch 6, batch 1: 2 samples") && table.contains(".jpg at "), "{table}");
    let file = std::fs::read(dir.join("batch.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    assert_eq!(tensors.tensor("images").unwrap().data(), batches[1].images().bytes);

    assert!(fails(dir, &format!("{replay} --seed 4")).contains("seed 5 when it was saved and is now seed 4"));
    assert!(fails(dir, &format!("{replay} --seed 5 --min-masks 3")).contains("the filter"));
    assert!(fails(dir, &format!("{replay} --seed 5 --batch 3")).contains("there is no batch 3"));
    assert!(fails(dir, "replay data --cursor nowhere.json").contains("cannot read the cursor in nowhere.json"));
    assert!(fails(dir, "replay data --cursor {}").contains("the cursor cannot be read"));
}

/// The names of all subcommands.
fn subcommands(dir: &Path) -> Vec<String> {
    let help = succeeds(dir, "--help");
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What is indented further continues a line.
    let names = commands.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    assert!(names.len() >= 11 && names.iter().any(|name| name == "view"), "{names:?}");
    names
}

#[test]
#[cfg(target_os = "linux")]
fn the_package_unpacks_into_a_prefix_and_is_the_same_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/package.sh");
    let package = |out: &str| {
        let mut bash = Command::new("bash");
        bash.arg(&script).arg("--binary").arg(env!("CARGO_BIN_EXE_maskstream")).arg(dir.path().join(out));
        bash.output().unwrap()
    };
    let archives = ["a", "b"].map(|out| {
        let output = package(out);
        assert!(output.status.success(), "{}", text(&output.stderr));
        std::path::PathBuf::from(text(&output.stdout).trim_end())
    });
    let [a, b] = archives.each_ref().map(|archive| std::fs::read(archive).unwrap());
    assert!(a == b && archives[0].file_name() == archives[1].file_name());
    let refused = package("a");
    assert!(refused.status.code() == Some(1) && text(&refused.stderr).contains("exists"));

    let prefix = dir.path().join("prefix");
    std::fs::create_dir(&prefix).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archives[0]).arg("-C").arg(&prefix).arg("--strip-components=1");
    assert!(tar.status().unwrap().success());
    for name in subcommands(dir.path()) {
        assert!(prefix.join(format!("share/man/man1/maskstream-{name}.1")).exists(), "{name}");
    }
    for file in
        ["bash-completion/completions/maskstream", "zsh/site-functions/_maskstream", "doc/maskstream/LICENSE-MIT"]
    {
        assert!(prefix.join("share").join(file).exists(), "{file}");
    }
    let version = Command::new(prefix.join("bin/maskstream")).arg("--version").output().unwrap();
    assert_eq!(text(&version.stdout).trim_end(), concat!("maskstream ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn shells_and_man_know_every_subcommand() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let names = subcommands(dir);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeeds(dir, &format!("completions {shell}"));
        for name in &names {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
    succeeds(dir, "man pages");
    for name in &names {
        let page = std::fs::read_to_string(dir.join(format!("pages/maskstream-{name}.1"))).unwrap();
        assert!(page.contains(".TH ") && page.contains("SYNOPSIS"), "{name}");
    }
    assert!(fails(dir, "man pages").contains("it exists already"));
    succeeds(dir, "man pages --force");
}

#[test]
fn an_exported_batch_is_replayed_from_the_cursor_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --samples 7 --preset small");
    let settings = "--image-size 64 --mask-size 32 --coord-frame canvas-pixels";
    let drawn = "--shuffle --seed 4 --batch-size 3 --augment resized-crop --clicks 2 --box-jitter 0.1";
    succeeds(dir, &format!("export data {settings} {drawn} --batches 2 -o two --save-cursor cursor.json"));
    succeeds(dir, &format!("replay data {settings} --cursor cursor.json -o second"));
    let files = ["two", "second"].map(|name| std::fs::read(dir.join(name)).unwrap());
    let [two, second] = files.each_ref().map(|file| SafeTensors::deserialize(file).unwrap());
    assert!(second.names().contains(&"prompt_points"));
    for (name, tensor) in second.iter() {
        let both = two.tensor(name).unwrap().data();
        assert!(both[both.len() / 2..] == *tensor.data(), "{name}");
    }

    // A seed without a shuffle is that of augmentation and prompts, whichever flags are repeated.
    let drawn = "--seed 5 --batch-size 3 --augment sam --clicks 2";
    succeeds(dir, &format!("export data {settings} {drawn} -o unshuffled --save-cursor five.json"));
    for same in [drawn, "--seed 5", "--augment sam", "--clicks 2 --batch-size 3", "--augment sam --seed 5"] {
        succeeds(dir, &format!("replay data {settings} --cursor five.json {same}"));
    }
    let error = fails(dir, &format!("replay data {settings} --cursor five.json --seed 6"));
    assert!(error.contains("--augment was seed 5 when it was saved and is now seed 6; prompts was seed 5"), "{error}");

    // A flag that is repeated leaves the others as they were; one that differs is refused, with what differs.
    let replay = |more: &str| format!("replay data {settings} --cursor cursor.json {more}");
    for same in ["--clicks 2", "--box-jitter 0.1", "--negative-clicks 0 --seed 4", "--augment resized-crop"] {
        succeeds(dir, &replay(same));
    }
    let cases = [
        ("--clicks 3", "prompts was 2 positive when it was saved and is now 3 positive"),
        (
            "--box-jitter 0.2",
            "prompts was --box-jitter 0.1 up to 20 pixels when it was saved and is now --box-jitter 0.2",
        ),
        (
            "--augment sam",
            "--augment was RandomResized scale 0.08 to 1 ratio 0.75 to 1.3333333333333333 in 10 attempts",
        ),
    ];
    for (other, expected) in cases {
        let error = fails(dir, &replay(other));
        assert!(error.contains(expected), "{other}: {error}");
    }
    assert!(fails(dir, "export data --save-cursor cursor.json -o third").contains("cursor.json"));
    assert!(fails(dir, "export data --save-cursor third -o third").contains("this command needs it"));
    assert!(!dir.join("third").exists());
}

#[test]
fn bad_samples_are_listed_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --shards 1 --samples 6 --preset small --seed 3");
    succeeds(dir, "index data --index-dir .");
    // The start of a JPEG was damaged before the shard was indexed.
    let path = dir.join("data/sa_000000.tar");
    let set = ShardSet::builder().open(&[&path]).unwrap();
    let third = set.entry(SampleId { shard: 0, entry: 2 }).unwrap().clone();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[third.image.offset as usize] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    std::fs::remove_file(dir.join("sa_000000.tar.msidx")).unwrap();

    let bench = "bench data --json --index-dir . --batch-size 2 --image-size 64";
    assert!(fails(dir, bench).contains(&third.image_name()));
    let figures = |args: &str| -> Value {
        let output = run(dir, args);
        assert!(output.status.success(), "{args}: {}", text(&output.stderr));
        serde_json::from_str(&text(&output.stdout)).unwrap()
    };
    let skipped = figures(&format!("{bench} --skip 1 --quarantine-log bad.jsonl"));
    assert_eq!((&skipped["planned"], &skipped["samples"], &skipped["skipped"]), (&6.into(), &5.into(), &1.into()));
    let without = figures(&format!("{bench} --quarantine bad.jsonl --drop-last"));
    assert_eq!((&without["planned"], &without["samples"], &without["dropped"]), (&4.into(), &4.into(), &1.into()));
    std::fs::write(dir.join("ids"), format!("# one\n{}\n12345\n", third.image_id + 1)).unwrap();
    let output = run(dir, &format!("{bench} --ids ids"));
    assert!(text(&output.stderr).contains("in none of the shards: 1 listed image: "));
    let error = fails(dir, &format!("{bench} --max-memory-bytes 1000000"));
    assert!(error.contains("--max-memory-bytes is 1000000, but 3 batches x"), "{error}");
}

/// A command whose output is not read.
fn unread(dir: &Path, args: &str) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command(dir, args).stdout(writer).output().unwrap()
}

#[test]
fn work_goes_on_when_nobody_reads_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --shards 3 --samples 2 --preset small --seed 3");
    for args in ["index data --index-dir made --jobs 1", "repack data -o flat --jobs 1 --json", "index flat --task 0/1"]
    {
        let output = unread(dir, args);
        assert!(output.status.success() && output.stderr.is_empty(), "{args}: {}", text(&output.stderr));
    }
    for file in (0..3).flat_map(|n| [format!("made/sa_{n:06}.tar.msidx"), format!("flat/sa_{n:06}.tar")]) {
        assert!(dir.join(&file).exists(), "{file}");
    }
    // The only purpose of `inspect` is its output, so it ends, without an error.
    assert!(unread(dir, "inspect data").status.success());
}

#[test]
fn an_index_that_cannot_be_saved_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --shards 2 --samples 2 --preset small --seed 3");
    std::fs::write(dir.join("file"), "").unwrap();
    let error = fails(dir, "index data --index-dir file");
    assert!(error.contains("data/sa_000001.tar: its index could not be saved"), "{error}");
    assert!(error.contains("the indexes of 2 of 2 shards could not be saved"), "{error}");
}

#[test]
fn a_shard_of_which_nothing_is_sound_is_not_repacked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("page.tar"), "<html>not found</html>".repeat(100_000)).unwrap();
    let error = fails(dir, "repack page.tar -o flat --skip 1");
    assert!(error.contains("more than the budget of 1"), "{error}");
    let error = fails(dir, "repack page.tar -o flat --skip 100");
    assert!(error.contains("page.tar") && error.contains("no sample is valid"), "{error}");
    assert!(!dir.join("flat/page.tar").exists());
}

#[test]
fn help_and_usual_output_fit_a_terminal_of_80_columns() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let fits = |args: &str, out: &str| {
        for line in out.lines() {
            assert!(line.chars().count() <= 80, "{args}: {line}");
        }
    };
    let names = subcommands(dir).into_iter().map(|name| name + " ");
    for name in std::iter::once(String::new()).chain(names) {
        for help in ["-h", "--help"] {
            let args = format!("{name}{help}");
            let output = command(dir, &args).env("COLUMNS", "80").output().unwrap();
            assert!(output.status.success() && !output.stdout.is_empty(), "{args}");
            fits(&args, &text(&output.stdout));
        }
    }
    for args in [
        "synth data --samples 9 --preset small",
        "index data",
        "inspect data",
        "verify data",
        "bench data --image-size 64",
        "bench data --image-size 64 --stream --batches 1",
        "repack data -o flat",
        "export data --image-size 64",
    ] {
        fits(args, &succeeds(dir, args));
    }
}

#[test]
fn every_command_that_reads_shards_says_what_indexing_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // Eight samples; an image without annotations, and a JSON that cannot be parsed.
    let mut all = members(&made_many(8));
    all.retain(|(name, _)| name != "sa_3.json");
    all.iter_mut().find(|(name, _)| name == "sa_5.json").unwrap().1.truncate(30);
    std::fs::write(dir.join("s.tar"), pack(&all)).unwrap();
    let shape = "--image-size 32 --mask-size 8 --min-predicted-iou none";
    for indexed in [false, true] {
        assert_eq!(dir.join("s.tar.msidx").exists(), indexed);
        let left_out = "6 selected, 2 left out (1 image without annotations, 1 with broken annotations)";
        for command in ["export s.tar --force -o o.safetensors", "bench s.tar", "bench s.tar --stream"] {
            let said =
                succeeds(dir, &format!("{command} --skip 1 {shape}")).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains("the shards hold 8 samples") && said.contains(left_out), "{command}: {said}");
        }
        let figures: Value =
            serde_json::from_str(&succeeds(dir, &format!("bench s.tar --json --skip 1 {shape}"))).unwrap();
        assert_eq!(
            ["held", "selected", "left_out", "unverified"].map(|name| figures[name].as_u64().unwrap()),
            [8, 6, 2, 0]
        );
        let index = run(dir, "index s.tar");
        let said = text(&index.stdout);
        assert!(said.contains("not used: 1 image without annotations, 1 with broken annotations"), "{said}");
        assert_eq!(index.status.code(), Some(1), "damage");
        // A broken JSON is damage, an orphan alone is none.
        assert!(fails(dir, &format!("export s.tar --force -o o.safetensors {shape}")).contains("--skip N"));
    }
    assert!(text(&run(dir, "index s.tar").stdout).contains("up to date"));
    let rebuilt = text(&run(dir, "index s.tar --rebuild").stdout);
    assert!(rebuilt.contains("indexed: rebuilt on request"), "{rebuilt}");
}

#[test]
fn samples_that_no_checksum_vouches_for_are_used_on_request_only() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut shard = gzip(&pack(&members(&made_many(4))), 6);
    let trailer = shard.len() - 8;
    shard[trailer] ^= 1;
    std::fs::write(dir.join("s.tar"), shard).unwrap();
    let bench = "bench s.tar --image-size 32 --mask-size 8 --min-predicted-iou none --json --skip 9";
    let refused = fails(dir, bench);
    assert!(
        refused.contains("no checksum vouches for any of the 4 samples") && refused.contains("--unverified"),
        "{refused}"
    );
    let figures: Value = serde_json::from_str(&succeeds(dir, &format!("{bench} --unverified"))).unwrap();
    assert_eq!(["samples", "held", "left_out", "unverified"].map(|name| figures[name].as_u64().unwrap()), [4, 4, 0, 4]);
}

#[test]
fn images_that_come_twice_and_scores_that_are_missing_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    succeeds(dir, "synth data --shards 1 --samples 3 --preset small");
    std::fs::copy(dir.join("data/sa_000000.tar"), dir.join("data/copy.tar")).unwrap();
    let output = run(dir, "export data --image-size 32 -o o.safetensors");
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("3 samples have the image id of another one"), "{said}");
    assert!(said.contains("copy.tar") && said.contains("sa_000000.tar"), "{said}");

    let unscored = Made { json: document(1, 20, 16, &[unscored()]), ..made(1, 20, 16, 1) };
    std::fs::write(dir.join("unscored.tar"), shard(&[unscored])).unwrap();
    let export = "export unscored.tar --image-size 32 -o unscored.safetensors";
    let refused = fails(dir, export);
    assert!(refused.contains("have no predicted_iou") && refused.contains("--min-predicted-iou none"), "{refused}");
    let refused = fails(dir, &format!("{export} --min-predicted-iou none --min-stability-score 0.5 --min-masks 0"));
    assert!(refused.contains("have no stability_score") && refused.contains("--min-stability-score none"), "{refused}");
    succeeds(dir, &format!("{export} --min-predicted-iou none"));
}

/// An annotation without scores.
fn unscored() -> Value {
    let mut annotation = annotation(1, &rectangle(20, 16, [2, 2, 9, 9]), 0.9, 0.9);
    for score in ["predicted_iou", "stability_score"] {
        annotation.as_object_mut().unwrap().remove(score);
    }
    annotation
}
