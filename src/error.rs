//! The crate's one error: what kind it is, where it happened, and what caused it.
//!
//! Kinds are chosen by what a caller can do about them, not by which module raised them. An [`Error`] is one pointer
//! wide, so that a `Result` stays cheap to pass around.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mask::RleError;

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// What went wrong, where, and why. A clone shares the cause.
///
/// Match on [`kind`](Self::kind) to decide what to do, and on [`location`](Self::location) to find the sample. Display
/// prints both in one line.
///
/// ```
/// use maskstream::{Error, ErrorKind, ShardSet};
///
/// /// Whether it is worth trying again.
/// fn is_transient(error: &Error) -> bool {
///     if let Some(shard) = &error.location().shard {
///         eprintln!("look at {}", shard.display());
///     }
///     match error.kind() {
///         ErrorKind::Io => true,
///         ErrorKind::Corrupt | ErrorKind::Config | ErrorKind::Limit | ErrorKind::Panic => false,
///         _ => false, // kinds may be added
///     }
/// }
///
/// let error = ShardSet::builder().open(&["/no/such.tar"]).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Config);
/// assert!(error.to_string().starts_with("no shard matches /no/such.tar: there is no directory /no"));
/// assert!(!is_transient(&error));
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    at: Location,
    message: String,
    source: Option<Cause>,
}

/// What a caller can do about an [`Error`]. Display prints a word for it: `I/O`, `corrupt`, `configuration`, `limit` or
/// `panic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system reported a failure: check the file, its permissions and the disk. A retry may help.
    Io,
    /// The bytes violate their format: the data is corrupt.
    Corrupt,
    /// The caller's settings or arguments do not fit together.
    Config,
    /// A limit was reached that the caller may raise.
    Limit,
    /// Code panicked while it processed this item: a bug worth reporting.
    Panic,
    /// Code outside this crate failed: a converter, a framework, a source. See [`Error::other`].
    Other,
}

/// Where in a data set something is: the shard, the member inside it, the byte offset inside the shard. Parts that are
/// unknown are `None`. Display prints the known ones: `sa_000000.tar, member sa_1.jpg, byte 512`.
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

    /// Unwraps an error of this crate that was passed on as an I/O error; converts any other I/O error.
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

    /// The error of a caught panic. The payload becomes the message if it is text.
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

    /// Sets the shard, unless a deeper layer has set it.
    pub(crate) fn in_shard(mut self, shard: &Path) -> Self {
        self.0.at.shard.get_or_insert_with(|| shard.to_owned());
        self
    }

    /// Sets the member, unless a deeper layer has set it.
    pub(crate) fn in_member(mut self, member: &str) -> Self {
        self.0.at.member.get_or_insert_with(|| member.to_owned());
        self
    }

    /// Sets the byte offset in the uncompressed shard. An offset that was set before refers to the compressed file, and
    /// moves into the message.
    pub(crate) fn of_compressed(mut self, offset: u64) -> Self {
        if let Some(of_file) = self.0.at.offset.replace(offset) {
            self.0.message += &format!(" (byte {of_file} of the compressed file)");
        }
        self
    }

    /// Sets the byte offset in the shard, unless a deeper layer has set it.
    pub(crate) fn at_offset(mut self, offset: u64) -> Self {
        self.0.at.offset.get_or_insert(offset);
        self
    }

    /// The message without the location.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// What went wrong, without the location.
    pub(crate) fn reason(&self) -> impl fmt::Display + '_ {
        Reason(self)
    }

    /// An error of code outside this crate: of a [`Source`](crate::source::Source), or of a converter of
    /// [`Epoch::convert_with`](crate::Epoch::convert_with).
    ///
    /// ```
    /// use maskstream::{Error, ErrorKind};
    ///
    /// let error = Error::other("the device is out of memory");
    /// assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Other, "the device is out of memory"));
    /// ```
    pub fn other(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let cause = cause.into();
        Self::new(ErrorKind::Other, cause.to_string()).caused_by(cause)
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Where it happened.
    pub fn location(&self) -> &Location {
        &self.0.at
    }

    /// Whether the operating system reported a failure.
    pub fn is_io(&self) -> bool {
        self.kind() == ErrorKind::Io
    }

    /// Whether the data is corrupt.
    pub fn is_corrupt(&self) -> bool {
        self.kind() == ErrorKind::Corrupt
    }

    /// Whether a limit was reached that the caller may raise.
    pub fn is_limit(&self) -> bool {
        self.kind() == ErrorKind::Limit
    }
}

/// For implementations of [`Source`](crate::source::Source), and for callers outside this crate. Errors of other types:
/// [`Error::other`].
impl From<std::io::Error> for Error {
    fn from(cause: std::io::Error) -> Self {
        Self::io("input or output failed", cause)
    }
}

/// Lets code that works with masks use this crate's [`Result`].
impl From<RleError> for Error {
    fn from(cause: RleError) -> Self {
        Self::corrupt(cause.to_string()).caused_by(cause)
    }
}

/// Text as it is safe to show on a terminal, in one line: control characters are escaped, and so are those that turn
/// the direction of the text. Names of files and members come from elsewhere, and may contain any.
#[derive(Clone, Copy, Debug)]
pub struct OneLine<T>(pub T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_unsafe = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        for part in text.split_inclusive(is_unsafe) {
            match part.char_indices().next_back() {
                Some((at, last)) if is_unsafe(last) => write!(self.0, "{}{}", &part[..at], last.escape_default())?,
                _ => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Io => "I/O",
            Self::Corrupt => "corrupt",
            Self::Config => "configuration",
            Self::Limit => "limit",
            Self::Panic => "panic",
            Self::Other => "other",
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        if let Some(shard) = &self.shard {
            write!(f, "{}", OneLine(shard.display()))?;
            gap = ", ";
        }
        if let Some(member) = &self.member {
            write!(f, "{gap}member {}", OneLine(member))?;
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
        write!(f, "{}", Reason(self))
    }
}

/// The message of an error and the operating system's reason, without the location.
struct Reason<'a>(&'a Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error(inner) = self.0;
        write!(f, "{}", OneLine(&inner.message))?;
        // The operating system's reason is not in the message yet; other causes are.
        match &inner.source {
            Some(cause) if self.0.is_io() => write!(f, ": {}", OneLine(cause)),
            _ => Ok(()),
        }
    }
}

/// The same as Display: a program whose `main` returns a [`Result`] prints it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let cause = self.0.source.as_deref()?;
        // The message contains the cause already: reporters that print the chain would print it twice.
        cause.source()
    }
}
