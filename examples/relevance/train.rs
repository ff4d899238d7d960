//! The training loop. Comes in: a loader and a head. Goes out: the head trained in place, [`Report`], checkpoints. Fails
//! as loader, framework and files do, or if no batch holds a mask to ask for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use maskstream::{Cursor, StreamLoader};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::args::{Args, Settings};
use super::lesson::{Ask, PointAt};
use super::log::Log;
use super::model::{Model, Result};
use super::named::{self, Array, Named};
use super::progress::Progress;

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
#[derive(Serialize, Deserialize)]
struct Place {
    /// `None` while shards had no index: then its epoch begins anew.
    cursor: Option<Cursor>,
    epoch: u64,
    /// [`Settings`], to compare.
    settings: Value,
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

    /// Reads one that was made with the same settings.
    pub(crate) fn read(out: &Path, settings: &Settings) -> Result<Self> {
        let path = Self::path(out);
        let (mut state, note) = named::read(&path)?;
        let note = note.ok_or_else(|| format!("{} is no checkpoint: it has weights only", path.display()))?;
        let place: Place = serde_json::from_str(&note)?;
        let now = serde_json::to_value(settings)?;
        if let (Value::Object(before), Value::Object(now)) = (&place.settings, &now)
            && let Some((name, then)) = before.iter().find(|(name, then)| now.get(*name) != Some(then))
        {
            let now = now.get(name).unwrap_or(&Value::Null);
            return Err(format!("{} was made with {name} {then}, which is {now} now", path.display()).into());
        }
        let losses = state.remove(LOSSES).map_or_else(Vec::new, |losses| losses.values);
        Ok(Self { place, losses, state })
    }

    /// Steps done.
    pub(crate) fn steps(&self) -> usize {
        self.losses.len()
    }
}

/// Trains `model` up to step `args.steps`, or where the command line stops it before, through as many epochs as it takes.
pub(crate) fn train<M: Model>(
    loader: &StreamLoader,
    model: &mut M,
    args: &Args,
    settings: &Settings,
    checkpoint: Option<Checkpoint>,
) -> Result<Report> {
    let ask = Ask { settings: *settings, point_at: PointAt::Random { seed: settings.seed } };
    let last = args.stop_at.unwrap_or(u64::MAX).min(settings.steps);
    let (mut report, mut resumed) = (Report::default(), None);
    let mut first_epoch = 0;
    if let Some(Checkpoint { place, losses, .. }) = checkpoint {
        (report.losses, first_epoch, resumed) = (losses, place.epoch, place.cursor);
    }
    let mut log = args.log.as_deref().map(|path| Log::open(path, report.steps())).transpose()?;
    let progress = Progress::new(settings.steps);
    let start = Instant::now();

    'training: for number in first_epoch.. {
        if report.steps() >= last {
            break;
        }
        let steps_before = report.steps();
        let epoch = match resumed.take() {
            Some(cursor) => loader.resume_from(&cursor)?,
            None => loader.epoch(number)?,
        };
        for lesson in model.lessons(epoch, &ask) {
            let lesson = lesson?;
            if lesson.questions.is_empty() {
                continue;
            }
            let learning_rate = settings.learning_rate(report.steps());
            report.losses.push(model.learn(&lesson, learning_rate)?);
            report.samples += lesson.samples as u64;
            (report.wall, report.wait) = (start.elapsed(), loader.stats().wait);
            progress.show(&report);
            if let Some(log) = &mut log {
                log.add(&report, lesson.epoch, learning_rate)?;
            }
            let is_last = report.steps() == last;
            if is_last || report.steps().is_multiple_of(args.checkpoint_every) {
                let settings = serde_json::to_value(settings)?;
                let place = Place { cursor: lesson.cursor, epoch: lesson.epoch, settings };
                let mut state = model.state()?;
                state.insert(LOSSES.to_owned(), Array::list(report.losses.clone()));
                named::write(&Checkpoint::path(&args.out), &state, Some(serde_json::to_string(&place)?))?;
            }
            if is_last {
                break 'training;
            }
        }
        if report.steps() == steps_before && loader.cursor().is_none() {
            return Err("no mask of the training shards is large enough to ask for".into());
        }
    }
    progress.finish();
    Ok(report)
}
