//! Divides the shards among tasks, for clusters that run the same command many times: task `i/n` gets the shards whose
//! position in the sorted list of paths is `i` modulo `n`.

use std::path::PathBuf;
use std::str::FromStr;

/// Task `index` of `count` tasks.
#[derive(Clone, Copy)]
pub(super) struct Task {
    index: usize,
    count: usize,
}

/// The argument `--task`, of commands whose shards can be divided among tasks.
#[derive(clap::Args)]
pub(super) struct TaskArgs {
    /// Do only the part of task I of N tasks, with I from 0 to N - 1
    ///
    /// That is every N-th shard in the order of the paths. In a Slurm array (--array=0-7): --task
    /// $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT. In an Indexed Job of Kubernetes with 8 completions: --task
    /// $JOB_COMPLETION_INDEX/8.
    #[arg(long, value_name = "I/N")]
    task: Option<Task>,
}

impl TaskArgs {
    /// This task's shards, and a line about it if there is more than one task.
    pub(super) fn take(&self, mut paths: Vec<PathBuf>) -> (Vec<PathBuf>, Option<String>) {
        let Some(Task { index, count }) = self.task else { return (paths, None) };
        let all = paths.len();
        // A pattern that the shell expands comes in an order that depends on the machine.
        paths.sort();
        let own: Vec<_> = paths.into_iter().skip(index).step_by(count).collect();
        let line = match own.len() {
            0 => format!("task {index}/{count}: none of the {all} shards, because there are more tasks than shards"),
            some => format!("task {index}/{count}: {some} of {all} shards"),
        };
        (own, Some(line))
    }
}

impl FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write I/N, such as 0/8";
        let (index, count) = text.split_once('/').ok_or_else(|| format!("there is no / in it: {example}"))?;
        let number = |part: &str| part.parse().map_err(|_| format!("\"{part}\" is not a number: {example}"));
        let (index, count): (usize, usize) = (number(index)?, number(count)?);
        match count {
            0 => Err(format!("there must be at least one task: {example}")),
            _ if index >= count => {
                Err(format!("there is no task {index}: {count} tasks are numbered from 0 to {}", count - 1))
            }
            _ => Ok(Self { index, count }),
        }
    }
}
