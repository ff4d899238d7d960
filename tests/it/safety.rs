//! What the command does to files: it loses none of the user's, leaves none that is incomplete, and ends in order at
//! signals, in every command that writes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use maskstream::synth::{Preset, SynthOptions, write_shard, write_shards};
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{command, run, succeeds, text};

const SMALL: &str = "--batch-size 2 --image-size 32 --mask-size 8";

/// Two shards in `data`, indexed, and the cursor of a batch.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_shards(dir.path().join("data"), 2, &small(4), &|_| ()).unwrap();
    succeeds(dir.path(), "index data");
    extract(dir.path(), "data/sa_000000.tar");
    fs::write(dir.path().join("cursor.json"), cursor(&dir.path().join("data"), 2)).unwrap();
    dir
}

/// Extracts a shard into `dir/extracted`.
fn extract(dir: &Path, shard: &str) {
    tar::Archive::new(File::open(dir.join(shard)).unwrap()).unpack(dir.join("extracted")).unwrap();
}

/// The cursor behind the first batch of an epoch over these shards.
fn cursor(shards: &Path, batch_size: usize) -> String {
    let set = maskstream::ShardSet::builder().open(&[shards]).unwrap();
    let loader = maskstream::Loader::builder().batch_size(batch_size).image_size(32).build(set).unwrap();
    let batch = loader.epoch(0).unwrap().next().unwrap().unwrap();
    serde_json::to_string(&batch.cursor().unwrap()).unwrap()
}

fn small(samples: usize) -> SynthOptions {
    SynthOptions::new(Preset::Small).samples(samples)
}

/// The same, with signals as a terminal leaves them: a shell that runs the tests in the background has SIGINT ignored,
/// and what is ignored from the start stays ignored.
fn interruptible(dir: &Path, args: &str) -> Command {
    let mut command = Command::new("env");
    command.current_dir(dir).args(["--default-signal=INT,TERM,HUP", env!("CARGO_BIN_EXE_maskstream")]);
    command.args(args.split_whitespace());
    command
}

fn fails(dir: &Path, args: &str) -> String {
    let output = run(dir, args);
    // A file that the settings of the loader name is an argument.
    assert!(matches!(output.status.code(), Some(1 | 2)), "{args}: {}", text(&output.stderr));
    text(&output.stderr)
}

/// The commands that write one file, with that file; `{}` stands for its name where it can be chosen.
fn writers() -> [(String, &'static str); 6] {
    [
        ("synth {} --preset small --samples 2".to_owned(), "sa_000000.tar"),
        (format!("export data -o {{}} {SMALL}"), "batch.safetensors"),
        (format!("replay data --cursor cursor.json -o {{}} {SMALL}"), "batch.safetensors"),
        ("repack data/sa_000000.tar -o {}".to_owned(), "sa_000000.tar"),
        ("repack data/sa_000000.tar -o {} --longest-side 64".to_owned(), "sa_000000.tar"),
        ("pack extracted -o {}".to_owned(), "sa_000000.tar"),
    ]
}

/// The command that writes `path`, which ends in the writer's file name.
fn writing(writer: &str, path: &str) -> String {
    let chosen = if ["synth", "repack", "pack"].iter().any(|command| writer.starts_with(command)) {
        path.rsplit_once('/').unwrap().0
    } else {
        path
    };
    writer.replace("{}", chosen)
}

/// All files below `dir` with their bytes; of others, their kind.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        match () {
            () if kind.is_dir() => found.extend(contents(&path)),
            () if kind.is_file() => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
            () => drop(found.insert(path, format!("{kind:?}").into_bytes())),
        }
    }
    found
}

fn temporary(dir: &Path) -> Vec<PathBuf> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    contents(dir).into_keys().filter(|path| name(path).contains("tmp") || name(path).starts_with('.')).collect()
}

#[test]
fn no_command_overwrites_a_file_unless_it_is_forced_to() {
    let dir = place();
    let dir = dir.path();
    fs::create_dir(dir.join("out")).unwrap();
    for (writer, file) in writers() {
        let (path, target) = (format!("out/{file}"), dir.join("out").join(file));
        fs::write(&target, "mine").unwrap();
        let before = contents(dir);
        let error = fails(dir, &writing(&writer, &path));
        assert!(error.contains(&path) && error.contains("--force"), "{writer}: {error}");
        assert!(contents(dir) == before, "{writer} changed a file");

        succeeds(dir, &format!("{} --force", writing(&writer, &path)));
        assert_ne!(fs::read(&target).unwrap(), b"mine", "{writer} --force");
        fs::remove_dir_all(dir.join("out")).unwrap();
        fs::create_dir(dir.join("out")).unwrap();
        succeeds(dir, &writing(&writer, &path));
        assert!(target.exists() && temporary(dir).is_empty(), "{writer}");
    }
}

