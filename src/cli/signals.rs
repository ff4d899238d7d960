//! Ends the command in order at SIGINT, SIGTERM and SIGHUP: temporary files are removed, complete ones stay, and the
//! exit status is 128 plus the number of the signal.

use std::io::{self, IsTerminal};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use maskstream::internals::stop_writing;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

/// A terminal or pipe that takes nothing must not keep the command from ending.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn install() -> io::Result<()> {
    // A file that would exceed its limit (`ulimit -f`) is an error of the write, not the end of the process.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let ignored = ignored();
    let handled = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(handled)?;
    let wait = move || signals.forever().next().into_iter().for_each(stop);
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}

/// Held by whoever ends the process, with the outcome of the work or with that of a signal.
static END: Mutex<()> = Mutex::new(());

/// Makes the outcome of the work that of the process. If a signal came first, this waits for it to end the process.
pub(super) fn claim_end() {
    std::mem::forget(END.lock().unwrap_or_else(PoisonError::into_inner));
}

fn stop(signal: i32) {
    claim_end();
    stop_writing();
    let (sender, printed) = mpsc::channel();
    // Another thread may hold standard error, blocked.
    let told = thread::Builder::new().spawn(move || {
        // A progress bar leaves the cursor at its end.
        let start = if io::stderr().is_terminal() { "\n" } else { "" };
        let name = low_level::signal_name(signal).unwrap_or("a signal");
        tell!("{start}maskstream: stopped by {name}: incomplete files are removed, complete ones stay");
        let _ = sender.send(());
    });
    if told.is_ok() {
        let _ = printed.recv_timeout(MESSAGE_TIMEOUT);
    }
    low_level::exit(128 + signal)
}

/// The signals that the parent process has told this one to ignore, as `nohup` does with SIGHUP: bit `n - 1` is signal
/// `n`. None on systems that do not report them in `/proc`.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
