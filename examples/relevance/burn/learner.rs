//! Training by Burn's own trainer. Comes in: a data loader, a head with its optimizer. Goes out: the same as from the plain
//! loop, step for step, with Burn's metrics besides. Fails as the loader and files do.
//!
//! A step's bookkeeping is in [`Pupil::optimize`], the one place that sees weights and optimizer together: that is where
//! checkpoints between epochs can be made.

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

use super::super::args::{Args, Settings, Task};
use super::super::data::Data;
use super::super::lesson::{Ask, Lesson, PointAt};
use super::super::model::Result;
use super::super::named::Named;
use super::super::train::{Checkpoint, Course, NOTHING_TO_ASK, Report};
use super::heads::Grounded;
use super::metrics::{Lines, WaitMetric, Waited};
use super::model::{Trainee, fields, loss};
use super::{adamw, weights};

/// Trains as [`train`](super::super::train::train) does. Goes out: the model, and how it went.
pub(crate) fn learn(
    data: &Data,
    model: Trainee,
    args: &Args,
    settings: &Settings,
    checkpoint: Option<Checkpoint>,
    device: &Device,
) -> Result<(Trainee, Report)> {
    let loader = data
        .train
        .loader()?
        .ok_or("Burn's trainer wants to know the number of batches: run `maskstream index` first")?;
    let (course, epoch, cursor) = Course::begin(args, settings, checkpoint)?;
    if course.is_over() {
        return Ok((model, course.report));
    }
    let left = course.steps_left();
    let (head, optimizer, paces) = model.into_parts();
    let rate = scheduler(settings, &paces, course.report.steps())?;
    let interrupter = Interrupter::new();
    let run = Run {
        course,
        left,
        barren: 0,
        wait: Duration::ZERO,
        now: None,
        state: Named::new(),
        error: None,
        interrupter: interrupter.clone(),
    };
    let run = Arc::new(Mutex::new(run));

    let cpu = Device::flex();
    let batches = BurnLoader::new(loader.clone(), &cpu);
    let batches = match &cursor {
        Some(cursor) => batches.resume_from(cursor),
        None => batches.first_epoch(epoch),
    };
    let lessons = |batches, point_at, run| -> Arc<dyn DataLoader<Item>> {
        let ask = Ask { settings: *settings, point_at };
        Arc::new(Lessons { batches: Arc::new(batches), ask, device: device.clone(), run })
    };
    let train = lessons(batches, PointAt::Random { seed: settings.seed }, Some(Arc::clone(&run)));
    let valid = lessons(BurnLoader::new(data.held_out()?, &cpu), PointAt::Prompt, None);

    let pupil = Pupil { head, task: settings.task, run: Arc::clone(&run) };
    let result = SupervisedTraining::new(args.out.join("burn"), train, valid)
        .with_interrupter(interrupter)
        .metrics((LossMetric::new(), WaitMetric::new()))
        // As many as it takes: see `Run::begin_epoch`.
        .num_epochs(usize::MAX)
        .with_application_logger(None)
        .renderer(Box::new(Lines::default()))
        .launch(Learner::new(pupil, optimizer, rate));

    let mut run = locked(&run);
    if let Some(error) = run.error.take() {
        return Err(error.into());
    }
    if let Some(error) = result.error {
        // Its source is the loader's own.
        return Err(error.source().map_or_else(|| error.to_string(), ToString::to_string).into());
    }
    if !run.course.is_over() {
        let (steps, left) = (run.course.report.steps(), run.course.steps_left());
        return Err(format!("the trainer ended after {steps} steps, with {left} left").into());
    }
    Ok((Trainee::new(&run.state, settings, device)?, take(&mut run.course.report)))
}

/// The cosine of [`Settings::learning_rate`] from a step on, for each of the paces.
fn scheduler(settings: &Settings, paces: &[(ParamGroup, f64)], done: u64) -> Result<ModuleLrScheduler> {
    let steps = usize::try_from(settings.steps)?;
    let cosine = |pace: f64| CosineAnnealingLrSchedulerConfig::new(settings.lr * pace, steps);
    let whole = ModuleLrSchedulerConfig::new(cosine(1.0).into());
    let add =
        |all: ModuleLrSchedulerConfig, (group, pace): &(ParamGroup, f64)| all.with_group(group.clone(), cosine(*pace));
    let mut rate = paces.iter().fold(whole, add).init()?;
    // It counts its own steps.
    (0..done).for_each(|_| drop(rate.step()));
    Ok(rate)
}

/// A lesson on its way to a step.
pub(crate) struct Item {
    lesson: Lesson,
    /// Where the head is.
    device: Device,
    /// How long the trainer waited for its batch. It travels with it: metrics are computed in another thread.
    waited: Duration,
}

/// Lessons out of the loader's batches, which stay on the CPU: textures are made there.
struct Lessons {
    batches: Arc<dyn DataLoader<BurnBatch>>,
    ask: Ask,
    device: Device,
    /// That they are steps of; `None` where they are only answered.
    run: Option<Arc<Mutex<Run>>>,
}

