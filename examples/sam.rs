//! Trains a promptable mask decoder as SAM is trained: augmented images, clicks and boxes drawn anew in each epoch, a
//! held-out shard, a checkpoint that resumes in mid-epoch, and several ranks. The model is in `sam/model.rs`.
//!
//! ```sh
//! cargo run --release --example sam                 # draws scenes; another run continues from the checkpoint
//! cargo run --release --example sam -- --fresh 'sa1b/*.tar'
//! for rank in 0 1; do RANK=$rank WORLD_SIZE=2 cargo run --release --example sam & done; wait
//! ```
//!
//! On drawn scenes, the IoU of held-out masks rises from 0.03 to 0.67 in 500 steps; that of their boxes is 0.62.

#[path = "sam/model.rs"]
mod model;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use maskstream::index::resolve_patterns;
use maskstream::synth::{Preset, SynthOptions, write_shards};
use maskstream::{Augment, Crop, NegativeClicks, Prompts};
use maskstream::{BoxFormat, CandleBatch, CoordFrame, Distributed, Loader, MaskFilter, ShardSet, TopKBy};

use self::model::{Result, Sam};

// Keeps the pages of dropped tensors for the next batch.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub(crate) struct Settings {
    /// Files, directories or patterns. The last shard is held out.
    pub(crate) shards: Vec<String>,
    /// Directory of the checkpoint.
    pub(crate) out: PathBuf,
    /// Address and port where rank 0 waits for the others.
    pub(crate) master: String,
    /// Side of the canvas in pixels; masks have a quarter of it.
    pub(crate) side: u32,
    /// Images of a step, on all ranks together.
    pub(crate) batch: usize,
    /// Steps in all, with those before the checkpoint.
    pub(crate) steps: u64,
    /// Whether to ignore the checkpoint.
    pub(crate) fresh: bool,
}

fn main() -> Result<()> {
    let (flags, mut shards): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument == "--fresh");
    let (ranks, out) = (Distributed::from_env()?, PathBuf::from("target/sam-example"));
    if shards.is_empty() {
        let scenes = out.join("scenes");
        if ranks.rank == 0 && !scenes.exists() {
            // Under another name until all are there.
            let part = out.join("scenes.part");
            write_shards(&part, 5, &SynthOptions::new(Preset::Small).overwrite(true), &|_| ())?;
            fs::rename(part, &scenes)?;
        }
        shards.push(scenes.display().to_string());
    }
    // The names and the port of torchrun.
    let [address, port] = [("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29500")]
        .map(|(name, default)| std::env::var(name).unwrap_or_else(|_| default.to_owned()));
    let master = format!("{address}:{port}");
    let settings = Settings { shards, out, master, side: 128, batch: 8, steps: 500, fresh: !flags.is_empty() };
    let [before, after] = train(&settings, &ranks, |step, loss, _| {
        if step % 25 == 0 {
            println!("step {step}: loss {loss:.3}");
        }
    })?;
    println!("held-out IoU: {:.3} before, {:.3} after, {:.3} of the boxes alone", before[0], after[0], after[1]);
    Ok(())
}

