//! State of a training run from step to step, whether the plain loop or Burn's trainer makes the steps.
//!
//! Every step updates the report, the progress bar and the log, and writes a checkpoint when one is due. A step fails
//! if the loss or a weight is not finite; the checkpoint written before stays intact.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use maskstream::Cursor;

use crate::args::{Args, Settings};
use crate::checkpoint::{Checkpoint, CheckpointMeta};
use crate::log::Log;
use crate::progress::Progress;
use crate::report::Report;
use crate::result::Result;
use crate::state_dict::StateDict;
use crate::training_batch::TrainingBatch;

/// State of a training run.
pub struct RunState {
    settings: Settings,
    meta: CheckpointMeta,
    out: PathBuf,
    checkpoint_every: u64,
    last_step: u64,
    log: Option<Log>,
    progress: Progress,
    start: Instant,
    pub report: Report,
}

impl RunState {
    /// Starts a run, or continues one from `checkpoint`. Also returns the first epoch and the position in it.
    pub fn begin(
        args: &Args,
        settings: &Settings,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(Self, u64, Option<Cursor>)> {
        let is_new = checkpoint.is_none();
        let (losses, epoch, cursor) = match checkpoint {
            Some(Checkpoint { meta, losses, .. }) => (losses, meta.epoch, meta.cursor),
            None => (Vec::new(), 0, None),
        };
        let report = Report { losses, ..Report::default() };
        let run = Self {
            settings: *settings,
            meta: CheckpointMeta::new(args, settings)?,
            out: args.out.clone(),
            checkpoint_every: args.checkpoint_every,
            last_step: args.stop_at.unwrap_or(u64::MAX).min(settings.steps),
            log: args.log.as_deref().map(|path| Log::open(path, report.steps())).transpose()?,
            progress: Progress::new(settings.steps),
            start: Instant::now(),
            report,
        };
        // Last, so that a run that cannot start leaves the checkpoint in its place.
        if is_new {
            Checkpoint::back_up(&args.out)?;
        }
        Ok((run, epoch, cursor))
    }

    /// Excludes the time since the last step, such as that of a validation, from the wall time.
    pub fn resume_clock(&mut self) {
        let now = Instant::now();
        self.start = now.checked_sub(self.report.wall).unwrap_or(now);
    }

    /// Whether all steps of this run are done.
    pub fn is_done(&self) -> bool {
        self.report.steps() >= self.last_step
    }

    /// Number of steps left.
    pub fn steps_left(&self) -> u64 {
        self.last_step.saturating_sub(self.report.steps())
    }

    /// Learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        self.settings.learning_rate(self.report.steps())
    }

    /// Records a step: its batch, its loss, and how long this process has waited for data in all its steps. Calls
    /// `state_dict` if a checkpoint is due.
    pub fn record_step(
        &mut self,
        batch: &TrainingBatch,
        loss: f32,
        wait: Duration,
        state_dict: impl FnOnce() -> Result<StateDict>,
    ) -> Result<()> {
        let learning_rate = self.learning_rate();
        self.report.losses.push(loss);
        self.expect_finite(&[loss])?;
        self.report.samples += batch.samples as u64;
        (self.report.wall, self.report.wait) = (self.start.elapsed(), wait);
        self.progress.show(&self.report);
        if let Some(log) = &mut self.log {
            log.add(&self.report, batch.epoch, learning_rate)?;
        }
        if self.is_done() || self.report.steps().is_multiple_of(self.checkpoint_every) {
            (self.meta.cursor, self.meta.epoch) = (batch.cursor, batch.epoch);
            let state = state_dict()?;
            state.values().try_for_each(|array| self.expect_finite(&array.values))?;
            Checkpoint::write(&self.out, &self.meta, &self.report.losses, state)?;
        }
        if self.is_done() {
            self.progress.finish();
        }
        Ok(())
    }

    /// Training cannot recover from a loss or a weight that is not finite.
    fn expect_finite(&self, values: &[f32]) -> Result<()> {
        let Some(value) = values.iter().find(|value| !value.is_finite()) else { return Ok(()) };
        let (step, lr) = (self.report.steps(), self.settings.lr);
        Err(format!("step {step} gave {value}: training diverged; try a lower --lr than {lr:e}").into())
    }
}