impl DataLoader<Item> for Lessons {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Item> + 'a> {
        if let Some(run) = &self.run {
            locked(run).begin_epoch();
        }
        Box::new(Lessoned { batches: self.batches.iter(), lessons: self })
    }

    fn num_items(&self) -> usize {
        self.batches.num_items()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Item>> {
        let (batches, run) = (Arc::clone(&self.batches), self.run.clone());
        Arc::new(Self { batches, ask: self.ask, device: device.clone(), run })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Item>> {
        let (batches, run) = (self.batches.slice(start, end), self.run.clone());
        Arc::new(Self { batches, ask: self.ask, device: self.device.clone(), run })
    }
}

/// One epoch of them.
struct Lessoned<'a> {
    batches: Box<dyn DataLoaderIterator<BurnBatch> + 'a>,
    lessons: &'a Lessons,
}

impl Iterator for Lessoned<'_> {
    type Item = std::result::Result<Item, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Lessons { ask, device, run, .. } = self.lessons;
        let run = || run.as_ref().map(|run| locked(run));
        let start = Instant::now();
        while run().is_none_or(|run| run.left > 0) {
            let Some(batch) = self.batches.next() else {
                let was_barren = run().is_some_and(|mut run| run.end_epoch());
                return was_barren.then(|| Err(fault(NOTHING_TO_ASK)));
            };
            let fields = match batch.map(fields) {
                Ok(Ok(fields)) => fields,
                Ok(Err(e)) => return Some(Err(fault(&e.to_string()))),
                Err(e) => return Some(Err(e)),
            };
            let waited = start.elapsed();
            let lesson = Lesson::new(fields, ask);
            if !lesson.questions.is_empty() {
                if let Some(mut run) = run() {
                    (run.left, run.barren) = (run.left - 1, 0);
                }
                return Some(Ok(Item { lesson, device: device.clone(), waited }));
            }
        }
        None
    }
}

fn fault(message: &str) -> DatasetError {
    DatasetError::new(io::Error::other(message))
}

impl DataLoaderIterator<Item> for Lessoned<'_> {
    fn progress(&self) -> Progress {
        self.batches.progress()
    }
}

/// The head as the trainer takes it.
#[derive(Debug, Module)]
struct Pupil {
    head: Grounded,
    #[module(skip)]
    task: Task,
    /// Shared by all copies that the trainer makes.
    #[module(skip)]
    run: Arc<Mutex<Run>>,
}

/// What a run knows beside the weights.
struct Run {
    course: Course,
    /// Lessons to give out yet, in all epochs.
    left: u64,
    /// Epochs that have ended since the last one was given out.
    barren: u32,
    wait: Duration,
    /// The step under way: its lesson and its loss.
    now: Option<(Lesson, Tensor<1>)>,
    /// What the model said of itself in the last checkpoint.
    state: Named,
    error: Option<String>,
    interrupter: Interrupter,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("steps", &self.course.report.steps()).finish_non_exhaustive()
    }
}

fn locked(run: &Mutex<Run>) -> MutexGuard<'_, Run> {
    // After a panic nothing goes on with it.
    run.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TrainStep for Pupil {
    type Input = Item;
    type Output = Outcome;

    fn step(&self, item: Item) -> TrainOutput<Outcome> {
        let Item { lesson, device, waited } = item;
        let loss = loss(&self.head, self.task, &lesson, &device);
        let gradients = loss.backward();
        let loss = loss.detach();
        let mut run = locked(&self.run);
        run.wait += waited;
        run.now = Some((lesson, loss.clone()));
        TrainOutput::new(self, gradients, Outcome { loss, waited })
    }

    fn optimize(self, optimizer: &mut ModuleOptimizer, rate: ModuleLearningRate, gradients: GradientsParams) -> Self {
        let pupil = optimizer.step(rate, self, gradients);
        let mut run = locked(&pupil.run);
        if let Err(e) = run.add(&pupil.head, optimizer) {
            run.interrupter.stop(Some("a step could not be noted"));
            run.error = Some(e.to_string());
        }
        drop(run);
        pupil
    }
}

impl Run {
    /// Begins one, or ends it all: the trainer knows epochs, and not how many steps they come to.
    fn begin_epoch(&mut self) {
        if self.left == 0 {
            self.interrupter.stop(Some("all steps are made"));
        }
        // Validation was no training.
        self.course.go_on();
    }

    /// Whether a whole one had nothing to learn from. The first may be the rest of one.
    fn end_epoch(&mut self) -> bool {
        self.barren += 1;
        self.barren > 1
    }

    /// Notes the step under way.
    fn add(&mut self, head: &Grounded, optimizer: &ModuleOptimizer) -> Result<()> {
        let Some((lesson, loss)) = self.now.take() else { return Ok(()) };
        let state = &mut self.state;
        self.course.add(&lesson, loss.try_into_scalar()?, self.wait, || {
            *state = weights::arrays(head)?;
            state.extend(adamw::state(optimizer, head)?);
            Ok(state.clone())
        })
    }
}

impl InferenceStep for Pupil {
    type Input = Item;
    type Output = Outcome;

    fn step(&self, item: Item) -> Outcome {
        Outcome { loss: loss(&self.head, self.task, &item.lesson, &item.device), waited: item.waited }
    }
}

/// What metrics are made of.
pub(crate) struct Outcome {
    loss: Tensor<1>,
    waited: Duration,
}

impl ItemLazy for Outcome {
    fn sync(self) -> std::result::Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<LossInput> for Outcome {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

impl Adaptor<Waited> for Outcome {
    fn adapt(&self) -> Waited {
        Waited(self.waited)
    }
}
