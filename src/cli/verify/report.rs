//! The report of a shard, the totals of all, and how they are printed.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::defect::{Defect, Severity};
use super::level::Level;
use crate::cli::output::{Outcome, counted, size, unbroken, wrap};

/// What was found in a shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cli) struct Report {
    /// Its path, as it was given.
    #[serde(skip)]
    pub(super) shard: String,
    pub(super) level: Level,
    pub(super) bytes: u64,
    pub(super) samples: usize,
    pub(super) annotations: usize,
    /// MD5 of the file, if it was computed.
    pub(super) md5: Option<String>,
    /// In the order of their offsets.
    pub(in crate::cli) defects: Vec<Defect>,
    /// The samples that cannot be decoded, as lines of a quarantine list.
    pub(super) bad: Vec<String>,
}

impl Report {
    pub(super) fn new(path: &Path, level: Level) -> Self {
        Self {
            shard: path.display().to_string(),
            level,
            bytes: 0,
            samples: 0,
            annotations: 0,
            md5: None,
            defects: Vec::new(),
            bad: Vec::new(),
        }
    }

    /// The number of defects that are no notes.
    fn defects(&self) -> usize {
        self.defects.iter().filter(|defect| defect.severity > Severity::Note).count()
    }

    fn print(&self) -> Outcome {
        let Self { shard, bytes, samples, annotations, .. } = self;
        let found = match self.defects() {
            0 => "whole".to_owned(),
            count => counted(count, "defect"),
        };
        let what =
            format!("{}, {}, {}", size(*bytes), counted(*samples, "sample"), counted(*annotations, "annotation"));
        say!("{}", wrap(&format!("{}: {found}: {what}", unbroken(shard))));
        for defect in &self.defects {
            say!("{}", defect.line(shard));
        }
        Ok(())
    }

    fn print_json(&self) -> Outcome {
        for Defect { kind, severity, member, offset, reason, .. } in &self.defects {
            let line = json!({
                "shard": self.shard, "member": member, "offset": offset, "kind": kind, "severity": severity,
                "reason": reason,
            });
            say!("{line}");
        }
        Ok(())
    }
}

/// What was found in all shards.
pub(super) struct Totals {
    json: bool,
    level: Level,
    shards: usize,
    whole: usize,
    bytes: u64,
    pub(super) samples: usize,
    annotations: usize,
    defects: usize,
    notes: usize,
    /// Lines of the quarantine list.
    pub(super) bad: Vec<String>,
}

impl Totals {
    pub(super) fn new(level: Level, json: bool) -> Self {
        let (shards, whole, bytes, samples, annotations, defects, notes, bad) = Default::default();
        Self { json, level, shards, whole, bytes, samples, annotations, defects, notes, bad }
    }

    /// Adds the next shard, and prints it.
    pub(super) fn add(&mut self, report: Report) -> Outcome {
        let defects = report.defects();
        self.shards += 1;
        self.whole += usize::from(defects == 0);
        self.bytes += report.bytes;
        self.samples += report.samples;
        self.annotations += report.annotations;
        self.defects += defects;
        self.notes += report.defects.len() - defects;
        let printed = if self.json { report.print_json() } else { report.print() };
        self.bad.extend(report.bad);
        printed
    }

    /// Prints the last line. `md5` are the counts of checksums.
    pub(super) fn print(&self, md5: Option<[(&'static str, usize); 4]>, resumed: usize) -> Outcome {
        let Self { shards, whole, samples, annotations, defects, notes, .. } = self;
        if self.json {
            let md5 = md5.map(|counts| counts.into_iter().map(|(name, count)| (name.to_owned(), count.into())));
            let md5 = md5.map(serde_json::Map::from_iter);
            let line = json!({"summary": {
                "level": self.level, "shards": shards, "whole_shards": whole, "bytes": self.bytes, "samples": samples,
                "annotations": annotations, "defects": defects, "notes": notes, "bad_samples": self.bad.len(),
                "resumed_shards": resumed, "md5": md5,
            }});
            say!("{line}");
            return Ok(());
        }
        if let Some(counts) = md5 {
            let counts = counts.map(|(name, count)| format!("{count} {}", name.replace('_', " ")));
            say!("{}", wrap(&format!("MD5: {}", counts.join(", "))));
        }
        let bad = match self.bad.len() {
            0 => String::new(),
            count => format!(", {} cannot be decoded", counted(count, "sample")),
        };
        let notes = if *notes > 0 { format!(", {}", counted(*notes, "note")) } else { String::new() };
        let line = format!(
            "level {}: {whole} of {} whole: {}, {}, {}; {}{bad}{notes}",
            self.level.name(),
            counted(*shards, "shard"),
            size(self.bytes),
            counted(*samples, "sample"),
            counted(*annotations, "annotation"),
            counted(*defects, "defect"),
        );
        say!("{}", wrap(&line));
        Ok(())
    }

    /// # Errors
    /// If there is a defect.
    pub(super) fn verdict(&self) -> Outcome {
        let broken = self.shards - self.whole;
        match self.defects {
            0 => Ok(()),
            defects => {
                let advice = match self.bad.is_empty() {
                    true => "",
                    false => "; --quarantine FILE lists the samples to leave out",
                };
                let (defects, shards) = (counted(defects, "defect"), counted(self.shards, "shard"));
                Err(format!("{defects} in {broken} of {shards}: download damaged shards again{advice}").into())
            }
        }
    }
}
