//! `maskstream synth`. Comes in: a directory, counts, a seed. Goes out: shards. Fails if they cannot be written or
//! photos cannot be read.

use std::path::PathBuf;

use clap::ValueEnum;
use maskstream::synth::{Preset, SynthOptions, write_shards};

use super::{Outcome, progress};

/// Make shards in the form of the official ones, from drawn scenes or from photos
///
/// Images and masks are made up, so nothing is under anyone else's licence; the same seed makes the same bytes. Members
/// stand in random order, image and json of a sample apart, as in the official files.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Directory to write sa_000000.tar, sa_000001.tar, ... to
    dir: PathBuf,
    /// Number of shards
    #[arg(long, default_value_t = 1, value_name = "N")]
    shards: usize,
    /// Samples per shard
    #[arg(long, default_value_t = 64, value_name = "M")]
    samples: usize,
    /// Compress the shards as the official ones are (still named .tar)
    #[arg(long)]
    gzip: bool,
    /// full: shorter side 1500, about 100 masks and 1 MB an image; small: about 384x256, for demos
    #[arg(long, value_enum, default_value = "full")]
    preset: PresetArg,
    /// Use the JPEG and PNG photos in this directory in place of drawn scenes; their masks are regions of similar
    /// colour
    #[arg(long, value_name = "DIR")]
    photos: Option<PathBuf>,
    /// Seed of everything drawn
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum PresetArg {
    Full,
    Small,
}

pub(super) fn run(args: &Args) -> Outcome {
    let preset = match args.preset {
        PresetArg::Full => Preset::Full,
        PresetArg::Small => Preset::Small,
    };
    let options = SynthOptions::new(preset).seed(args.seed).samples(args.samples).gzip(args.gzip);
    let options = match &args.photos {
        Some(dir) => options.photos(dir),
        None => options,
    };
    let bar = progress::bar((args.shards * args.samples) as u64, "drawing", "samples");
    let paths = write_shards(&args.dir, args.shards, &options, &|samples| bar.set_position(samples))?;
    bar.finish_and_clear();
    for path in &paths {
        let bytes = std::fs::metadata(path)?.len();
        say!("{}: {} samples, {:.1} MB", path.display(), args.samples, bytes as f64 / 1e6);
    }
    Ok(())
}
