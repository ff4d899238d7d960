//! Whether a training loop waits for the loader or the loader for it, and what limits the loader.

use std::fmt;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use super::stats::LoaderStats;

/// Fewer batches say nothing.
const LEAST_BATCHES: u64 = 4;
/// Below this share of the time, waiting is not worth a thought.
const HARDLY: f64 = 0.05;
/// A thread that works for less than this share of the time is not what limits.
const BUSY: f64 = 0.5;
/// Workers that have a core for less than this share of their work share the cores with something else.
const CROWDED: f64 = 0.75;

/// What [`LoaderStats`] say of the bottleneck: from [`LoaderStats::verdict`]. It prints as a plain sentence.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Verdict {
    /// What limits the speed.
    pub bottleneck: Bottleneck,
    /// Share of the time that the consumer waited for a batch, without the first one, 0 to 1.
    pub waiting: f64,
    /// Share of the workers' time that they worked, 0 to 1.
    pub workers_busy: f64,
    /// Share of that in which they had a core, 0 to 1. It is low where other programs, or more workers than cores, take
    /// the cores.
    pub on_core: f64,
    /// Share of the time that the feed thread was reading, 0 to 1.
    pub reading: f64,
    /// The step that takes most of the workers' time, and its share of the time that they worked.
    pub slowest_step: (&'static str, f64),
    /// Number of workers.
    pub num_workers: usize,
    /// How many workers would be enough for a consumer that never waits, if they limit the speed, have cores to run on,
    /// and it does anything but wait.
    pub workers_needed: Option<usize>,
}

/// What limits the speed of a training loop and its loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bottleneck {
    /// The training loop: it hardly waits for data.
    Consumer,
    /// The decoding threads.
    Workers,
    /// Reading the shards.
    Source,
    /// None of them: delays that more batches ahead would level out.
    Prefetch,
}

impl LoaderStats {
    /// What limits the speed; `None` before the fourth batch.
    ///
    /// The consumer's time is what passes between two calls of `next`. If it waits for less than 5 % of all time, it is
    /// the bottleneck itself. Otherwise it is the workers or reading, whichever is busier, if busy for at least half of
    /// the time.
    ///
    /// ```no_run
    /// # fn train(loader: &maskstream::Loader) -> maskstream::Result<()> {
    /// for batch in loader.epoch(0)? {
    ///     let batch = batch?; // and train on it
    /// }
    /// if let Some(verdict) = loader.stats().verdict() {
    ///     println!("{verdict}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn verdict(&self) -> Option<Verdict> {
        if self.batches < LEAST_BATCHES || self.num_workers == 0 {
            return None;
        }
        let share = |part: Duration, whole: Duration| part.as_secs_f64() / whole.as_secs_f64().max(1e-9);
        let all = self.wait + self.consumer;
        let later_wait = self.wait.saturating_sub(self.first_wait);
        let (waiting, reading) = (share(later_wait, later_wait + self.consumer), share(self.read_wall, all).min(1.0));
        let work = self.stages.total().saturating_sub(self.stages.read);
        let workers_busy = share(self.work_wall, all * self.num_workers as u32).min(1.0);
        let steps = self.stages.named().into_iter().filter(|(name, _)| *name != "read");
        let (name, time) = steps.max_by_key(|(_, time)| *time)?;
        let bottleneck = match () {
            () if waiting < HARDLY => Bottleneck::Consumer,
            () if workers_busy.max(reading) < BUSY => Bottleneck::Prefetch,
            () if workers_busy >= reading => Bottleneck::Workers,
            () => Bottleneck::Source,
        };
        // The same work in the consumer's time alone.
        let needed = (share(self.work_wall, self.consumer) / workers_busy.max(1e-9)).ceil();
        let on_core = share(work, self.work_wall).min(1.0);
        let is_known = bottleneck == Bottleneck::Workers && needed <= 1024.0 && on_core >= CROWDED;
        Some(Verdict {
            bottleneck,
            waiting,
            workers_busy,
            on_core,
            reading,
            slowest_step: (name, share(time, work)),
            num_workers: self.num_workers,
            workers_needed: is_known.then_some((needed as usize).max(self.num_workers + 1)),
        })
    }
}

impl Verdict {
    /// Whether the workers share the cores with so much else that more workers would not help.
    pub fn lacks_cores(&self) -> bool {
        self.on_core < CROWDED
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let (waiting, busy) = (percent(self.waiting), percent(self.workers_busy));
        let (step, of_work) = self.slowest_step;
        write!(f, "the loop waits for data {waiting} of the time: ")?;
        match self.bottleneck {
            Bottleneck::Consumer => {
                let times = 1.0 / self.workers_busy.max(self.reading).max(0.01);
                write!(f, "the loader keeps up; its workers are busy {busy} of the time")?;
                if times >= 1.5 { write!(f, ", so it could be {times:.1} times as fast") } else { Ok(()) }
            }
            Bottleneck::Workers => {
                write!(f, "decoding is the limit; the workers are busy {busy} of the time")?;
                write!(f, ", {} of that with the step {step}; ", percent(of_work))?;
                let cores = available_parallelism().map_or(1, NonZeroUsize::get);
                if self.lacks_cores() {
                    let on_core = percent(self.on_core);
                    let why = if self.num_workers > cores { "there are more workers than" } else { "others use the" };
                    return write!(f, "they had a core for only {on_core} of it: {why} {cores} cores");
                }
                match self.workers_needed {
                    Some(needed) if needed <= cores => {
                        write!(f, "{needed} workers instead of {} would cover it", self.num_workers)
                    }
                    _ if self.num_workers < cores => write!(f, "take {cores} workers, one for each core"),
                    _ => write!(f, "all {cores} cores are in use"),
                }
            }
            Bottleneck::Source => {
                let reading = percent(self.reading);
                write!(
                    f,
                    "reading the shards is the limit; it takes {reading} of the time, the workers {busy} of theirs"
                )
            }
            Bottleneck::Prefetch => {
                write!(
                    f,
                    "neither the workers ({busy}) nor reading ({}) are busy all the time; ",
                    percent(self.reading)
                )?;
                f.write_str("raise prefetch_batches")
            }
        }
    }
}
