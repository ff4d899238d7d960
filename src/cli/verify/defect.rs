//! What is wrong with a shard, and where.

use std::fmt;

use maskstream::index::{Extent, Finding, FindingKind};
use maskstream::internals::OneLine;
use maskstream::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::cli::advice::translated;
use crate::cli::output::{unbroken, wrap};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Severity {
    /// Unusual, but nothing is missing.
    Note,
    /// Something is missing or wrong, but every sample can be decoded.
    Defect,
    /// A sample cannot be decoded, or a part of the shard cannot be read.
    Damage,
}

/// Something wrong with a shard or one of its members.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cli) struct Defect {
    pub(in crate::cli) kind: String,
    pub(in crate::cli) severity: Severity,
    /// The member and its offset in the tar; `None` if it is the shard as a whole.
    pub(super) member: Option<String>,
    pub(super) offset: Option<u64>,
    pub(super) reason: String,
    /// Of an error, what can be done about it.
    #[serde(skip)]
    pub(super) error: Option<ErrorKind>,
}

impl Defect {
    pub(super) fn of_shard(kind: &str, severity: Severity, reason: String) -> Self {
        Self { kind: kind.to_owned(), severity, member: None, offset: None, reason, error: None }
    }

    pub(super) fn of_member(kind: &str, severity: Severity, name: &str, extent: &Extent, reason: String) -> Self {
        let (member, offset) = (Some(name.to_owned()), Some(extent.offset));
        Self { kind: kind.to_owned(), severity, member, offset, reason, error: None }
    }

    /// A member that cannot be decoded.
    pub(super) fn damage(kind: &str, name: &str, extent: &Extent, error: &Error) -> Self {
        let damage = Self::of_member(kind, Severity::Damage, name, extent, reason(error));
        Self { error: Some(error.kind()), ..damage }
    }

    /// A shard that cannot be read.
    pub(super) fn unreadable(error: &Error) -> Self {
        let offset = error.location().offset;
        let defect = Self::of_shard("shard cannot be read", Severity::Damage, reason(error));
        Self { offset, error: Some(error.kind()), ..defect }
    }

    pub(super) fn of_finding(finding: &Finding) -> Self {
        let severity = match finding.kind {
            kind if kind.is_damage() => Severity::Damage,
            FindingKind::Duplicate | FindingKind::UnknownMember => Severity::Note,
            _ => Severity::Defect,
        };
        Self {
            kind: finding.kind.to_string(),
            severity,
            member: Some(finding.member.clone()),
            offset: Some(finding.offset),
            reason: finding.message.clone(),
            error: None,
        }
    }

    /// Whether it may be gone the next time, though the shard is the same: a disk that failed, or a limit of this run.
    pub(super) fn is_passing(&self) -> bool {
        self.error.is_some_and(|kind| kind != ErrorKind::Corrupt)
    }

    /// Whether the sample belongs on a quarantine list: it is damaged, not beyond a limit of this run.
    pub(super) fn is_bad_data(&self) -> bool {
        matches!(self.error, Some(ErrorKind::Corrupt | ErrorKind::Panic))
    }

    /// A line of output. Paths, kinds and names are not broken, so that they can be searched for.
    pub(super) fn line(&self, shard: &str) -> String {
        let note = if self.severity == Severity::Note { "note: " } else { "" };
        let mut line = format!("{}: {note}{}", unbroken(shard), unbroken(&self.kind));
        if let Some(member) = &self.member {
            line += &format!(": member {}", unbroken(member));
        }
        if let Some(offset) = self.offset {
            line += &format!("{} byte {offset}", if self.member.is_some() { "," } else { ":" });
        }
        wrap(&format!("{line}: {}", OneLine(&self.reason)))
    }
}

/// As the findings of an index: for `inspect`.
impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(member) = &self.member {
            write!(f, ": member {}", OneLine(member))?;
        }
        if let Some(offset) = self.offset {
            write!(f, "{} byte {offset}", if self.member.is_some() { "," } else { ":" })?;
        }
        write!(f, ": {}", OneLine(&self.reason))
    }
}

/// The message without the place, which is told beside it.
fn reason(error: &Error) -> String {
    let (text, place) = (translated(&error.to_string()), format!("{}: ", error.location()));
    text.strip_prefix(&place).unwrap_or(&text).to_owned()
}
