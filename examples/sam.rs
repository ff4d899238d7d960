//! Trains a promptable mask decoder as SAM is trained: augmented images, clicks and boxes drawn anew in each epoch, a
//! held-out shard, checkpoints that resume in mid-epoch, and several ranks.
//!
//! ```sh
//! cargo run --release --example sam                          # draws scenes into target/sam-example
//! cargo run --release --example sam -- --fresh 'sa1b/*.tar'  # ignores the checkpoint
//! for rank in 0 1; do RANK=$rank WORLD_SIZE=2 cargo run --release --example sam & done; wait
//! ```
//!
//! The model is small enough for two cores: three convolutions, and a decoder that compares each cell of the image with
//! each prompt, where SAM has two transformers.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var, safetensors};
use candle_nn::{Linear, Module, ops::sigmoid, ops::softmax};
use maskstream::synth::{Preset, SynthOptions, write_shards};
use maskstream::{Augment, Crop, NegativeClicks, Prompts, index::resolve_patterns};
use maskstream::{BoxFormat, CandleBatch, CoordFrame, Cursor, Distributed, Loader, MaskFilter, ShardSet, TopKBy};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

pub struct Settings {
    pub shards: Vec<String>, // Patterns. The last shard is held out.
    pub out: PathBuf,        // Directory of the checkpoint.
    pub side: u32,           // Of the canvas in pixels. A cell of the masks has 4 x 4.
    pub batch: usize,        // Images of a step, on all ranks together.
    pub steps: u64,          // In all, with those before the checkpoint.
    pub fresh: bool,         // Whether to ignore the checkpoint.
}

fn main() -> Result<()> {
    let (flags, mut shards): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument == "--fresh");
    let (ranks, out) = (Distributed::from_env()?, PathBuf::from("target/sam-example"));
    if shards.is_empty() {
        let scenes = out.join("scenes");
        if ranks.rank == 0 && !scenes.exists() {
            write_shards(&scenes, 5, &SynthOptions::new(Preset::Small), &|_| ())?;
        }
        shards.push(scenes.display().to_string());
    }
    let settings = Settings { shards, out, side: 128, batch: 8, steps: 500, fresh: !flags.is_empty() };
    let [before, after] = train(&settings, &ranks, |step, loss, _| {
        if step % 25 == 0 {
            println!("step {step}: loss {loss:.3}");
        }
    })?;
    println!("IoU on the held-out shard: {:.3} before, {:.3} after, {:.3} of the boxes", before[0], after[0], after[1]);
    Ok(())
}

/// Trains, and returns the [IoUs](Sam::evaluate) on the held-out shard before and after.
pub fn train(
    settings: &Settings,
    ranks: &Distributed,
    mut after_step: impl FnMut(u64, f32, &CandleBatch),
) -> Result<[[f32; 2]; 2]> {
    let mut peers = connect(&settings.out.join("ranks"), ranks)?;
    let shards = resolve_patterns(&settings.shards)?;
    let (training, held_out) = shards.split_at(shards.len() - 1);
    // Neither masks that the grid cannot show nor the whole scene.
    let shards = ShardSet::builder().filter(MaskFilter::all().area_fraction(0.005, 0.5).min_masks(1));
    let clicks = Prompts::none().deepest(true).positive(1).negative(1, NegativeClicks::InBox);
    let options = Loader::builder()
        .image_size(settings.side)
        .mask_size([settings.side / 4, settings.side / 4])
        .top_k(MASKS)
        .top_k_by(TopKBy::AreaStratified { seed: 1 })
        .box_format(BoxFormat::Xyxy)
        .coord_frame(CoordFrame::CanvasPixels)
        .prompts(clicks.box_jitter(0.1, 20.0));
    // Not augmented, and always epoch 0: the same images, masks and prompts each time.
    let held_out = options.clone().batch_size(settings.batch).build(shards.clone().open(held_out)?)?;
    let training = options
        .batch_size(settings.batch / ranks.world_size)
        .augment(Augment::sam().crop(Crop::ScaleJitter { scale: [0.7, 2.0] }).min_visible(0.3, 100))
        .shuffle(42)
        .drop_last(true)
        .distributed(ranks)
        .build(shards.open(training)?)?;

    let mut model = Sam::new()?;
    let before = model.evaluate(&held_out)?;
    let path = settings.out.join("checkpoint.safetensors");
    let cursor = if settings.fresh || !path.exists() { None } else { model.load(&path)? };
    let mut epoch = cursor.map_or(0, |cursor| cursor.epoch());
    let first = cursor.map_or_else(|| training.epoch(0), |cursor| training.resume_from(&cursor))?;
    let mut batches = first.candle(&Device::Cpu);
    while model.steps < settings.steps {
        let Some(batch) = batches.next().transpose()? else {
            epoch += 1;
            batches = training.epoch(epoch)?.candle(&Device::Cpu);
            continue;
        };
        let loss = model.loss(&batch)?;
        let gradient = loss.backward()?.remove(&model.weights).ok_or("no gradient")?;
        model.step(&average(gradient.to_vec1()?, &mut peers, ranks)?)?;
        after_step(model.steps, loss.to_scalar()?, &batch);
        // The cursor is the same on all ranks.
        if ranks.rank == 0 && (model.steps % 50 == 0 || model.steps == settings.steps) {
            model.save(&path, batch.cursor)?;
        }
    }
    Ok([before, model.evaluate(&held_out)?])
}

