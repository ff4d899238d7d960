//! What commands return and how they print.

use maskstream::internals::OneLine;

/// Ok, or any error that ends a command early.
pub(super) type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Arguments that do not fit together: the exit status is 2.
#[derive(Debug)]
pub(super) struct WrongArguments(pub(super) String);

impl std::fmt::Display for WrongArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongArguments {}

/// Columns of a terminal that text output fits in.
pub(super) const COLUMNS: usize = 80;

/// A failure to write to standard output.
#[derive(Debug)]
pub(super) struct StdoutError(pub(super) std::io::Error);

impl std::fmt::Display for StdoutError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot write to standard output: {}", self.0)
    }
}

impl std::error::Error for StdoutError {}

/// Output of a command that has work to do besides printing: after an error of printing, the work continues silently.
#[derive(Default)]
pub(super) struct ProgressOutput {
    failed: Option<Box<dyn std::error::Error>>,
}

impl ProgressOutput {
    pub(super) fn print(&mut self, print: impl FnOnce() -> Outcome) {
        if self.failed.is_none() {
            self.failed = print().err();
        }
    }

    pub(super) fn line(&mut self, line: impl std::fmt::Display) {
        self.print(|| {
            say!("{line}");
            Ok(())
        });
    }

    /// The outcome of the work, or the error of printing if the work succeeded. A pipe that the
    /// reader has closed is no error.
    pub(super) fn finish(self, work: Outcome) -> Outcome {
        match self.failed {
            Some(error) if !is_broken_pipe(&*error) => {
                if work.is_err() {
                    tell!("maskstream: {error}");
                    return work;
                }
                Err(error)
            }
            _ => work,
        }
    }
}

pub(super) fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(|StdoutError(e)| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// A number of things.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A size in MB, GB or TB (powers of 1000).
pub(super) fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        1e12.. => format!("{:.1} TB", bytes / 1e12),
        1e9.. => format!("{:.1} GB", bytes / 1e9),
        _ => format!("{:.1} MB", bytes / 1e6),
    }
}

/// Breaks a line at spaces, so that it fits the terminal. The further lines are indented by four more columns than the
/// first one.
pub(super) fn wrap(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let mut out = " ".repeat(indent);
    let mut column = indent;
    for (i, word) in line.split_whitespace().enumerate() {
        let width = word.chars().count();
        if i > 0 && column + 1 + width > COLUMNS {
            column = indent + 4;
            out.push('\n');
            out.push_str(&" ".repeat(column));
        } else if i > 0 {
            column += 1;
            out.push(' ');
        }
        column += width;
        out.push_str(word);
    }
    out.replace(KEPT_SPACE, " ")
}

/// A path as text that [`wrap`] does not break. Control characters in it are escaped.
pub(super) fn unbroken(path: impl std::fmt::Display) -> String {
    OneLine(path).to_string().replace(' ', KEPT_SPACE)
}

/// Stands for a space at which a line is not broken: a control character, which no text for the terminal has.
const KEPT_SPACE: &str = "\u{1}";
