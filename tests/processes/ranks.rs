//! Jobs of many ranks, each of them a process. The oracles are the list of the images in the shards, and the order of a
//! single, undisturbed process.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use maskstream::Cursor;
use tempfile::TempDir;

use crate::fixture::Dice;
use crate::job::{Job, Line, Rank, read_log, whole_lines, write_shards};

/// Eleven steps of 64 or seven of 96; the last one is padded, and leaves most of 32 ranks without any image.
const SAMPLES: i64 = 650;

/// A directory with shards, and for logs.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("shards")).unwrap();
        write_shards(&dir.path().join("shards"), SAMPLES, 4, false);
        Self(dir)
    }

    fn job(&self, name: &str, [rank, world_size, batch_size]: [usize; 3]) -> Job {
        Job {
            shards: self.0.path().join("shards"),
            log: self.log(name, rank),
            rank,
            world_size,
            batch_size,
            start: None,
            until: None,
            pause: Duration::from_millis(2),
            stays: false,
        }
    }

    fn log(&self, name: &str, rank: usize) -> PathBuf {
        self.0.path().join(format!("{name}-{rank}.log"))
    }

    /// The log of a single, undisturbed rank with this many samples per step.
    fn undisturbed(&self, global_batch: usize) -> Vec<Line> {
        let job = self.job("undisturbed", [0, 1, global_batch]);
        Rank::start(&job).wait();
        read_log(&job.log).0
    }
}

/// Checks the logs of all ranks for the same steps, and merges them: the cursor of each step, and its images.
fn together(logs: &[Vec<Line>], first: u64) -> Vec<(Cursor, Vec<i64>)> {
    let steps = logs[0].len();
    for (rank, log) in logs.iter().enumerate() {
        assert_eq!(log.len(), steps, "rank {rank} has another number of steps");
        let found: Vec<_> = log.iter().map(|line| line.cursor.step()).collect();
        assert_eq!(found, (first + 1..=first + steps as u64).collect::<Vec<_>>(), "steps of rank {rank}");
    }
    let step = |step: usize| {
        let cursor = logs[0][step].cursor;
        assert!(logs.iter().all(|log| log[step].cursor == cursor), "cursors of step {step}");
        let mut ids: Vec<_> = logs.iter().flat_map(|log| log[step].ids.clone()).collect();
        ids.sort_unstable();
        (cursor, ids)
    };
    (0..steps).map(step).collect()
}

/// Checks that the steps are those of the undisturbed process and hold each image once.
fn check_epoch(steps: &[(Cursor, Vec<i64>)], undisturbed: Vec<Line>) {
    let all: Vec<_> = steps.iter().flat_map(|(_, ids)| ids.clone()).collect();
    assert_eq!((all.len() as i64, all.iter().copied().collect()), (SAMPLES, (1..=SAMPLES).collect::<BTreeSet<_>>()));
    assert_eq!(steps, together(&[undisturbed], 0));
}

/// A rank whose death is planned: after how many lines of its log, and how much later.
struct Doomed {
    job: Job,
    rank: Rank,
    kills: VecDeque<(usize, Duration)>,
    /// When it dies, after that line.
    due: Option<Instant>,
}

/// Removes some bytes from the end of a log, only from its last line, as if a kill had interrupted the write.
fn tear(log: &Path, dice: &mut Dice) {
    let Ok(bytes) = fs::read(log) else { return };
    let last = bytes.split_inclusive(|&byte| byte == b'\n').next_back().map_or(0, <[u8]>::len) as u64;
    if last > 0 {
        File::options().write(true).open(log).unwrap().set_len(bytes.len() as u64 - 1 - dice.below(last)).unwrap();
    }
}

pub(crate) fn thirty_two_ranks_killed_and_resumed_see_one_epoch_exactly() {
    const WORLD: usize = 32;
    let (place, mut dice) = (Place::new(), Dice(32));
    let undisturbed = place.undisturbed(2 * WORLD);
    let mut running: Vec<_> = (0..WORLD)
        .map(|rank| {
            let job = Job { stays: true, pause: Duration::from_millis(30), ..place.job("rank", [rank, WORLD, 2]) };
            // From before it has written anything to after its last batch. It waits until it is killed, so no kill can
            // come too late, even on a busy machine.
            let mut at: Vec<_> = (0..1 + dice.below(3)).map(|_| dice.below(12) as usize).collect();
            at.sort_unstable();
            let kills = at.into_iter().map(|lines| (lines, Duration::from_millis(dice.below(30)))).collect();
            Doomed { rank: Rank::start(&job), job, kills, due: None }
        })
        .collect();
    assert!(running.iter().map(|doomed| doomed.kills.len()).sum::<usize>() > 50);
    while !running.is_empty() {
        running = running
            .into_iter()
            .filter_map(|mut doomed| {
                let Some((lines, later)) = doomed.kills.front() else {
                    return (!doomed.rank.has_ended()).then_some(doomed);
                };
                if doomed.due.is_none() && whole_lines(&doomed.job.log) >= *lines {
                    doomed.due = Some(Instant::now() + *later);
                }
                if doomed.due.is_none_or(|due| due > Instant::now()) {
                    return Some(doomed);
                }
                doomed.rank.kill();
                if dice.below(3) == 0 {
                    tear(&doomed.job.log, &mut dice);
                }
                doomed.kills.pop_front();
                let job = Job { stays: !doomed.kills.is_empty(), ..doomed.job };
                Some(Doomed { rank: Rank::start(&job), job, kills: doomed.kills, due: None })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(2));
    }
    let logs: Vec<_> = (0..WORLD).map(|rank| read_log(&place.log("rank", rank)).0).collect();
    assert_eq!(logs[0].len(), 11);
    check_epoch(&together(&logs, 0), undisturbed);
}

pub(crate) fn a_job_stopped_on_32_ranks_goes_on_on_12_and_ends_on_1() {
    const GLOBAL: usize = 96;
    let place = Place::new();
    let (mut steps, mut first) = (Vec::new(), None::<Cursor>);
    for (world_size, until) in [(32, Some(3)), (12, Some(5)), (1, None)] {
        let name = format!("of-{world_size}");
        let jobs: Vec<_> = (0..world_size)
            .map(|rank| Job { start: first, until, ..place.job(&name, [rank, world_size, GLOBAL / world_size]) })
            .collect();
        let ranks: Vec<_> = jobs.iter().map(Rank::start).collect();
        ranks.into_iter().for_each(Rank::wait);
        let logs: Vec<_> = jobs.iter().map(|job| read_log(&job.log).0).collect();
        steps.extend(together(&logs, first.map_or(0, |cursor| cursor.step())));
        // The cursor of any rank: they are the same.
        first = steps.last().map(|(cursor, _)| *cursor);
    }
    assert_eq!(steps.len(), 7);
    check_epoch(&steps, place.undisturbed(GLOBAL));
}