#[test]
fn what_is_no_regular_file_is_never_replaced() {
    let dir = place();
    let dir = dir.path();
    type Make = fn(&Path);
    let makes: [(&str, Make); 4] = [
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a named pipe", |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success())),
        ("a symbolic link", |path| {
            fs::write(path.with_extension("linked"), "mine").unwrap();
            symlink(path.with_extension("linked"), path).unwrap();
        }),
        ("a symbolic link", |path| symlink("nowhere", path).unwrap()),
    ];
    for (writer, file) in writers() {
        for (kind, make) in makes {
            fs::create_dir(dir.join("out")).unwrap();
            let (path, target) = (format!("out/{file}"), dir.join("out").join(file));
            make(&target);
            let before = contents(dir);
            for force in ["", " --force"] {
                let error = fails(dir, &format!("{}{force}", writing(&writer, &path)));
                assert!(error.contains(&path) && error.contains(kind), "{writer}{force}: {error}");
                assert!(contents(dir) == before, "{writer}{force}: {kind}");
            }
            fs::remove_dir_all(dir.join("out")).unwrap();
        }
    }
    let error = fails(dir, &format!("export data -o /dev/null --force {SMALL}"));
    assert!(error.contains("/dev/null: there is a device"), "{error}");
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    // A log is appended to, so it may be behind a link, but it is a file.
    assert!(Command::new("mkfifo").arg(dir.join("pipe")).status().unwrap().success());
    for log in ["pipe", "/dev/null", "data"] {
        let error = fails(dir, &format!("bench data --quarantine-log {log} {SMALL}"));
        assert!(error.contains(log) && error.contains("no regular file"), "{error}");
    }
}

#[test]
fn no_command_writes_a_file_that_it_reads() {
    let dir = place();
    let dir = dir.path();
    fs::write(dir.join("ids"), "1\n2\n").unwrap();
    fs::write(dir.join("bad.jsonl"), "").unwrap();
    let shard = dir.join("data/sa_000000.tar");
    fs::hard_link(&shard, dir.join("hard")).unwrap();
    fs::create_dir(dir.join("flat")).unwrap();
    fs::hard_link(dir.join("data/sa_000001.tar"), dir.join("flat/sa_000000.tar")).unwrap();
    fs::create_dir(dir.join("sub")).unwrap();
    symlink(dir.join("data"), dir.join("link")).unwrap();
    let reading = format!("data --ids ids --quarantine bad.jsonl {SMALL}");
    let files = [
        "data/sa_000000.tar",
        "./data/../data/sa_000001.tar",
        "link/sa_000000.tar",
        "data/sa_000001.tar.msidx",
        "hard",
        "ids",
        "sub/../bad.jsonl",
    ];
    let mut commands: Vec<_> = files.iter().map(|file| format!("export {reading} --force -o {file}")).collect();
    let replay = format!("replay {reading} --cursor cursor.json --force -o");
    commands.extend(files.iter().chain(&["cursor.json"]).map(|file| format!("{replay} {file}")));
    commands.push(format!("export {reading} -o new --quarantine-log new"));
    commands.extend(files[..6].iter().map(|file| format!("bench {reading} --quarantine-log {file}")));
    commands.push("repack data -o flat --force".to_owned());
    commands.push("repack data -o data --force".to_owned());
    commands.push("repack data -o link --force".to_owned());
    commands.push("repack data -o data --force --longest-side 64".to_owned());
    let before = contents(dir);
    for args in &commands {
        let error = fails(dir, args);
        assert!(
            error.contains("this command needs it") && error.starts_with("maskstream: cannot write"),
            "{args}: {error}"
        );
        assert!(contents(dir) == before, "{args}");
    }
    // An index that does not exist yet is not a free name either.
    fs::remove_file(dir.join("data/sa_000000.tar.msidx")).unwrap();
    for force in ["", " --force"] {
        let error = fails(dir, &format!("export data -o data/sa_000000.tar.msidx {SMALL}{force}"));
        assert!(error.contains("this command needs it"), "{error}");
    }
    // The list of earlier runs is continued.
    succeeds(dir, &format!("export {reading} -o new.safetensors --quarantine-log bad.jsonl"));
}

