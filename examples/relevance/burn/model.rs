//! The grounded head in training. Comes in: batches as Burn's tensors. Goes out: steps, answers, state. Fails where weights
//! or fields do not fit, and as Burn does: it panics.

use burn::module::ParamGroup;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::kind::Basic;
use burn::tensor::{Device, Element, Tensor, TensorData};
use maskstream::{BurnBatch, BurnImages, Epoch};

use super::super::args::{Settings, Task};
use super::super::lesson::{Ask, Fields, Lesson};
use super::super::model::{Answers, Model, Result, learns};
use super::super::named::Named;
use super::super::recipe::WIDTH;
use super::heads::{Grounded, Query, Said, Seen, Shares, Wanted};
use super::{adamw, weights};

/// The head with its optimizer.
pub(crate) struct Trainee {
    head: Grounded,
    optimizer: ModuleOptimizer,
    paces: Vec<(ParamGroup, f64)>,
    task: Task,
    device: Device,
}

impl Trainee {
    /// Names and shapes of its weights.
    pub(crate) fn shapes(settings: &Settings) -> Result<Vec<(String, Vec<usize>)>> {
        weights::shapes(&untrained(settings, &Device::flex()))
    }

    /// With the weights of `state`, and the optimizer's moments if there are any.
    pub(crate) fn new(state: &Named, settings: &Settings, device: &Device) -> Result<Self> {
        // Gradients are a matter of the device a weight is made on.
        let device = device.clone().autodiff();
        let head = weights::load(untrained(settings, &device), state)?;
        let optimizer = adamw::new(&head, state)?;
        let head = weights::learning(head, |name| learns(name, settings))?;
        Ok(Self { paces: adamw::paces(&head)?, head, optimizer, task: settings.task, device })
    }

    /// The head, its optimizer, and what learns faster or slower.
    pub(super) fn into_parts(self) -> (Grounded, ModuleOptimizer, Vec<(ParamGroup, f64)>) {
        (self.head, self.optimizer, self.paces)
    }
}

/// What a head says in a lesson: where nobody asks, if that is what it learns.
pub(super) fn say(head: &Grounded, seen: &Seen, lesson: &Lesson, device: &Device) -> Said<3> {
    let [images, places, _] = lesson.sizes();
    head.allocate(seen).unwrap_or_else(|| {
        let at = TensorData::new(lesson.query_patch.clone(), [images, places]);
        head.forward(seen, &Query::Patches(Tensor::from_data(at, device)))
    })
}

/// The loss of a head in a lesson.
pub(super) fn loss(head: &Grounded, task: Task, lesson: &Lesson, device: &Device) -> Tensor<1> {
    let seen = Seen::new(&lesson.seen, device);
    let said = say(head, &seen, lesson, device);
    let [images, places, patches] = lesson.sizes();
    let patch_valid = seen.valid();
    match task {
        Task::Point => {
            let coverage = TensorData::new(lesson.coverage.clone(), [images, places, patches]);
            let confidence = TensorData::new(lesson.confidence.clone(), [images, places]);
            let coverage = Tensor::from_data(coverage, device);
            let confidence = Tensor::from_data(confidence, device);
            Wanted { coverage, patch_valid, confidence }.loss(&said)
        }
        Task::Allocate => {
            let share = TensorData::new(lesson.shares(), [images, patches]);
            Shares { share: Tensor::from_data(share, device), patch_valid }.loss(&said)
        }
    }
}

fn untrained(settings: &Settings, device: &Device) -> Grounded {
    let head = Grounded::new(WIDTH, settings.context, device);
    match settings.task {
        Task::Point => head,
        Task::Allocate => head.with_learned_query(WIDTH, device),
    }
}

impl Model for Trainee {
    fn lessons<'a>(&self, epoch: Epoch, ask: &'a Ask) -> Box<dyn Iterator<Item = Result<Lesson>> + 'a> {
        // A model that takes images would have them on its own device here.
        Box::new(epoch.burn(&Device::flex()).map(|batch| Ok(Lesson::new(fields(batch?)?, ask))))
    }

    fn learn(&mut self, lesson: &Lesson, learning_rate: f64) -> Result<f32> {
        let loss = loss(&self.head, self.task, lesson, &self.device);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.head);
        self.head = self.optimizer.step(adamw::paced(learning_rate, &self.paces), self.head.clone(), gradients);
        Ok(loss.try_into_scalar()?)
    }

    fn answer(&self, lesson: &Lesson) -> Result<Answers> {
        let said = say(&self.head, &Seen::new(&lesson.seen, &self.device), lesson, &self.device);
        Ok(Answers { relevance: said.relevance.try_into_vec_as()?, weights: said.weights.try_into_vec_as()? })
    }

    fn state(&self) -> Result<Named> {
        let mut state = weights::arrays(&self.head)?;
        state.extend(adamw::state(&self.optimizer, &self.head)?);
        Ok(state)
    }
}

/// What the fields of a batch on the CPU hold.
pub(crate) fn fields(batch: BurnBatch) -> Result<Fields> {
    let BurnImages::Bytes(images) = batch.images else { return Err("the loader was not asked for bytes".into()) };
    let Some(coverage) = batch.coverage else { return Err("the loader was not asked for coverage".into()) };
    Ok(Fields {
        images: numbers(images)?,
        coverage: numbers(coverage)?,
        valid: numbers(batch.valid)?,
        predicted_iou: numbers(batch.predicted_iou)?,
        area: numbers(batch.area)?,
        points: numbers(batch.points)?,
        image_ids: numbers(batch.image_ids)?,
        annotation_ids: numbers(batch.annotation_ids)?,
        original_sizes: numbers(batch.original_sizes)?,
        geometry: numbers(batch.geometry)?,
        samples: batch.samples.iter().flatten().count(),
        epoch: batch.epoch,
        cursor: batch.cursor,
    })
}

fn numbers<const R: usize, K: Basic, T: Element>(tensor: Tensor<R, K>) -> Result<Vec<T>> {
    Ok(tensor.try_into_data()?.try_into_vec()?)
}
