//! Training with Burn's trainer. Every step is the same as in the plain loop, with Burn's metrics and validation on
//! top.
//!
//! Each step is recorded in `TrainerModel::optimize`: the only place where weights and optimizer are accessible
//! together, so that checkpoints can be written within an epoch.

use std::error::Error;
use std::io;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrScheduler, ModuleLrSchedulerConfig};
use burn::module::{Module, ParamGroup};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, ExecutionError, Tensor};
use burn::train::metric::{Adaptor, LossInput, LossMetric};
use burn::train::{InferenceStep, Interrupter, ItemLazy, Learner, SupervisedTraining, TrainOutput, TrainStep};
use maskstream::{BurnBatch, BurnLoader};

use super::heads::Grounded;
use super::metrics::{EpochLines, WaitMetric, Waited};
use super::model::{TrainState, fields, loss};
use super::{adamw, weights};
use crate::args::{Args, Settings, Task};
use crate::checkpoint::Checkpoint;
use crate::data::Data;
use crate::query::{PointSampler, QuerySampler};
use crate::report::Report;
use crate::result::Result;
use crate::run_state::RunState;
use crate::state_dict::StateDict;
use crate::train::NO_QUERIES;
use crate::training_batch::TrainingBatch;

/// Trains like [`train`](crate::train::train). Also fails if the training shards have no index.
pub fn train(
    data: &Data,
    model: TrainState,
    args: &Args,
    settings: &Settings,
    checkpoint: Option<Checkpoint>,
    device: &Device,
) -> Result<(TrainState, Report)> {
    let cpu = Device::flex();
    // Fails before anything is written if a shard has no index: the trainer needs the number of batches in advance.
    let batches = BurnLoader::new(data.train.clone(), &cpu)?;
    let (run, epoch, cursor) = RunState::begin(args, settings, checkpoint)?;
    if run.is_done() {
        return Ok((model, run.report));
    }
    let (head, optimizer, lr_multipliers) = model.into_parts();
    let scheduler = scheduler(settings, &lr_multipliers, run.report.steps())?;
    let interrupter = Interrupter::new();
    let shared = SharedRun {
        batches_left: run.steps_left(),
        run,
        empty_epochs: 0,
        wait: Duration::ZERO,
        current: None,
        state: StateDict::new(),
        error: None,
        interrupter: interrupter.clone(),
    };
    let shared = Arc::new(Mutex::new(shared));

    let batches = match &cursor {
        Some(cursor) => batches.resume_from(cursor),
        None => batches.first_epoch(epoch),
    };
    let training_loader = |batches, points, run| -> Arc<dyn DataLoader<Item>> {
        let sampler = QuerySampler { settings: *settings, points };
        Arc::new(TrainingLoader { batches: Arc::new(batches), sampler, device: device.clone(), run })
    };
    let train = training_loader(batches, PointSampler::Random { seed: settings.seed }, Some(Arc::clone(&shared)));
    let valid = training_loader(BurnLoader::new(data.held_out()?, &cpu)?, PointSampler::Annotated, None);

    let model = TrainerModel { head, task: settings.task, run: Arc::clone(&shared) };
    let result = SupervisedTraining::new(args.out.join("burn"), train, valid)
        .with_interrupter(interrupter)
        .metrics((LossMetric::new(), WaitMetric::default()))
        // The number of steps ends the run, not the number of epochs: see `SharedRun::begin_epoch`.
        .num_epochs(usize::MAX)
        .with_application_logger(None)
        .renderer(Box::new(EpochLines::default()))
        .launch(Learner::new(model, optimizer, scheduler));

    let mut shared = lock(&shared);
    if let Some(error) = shared.error.take() {
        return Err(error.into());
    }
    if let Some(error) = result.error {
        // The source is the loader's error; what wraps it says nothing more.
        return Err(error.source().map_or_else(|| error.to_string(), ToString::to_string).into());
    }
    if !shared.run.is_done() {
        let (steps, left) = (shared.run.report.steps(), shared.run.steps_left());
        return Err(format!("the trainer ended after {steps} steps, with {left} left").into());
    }
    Ok((TrainState::new(&shared.state, settings, device)?, take(&mut shared.run.report)))
}

