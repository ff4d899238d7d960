//! The grounded head in training. Comes in: batches as candle's tensors. Goes out: steps, answers, state. Fails as candle
//! does.

use candle_core::{Device, Tensor, WithDType, bail};
use maskstream::{CandleBatch, Epoch};

use super::super::args::{Settings, Task};
use super::super::lesson::{Ask, Fields, Lesson};
use super::super::model::{Answers, Model, Result, learns};
use super::super::named::{Named, take};
use super::super::recipe::WIDTH;
use super::adamw::AdamW;
use super::heads::{Grounded, Query, Said, Seen, Shares, Wanted};
use super::weights::Weights;

/// The head with its optimizer.
pub(crate) struct Trainee {
    head: Grounded,
    optimizer: AdamW,
    task: Task,
    device: Device,
}

impl Trainee {
    /// Names and shapes of its weights.
    pub(crate) fn shapes(settings: &Settings) -> Vec<(String, Vec<usize>)> {
        let mut shapes = Grounded::shapes(WIDTH, settings.context);
        shapes.extend((settings.task == Task::Allocate).then(|| Grounded::learned_query(WIDTH)));
        shapes
    }

    /// With the weights of `state`, and the optimizer's moments if there are any.
    pub(crate) fn new(state: &Named, settings: &Settings, device: &Device) -> Result<Self> {
        let weights = Weights::new(&take(state, &Self::shapes(settings))?, device)?;
        let optimizer = AdamW::new(&weights, |name| learns(name, settings), state)?;
        Ok(Self { head: Grounded::new(weights), optimizer, task: settings.task, device: device.clone() })
    }

    fn say(&self, seen: &Seen, lesson: &Lesson) -> candle_core::Result<Said> {
        let [images, places, _] = lesson.sizes();
        match self.task {
            Task::Point => {
                let at = Tensor::from_slice(&lesson.query_patch, (images, places), &self.device)?;
                self.head.forward(seen, &Query::Patches(at))
            }
            Task::Allocate => self.head.allocate(seen),
        }
    }

    fn loss(&self, lesson: &Lesson) -> candle_core::Result<Tensor> {
        let seen = Seen::new(&lesson.seen, &self.device)?;
        let said = self.say(&seen, lesson)?;
        let [images, places, patches] = lesson.sizes();
        let patch_valid = seen.valid().clone();
        match self.task {
            Task::Point => {
                let coverage = Tensor::from_slice(&lesson.coverage, (images, places, patches), &self.device)?;
                let confidence = Tensor::from_slice(&lesson.confidence, (images, places), &self.device)?;
                Wanted { coverage, patch_valid, confidence }.loss(&said)
            }
            Task::Allocate => {
                let share = Tensor::from_vec(lesson.shares(), (images, patches), &self.device)?;
                Shares { share, patch_valid }.loss(&said)
            }
        }
    }
}

impl Model for Trainee {
    fn lessons<'a>(&self, epoch: Epoch, ask: &'a Ask) -> Box<dyn Iterator<Item = Result<Lesson>> + 'a> {
        // A model that takes images would have them on its own device here.
        Box::new(epoch.candle(&Device::Cpu).map(|batch| Ok(Lesson::new(fields(&batch?)?, ask))))
    }

    fn learn(&mut self, lesson: &Lesson, learning_rate: f64) -> Result<f32> {
        let loss = self.loss(lesson)?;
        self.optimizer.step(&loss.backward()?, learning_rate)?;
        Ok(loss.to_scalar()?)
    }

    fn answer(&self, lesson: &Lesson) -> Result<Answers> {
        let said = self.say(&Seen::new(&lesson.seen, &self.device)?, lesson)?;
        Ok(Answers { relevance: numbers(&said.relevance)?, weights: numbers(&said.weights)? })
    }

    fn state(&self) -> Result<Named> {
        let mut state = self.head.weights().arrays()?;
        state.extend(self.optimizer.state()?);
        Ok(state)
    }
}

/// What the fields of a batch on the CPU hold.
fn fields(batch: &CandleBatch) -> candle_core::Result<Fields> {
    let Some(coverage) = &batch.coverage else { bail!("the loader was not asked for coverage") };
    Ok(Fields {
        images: numbers(&batch.images)?,
        coverage: numbers(coverage)?,
        valid: numbers(&batch.valid)?,
        predicted_iou: numbers(&batch.predicted_iou)?,
        area: numbers(&batch.area)?,
        points: numbers(&batch.points)?,
        image_ids: numbers(&batch.image_ids)?,
        annotation_ids: numbers(&batch.annotation_ids)?,
        original_sizes: numbers(&batch.original_sizes)?,
        geometry: numbers(&batch.geometry)?,
        samples: batch.samples.iter().flatten().count(),
        epoch: batch.epoch,
        cursor: batch.cursor,
    })
}

fn numbers<T: WithDType>(tensor: &Tensor) -> candle_core::Result<Vec<T>> {
    tensor.flatten_all()?.to_vec1()
}