#[test]
fn a_log_is_appended_to_nothing_but_a_list_of_ours() {
    let dir = place();
    let dir = dir.path();
    let others = ["mine", "[1, 2", "t", "{\"a\": 1}\n", "{\"a\": ", "\u{feff}", "\n[", "1\n"];
    for other in others {
        fs::write(dir.join("log"), other).unwrap();
        let error = fails(dir, &format!("export data -o new --quarantine-log log {SMALL}"));
        assert!(error.contains("log"), "{other:?}: {error}");
        assert_eq!(fs::read_to_string(dir.join("log")).unwrap(), other);
        assert!(!dir.join("new").exists());
    }
    // What a killed writer has begun is cut off.
    fs::write(dir.join("log"), "{\"shard\":\"data").unwrap();
    succeeds(dir, &format!("export data -o new --quarantine-log log {SMALL}"));
    assert_eq!(fs::read_to_string(dir.join("log")).unwrap(), "");
}

#[test]
fn new_files_have_the_usual_mode_and_replaced_ones_keep_theirs() {
    let dir = place();
    let dir = dir.path();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let shell = |umask: &str, args: &str| {
        let line = format!("umask {umask}; exec \"$0\" {args}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line, env!("CARGO_BIN_EXE_maskstream")]).current_dir(dir);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{args}: {}", text(&output.stderr));
    };
    for (writer, file) in writers() {
        for (umask, wanted) in [("022", 0o644), ("027", 0o640), ("077", 0o600)] {
            let (path, target) = (format!("out/{file}"), dir.join("out").join(file));
            fs::create_dir(dir.join("out")).unwrap();
            shell(umask, &writing(&writer, &path));
            assert_eq!(mode(&target), wanted, "{writer} with umask {umask}");
            for kept in [0o600, 0o664, 0o400] {
                fs::set_permissions(&target, fs::Permissions::from_mode(kept)).unwrap();
                let inode = fs::metadata(&target).unwrap().ino();
                shell(umask, &format!("{} --force", writing(&writer, &path)));
                assert_eq!(mode(&target), kept, "{writer} --force");
                assert_ne!(fs::metadata(&target).unwrap().ino(), inode, "written anew");
            }
            fs::remove_dir_all(dir.join("out")).unwrap();
        }
    }
    shell("027", "index data --index-dir out");
    assert_eq!(mode(&dir.join("out/sa_000000.tar.msidx")), 0o640);
}

#[test]
fn what_cannot_be_written_to_its_end_is_not_there() {
    let dir = place();
    let dir = dir.path();
    fs::create_dir(dir.join("out")).unwrap();
    let mut commands: Vec<_> = writers().iter().map(|(writer, file)| writing(writer, &format!("out/{file}"))).collect();
    commands.push("index data --index-dir out".to_owned());
    for args in commands {
        // No file may be longer than a block of 512 or 1024 bytes.
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -f 1; exec \"$0\" {args}"), env!("CARGO_BIN_EXE_maskstream")]);
        let output = shell.current_dir(dir).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("File too large"), "{args}: {}", text(&output.stderr));
        assert_eq!(contents(&dir.join("out")), BTreeMap::new(), "{args}");
    }
}

/// Starts `args` and waits until a temporary file of it is in `out`, or until it has ended.
fn start(dir: &Path, args: &str) -> (Child, bool) {
    let mut child = interruptible(dir, args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let out = dir.join("out");
    let end = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() && Instant::now() < end {
        let mut files = fs::read_dir(&out).into_iter().flatten().flatten();
        if files.any(|file| file.file_name().to_string_lossy().starts_with(".maskstream_")) {
            return (child, true);
        }
    }
    (child, false)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn wait(mut child: Child) -> (ExitStatus, String) {
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    (child.wait().unwrap(), error)
}

/// Commands whose work takes a while, and the files that they write in `out`.
fn long() -> [(String, &'static [&'static str]); 7] {
    let batch = "--image-size 384 --batch-size 32";
    [
        ("synth out --preset small --samples 40 --gzip".to_owned(), &["sa_000000.tar"]),
        (format!("export many.tar -o out/a {batch}"), &["a"]),
        (format!("replay many.tar --cursor cursor.json -o out/a {batch}"), &["a"]),
        ("repack many.tar -o out".to_owned(), &["many.tar", "many.tar.msidx"]),
        ("repack many.tar -o out --longest-side 128".to_owned(), &["many.tar", "many.tar.msidx"]),
        ("index many.tar --index-dir out --jobs 1".to_owned(), &["many.tar.msidx"]),
        ("pack extracted -o out".to_owned(), &["sa_000000.tar", "sa_000000.tar.msidx"]),
    ]
}

/// A directory with the shard that they read.
fn many() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_shard(dir.path().join("many.tar"), 0, &small(200)).unwrap();
    extract(dir.path(), "many.tar");
    let cursor = cursor(&dir.path().join("many.tar"), 32);
    fs::write(dir.path().join("cursor.json"), cursor).unwrap();
    dir
}

