//! A line per step for other programs. Comes in: reports. Goes out: a CSV file. Fails as files do.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::model::Result;
use super::named::replace;
use super::train::Report;

const HEADER: &str = "step,epoch,loss,learning_rate,samples,seconds,wait_seconds";

/// The file; a line is written when its step is done.
pub(crate) struct Log {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Log {
    /// Begins anew, or after `steps` steps that a file of an earlier run holds. Samples and seconds are those of a run.
    pub(crate) fn open(path: &Path, steps: u64) -> Result<Self> {
        let before = match fs::read_to_string(path) {
            Ok(before) if steps > 0 => before,
            Err(e) if steps > 0 && e.kind() != ErrorKind::NotFound => {
                return Err(format!("cannot read {}: {e}", path.display()).into());
            }
            _ => String::new(),
        };
        let is_before =
            |line: &&str| line.split(',').next().and_then(|step| step.parse().ok()).is_some_and(|s: u64| s <= steps);
        let lines: String =
            [HEADER].into_iter().chain(before.lines().filter(is_before)).flat_map(|line| [line, "\n"]).collect();
        let file = replace(path, lines.as_bytes()).and_then(|()| File::options().append(true).open(path));
        let file = file.map_err(|e| fault(path, &e))?;
        Ok(Self { file: BufWriter::new(file), path: path.to_owned() })
    }

    /// Adds the last step.
    pub(crate) fn add(&mut self, report: &Report, epoch: u64, learning_rate: f64) -> Result<()> {
        let loss = report.losses.last().copied().unwrap_or(f32::NAN);
        let (steps, samples) = (report.steps(), report.samples);
        let [wall, wait] = [report.wall, report.wait].map(|time| time.as_secs_f64());
        let written = writeln!(self.file, "{steps},{epoch},{loss},{learning_rate:.6e},{samples},{wall:.3},{wait:.3}");
        Ok(written.and_then(|()| self.file.flush()).map_err(|e| fault(&self.path, &e))?)
    }
}

fn fault(path: &Path, e: &std::io::Error) -> String {
    format!("cannot write {}: {e}", path.display())
}