/// The schedule of [`Settings::learning_rate`] for each group of weights, from step `done` on.
fn scheduler(settings: &Settings, lr_multipliers: &[(ParamGroup, f64)], done: u64) -> Result<ModuleLrScheduler> {
    let steps = usize::try_from(settings.steps)?;
    let cosine = |multiplier: f64| CosineAnnealingLrSchedulerConfig::new(settings.lr * multiplier, steps);
    let default = ModuleLrSchedulerConfig::new(cosine(1.0).into());
    let add = |all: ModuleLrSchedulerConfig, (group, multiplier): &(ParamGroup, f64)| {
        all.with_group(group.clone(), cosine(*multiplier))
    };
    let mut scheduler = lr_multipliers.iter().fold(default, add).init()?;
    // It counts its own steps.
    (0..done).for_each(|_| drop(scheduler.step()));
    Ok(scheduler)
}

/// A training batch on its way to a step.
pub struct Item {
    batch: TrainingBatch,
    /// The head's device.
    device: Device,
    /// How long the trainer waited for the batch. It is part of the item because metrics are computed in another
    /// thread.
    waited: Duration,
}

/// A data loader of training batches. The loader's own batches stay on the CPU, where textures are computed.
struct TrainingLoader {
    batches: Arc<dyn DataLoader<BurnBatch>>,
    sampler: QuerySampler,
    device: Device,
    /// The run whose steps the batches are; `None` for validation.
    run: Option<Arc<Mutex<SharedRun>>>,
}

impl DataLoader<Item> for TrainingLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Item> + 'a> {
        if let Some(run) = &self.run {
            lock(run).begin_epoch();
        }
        Box::new(TrainingIterator { batches: self.batches.iter(), loader: self })
    }

    fn num_items(&self) -> usize {
        self.batches.num_items()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Item>> {
        let (batches, run) = (Arc::clone(&self.batches), self.run.clone());
        Arc::new(Self { batches, sampler: self.sampler, device: device.clone(), run })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Item>> {
        let (batches, run) = (self.batches.slice(start, end), self.run.clone());
        Arc::new(Self { batches, sampler: self.sampler, device: self.device.clone(), run })
    }
}

/// One epoch of a [`TrainingLoader`].
struct TrainingIterator<'a> {
    batches: Box<dyn DataLoaderIterator<BurnBatch> + 'a>,
    loader: &'a TrainingLoader,
}

impl Iterator for TrainingIterator<'_> {
    type Item = std::result::Result<Item, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let TrainingLoader { sampler, device, run, .. } = self.loader;
        let run = || run.as_ref().map(|run| lock(run));
        let start = Instant::now();
        while run().is_none_or(|run| run.batches_left > 0) {
            let Some(batch) = self.batches.next() else {
                let was_empty = run().is_some_and(|mut run| run.end_epoch());
                return was_empty.then(|| Err(dataset_error(NO_QUERIES)));
            };
            let fields = match batch.map(fields) {
                Ok(Ok(fields)) => fields,
                Ok(Err(e)) => return Some(Err(dataset_error(&e.to_string()))),
                Err(e) => return Some(Err(e)),
            };
            let waited = start.elapsed();
            let batch = TrainingBatch::new(fields, sampler);
            if !batch.queries.is_empty() {
                if let Some(mut run) = run() {
                    (run.batches_left, run.empty_epochs) = (run.batches_left - 1, 0);
                }
                return Some(Ok(Item { batch, device: device.clone(), waited }));
            }
        }
        None
    }
}

fn dataset_error(message: &str) -> DatasetError {
    DatasetError::new(io::Error::other(message))
}

