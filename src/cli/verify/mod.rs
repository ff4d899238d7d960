//! `maskstream verify`: tells whether shards are whole.

mod crew;
mod defect;
mod level;
mod md5;
mod member;
mod report;
mod shard;
mod state;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use maskstream::index::IndexedShard;
use maskstream::internals::expand_braces;

use super::advice::in_flags;
use super::args::ShardArgs;
use super::output::{Outcome, ProgressOutput, WrongArguments, counted, unbroken, wrap};
use super::target::{Target, refuse_same};
use super::task::TaskArgs;
use super::warnings::warn_unsaved;
use super::{parallel, progress};
use crate::cli::stores;
use crew::Crew;
pub(super) use defect::{Defect, Severity};
pub(super) use level::Level;
use md5::Checksums;
use member::Checker;
use report::{Report, Totals};
pub(super) use shard::{Settings, Verified};
use state::{Stamp, State};

/// Check whether shards are whole: every byte, every mask and every image, on all cores
///
/// Prints a line for each shard, and below it a line for each defect: shard, kind, member, byte offset in the tar (of
/// a gzip shard: in the inflated tar), and the reason. What is marked "note" is no defect: members that later ones
/// replace or that belong to no sample, and images that EXIF turns. The last line has the totals.
///
/// The bytes are judged by what the file holds now. If the shard has an index, samples that are not as they were
/// indexed are defects too, because a loader refuses them; the index stays as it is. An index of another version of the
/// file is made anew, which a note says. A shard without an index gets one, as with `inspect`, except that --level
/// header makes none for a plain tar.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    shards: ShardArgs,
    #[command(flatten)]
    task: TaskArgs,
    /// How thoroughly; each level includes the ones before it
    ///
    /// Level header reads the headers of a plain tar, its json, and the head of each JPEG: seconds per shard. Of a gzip
    /// shard it reads the index, and compares 16 samples with it; a gzip shard without an index has to be read whole,
    /// and is indexed. Level crc compares the bytes with the CRC-32 and the length of the gzip stream, and with the
    /// checksums of the members in the index, if there is one. A plain tar without an index has checksums for its
    /// headers only: damage in its images shows at level full.
    #[arg(long, value_enum, default_value = "full")]
    level: Level,
    /// Write the samples that cannot be decoded to this file, as a list that --quarantine of other commands reads
    ///
    /// The file is written if all samples are sound too: then it is empty. Samples that a shard has lost, and those
    /// whose masks only differ from their box or area, are not on it.
    #[arg(long, value_name = "FILE")]
    quarantine: Option<PathBuf>,
    /// Overwrite the file of --quarantine
    #[arg(long, requires = "quarantine")]
    force: bool,
    /// Note each verified shard in this file, and skip those that it has already
    ///
    /// Give the same file again after a stop. Shards that have changed since, or that were verified less thoroughly,
    /// are verified anew. Defects of skipped shards are printed and listed again. Give each task a file of its own.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Compare the files with the MD5 checksums in this list
    ///
    /// Lines as md5sum prints them, or a table of file names and checksums. Files are found by their names without
    /// directories. Shards without a line and lines without a shard are counted. A file can have the right MD5 and be
    /// damaged all the same, if it was damaged before the list was made: the other checks are made as well.
    #[arg(long, value_name = "FILE")]
    md5: Option<PathBuf>,
    /// Largest image in pixels
    #[arg(long, default_value_t = 1 << 26, value_name = "N")]
    max_image_pixels: u64,
    /// Number of threads [default: one per core]
    ///
    /// A gzip stream is inflated by one thread at a time, so one gzip shard keeps about three threads busy; several
    /// shards keep all busy.
    #[arg(long, value_name = "N", value_parser = parallel::jobs)]
    jobs: Option<NonZeroUsize>,
    /// Print one JSON object per defect and one with the totals, for programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  maskstream verify sa1b
  maskstream verify sa1b --level header
  maskstream verify sa1b --state verified.jsonl --quarantine bad.jsonl
  maskstream verify sa1b --level crc --md5 checksums.txt
  maskstream verify sa1b --json | jq -r 'select(.severity == \"damage\").shard'

