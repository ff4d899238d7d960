//! The training loop. Comes in: a loader and a head. Goes out: the head trained in place, [`Report`], checkpoints. Fails
//! as loader, framework and files do, if no batch holds a mask to ask for, or if the loss is no number any more; the last
//! checkpoint then still is one of numbers.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use maskstream::{Cursor, StreamLoader};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::args::{Args, Settings};
use super::lesson::{Ask, Lesson, PointAt};
use super::log::Log;
use super::model::{Model, Result};
use super::named::{self, Array, Named};
use super::progress::Progress;

/// Where a whole epoch has nothing to learn from.
pub(crate) const NOTHING_TO_ASK: &str = "no mask of the training shards is large enough to ask for";

/// What a checkpoint calls the losses of all steps.
const LOSSES: &str = "losses";

/// How training went so far.
#[derive(Default)]
pub(crate) struct Report {
    /// Loss of every step, also of those before a checkpoint that training went on from.
    pub(crate) losses: Vec<f32>,
    /// Samples trained on, wall time, and of it the time spent waiting for data: of this run.
    pub(crate) samples: u64,
    pub(crate) wall: Duration,
    pub(crate) wait: Duration,
}

impl Report {
    /// Steps done.
    pub(crate) fn steps(&self) -> u64 {
        self.losses.len() as u64
    }

    /// Mean loss of the last 20 steps.
    pub(crate) fn loss(&self) -> f32 {
        let last = &self.losses[self.losses.len().saturating_sub(20)..];
        last.iter().sum::<f32>() / last.len().max(1) as f32
    }

    /// Samples trained on in a second.
    pub(crate) fn samples_per_s(&self) -> f64 {
        self.samples as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    /// Share of the wall time spent waiting for data, in percent.
    pub(crate) fn wait_percent(&self) -> f64 {
        100.0 * self.wait.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }
}

/// Where training goes on: beside the model's state in one file, so that neither is ever newer than the other.
#[derive(Clone, Serialize, Deserialize)]
struct Place {
    /// `None` while shards had no index: then its epoch begins anew.
    cursor: Option<Cursor>,
    epoch: u64,
    /// [`Settings`], the weights it began with, and where its shards were, to compare.
    settings: Value,
    init: Option<PathBuf>,
    shards: Vec<String>,
}

impl Place {
    /// The beginning.
    fn first(args: &Args, settings: &Settings) -> Result<Self> {
        let made = || vec![args.data.display().to_string()];
        let shards = if args.shards.is_empty() { made() } else { args.shards.clone() };
        Ok(Self { cursor: None, epoch: 0, settings: serde_json::to_value(settings)?, init: args.init.clone(), shards })
    }

    /// The name of the first setting that is another one, and both of its values.
    fn difference<'a>(&'a self, now: &'a Self) -> Option<(&'a str, String, String)> {
        if let (Value::Object(then), Value::Object(now)) = (&self.settings, &now.settings)
            && let Some((name, then)) = then.iter().find(|(name, then)| now.get(*name) != Some(then))
        {
            return Some((name, then.to_string(), now.get(name).unwrap_or(&Value::Null).to_string()));
        }
        if self.init != now.init {
            return Some(("init", format!("{:?}", self.init), format!("{:?}", now.init)));
        }
        // A cursor knows the samples, wherever they are now.
        let is_elsewhere = self.cursor.is_none() && self.shards != now.shards;
        is_elsewhere.then(|| ("shards", format!("{:?}", self.shards), format!("{:?}", now.shards)))
    }
}

/// A checkpoint that was read.
pub(crate) struct Checkpoint {
    place: Place,
    losses: Vec<f32>,
    /// What the model said of itself.
    pub(crate) state: Named,
}

impl Checkpoint {
    /// In the directory of all that a run writes.
    pub(crate) fn path(out: &Path) -> PathBuf {
        out.join("checkpoint.safetensors")
    }

    /// That of a run to be resumed, if it has got as far as to have one.
    pub(crate) fn of(args: &Args, settings: &Settings) -> Result<Option<Self>> {
        let is_there = args.resume && Self::path(&args.out).try_exists()?;
        is_there.then(|| Self::read(args, settings)).transpose()
    }

    /// Reads one that was made with the same settings.
    pub(crate) fn read(args: &Args, settings: &Settings) -> Result<Self> {
        let path = Self::path(&args.out);
        let (mut state, note) = named::read(&path)?;
        let note = note.ok_or_else(|| format!("{} is no checkpoint: it has weights only", path.display()))?;
        let place: Place = serde_json::from_str(&note)?;
        if let Some((name, then, now)) = place.difference(&Place::first(args, settings)?) {
            return Err(format!("{} was made with {name} {then}, which is {now} now", path.display()).into());
        }
        let losses = state.remove(LOSSES).map_or_else(Vec::new, |losses| losses.values);
        Ok(Self { place, losses, state })
    }

    /// Where that of an earlier run is kept.
    pub(crate) fn path_before(out: &Path) -> PathBuf {
        out.join("checkpoint-before.safetensors")
    }

    /// Puts that of an earlier run aside, so that nobody takes it for that of the one that begins.
    fn put_aside(out: &Path) -> Result<()> {
        let [path, before] = [Self::path(out), Self::path_before(out)];
        match fs::rename(&path, &before) {
            Ok(()) => println!("an earlier run's checkpoint is now {}", before.display()),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(format!("cannot rename {}: {e}", path.display()).into()),
        }
        Ok(())
    }

