//! One task's part of the shards, for clusters that run a command many times over. Comes in: `i/n` and paths. Goes out:
//! the paths whose position in the sorted list is i modulo n. Fails if i/n is not a task.

use std::path::PathBuf;
use std::str::FromStr;

/// Which of many tasks this one is.
#[derive(Clone, Copy)]
pub(super) struct Task {
    index: usize,
    count: usize,
}

/// For commands whose shards can be shared out.
#[derive(clap::Args)]
pub(super) struct TaskArgs {
    /// Do only the part of task I of N, counted from 0: every N-th shard in the order of their paths. For Slurm arrays
    /// (--array=0-7): --task $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT; for an Indexed Job of Kubernetes with 8
    /// completions: --task $JOB_COMPLETION_INDEX/8
    #[arg(long, value_name = "I/N")]
    task: Option<Task>,
}

impl TaskArgs {
    /// This task's shards, and a line about it if there is more than one task.
    pub(super) fn take(&self, mut paths: Vec<PathBuf>) -> (Vec<PathBuf>, Option<String>) {
        let Some(Task { index, count }) = self.task else { return (paths, None) };
        let all = paths.len();
        // Patterns that a shell expands come in its order, which depends on the machine.
        paths.sort();
        let own: Vec<_> = paths.into_iter().skip(index).step_by(count).collect();
        let line = match own.len() {
            0 => format!("task {index}/{count}: none of the {all} shards is left for it"),
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
            0 => Err("there must be at least one task".to_owned()),
            _ if index >= count => {
                Err(format!("{count} tasks are counted from 0 to {}, so there is no task {index}", count - 1))
            }
            _ => Ok(Self { index, count }),
        }
    }
}