/// Makes `out` an empty directory.
fn empty_out(dir: &Path) {
    let _ = fs::remove_dir_all(dir.join("out"));
    fs::create_dir(dir.join("out")).unwrap();
}

const SIGNALS: [(Signal, &str, i32); 3] =
    [(Signal::INT, "SIGINT", 130), (Signal::TERM, "SIGTERM", 143), (Signal::HUP, "SIGHUP", 129)];

#[test]
fn a_signal_ends_every_command_in_order() {
    let dir = many();
    let dir = dir.path();
    for (args, files) in long() {
        // What an undisturbed run writes.
        empty_out(dir);
        succeeds(dir, &args);
        let whole = contents(&dir.join("out"));
        assert_eq!(whole.len(), files.len(), "{args}");
        for (number, name, code) in SIGNALS {
            // The temporary file of an index is there for a moment only: several attempts may be needed to meet it.
            let mut stopped = false;
            for _ in 0..60 {
                empty_out(dir);
                let (child, is_writing) = start(dir, &args);
                if is_writing {
                    // Twice, as `timeout` sends it to the process and to its group.
                    signal(&child, number);
                    signal(&child, number);
                }
                let (status, error) = wait(child);
                assert!(temporary(dir).is_empty(), "{args}: {name} left {:?}", temporary(dir));
                for (path, bytes) in contents(&dir.join("out")) {
                    // An index holds the time of its shard.
                    let is_index = path.extension().is_some_and(|extension| extension == "msidx");
                    let same = whole[&path] == bytes || is_index && whole[&path].len() == bytes.len();
                    assert!(same, "{args}: {name} left a part of {}", path.display());
                }
                if status.success() {
                    assert!(error.is_empty(), "{args}: {error}");
                    continue;
                }
                assert_eq!((status.code(), status.signal()), (Some(code), None), "{args}: {name}, {error}");
                let line = format!("maskstream: stopped by {name}: ");
                assert!(error.starts_with(&line) && error.lines().count() == 1, "{error}");
                stopped = true;
                break;
            }
            assert!(stopped, "{args}: always complete before {name}");
        }
    }
}

#[test]
fn a_signal_at_any_moment_leaves_the_whole_index_or_none() {
    let dir = many();
    let dir = dir.path();
    let mut stopped = 0;
    for (delay, (number, _, code)) in (0..30).zip(SIGNALS.into_iter().cycle()) {
        empty_out(dir);
        let child = interruptible(dir, "index many.tar --index-dir out --jobs 1");
        let child = { child }.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(3 * delay));
        signal(&child, number);
        let (status, error) = wait(child);
        // Before the command has begun, the signal has its usual effect.
        let by_signal = status.code().is_none() && status.signal().is_some();
        assert!(status.success() || status.code() == Some(code) || by_signal, "{status}: {error}");
        stopped += usize::from(status.code() == Some(code));
        assert!(temporary(dir).is_empty());
        if dir.join("out/many.tar.msidx").exists() {
            assert!(succeeds(dir, "index many.tar --index-dir out").contains("up to date"));
        }
    }
    assert!(stopped > 0);
}

#[test]
fn a_signal_that_is_ignored_from_the_start_stays_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("out")).unwrap();
    let line = "trap '' HUP; exec \"$0\" synth out --preset small --samples 60";
    let mut shell = Command::new("sh");
    shell.args(["-c", line, env!("CARGO_BIN_EXE_maskstream")]).current_dir(dir);
    let mut child = shell.stdout(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() && Instant::now() < end {
        let _ = kill_process(Pid::from_child(&child), Signal::HUP);
        std::thread::sleep(Duration::from_millis(2));
    }
    // The shell itself may have been reached before it ignored the signal.
    let status = child.wait().unwrap();
    assert!(status.success() || status.signal() == Some(1), "{status}");
    assert!(temporary(dir).is_empty());
}