Exit status: 0 if all shards are whole; 1 if there is a defect, also if a shard
is missing or cannot be read, or if a file cannot be written; 2 if the arguments
are wrong: nothing has been verified then. `inspect --decode` finds the same,
but its status is 1 only for damage: that is a shard that cannot be read to its
end, or a sample that cannot be decoded.";

pub(super) fn run(args: &Args) -> Outcome {
    let start = Instant::now();
    let (paths, task) = args.task.take(resolve(&args.shards.shards)?);
    let mut checksums = args.md5.as_deref().map(Checksums::load).transpose()?;
    let target = args.target(&paths)?;
    let mut state = args.state.as_deref().map(State::open).transpose()?;
    let bar = progress::bar(0, "verifying", "bytes");
    let (level, sidecar, max_pixels) = (args.level, args.shards.sidecar(), args.max_image_pixels);
    let settings = Settings { level, sidecar, max_pixels, md5: checksums.is_some(), bar: bar.clone() };
    let known = paths.iter().map(|path| state.as_ref()?.report(path, &settings));
    let mut waiting: BTreeMap<usize, Report> =
        known.enumerate().filter_map(|(number, report)| Some((number, report?))).collect();
    let resumed = waiting.len();
    let numbers: Vec<usize> = (0..paths.len()).filter(|number| !waiting.contains_key(number)).collect();
    let unknown: Vec<PathBuf> = numbers.iter().map(|&number| paths[number].clone()).collect();
    bar.set_length(progress::total_bytes(&unknown));
    if let (Some(file), true) = (&args.state, resumed > 0) {
        tell!("maskstream: {resumed} of {} were verified before: {}", counted(paths.len(), "shard"), file.display());
    }

    let mut output = ProgressOutput::default();
    if let (Some(task), false) = (task, args.json) {
        output.line(task);
    }
    let (mut totals, mut next, mut statuses, mut failures) = (Totals::new(level, args.json), 0, Vec::new(), Vec::new());
    let mut samples = 0;
    let mut print_next = |waiting: &mut BTreeMap<usize, Report>| {
        while let Some(mut report) = waiting.remove(&next) {
            next += 1;
            checksums.iter_mut().for_each(|checksums| checksums.compare(&mut report));
            output.print(|| totals.add(report));
        }
    };
    print_next(&mut waiting);
    verify_all(&unknown, args.jobs(), &settings, |number, stamp, verified| {
        let Verified { report, shard, remark, is_final } = verified;
        samples += report.samples;
        bar.suspend(|| {
            remark.iter().for_each(|remark| tell!("maskstream: {remark}"));
            if let (Some(state), true) = (&mut state, is_final) {
                failures.extend(state.add(&unknown[number], stamp, &settings.sidecar, &report).err());
            }
            statuses.extend(shard.filter(|shard| !shard.index.entries().is_empty()).map(|shard| shard.status));
            waiting.insert(numbers[number], report);
            print_next(&mut waiting);
        });
    })?;
    bar.finish_and_clear();
    warn_unsaved(statuses.iter());
    if let Some(target) = target {
        target.write(|out| totals.bad.iter().try_for_each(|line| writeln!(out, "{line}")))?;
    }
    let md5 = checksums.map(|checksums| checksums.counts());
    output.print(|| totals.print(md5, resumed));
    if let (Some(file), false) = (&args.quarantine, args.json) {
        let what = match totals.bad.len() {
            0 => "no bad samples, so the list is empty".to_owned(),
            count => format!("{} to leave out with --quarantine", counted(count, "bad sample")),
        };
        output.print(|| {
            say!("{}", wrap(&format!("{}: {what}", unbroken(file.display()))));
            Ok(())
        });
    }
    let seconds = start.elapsed().as_secs_f64();
    // Not where the output is compared with that of another run.
    if samples > 0 && std::io::stderr().is_terminal() {
        tell!("maskstream: {samples} samples in {seconds:.1} s: {:.1} samples/s", samples as f64 / seconds);
    }
    failures.dedup();
    let verdict = match failures.pop() {
        None => totals.verdict(),
        Some(failure) => Err(failure.into()),
    };
    output.finish(verdict)
}

impl Args {
    fn jobs(&self) -> NonZeroUsize {
        self.jobs.unwrap_or_else(parallel::cores)
    }