const MASKS: usize = 4;
const CLICKS: usize = 3;
const CHANNELS: usize = 32;
/// Inputs and outputs of the layers: of the encoder, then of the decoder.
const LAYERS: [[usize; 2]; 7] = [
    [3 * 4 * 4, CHANNELS],
    [9 * CHANNELS, CHANNELS],
    [9 * CHANNELS, CHANNELS],
    [CHANNELS, CHANNELS],
    [4 + 2 * CLICKS, CHANNELS],
    [CHANNELS, CHANNELS],
    [CHANNELS, 1],
];

/// The model with its optimizer, AdamW.
struct Sam {
    weights: Var, // Of all layers, one after the other. So are the moments.
    moments: [Tensor; 2],
    steps: u64,
}

impl Sam {
    fn new() -> Result<Self> {
        let mut weights = vec![];
        for [inputs, outputs] in LAYERS {
            // The same on all ranks: candle's random numbers on the CPU have no seed.
            let number = |i: usize| 2.0 * (((i + 1) as f64 * 12.9898).sin() * 43758.5453).rem_euclid(1.0) - 1.0;
            weights.extend((0..inputs * outputs).map(|i| (number(i) * (3.0 / inputs as f64).sqrt()) as f32));
            weights.extend(vec![0.0; outputs]);
        }
        let weights = Var::from_slice(&weights, weights.len(), &Device::Cpu)?;
        Ok(Self { moments: [weights.zeros_like()?, weights.zeros_like()?], weights, steps: 0 })
    }

    fn layer(&self, index: usize, input: &Tensor) -> Result<Tensor> {
        let start = LAYERS[..index].iter().map(|[inputs, outputs]| (inputs + 1) * outputs).sum();
        let [inputs, outputs] = LAYERS[index];
        let weight = self.weights.narrow(0, start, inputs * outputs)?.reshape((outputs, inputs))?;
        let bias = self.weights.narrow(0, start + inputs * outputs, outputs)?;
        Ok(Linear::new(weight, Some(bias)).forward(input)?)
    }

