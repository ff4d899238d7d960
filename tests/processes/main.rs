//! Tests that observe a process from outside or need one of their own: jobs of many ranks that are killed, stopped and
//! resumed, and resources that a long run leaves behind.
//!
//! The binary takes the command line that `cargo test` gives to every test binary and prints what libtest would print;
//! its exit code is 101 if a test fails. As `processes rank JOB` or `processes leaks`, it runs as a child of itself. A
//! test that hangs ends the process with a message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../it/fixture.rs"]
#[allow(dead_code)]
mod fixture;
mod job;
#[cfg(target_os = "linux")]
mod leaks;
mod ranks;
mod runner;

use std::process::ExitCode;

use runner::Test;

const TESTS: &[Test] = &[
    (
        "thirty_two_ranks_killed_and_resumed_see_one_epoch_exactly",
        ranks::thirty_two_ranks_killed_and_resumed_see_one_epoch_exactly,
    ),
    (
        "a_job_stopped_on_32_ranks_goes_on_on_12_and_ends_on_1",
        ranks::a_job_stopped_on_32_ranks_goes_on_on_12_and_ends_on_1,
    ),
    #[cfg(target_os = "linux")]
    ("a_thousand_epochs_begun_and_dropped_leave_nothing_behind", leaks::in_a_process_of_its_own),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // A test filter of the same name comes without the mark.
        ["rank", job] if job.starts_with('{') => job::run(&serde_json::from_str(job).unwrap()),
        #[cfg(target_os = "linux")]
        ["leaks", leaks::MARK] => leaks::run(),
        _ => return runner::run(TESTS, &arguments),
    }
    ExitCode::SUCCESS
}
