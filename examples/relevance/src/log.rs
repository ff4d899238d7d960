//! The CSV log: a line per step, for other programs.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::report::Report;
use crate::result::Result;
use crate::state_dict::replace_file;

const HEADER: &str = "step,epoch,loss,learning_rate,samples,seconds,wait_seconds";

/// An open log file. Each line is flushed when its step is done.
pub struct Log {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Log {
    /// Creates the file. If `steps` is not 0, keeps the lines of that many steps of the run that is resumed; their
    /// samples and seconds are those of the process that wrote them.
    pub fn open(path: &Path, steps: u64) -> Result<Self> {
        let before = match fs::read_to_string(path) {
            Ok(before) if steps > 0 => before,
            Err(e) if steps > 0 && e.kind() != ErrorKind::NotFound => {
                return Err(format!("cannot read {}: {e}", path.display()).into());
            }
            _ => String::new(),
        };
        let is_kept =
            |line: &&str| line.split(',').next().and_then(|step| step.parse().ok()).is_some_and(|s: u64| s <= steps);
        let lines: String =
            [HEADER].into_iter().chain(before.lines().filter(is_kept)).flat_map(|line| [line, "\n"]).collect();
        let file = replace_file(path, lines.as_bytes()).and_then(|()| File::options().append(true).open(path));
        let file = file.map_err(|e| cannot_write(path, &e))?;
        Ok(Self { file: BufWriter::new(file), path: path.to_owned() })
    }

    /// Adds a line for the report's last step.
    pub fn add(&mut self, report: &Report, epoch: u64, learning_rate: f64) -> Result<()> {
        let loss = report.losses.last().copied().unwrap_or(f32::NAN);
        let (steps, samples) = (report.steps(), report.samples);
        let [wall, wait] = [report.wall, report.wait].map(|time| time.as_secs_f64());
        let written = writeln!(self.file, "{steps},{epoch},{loss},{learning_rate:.6e},{samples},{wall:.3},{wait:.3}");
        Ok(written.and_then(|()| self.file.flush()).map_err(|e| cannot_write(&self.path, &e))?)
    }
}

fn cannot_write(path: &Path, e: &std::io::Error) -> String {
    format!("cannot write {}: {e}", path.display())
}