/// Trains, and returns the [IoUs](Sam::evaluate) on the held-out shard before and after.
pub(crate) fn train(
    settings: &Settings,
    ranks: &Distributed,
    mut after_step: impl FnMut(u64, f32, &CandleBatch),
) -> Result<[[f32; 2]; 2]> {
    if !settings.batch.is_multiple_of(ranks.world_size) {
        return Err(
            format!("{} images of a step are no whole number on {} ranks", settings.batch, ranks.world_size).into()
        );
    }
    fs::create_dir_all(&settings.out)?;
    // From here on, rank 0 has drawn the scenes.
    let mut peers = connect(&settings.master, ranks)?;
    let paths = resolve_patterns(&settings.shards)?;
    if paths.len() < 2 {
        return Err("name at least two shards: the last one is held out".into());
    }
    let (training, held_out) = paths.split_at(paths.len() - 1);
    // Neither masks that the grid cannot show nor the whole scene.
    let shards = ShardSet::builder().filter(MaskFilter::all().area_fraction(0.01, 0.5).min_masks(1));
    let clicks = Prompts::none().deepest(true).positive(1).negative(1, NegativeClicks::InBox);
    let options = Loader::builder()
        .image_size(settings.side)
        .mask_size([settings.side / 4, settings.side / 4])
        .top_k(4)
        .top_k_by(TopKBy::AreaStratified { seed: 1 })
        .box_format(BoxFormat::Xyxy)
        .coord_frame(CoordFrame::CanvasPixels)
        .prompts(clicks.box_jitter(0.1, 20.0));
    // Not augmented, and always epoch 0: the same images, masks and prompts each time.
    let held_out = options.clone().batch_size(settings.batch).build(shards.clone().open(held_out)?)?;
    let training = options
        .augment(Augment::sam().crop(Crop::ScaleJitter { scale: [0.7, 2.0] }).min_visible(0.3, 100))
        .batch_size(settings.batch / ranks.world_size)
        .shuffle(42)
        .drop_last(true)
        .distributed(ranks)
        .build(shards.open(training)?)?;

    let mut model = Sam::new(&Device::Cpu)?;
    let before = model.evaluate(&held_out)?;
    let checkpoint = settings.out.join("checkpoint.safetensors");
    let cursor = if checkpoint.exists() && !settings.fresh { model.load(&checkpoint)? } else { None };
    let mut epoch = cursor.map_or(0, |cursor| cursor.epoch());
    let first = cursor.map_or_else(|| training.epoch(0), |cursor| training.resume_from(&cursor));
    let mut batches = first?.candle(&Device::Cpu);
    while model.steps < settings.steps {
        let Some(batch) = batches.next().transpose()? else {
            epoch += 1;
            batches = training.epoch(epoch)?.candle(&Device::Cpu);
            continue;
        };
        let (loss, gradient) = model.loss_and_gradient(&batch)?;
        let gradient = average(gradient, &mut peers, ranks)
            .map_err(|e| format!("a rank has gone ({e}): start all of them to continue from the checkpoint"))?;
        model.step(&gradient)?;
        after_step(model.steps, loss, &batch);
        // The cursor is the same on all ranks, and so are the weights.
        if ranks.rank == 0 && (model.steps % 50 == 0 || model.steps == settings.steps) {
            model.save(&checkpoint, batch.cursor)?;
        }
    }
    if let Some(verdict) = training.stats().verdict() {
        println!("{verdict}");
    }
    Ok([before, model.evaluate(&held_out)?])
}

/// Connects rank 0 with the others. A job on GPUs has NCCL instead of this and of [`average`].
fn connect(master: &str, ranks: &Distributed) -> Result<Vec<TcpStream>> {
    let (listener, wanted) = match (ranks.rank, ranks.world_size - 1) {
        (_, 0) => return Ok(vec![]),
        (0, others) => {
            let bound =
                TcpListener::bind(master).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
            (Some(bound.map_err(|e| format!("{master}: {e}; set MASTER_PORT to a free port"))?), others)
        }
        _ => (None, 1),
    };
    let (mut peers, start) = (vec![], Instant::now());
    while peers.len() < wanted {
        if start.elapsed() > Duration::from_secs(60) {
            return Err(format!("{} of {wanted} ranks answered at {master} within a minute", peers.len()).into());
        }
        let peer = match &listener {
            Some(listener) => listener.accept().map(|(peer, _)| peer),
            None => TcpStream::connect(master),
        };
        // Whoever else may use the port does not know the number of ranks.
        match peer.and_then(|peer| greeted(peer, ranks.world_size as u32)) {
            Ok(peer) => peers.push(peer),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    Ok(peers)
}

/// Both sides say how many ranks there are.
fn greeted(mut peer: TcpStream, world_size: u32) -> io::Result<TcpStream> {
    peer.set_nonblocking(false)?;
    peer.set_read_timeout(Some(Duration::from_secs(5)))?;
    peer.write_all(&world_size.to_le_bytes())?;
    let mut answer = [0; 4];
    peer.read_exact(&mut answer)?;
    peer.set_read_timeout(Some(Duration::from_secs(600)))?;
    if answer == world_size.to_le_bytes() { Ok(peer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// The mean of the gradients of all ranks. Rank 0 adds them up.
fn average(gradient: Tensor, peers: &mut [TcpStream], ranks: &Distributed) -> Result<Tensor> {
    let mut sum = gradient.to_vec1::<f32>()?;
    let mut received = sum.clone();
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
    Ok((Tensor::new(sum, gradient.device())? / ranks.world_size as f64)?)
}
