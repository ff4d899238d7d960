//! The crate's one error: what kind it is, where it happened, and what caused it.
//!
//! Kinds are chosen by what a caller can do about them, not by which room raised them. An [`Error`] is one pointer
//! wide, so that a `Result` stays cheap to pass around.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mask::RleError;

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// What went wrong, where, and why. A clone shares the cause.
///
/// ```
/// use maskstream::{ErrorKind, ShardSet};
///
/// let error = ShardSet::builder().open(&["no/such/shard.tar"]).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Config);
/// assert_eq!(error.to_string(), "no shard matches no/such/shard.tar");
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    at: Location,
    message: String,
    source: Option<Cause>,
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused: look at the file, its rights, the disk; a retry may help.
    Io,
    /// The bytes are not what their format says: the data is damaged.
    Corrupt,
    /// The caller's settings or arguments do not fit together.
    Config,
    /// A bound was reached that the caller may raise.
    Limit,
    /// Code panicked while it worked on this item: a defect worth reporting.
    Panic,
}

/// Where in a data set something is: the shard, the member inside it, the byte offset inside the shard. Parts that are
/// unknown are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Location {
    /// Path or name of the shard.
    pub shard: Option<PathBuf>,
    /// Name of the member, as the shard spells it.
    pub member: Option<String>,
    /// Offset in bytes from the start of the shard.
    pub offset: Option<u64>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, at: Location::default(), message: message.into(), source: None }))
    }

    pub(crate) fn io(message: impl Into<String>, cause: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, message).caused_by(cause)
    }

    /// The error of this crate that came through a reader, or that of the reader itself.
    pub(crate) fn unwrapped(error: std::io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::from)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Limit, message)
    }

    /// The error of a caught panic; the payload is its message where it is text.
    pub(crate) fn panic(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "of unknown cause".to_owned());
        Self::new(ErrorKind::Panic, format!("panic: {text}"))
    }

    pub(crate) fn caused_by(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(cause.into().into());
        self
    }

    /// Names the shard, unless a deeper layer already did.
    pub(crate) fn in_shard(mut self, shard: &Path) -> Self {
        self.0.at.shard.get_or_insert_with(|| shard.to_owned());
        self
    }

    /// Names the member, unless a deeper layer already did.
    pub(crate) fn in_member(mut self, member: &str) -> Self {
        self.0.at.member.get_or_insert_with(|| member.to_owned());
        self
    }

    /// Names the byte offset in the shard of what could not be read from the compressed file, whose own offset, if it
    /// is known, goes into the message.
    pub(crate) fn of_compressed(mut self, offset: u64) -> Self {
        if let Some(of_file) = self.0.at.offset.replace(offset) {
            self.0.message += &format!(" (byte {of_file} of the compressed file)");
        }
        self
    }

    /// Names the byte offset in the shard, unless a deeper layer already did.
    pub(crate) fn at_offset(mut self, offset: u64) -> Self {
        self.0.at.offset.get_or_insert(offset);
        self
    }

    /// The message without the place.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Where it happened.
    pub fn location(&self) -> &Location {
        &self.0.at
    }

    /// Whether the operating system refused.
    pub fn is_io(&self) -> bool {
        self.kind() == ErrorKind::Io
    }

    /// Whether the data is damaged.
    pub fn is_corrupt(&self) -> bool {
        self.kind() == ErrorKind::Corrupt
    }

    /// Whether a bound was reached that the caller may raise.
    pub fn is_limit(&self) -> bool {
        self.kind() == ErrorKind::Limit
    }
}

/// For implementations of [`Source`](crate::source::Source) and callers outside of this crate.
impl From<std::io::Error> for Error {
    fn from(cause: std::io::Error) -> Self {
        Self::io("input or output failed", cause)
    }
}

/// So that code which works with masks can use this crate's [`Result`].
impl From<RleError> for Error {
    fn from(cause: RleError) -> Self {
        Self::corrupt(cause.to_string()).caused_by(cause)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        if let Some(shard) = &self.shard {
            write!(f, "{}", shard.display())?;
            gap = ", ";
        }
        if let Some(member) = &self.member {
            write!(f, "{gap}member {member}")?;
            gap = ", ";
        }
        if let Some(offset) = self.offset {
            write!(f, "{gap}byte {offset}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.at != Location::default() {
            write!(f, "{}: ", self.0.at)?;
        }
        f.write_str(&self.0.message)?;
        // An operating system's reason belongs in the line a user sees; other causes are already in the message.
        match &self.0.source {
            Some(cause) if self.is_io() => write!(f, ": {cause}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let cause = self.0.source.as_deref()?;
        // An operating system's reason is part of the message already.
        if self.is_io() { cause.source() } else { Some(cause as _) }
    }
}
