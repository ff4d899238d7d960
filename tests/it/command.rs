//! Runs the `maskstream` command as a user runs it.

use std::path::Path;
use std::process::{Command, Output};

/// The command with these arguments, in this directory. No argument has a space in it.
pub(crate) fn command(dir: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_maskstream"));
    command.current_dir(dir).args(args.split_whitespace());
    command
}

pub(crate) fn run(dir: &Path, args: &str) -> Output {
    command(dir, args).output().unwrap()
}

/// What was printed, which must be UTF-8.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Standard output of a command that must succeed and print nothing else, because progress is shown only on terminals.
pub(crate) fn succeeds(dir: &Path, args: &str) -> String {
    let output = run(dir, args);
    assert!(output.status.success() && output.stderr.is_empty(), "{args}: {}", text(&output.stderr));
    text(&output.stdout)
}