    /// The file of `--quarantine`. None of the files that are written may be one that is read.
    fn target(&self, paths: &[PathBuf]) -> Result<Option<Target<'_>>, WrongArguments> {
        let wrong = |error: Box<dyn std::error::Error>| WrongArguments(in_flags(&*error));
        let sidecar = self.shards.sidecar();
        let indexes = paths.iter().filter_map(|path| sidecar.path(path));
        let mut others: Vec<PathBuf> = paths.iter().cloned().chain(indexes).chain(self.md5.clone()).collect();
        if let Some(state) = &self.state {
            refuse_same(state, &others).map_err(wrong)?;
            others.push(state.clone());
        }
        self.quarantine.as_deref().map(|file| Target::new(file, self.force, others).map_err(wrong)).transpose()
    }
}

/// The shards that the arguments name. Those of a list that are missing are shards too, with a defect, if any other is
/// there.
fn resolve(patterns: &[PathBuf]) -> Result<Vec<PathBuf>, WrongArguments> {
    let (mut found, mut missing, mut refused) = (Vec::new(), Vec::new(), None);
    for pattern in patterns {
        let Err(error) = stores::resolve_patterns(&[pattern]) else {
            found.push(pattern.clone());
            continue;
        };
        let names = pattern.to_str().and_then(expand_braces);
        for name in names.map_or_else(|| vec![pattern.clone()], |names| names.into_iter().map(PathBuf::from).collect())
        {
            if stores::resolve_patterns(&[&name]).is_ok() {
                found.push(name);
            } else if is_file_name(&name) {
                missing.push(name);
            } else {
                return Err(WrongArguments(in_flags(&error)));
            }
        }
        refused.get_or_insert(error);
    }
    match refused {
        Some(error) if found.is_empty() => Err(WrongArguments(in_flags(&error))),
        _ => {
            let mut paths = stores::resolve_patterns(&found).map_err(|error| WrongArguments(in_flags(&error)))?;
            paths.extend(missing);
            Ok(paths)
        }
    }
}

/// Whether a name that is no shard can be that of one which is missing: no pattern, stream, address or directory.
fn is_file_name(name: &Path) -> bool {
    let text = name.to_string_lossy();
    let is_other = text.contains(['*', '?', '[']) || text.contains("://") || text == "-" || text.starts_with("/dev/");
    !is_other && !name.is_dir()
}

/// Verifies one shard, on all cores.
///
/// # Errors
/// If it cannot be read.
pub(super) fn verify_one(path: &Path, settings: &Settings) -> Result<(IndexedShard, Vec<Defect>), String> {
    let mut found = None;
    let done = verify_all(&[path.to_owned()], parallel::cores(), settings, |_, _, verified| found = Some(verified));
    done.map_err(|error| error.to_string())?;
    let Some(Verified { report, shard, .. }) = found else { return Err("it was not verified".to_owned()) };
    let first = report.defects.first().map_or_else(String::new, ToString::to_string);
    shard.map(|shard| (shard, report.defects)).ok_or_else(|| format!("{}: {first}", path.display()))
}

/// Verifies shards. Calls `done` on this thread, in any order, with the number of each shard and its stamp from before.
fn verify_all(
    paths: &[PathBuf],
    jobs: NonZeroUsize,
    settings: &Settings,
    mut done: impl FnMut(usize, Option<Stamp>, Verified),
) -> Outcome {
    let crew = Crew::new(paths.len(), jobs.get());
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.get() {
            let (sender, crew) = (sender.clone(), &crew);
            let body = move || {
                crew.work(&mut Checker::new(settings.level, settings.max_pixels), |reading, checker| {
                    let path = &paths[reading.number];
                    let stamp = Stamp::of(path);
                    let verified = shard::verify(path, settings, reading, checker);
                    // The receiver is gone if `done` panicked.
                    let _ = sender.send((reading.number, stamp, verified));
                });
            };
            if let Err(e) = thread::Builder::new().spawn_scoped(scope, body) {
                crew.stop();
                return Err(parallel::no_threads(jobs, &e).into());
            }
        }
        drop(sender);
        results.into_iter().for_each(|(number, stamp, verified)| done(number, stamp, verified));
        Ok(())
    })
}
