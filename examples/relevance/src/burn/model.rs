//! The grounded head and its optimizer in Burn.

use burn::module::ParamGroup;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::kind::Basic;
use burn::tensor::{Device, Element, Tensor, TensorData};
use maskstream::{BurnBatch, BurnImages, Epoch};

use super::heads::{AllocationTargets, Grounded, HeadOutput, HeadQuery, PatchFeatures, Targets};
use super::{adamw, weights};
use crate::args::{Settings, Task};
use crate::hyperparams::WIDTH;
use crate::model::{Model, Predictions, is_trainable};
use crate::query::QuerySampler;
use crate::result::Result;
use crate::state_dict::StateDict;
use crate::training_batch::{BatchFields, TrainingBatch};

/// A head with its optimizer.
pub struct TrainState {
    head: Grounded,
    optimizer: ModuleOptimizer,
    lr_multipliers: Vec<(ParamGroup, f64)>,
    task: Task,
    device: Device,
}

impl TrainState {
    /// Names and shapes of the head's weights.
    pub fn shapes(settings: &Settings) -> Result<Vec<(String, Vec<usize>)>> {
        weights::shapes(&zeroed_head(settings, &Device::flex()))
    }

    /// Builds a head with the weights of `state`, and the optimizer's state if the dict holds it.
    pub fn new(state: &StateDict, settings: &Settings, device: &Device) -> Result<Self> {
        // A weight has gradients if its device has.
        let device = device.clone().autodiff();
        let head = weights::load(zeroed_head(settings, &device), state)?;
        let optimizer = adamw::new(&head, state)?;
        let head = weights::freeze(head, |name| is_trainable(name, settings))?;
        Ok(Self { lr_multipliers: adamw::lr_multipliers(&head)?, head, optimizer, task: settings.task, device })
    }

    /// The head, its optimizer, and the multipliers of the learning rate.
    pub(super) fn into_parts(self) -> (Grounded, ModuleOptimizer, Vec<(ParamGroup, f64)>) {
        (self.head, self.optimizer, self.lr_multipliers)
    }
}

/// Runs a head on a batch: on its learned query if it has one, else on the batch's queries.
pub(super) fn forward(
    head: &Grounded,
    features: &PatchFeatures,
    batch: &TrainingBatch,
    device: &Device,
) -> HeadOutput<3> {
    let [images, slots, _] = batch.dims();
    head.allocate(features).unwrap_or_else(|| {
        let patches = TensorData::new(batch.query_patch.clone(), [images, slots]);
        head.forward(features, &HeadQuery::Patches(Tensor::from_data(patches, device)))
    })
}

/// The loss of a head on a batch.
pub(super) fn loss(head: &Grounded, task: Task, batch: &TrainingBatch, device: &Device) -> Tensor<1> {
    let features = PatchFeatures::new(&batch.patches, device);
    let output = forward(head, &features, batch, device);
    let [images, slots, patches] = batch.dims();
    let patch_valid = features.valid();
    match task {
        Task::Point => {
            let coverage = TensorData::new(batch.coverage.clone(), [images, slots, patches]);
            let confidence = TensorData::new(batch.confidence.clone(), [images, slots]);
            let coverage = Tensor::from_data(coverage, device);
            let confidence = Tensor::from_data(confidence, device);
            Targets { coverage, patch_valid, confidence }.loss(&output)
        }
        Task::Allocate => {
            let share = TensorData::new(batch.allocation_targets(), [images, patches]);
            AllocationTargets { share: Tensor::from_data(share, device), patch_valid }.loss(&output)
        }
    }
}

/// A head of the right shape, with zeros as weights.
fn zeroed_head(settings: &Settings, device: &Device) -> Grounded {
    let head = Grounded::new(WIDTH, settings.context, device);
    match settings.task {
        Task::Point => head,
        Task::Allocate => head.with_learned_query(WIDTH, device),
    }
}

impl Model for TrainState {
    fn batches<'a>(
        &self,
        epoch: Epoch,
        sampler: &'a QuerySampler,
    ) -> Box<dyn Iterator<Item = Result<TrainingBatch>> + 'a> {
        // A model that takes images would pass its own device here.
        Box::new(epoch.burn(&Device::flex()).map(|batch| Ok(TrainingBatch::new(fields(batch?)?, sampler))))
    }

    fn train_step(&mut self, batch: &TrainingBatch, learning_rate: f64) -> Result<f32> {
        let loss = loss(&self.head, self.task, batch, &self.device);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.head);
        let learning_rates = adamw::learning_rates(learning_rate, &self.lr_multipliers);
        self.head = self.optimizer.step(learning_rates, self.head.clone(), gradients);
        Ok(loss.try_into_scalar()?)
    }

    fn predict(&self, batch: &TrainingBatch) -> Result<Predictions> {
        let output = forward(&self.head, &PatchFeatures::new(&batch.patches, &self.device), batch, &self.device);
        Ok(Predictions { relevance: output.relevance.try_into_vec_as()?, weights: output.weights.try_into_vec_as()? })
    }

    fn state_dict(&self) -> Result<StateDict> {
        let mut state = weights::state_dict(&self.head)?;
        state.extend(adamw::state_dict(&self.optimizer, &self.head)?);
        Ok(state)
    }
}

/// Copies the fields of a batch on the CPU.
pub fn fields(batch: BurnBatch) -> Result<BatchFields> {
    let BurnImages::Bytes(images) = batch.images else { return Err("the loader's images are not bytes".into()) };
    let Some(coverage) = batch.coverage else { return Err("the loader was built without coverage".into()) };
    Ok(BatchFields {
        images: values(images)?,
        coverage: values(coverage)?,
        valid: values(batch.valid)?,
        predicted_iou: values(batch.predicted_iou)?,
        area: values(batch.area)?,
        points: values(batch.points)?,
        image_ids: values(batch.image_ids)?,
        annotation_ids: values(batch.annotation_ids)?,
        original_sizes: values(batch.original_sizes)?,
        crops: values(batch.crops)?,
        geometry: values(batch.geometry)?,
        samples: batch.samples.iter().flatten().count(),
        epoch: batch.epoch,
        cursor: batch.cursor,
    })
}

fn values<const R: usize, K: Basic, T: Element>(tensor: Tensor<R, K>) -> Result<Vec<T>> {
    Ok(tensor.try_into_data()?.try_into_vec()?)
}
