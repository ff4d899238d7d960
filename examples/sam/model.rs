//! The model of the example `sam`, small enough for two cores: an encoder of three convolutions, and a decoder that
//! compares each cell of the image with each prompt, where SAM has two transformers. And its optimizer and checkpoint.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var, safetensors};
use candle_nn::ops::{sigmoid, softmax};
use maskstream::{CandleBatch, Cursor, Loader};

pub(crate) type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Pixels along a side of a cell.
const CELL: usize = 4;
const CHANNELS: usize = 16;
const CLICKS: usize = 3;
/// Numbers of a pair of a cell and its prompts.
const HIDDEN: usize = 32;
/// Inputs and outputs of the layers: three of the encoder, four of the decoder.
const LAYERS: [[usize; 2]; 7] = [
    [3 * CELL * CELL, CHANNELS],
    [CHANNELS * 9, CHANNELS],
    [CHANNELS * 9, CHANNELS],
    [CHANNELS, HIDDEN],
    [5 + 2 * CLICKS, HIDDEN],
    [HIDDEN, HIDDEN],
    [HIDDEN, 1],
];

/// The model with its optimizer, AdamW.
pub(crate) struct Sam {
    /// Of all layers, one after the other. So are the moments.
    weights: Var,
    moments: [Tensor; 2],
    pub(crate) steps: u64,
}

impl Sam {
    pub(crate) fn new(device: &Device) -> Result<Self> {
        // The same on all ranks: candle's random numbers on the CPU have no seed.
        let number = |i: usize| 2.0 * (((i + 1) as f64 * 12.9898).sin() * 43758.5453).rem_euclid(1.0) - 1.0;
        let layer =
            |[from, to]: [usize; 2]| (0..from * to).map(move |i| (number(i) * (3.0 / from as f64).sqrt()) as f32);
        let weights: Vec<f32> = LAYERS.into_iter().flat_map(layer).collect();
        let weights = Var::from_slice(&weights, weights.len(), device)?;
        Ok(Self { moments: [weights.zeros_like()?, weights.zeros_like()?], weights, steps: 0 })
    }

    /// The loss of a batch, and its gradient with respect to the weights.
    pub(crate) fn loss_and_gradient(&self, batch: &CandleBatch) -> Result<(f32, Tensor)> {
        let loss = self.loss(batch)?;
        let gradient = loss.backward()?.remove(&self.weights).ok_or("the loss does not depend on the weights")?;
        Ok((loss.to_scalar()?, gradient))
    }

    /// Binary cross entropy and Dice, the mean over the masks that are real.
    fn loss(&self, batch: &CandleBatch) -> Result<Tensor> {
        let (truth, valid) = targets(batch)?;
        let predicted = sigmoid(&self.logits(batch)?)?.clamp(1e-6, 1.0 - 1e-6)?;
        let cross_entropy = (1.0 - (&predicted - &truth)?.abs()?)?.log()?.neg()?.mean(2)?;
        let losses = ((cross_entropy - dice(&predicted, &truth)?)? + 1.0)?;
        Ok(((losses * &valid)?.sum_all()? / valid.sum_all()?.maximum(1f32)?)?)
    }

    /// The mean IoU of the predicted masks, and that of the boxes that are the prompts.
    pub(crate) fn evaluate(&self, loader: &Loader) -> Result<[f32; 2]> {
        let (mut sums, mut masks) = ([0.0; 2], 0.0);
        for batch in loader.epoch(0)?.candle(self.weights.device()) {
            let batch = batch?;
            let (truth, valid) = targets(&batch)?;
            masks += valid.sum_all()?.to_scalar::<f32>()?;
            for (sum, inside) in sums.iter_mut().zip([self.logits(&batch)?, in_box(&batch)?.min(3)?]) {
                let dice = dice(&inside.gt(0f32)?.to_dtype(DType::F32)?, &truth)?;
                *sum += ((&dice / (2.0 - &dice)?)? * &valid)?.sum_all()?.to_scalar::<f32>()?;
            }
        }
        Ok(sums.map(|sum| sum / masks))
    }

    /// Logits of the masks, `[B, K, cells]`.
    fn logits(&self, batch: &CandleBatch) -> Result<Tensor> {
        let cells = self.encode(&batch.images)?;
        // How near each cell is to each click, and how much it looks like what is there: [B, K, cells, P].
        let clicks = batch.prompt_points.as_ref().ok_or("no prompts")?.unsqueeze(2)?;
        let distance = centres(batch)?.unsqueeze(3)?.broadcast_sub(&clicks)?.sqr()?.sum(4)?;
        let near = (&distance * (-0.5 / cells.dim(2)? as f64))?.exp()?;
        let unit = cells.broadcast_div(&(cells.sqr()?.sum_keepdim(3)? + 1e-6)?.sqrt()?)?;
        let at_cells = softmax(&(distance / -((CELL * CELL) as f64))?, 2)?;
        let clicked = at_cells.transpose(2, 3)?.contiguous()?.broadcast_matmul(&unit)?;
        let alike = unit.broadcast_matmul(&clicked.transpose(2, 3)?.contiguous()?)?;
        // Where there is no place for a click, its label is -1.
        let is_click =
            batch.prompt_labels.as_ref().ok_or("no prompts")?.ge(0i64)?.to_dtype(DType::F32)?.unsqueeze(2)?;
        let (near, alike) = (near.broadcast_mul(&is_click)?, alike.broadcast_mul(&is_click)?);
        let edges = (in_box(batch)? / (4 * CELL) as f64)?.tanh()?;
        let bias = edges.narrow(3, 0, 1)?.ones_like()?;
        // Each cell with its prompts.
        let prompts = Tensor::cat(&[edges, near, alike, bias], 3)?.contiguous()?;
        let joined = prompts.broadcast_matmul(&self.layer(4)?)?.broadcast_add(&cells)?.relu()?;
        let hidden = joined.broadcast_matmul(&self.layer(5)?)?.relu()?;
        Ok(hidden.broadcast_matmul(&self.layer(6)?)?.squeeze(3)?)
    }