    /// Steps done.
    pub(crate) fn steps(&self) -> usize {
        self.losses.len()
    }

    /// Whether it knows its place in its epoch.
    pub(crate) fn has_cursor(&self) -> bool {
        self.place.cursor.is_some()
    }
}

/// What a run keeps of itself from step to step, however its steps are made.
pub(crate) struct Course {
    settings: Settings,
    place: Place,
    out: PathBuf,
    checkpoint_every: u64,
    /// The step after which it ends.
    last: u64,
    log: Option<Log>,
    progress: Progress,
    start: Instant,
    pub(crate) report: Report,
}

impl Course {
    /// Begins, or goes on after a checkpoint. Goes out with it: the epoch to begin with, and the place in it.
    pub(crate) fn begin(
        args: &Args,
        settings: &Settings,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(Self, u64, Option<Cursor>)> {
        let begins = checkpoint.is_none();
        let (losses, epoch, cursor) = match checkpoint {
            Some(Checkpoint { place, losses, .. }) => (losses, place.epoch, place.cursor),
            None => (Vec::new(), 0, None),
        };
        let report = Report { losses, ..Report::default() };
        let course = Self {
            settings: *settings,
            place: Place::first(args, settings)?,
            out: args.out.clone(),
            checkpoint_every: args.checkpoint_every,
            last: args.stop_at.unwrap_or(u64::MAX).min(settings.steps),
            log: args.log.as_deref().map(|path| Log::open(path, report.steps())).transpose()?,
            progress: Progress::new(settings.steps),
            start: Instant::now(),
            report,
        };
        if begins {
            Checkpoint::put_aside(&args.out)?;
        }
        Ok((course, epoch, cursor))
    }

    /// Goes on measuring time where the last step ended: what came in between was no training.
    pub(crate) fn go_on(&mut self) {
        let now = Instant::now();
        self.start = now.checked_sub(self.report.wall).unwrap_or(now);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.report.steps() >= self.last
    }

    /// Steps that are left.
    pub(crate) fn steps_left(&self) -> u64 {
        self.last.saturating_sub(self.report.steps())
    }

    /// Of the next step.
    pub(crate) fn learning_rate(&self) -> f64 {
        self.settings.learning_rate(self.report.steps())
    }

    /// Notes a step: its lesson, its loss, and how long all of this run's steps have waited for data. `state` is asked for
    /// what a checkpoint holds of the model.
    pub(crate) fn add(
        &mut self,
        lesson: &Lesson,
        loss: f32,
        wait: Duration,
        state: impl FnOnce() -> Result<Named>,
    ) -> Result<()> {
        let learning_rate = self.learning_rate();
        self.report.losses.push(loss);
        self.expect_finite(&[loss])?;
        self.report.samples += lesson.samples as u64;
        (self.report.wall, self.report.wait) = (self.start.elapsed(), wait);
        self.progress.show(&self.report);
        if let Some(log) = &mut self.log {
            log.add(&self.report, lesson.epoch, learning_rate)?;
        }
        if self.is_over() || self.report.steps().is_multiple_of(self.checkpoint_every) {
            let place = Place { cursor: lesson.cursor, epoch: lesson.epoch, ..self.place.clone() };
            let mut state = state()?;
            state.values().try_for_each(|array| self.expect_finite(&array.values))?;
            state.insert(LOSSES.to_owned(), Array::list(self.report.losses.clone()));
            named::write(&Checkpoint::path(&self.out), &state, Some(serde_json::to_string(&place)?))?;
        }
        if self.is_over() {
            self.progress.finish();
        }
        Ok(())
    }

    /// What is no number once will never be one again.
    fn expect_finite(&self, numbers: &[f32]) -> Result<()> {
        let Some(number) = numbers.iter().find(|number| !number.is_finite()) else { return Ok(()) };
        let (step, lr) = (self.report.steps(), self.settings.lr);
        Err(format!("step {step} came to {number}: training diverged; try a lower --lr than {lr:e}").into())
    }
}

/// Trains `model` up to step `args.steps`, or where the command line stops it before, through as many epochs as it takes.
pub(crate) fn train<M: Model>(
    loader: &StreamLoader,
    mut model: M,
    args: &Args,
    settings: &Settings,
    checkpoint: Option<Checkpoint>,
) -> Result<(M, Report)> {
    let ask = Ask { settings: *settings, point_at: PointAt::Random { seed: settings.seed } };
    let (mut course, first_epoch, mut resumed) = Course::begin(args, settings, checkpoint)?;
    for number in first_epoch.. {
        if course.is_over() {
            break;
        }
        let (steps_before, is_whole) = (course.report.steps(), resumed.is_none());
        let epoch = match resumed.take() {
            Some(cursor) => loader.resume_from(&cursor)?,
            None => loader.epoch(number)?,
        };
        for lesson in model.lessons(epoch, &ask) {
            let lesson = lesson?;
            if lesson.questions.is_empty() {
                continue;
            }
            let loss = model.learn(&lesson, course.learning_rate())?;
            course.add(&lesson, loss, loader.stats().wait, || model.state())?;
            if course.is_over() {
                break;
            }
        }
        if is_whole && course.report.steps() == steps_before {
            return Err(NOTHING_TO_ASK.into());
        }
    }
    Ok((model, course.report))
}
