//! The grounded head and its optimizer in candle.

use candle_core::{Device, Tensor, WithDType, bail};
use maskstream::{CandleBatch, Epoch};

use super::adamw::AdamW;
use super::heads::{AllocationTargets, Grounded, HeadOutput, HeadQuery, PatchFeatures, Targets};
use super::weights::Weights;
use crate::args::{Settings, Task};
use crate::hyperparams::WIDTH;
use crate::model::{Model, Predictions, is_trainable};
use crate::query::QuerySampler;
use crate::result::Result;
use crate::state_dict::{StateDict, select};
use crate::training_batch::{BatchFields, TrainingBatch};

/// A head with its optimizer.
pub struct TrainState {
    head: Grounded,
    optimizer: AdamW,
    task: Task,
    device: Device,
}

impl TrainState {
    /// Names and shapes of the head's weights.
    pub fn shapes(settings: &Settings) -> Vec<(String, Vec<usize>)> {
        let mut shapes = Grounded::shapes(WIDTH, settings.context);
        shapes.extend((settings.task == Task::Allocate).then(|| Grounded::learned_query(WIDTH)));
        shapes
    }

    /// Builds a head with the weights of `state`, and the optimizer's state if the dict holds it.
    pub fn new(state: &StateDict, settings: &Settings, device: &Device) -> Result<Self> {
        let weights = Weights::new(&select(state, &Self::shapes(settings))?, device)?;
        let optimizer = AdamW::new(&weights, |name| is_trainable(name, settings), state)?;
        Ok(Self { head: Grounded::new(weights), optimizer, task: settings.task, device: device.clone() })
    }

    fn forward(&self, features: &PatchFeatures, batch: &TrainingBatch) -> candle_core::Result<HeadOutput> {
        let [images, slots, _] = batch.dims();
        match self.task {
            Task::Point => {
                let patches = Tensor::from_slice(&batch.query_patch, (images, slots), &self.device)?;
                self.head.forward(features, &HeadQuery::Patches(patches))
            }
            Task::Allocate => self.head.allocate(features),
        }
    }

    fn loss(&self, batch: &TrainingBatch) -> candle_core::Result<Tensor> {
        let features = PatchFeatures::new(&batch.patches, &self.device)?;
        let output = self.forward(&features, batch)?;
        let [images, slots, patches] = batch.dims();
        let patch_valid = features.valid().clone();
        match self.task {
            Task::Point => {
                let coverage = Tensor::from_slice(&batch.coverage, (images, slots, patches), &self.device)?;
                let confidence = Tensor::from_slice(&batch.confidence, (images, slots), &self.device)?;
                Targets { coverage, patch_valid, confidence }.loss(&output)
            }
            Task::Allocate => {
                let share = Tensor::from_vec(batch.allocation_targets(), (images, patches), &self.device)?;
                AllocationTargets { share, patch_valid }.loss(&output)
            }
        }
    }
}

impl Model for TrainState {
    fn batches<'a>(
        &self,
        epoch: Epoch,
        sampler: &'a QuerySampler,
    ) -> Box<dyn Iterator<Item = Result<TrainingBatch>> + 'a> {
        // A model that takes images would pass its own device here.
        Box::new(epoch.candle(&Device::Cpu).map(|batch| Ok(TrainingBatch::new(fields(&batch?)?, sampler))))
    }

    fn train_step(&mut self, batch: &TrainingBatch, learning_rate: f64) -> Result<f32> {
        let loss = self.loss(batch)?;
        self.optimizer.step(&loss.backward()?, learning_rate)?;
        Ok(loss.to_scalar()?)
    }

    fn predict(&self, batch: &TrainingBatch) -> Result<Predictions> {
        let output = self.forward(&PatchFeatures::new(&batch.patches, &self.device)?, batch)?;
        Ok(Predictions { relevance: values(&output.relevance)?, weights: values(&output.weights)? })
    }

    fn state_dict(&self) -> Result<StateDict> {
        let mut state = self.head.weights().state_dict()?;
        state.extend(self.optimizer.state_dict()?);
        Ok(state)
    }
}

/// Copies the fields of a batch on the CPU.
fn fields(batch: &CandleBatch) -> candle_core::Result<BatchFields> {
    let Some(coverage) = &batch.coverage else { bail!("the loader was built without coverage") };
    Ok(BatchFields {
        images: values(&batch.images)?,
        coverage: values(coverage)?,
        valid: values(&batch.valid)?,
        predicted_iou: values(&batch.predicted_iou)?,
        area: values(&batch.area)?,
        points: values(&batch.points)?,
        image_ids: values(&batch.image_ids)?,
        annotation_ids: values(&batch.annotation_ids)?,
        original_sizes: values(&batch.original_sizes)?,
        crops: values(&batch.crops)?,
        geometry: values(&batch.geometry)?,
        samples: batch.samples.iter().flatten().count(),
        epoch: batch.epoch,
        cursor: batch.cursor,
    })
}

fn values<T: WithDType>(tensor: &Tensor) -> candle_core::Result<Vec<T>> {
    tensor.flatten_all()?.to_vec1()
}
