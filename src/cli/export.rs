//! `maskstream export`. Comes in: shards and batch settings. Goes out: the first batches as one safetensors file, every
//! field under its own name. Fails as the loader does, or if the file cannot be written.

use std::path::PathBuf;

use super::args::LoaderArgs;
use super::tensors::{stacked, write};
use super::{Outcome, progress};

/// Write the first batches to a safetensors file, to look at them from Python or anywhere else
///
/// Batches are stacked: N batches of B samples make N*B rows. In Python:
/// `safetensors.numpy.load_file("batch.safetensors")`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    loader: LoaderArgs,
    /// Number of batches
    #[arg(long, default_value_t = 1, value_name = "N")]
    batches: u64,
    /// File to write
    #[arg(short, long, default_value = "batch.safetensors", value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn run(args: &Args) -> Outcome {
    let loader = args.loader.loader()?;
    let mut epoch = loader.epoch(0)?;
    let batches = args.batches.min(loader.steps().unwrap_or(0));
    let bar = progress::bar(batches, "decoding", "batches");
    let mut columns: Vec<Vec<u8>> = vec![Vec::new(); loader.layout().fields().len()];
    for batch in epoch.by_ref().take(batches as usize) {
        let batch = batch?;
        for (column, field) in columns.iter_mut().zip(batch.fields()) {
            column.extend_from_slice(field.bytes);
        }
        for failed in batch.errors() {
            eprintln!("maskstream: row {} of batch {} is empty: {}", failed.row, batch.step(), failed.error);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    write(&args.output, loader.layout(), batches as usize, &columns)?;
    let bytes: usize = columns.iter().map(Vec::len).sum();
    say!("{}: {batches} batches, {:.1} MB", args.output.display(), bytes as f64 / 1e6);
    for field in loader.layout().fields() {
        say!("  {:16} {:?} {:?}", field.name(), field.dtype, stacked(&field.shape, batches as usize));
    }
    Ok(())
}