    /// Logits of the masks, `[B, K, cells]`; and how far each cell is inside each edge of the box, `[B, K, cells, 4]`.
    fn forward(&self, batch: &CandleBatch) -> Result<[Tensor; 2]> {
        // The encoder, a convolution of 4 x 4 pixels and two of 3 x 3 cells: [B, rows, columns, channels].
        let (images, _, side, _) = batch.images.dims4()?;
        let grid = side / 4;
        let pixels = ((batch.images.to_dtype(DType::F32)? / 128.0)? - 1.0)?.reshape((images, 3, grid, 4, grid, 4))?;
        let mut cells = pixels.permute((0, 2, 4, 1, 3, 5))?.reshape((images, grid, grid, 3 * 4 * 4))?;
        cells = self.layer(0, &cells)?.relu()?;
        for index in [1, 2] {
            let padded = cells.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?;
            let shifted = (0..9).map(|i| padded.narrow(1, i / 3, grid)?.narrow(2, i % 3, grid));
            let windows = Tensor::cat(&shifted.collect::<Result<Vec<_>, _>>()?, 3)?;
            cells = (cells + self.layer(index, &windows)?.relu()?)?;
        }
        let cells = cells.reshape((images, 1, grid * grid, CHANNELS))?;
        // How near each cell is to each click, and how much it looks like what is there: [B, K, cells, P].
        let places = (0..grid * grid).flat_map(|i| [i % grid, i / grid].map(|n| 4.0 * n as f32 + 2.0));
        let places = Tensor::from_iter(places, &Device::Cpu)?.reshape((1, 1, grid * grid, 2))?;
        let points = batch.prompt_points.as_ref().ok_or("no prompts")?.unsqueeze(2)?;
        let distance = (places.unsqueeze(3)?.broadcast_sub(&points)?.sqr()?.sum(4)? / 16.0)?;
        let near = (&distance * (-8.0 / (grid * grid) as f64))?.exp()?;
        let unit = cells.broadcast_div(&(cells.sqr()?.sum_keepdim(3)? + 1e-6)?.sqrt()?)?;
        let clicked = softmax(&distance.neg()?, 2)?.transpose(2, 3)?.contiguous()?.broadcast_matmul(&unit)?;
        let alike = unit.broadcast_matmul(&clicked.transpose(2, 3)?.contiguous()?)?;
        // A label is -1 if there is no such click.
        let labels = batch.prompt_labels.as_ref().ok_or("no prompts")?.unsqueeze(2)?;
        let is_click = labels.ge(0i64)?.to_dtype(DType::F32)?;
        let boxes = batch.prompt_boxes.as_ref().ok_or("no prompts")?.unsqueeze(2)?;
        let from_first = places.broadcast_sub(&boxes.narrow(3, 0, 2)?)?;
        let to_last = boxes.narrow(3, 2, 2)?.broadcast_sub(&places)?;
        let inside = (Tensor::cat(&[from_first, to_last], 3)? / 16.0)?.tanh()?;
        // The decoder: each cell with each prompt.
        let prompts = [inside.clone(), near.broadcast_mul(&is_click)?, alike.broadcast_mul(&is_click)?];
        let prompts = self.layer(4, &Tensor::cat(&prompts, 3)?)?;
        let joined = prompts.broadcast_add(&self.layer(3, &cells)?)?.relu()?;
        Ok([self.layer(6, &self.layer(5, &joined)?.relu()?)?.squeeze(3)?, inside])
    }

    /// Binary cross entropy and Dice, the mean over the masks that are real.
    fn loss(&self, batch: &CandleBatch) -> Result<Tensor> {
        let [logits, _] = self.forward(batch)?;
        let (truth, valid) = (batch.masks_as(DType::F32)?.flatten_from(2)?, batch.valid.to_dtype(DType::F32)?);
        let predicted = sigmoid(&logits)?.clamp(1e-6, 1.0 - 1e-6)?;
        let cross_entropy = (1.0 - (&predicted - &truth)?.abs()?)?.log()?.neg()?.mean(2)?;
        let (both, sum) = ((&predicted * &truth)?.sum(2)?, (predicted + &truth)?.sum(2)?);
        let dice = (1.0 - (((both * 2.0)? + 1.0)? / (sum + 1.0)?)?)?;
        Ok((((cross_entropy + dice)? * &valid)?.sum_all()? / valid.sum_all()?.maximum(1f32)?)?)
    }