    /// What each cell of the images shows: `[B, 1, cells, hidden]`.
    fn encode(&self, images: &Tensor) -> Result<Tensor> {
        let pixels = ((images.to_dtype(DType::F32)? / 128.0)? - 1.0)?;
        let mut cells = pixels.conv2d(&self.layer(0)?.reshape((CHANNELS, 3, CELL, CELL))?, 0, CELL, 1, 1)?;
        for index in [1, 2] {
            let kernel = self.layer(index)?.reshape((CHANNELS, CHANNELS, 3, 3))?;
            cells = (&cells + cells.relu()?.conv2d(&kernel, 1, 1, 1, 1)?)?;
        }
        let cells = cells.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
        Ok(cells.broadcast_matmul(&self.layer(3)?)?.unsqueeze(1)?)
    }

    fn layer(&self, index: usize) -> Result<Tensor> {
        let start = LAYERS[..index].iter().map(|[inputs, outputs]| inputs * outputs).sum();
        let [inputs, outputs] = LAYERS[index];
        Ok(self.weights.narrow(0, start, inputs * outputs)?.reshape((inputs, outputs))?)
    }

    /// One step of AdamW.
    pub(crate) fn step(&mut self, gradient: &Tensor) -> Result<()> {
        self.steps += 1;
        let [first, second] = &self.moments;
        self.moments = [((first * 0.9)? + (gradient * 0.1)?)?, ((second * 0.999)? + (gradient.sqr()? * 0.001)?)?];
        let [first, second] = &self.moments;
        let [of_first, of_second] = [0.9f64, 0.999].map(|beta| 1.0 / (1.0 - beta.powf(self.steps as f64)));
        let change = ((first * of_first)? / ((second * of_second)?.sqrt()? + 1e-8)?)?;
        let rate = 3e-3 * (self.steps as f64 / 20.0).min(1.0);
        let decayed = (self.weights.as_detached_tensor() * (1.0 - 0.01 * rate))?;
        Ok(self.weights.set(&(decayed - (change * rate)?)?)?)
    }

    /// Writes weights, optimizer and cursor as one file, so that they are of the same step.
    pub(crate) fn save(&self, path: &Path, cursor: Option<Cursor>) -> Result<()> {
        let place = Tensor::new(serde_json::to_vec(&(self.steps, cursor))?, &Device::Cpu)?;
        let ([first, second], weights) = (self.moments.clone(), self.weights.as_tensor().clone());
        let all = HashMap::from([("weights", weights), ("first", first), ("second", second), ("place", place)]);
        safetensors::save(&all, path.with_extension("part"))?;
        Ok(std::fs::rename(path.with_extension("part"), path)?)
    }

    pub(crate) fn load(&mut self, path: &Path) -> Result<Option<Cursor>> {
        let all = safetensors::load(path, self.weights.device())?;
        self.weights.set(&all["weights"])?;
        self.moments = [all["first"].clone(), all["second"].clone()];
        let (steps, cursor) = serde_json::from_slice(&all["place"].to_vec1::<u8>()?)?;
        self.steps = steps;
        Ok(cursor)
    }
}

/// The true masks, `[B, K, cells]`, and which of them are real, `[B, K]`.
fn targets(batch: &CandleBatch) -> Result<(Tensor, Tensor)> {
    Ok((batch.masks_as(DType::F32)?.flatten_from(2)?, batch.valid.to_dtype(DType::F32)?))
}

/// How much each of the masks `[B, K, cells]` agrees with the true one.
fn dice(predicted: &Tensor, truth: &Tensor) -> Result<Tensor> {
    Ok(((((predicted * truth)?.sum(2)? * 2.0)? + 1e-6)? / ((predicted + truth)?.sum(2)? + 1e-6)?)?)
}

/// The centres of the cells in canvas pixels: `[1, 1, cells, 2]`.
fn centres(batch: &CandleBatch) -> Result<Tensor> {
    let grid = batch.images.dim(3)? / CELL;
    let centre = |cell: usize| (CELL * cell) as f32 + 0.5 * CELL as f32;
    let centres = (0..grid * grid).flat_map(|cell| [centre(cell % grid), centre(cell / grid)]);
    Ok(Tensor::from_iter(centres, batch.images.device())?.reshape((1, 1, grid * grid, 2))?)
}

/// How far each cell is inside each edge of the boxes, in canvas pixels: `[B, K, cells, 4]`.
fn in_box(batch: &CandleBatch) -> Result<Tensor> {
    let (centres, boxes) = (centres(batch)?, batch.prompt_boxes.as_ref().ok_or("no prompts")?.unsqueeze(2)?);
    let after_start = centres.broadcast_sub(&boxes.narrow(3, 0, 2)?)?;
    let before_end = boxes.narrow(3, 2, 2)?.broadcast_sub(&centres)?;
    Ok(Tensor::cat(&[after_start, before_end], 3)?)
}
