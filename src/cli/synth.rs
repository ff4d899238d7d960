//! `maskstream synth`: generates shards.

use std::path::PathBuf;

use clap::ValueEnum;
use maskstream::synth::{Preset, SynthOptions, write_shards};

use super::output::{Outcome, size};
use super::progress;
use super::size::parse_count;

/// Generate shards in the official form, from drawn scenes or from your photos
///
/// Use it to try out the other commands, or to test a training program, without SA-1B itself. The scenes are drawn by
/// this program, so no other licence applies. The same seed gives the same bytes. As in the official files, members are
/// in random order, and the image and the json of a sample are not neighbours. Prints a line for each shard.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Directory to write sa_000000.tar, sa_000001.tar, ... to; created if necessary
    dir: PathBuf,
    /// Number of shards
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = parse_count::<1_000_000>)]
    shards: usize,
    /// Samples per shard
    #[arg(long, default_value_t = 64, value_name = "M", value_parser = parse_count::<100_000_000>)]
    samples: usize,
    /// Compress the shards with gzip; they are still named .tar, as the official ones are
    #[arg(long)]
    gzip: bool,
    /// Size of the samples
    #[arg(long, value_enum, default_value = "full")]
    preset: PresetArg,
    /// Make the images from the JPEG and PNG photos in this directory
    ///
    /// They are cropped and scaled to the preset's sizes. Their masks are regions of similar colour.
    #[arg(long, value_name = "DIR")]
    photos: Option<PathBuf>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Overwrite shards of the same names in DIR
    ///
    /// Note that sa_000000.tar is also the name of an official shard.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum PresetArg {
    /// Like SA-1B: shorter side 1500 pixels, about 100 masks and 1 MB per image
    Full,
    /// For demos and tests: about 384 x 256 pixels, 20 to 40 masks, 15 to 40 KB
    Small,
}

const EXAMPLES: &str = "\
Examples:
  maskstream synth demo --preset small
  maskstream synth full --shards 2 --samples 500 --gzip
  maskstream synth mine --photos ~/Pictures --preset small

Exit status: 0 on success; 1 if a shard exists already or cannot be written, or
if none of the photos can be read; 2 if the arguments are wrong.";

pub(super) fn run(args: &Args) -> Outcome {
    let preset = match args.preset {
        PresetArg::Full => Preset::Full,
        PresetArg::Small => Preset::Small,
    };
    let options = SynthOptions::new(preset).seed(args.seed).samples(args.samples).gzip(args.gzip);
    let options = options.overwrite(args.force);
    let options = match &args.photos {
        Some(dir) => options.photos(dir),
        None => options,
    };
    let bar = progress::bar((args.shards * args.samples) as u64, "drawing", "samples");
    let paths = write_shards(&args.dir, args.shards, &options, &|samples| bar.set_position(samples))?;
    bar.finish_and_clear();
    for path in &paths {
        let bytes = std::fs::metadata(path)?.len();
        say!("{}: {} samples, {}", path.display(), args.samples, size(bytes));
    }
    Ok(())
}