    /// The mean IoU of the predicted masks, and that of the boxes that are the prompts.
    fn evaluate(&self, loader: &Loader) -> Result<[f32; 2]> {
        let (mut sums, mut masks) = ([0.0; 2], 0.0);
        for batch in loader.epoch(0)?.candle(&Device::Cpu) {
            let batch = batch?;
            let (truth, valid) = (batch.masks_as(DType::F32)?.flatten_from(2)?, batch.valid.to_dtype(DType::F32)?);
            masks += valid.sum_all()?.to_scalar::<f32>()?;
            let [logits, inside] = self.forward(&batch)?;
            for (sum, predicted) in sums.iter_mut().zip([logits, inside.min(3)?]) {
                let predicted = predicted.gt(0f32)?.to_dtype(DType::F32)?;
                let both = (&predicted * &truth)?.sum(2)?;
                let either = (predicted.sum(2)? + truth.sum(2)? - &both)?.maximum(1f32)?;
                *sum += ((both / either)? * &valid)?.sum_all()?.to_scalar::<f32>()?;
            }
        }
        Ok(sums.map(|sum| sum / masks))
    }

    fn step(&mut self, gradient: &Tensor) -> Result<()> {
        self.steps += 1;
        let [first, second] = &self.moments;
        self.moments = [((first * 0.9)? + (gradient * 0.1)?)?, ((second * 0.999)? + (gradient.sqr()? * 0.001)?)?];
        let [first, second] =
            [(0, 0.9f64), (1, 0.999)].map(|(i, beta)| &self.moments[i] / (1.0 - beta.powf(self.steps as f64)));
        let rate = 3e-3 * (self.steps as f64 / 20.0).min(1.0);
        let change = ((first? / (second?.sqrt()? + 1e-8)?)? * rate)?;
        Ok(self.weights.set(&((self.weights.as_detached_tensor() * (1.0 - 0.01 * rate))? - change)?)?)
    }

    /// Writes weights, optimizer and cursor as one file, so that they are of the same step.
    fn save(&self, path: &Path, cursor: Option<Cursor>) -> Result<()> {
        let [first, second] = self.moments.clone();
        let place = Tensor::new(serde_json::to_vec(&(self.steps, cursor))?, &Device::Cpu)?;
        let all =
            [("weights", self.weights.as_detached_tensor()), ("first", first), ("second", second), ("place", place)];
        safetensors::save(&HashMap::from(all), path.with_extension("part"))?;
        Ok(std::fs::rename(path.with_extension("part"), path)?)
    }

    fn load(&mut self, path: &Path) -> Result<Option<Cursor>> {
        let all = safetensors::load(path, &Device::Cpu)?;
        self.weights.set(&all["weights"])?;
        self.moments = [all["first"].clone(), all["second"].clone()];
        let (steps, cursor) = serde_json::from_slice(&all["place"].to_vec1::<u8>()?)?;
        self.steps = steps;
        Ok(cursor)
    }
}

/// Connects rank 0 with the others, on one machine. A job on GPUs has NCCL instead of this and of [`average`].
fn connect(socket: &Path, ranks: &Distributed) -> Result<Vec<UnixStream>> {
    if ranks.rank == 0 {
        std::fs::create_dir_all(socket.with_file_name(""))?;
        let _ = std::fs::remove_file(socket);
        return UnixListener::bind(socket)?.incoming().take(ranks.world_size - 1).map(|peer| Ok(peer?)).collect();
    }
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(vec![stream]),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
        }
    }
}

/// The mean of the gradients of all ranks.
fn average(mut sum: Vec<f32>, peers: &mut [UnixStream], ranks: &Distributed) -> Result<Tensor> {
    let mut received = vec![0f32; sum.len()];
    for peer in peers.iter_mut().filter(|_| ranks.rank == 0) {
        peer.read_exact(bytemuck::cast_slice_mut(&mut received))?;
        sum.iter_mut().zip(&received).for_each(|(sum, number)| *sum += number);
    }
    for peer in peers {
        peer.write_all(bytemuck::cast_slice(&sum))?;
        if ranks.rank > 0 {
            peer.read_exact(bytemuck::cast_slice_mut(&mut sum))?;
        }
    }
    Ok((Tensor::new(sum, &Device::Cpu)? / ranks.world_size as f64)?)
}