impl DataLoaderIterator<Item> for TrainingIterator<'_> {
    fn progress(&self) -> Progress {
        self.batches.progress()
    }
}

/// The head in the form that Burn's trainer takes.
#[derive(Debug, Module)]
struct TrainerModel {
    head: Grounded,
    #[module(skip)]
    task: Task,
    /// Shared by all copies that the trainer makes.
    #[module(skip)]
    run: Arc<Mutex<SharedRun>>,
}

/// State of a run, shared by the data loader and the model.
struct SharedRun {
    run: RunState,
    /// Batches that the loader still has to yield, over all epochs.
    batches_left: u64,
    /// Epochs that ended since the last batch was yielded.
    empty_epochs: u32,
    /// Total time spent waiting for batches.
    wait: Duration,
    /// Batch and loss of the current step.
    current: Option<(TrainingBatch, Tensor<1>)>,
    /// The model's state in the last checkpoint.
    state: StateDict,
    error: Option<String>,
    interrupter: Interrupter,
}

impl std::fmt::Debug for SharedRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedRun").field("steps", &self.run.report.steps()).finish_non_exhaustive()
    }
}

fn lock(run: &Mutex<SharedRun>) -> MutexGuard<'_, SharedRun> {
    // Poison is ignored: a panic ends the run.
    run.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TrainStep for TrainerModel {
    type Input = Item;
    type Output = StepOutput;

    fn step(&self, item: Item) -> TrainOutput<StepOutput> {
        let Item { batch, device, waited } = item;
        let loss = loss(&self.head, self.task, &batch, &device);
        let gradients = loss.backward();
        let loss = loss.detach();
        let mut run = lock(&self.run);
        run.wait += waited;
        run.current = Some((batch, loss.clone()));
        TrainOutput::new(self, gradients, StepOutput { loss, waited })
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        learning_rates: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        let model = optimizer.step(learning_rates, self, gradients);
        let mut run = lock(&model.run);
        if let Err(e) = run.record_step(&model.head, optimizer) {
            run.interrupter.stop(Some("a step could not be recorded"));
            run.error = Some(e.to_string());
        }
        drop(run);
        model
    }
}

impl SharedRun {
    /// Begins an epoch, or stops the trainer, which counts epochs and not steps, once all steps are done.
    fn begin_epoch(&mut self) {
        if self.batches_left == 0 {
            self.interrupter.stop(Some("all steps are done"));
        }
        // The validation since the last step does not count as training time.
        self.run.resume_clock();
    }

    /// Ends an epoch. Returns whether a whole epoch yielded no batch; the first epoch may have been a partial one.
    fn end_epoch(&mut self) -> bool {
        self.empty_epochs += 1;
        self.empty_epochs > 1
    }

    /// Records the current step.
    fn record_step(&mut self, head: &Grounded, optimizer: &ModuleOptimizer) -> Result<()> {
        let Some((batch, loss)) = self.current.take() else { return Ok(()) };
        let state = &mut self.state;
        self.run.record_step(&batch, loss.try_into_scalar()?, self.wait, || {
            *state = weights::state_dict(head)?;
            state.extend(adamw::state_dict(optimizer, head)?);
            Ok(state.clone())
        })
    }
}

impl InferenceStep for TrainerModel {
    type Input = Item;
    type Output = StepOutput;

    fn step(&self, item: Item) -> StepOutput {
        StepOutput { loss: loss(&self.head, self.task, &item.batch, &item.device), waited: item.waited }
    }
}

/// The input of the metrics.
pub struct StepOutput {
    loss: Tensor<1>,
    waited: Duration,
}

impl ItemLazy for StepOutput {
    fn sync(self) -> std::result::Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<LossInput> for StepOutput {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

impl Adaptor<Waited> for StepOutput {
    fn adapt(&self) -> Waited {
        Waited(self.waited)
    }
}