#[test]
fn what_a_kill_leaves_is_removed_by_the_next_run_and_what_is_in_use_is_not() {
    let dir = many();
    let dir = dir.path();
    for (args, files) in long() {
        empty_out(dir);
        for _ in 0..60 {
            let (mut child, _) = start(dir, &args);
            child.kill().unwrap();
            child.wait().unwrap();
            if !temporary(dir).is_empty() {
                break;
            }
            empty_out(dir);
        }
        assert_eq!(temporary(dir).len(), 1, "{args}: a temporary file was left");
        let held = dir.join(format!("out/.maskstream_{}_held.tmp", files[0]));
        let other = dir.join("out/.maskstream_of_another_file.tmp");
        fs::write(&held, "half of it").unwrap();
        fs::write(&other, "half of it").unwrap();
        let under_way = File::open(&held).unwrap();
        under_way.lock().unwrap();
        succeeds(dir, &args);
        let mut left = temporary(dir);
        left.sort();
        let mut wanted = [held, other];
        wanted.sort();
        assert_eq!(left, wanted, "{args}");
        assert!(files.iter().all(|file| dir.join("out").join(file).exists()), "{args}");
    }
}

/// A pipe whose reading end is closed.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn no_output_channel_ends_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_shards(dir.join("data"), 3, &small(2), &|_| ()).unwrap();
    let bad = dir.join("data/sa_000000.tar");
    let bytes = fs::read(&bad).unwrap();
    fs::write(&bad, &bytes[..bytes.len() / 2]).unwrap();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    type Channel<'a> = &'a dyn Fn() -> Stdio;
    let channels: [(Channel<'_>, Channel<'_>); 6] = [
        (&unread, &unread),
        (&Stdio::null, &unread),
        (&unread, &Stdio::piped),
        (&|| full().into(), &Stdio::piped),
        (&Stdio::null, &|| full().into()),
        (&|| full().into(), &|| full().into()),
    ];
    for (number, (out, error)) in channels.into_iter().enumerate() {
        let commands =
            ["index data --jobs 1 --index-dir DIR", "repack data --jobs 1 -o DIR", "repack data --json -o DIR"];
        for args in commands {
            let _ = fs::remove_dir_all(dir.join("DIR"));
            let output = command(dir, args).stdout(out()).stderr(error()).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{number}: {args}");
            for shard in ["sa_000001.tar", "sa_000002.tar"] {
                assert!(dir.join("DIR").join(format!("{shard}.msidx")).exists(), "{number}: {args}: {shard}");
            }
        }
    }
    // Closed from the start.
    for redirected in ["2>&-", ">&- 2>&-", "2>&1 | head -n 0"] {
        let _ = fs::remove_dir_all(dir.join("DIR"));
        let line = format!("\"$0\" index data --jobs 1 --index-dir DIR {redirected}");
        Command::new("sh").args(["-c", &line, env!("CARGO_BIN_EXE_maskstream")]).current_dir(dir).output().unwrap();
        // The damaged shard has no sample left, so it has no index.
        let indexed = fs::read_dir(dir.join("DIR")).unwrap().map(|file| file.unwrap().file_name());
        let mut indexed: Vec<_> = indexed.collect();
        indexed.sort();
        assert_eq!(indexed, ["sa_000001.tar.msidx", "sa_000002.tar.msidx"], "{redirected}");
    }
}

#[test]
fn output_that_is_lost_is_a_failure_after_the_work_is_done() {
    let dir = place();
    let dir = dir.path();
    let commands = [
        ("synth out --preset small --samples 1".to_owned(), "out/sa_000000.tar"),
        ("index data --index-dir indexes".to_owned(), "indexes/sa_000001.tar.msidx"),
        ("repack data -o flat".to_owned(), "flat/sa_000001.tar"),
        (format!("export data -o batch {SMALL}"), "batch"),
        (format!("replay data --cursor cursor.json -o again {SMALL}"), "again"),
        ("inspect data".to_owned(), "data"),
        (format!("bench data {SMALL}"), "data"),
    ];
    for (args, made) in commands {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(dir, &args).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args}");
        let error = text(&output.stderr);
        assert!(error.starts_with("maskstream: cannot write to standard output: No space left"), "{args}: {error}");
        assert_eq!(error.lines().count(), 1, "{args}: {error}");
        assert!(dir.join(made).exists(), "{args}");
        // A pipe that the reader has closed is no failure.
        if !made.starts_with("out") && !["batch", "again"].contains(&made) {
            let output = command(dir, &args).stdout(unread()).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{args}: {}", text(&output.stderr));
        }
    }
}
