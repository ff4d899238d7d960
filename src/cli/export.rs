//! `maskstream export`: writes the first batches as one safetensors file with a tensor for each field.

use std::path::PathBuf;

use super::args::LoaderArgs;
use super::output::{Outcome, size, wrap};
use super::progress;
use super::size::parse_positive;
use super::target::Target;
use super::tensors::{stacked, write};

/// Write the first batches of an epoch to a safetensors file, to look at them in Python
///
/// The file has one tensor for each field of a batch: images, masks, boxes, scores, ids and so on. The batches are
/// stacked: N batches of B samples make N*B rows. Prints the name, number type and shape of each tensor.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    loader: LoaderArgs,
    /// Number of batches to write
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = parse_positive)]
    batches: u64,
    /// Epoch whose batches are written: --shuffle, --augment and random orders differ from epoch to epoch
    #[arg(long, default_value_t = 0, value_name = "N")]
    epoch: u64,
    /// File to write
    #[arg(short, long, default_value = "batch.safetensors", value_name = "FILE")]
    output: PathBuf,
    /// Also write the cursor behind the last batch to this file, for `maskstream replay --cursor FILE`
    #[arg(long, value_name = "FILE")]
    save_cursor: Option<PathBuf>,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "\
Examples:
  maskstream export 'sa1b/*.tar' --batches 2 -o batch.safetensors
  maskstream export sa1b --image-size 512 --image-dtype f32 --coverage 32
  maskstream export sa1b --shuffle --augment lsj --save-cursor cursor.json

In Python:
  fields = safetensors.numpy.load_file('batch.safetensors')
Masks of --mask-format bits have a byte for each eight cells of a row:
  masks = fields['masks']
  masks = numpy.unpackbits(masks, axis=-1, count=masks.shape[-2])

Exit status: 0 on success; 1 if a shard or a sample cannot be read (--skip N
tolerates some), or if the file exists or cannot be written; 2 if the arguments are wrong.";

pub(super) fn run(args: &Args) -> Outcome {
    let target = Target::new(&args.output, args.force, args.loader.files()?)?;
    let cursor_target = match &args.save_cursor {
        Some(path) => {
            let others = args.loader.files()?.into_iter().chain([args.output.clone()]);
            Some(Target::new(path, args.force, others.collect())?)
        }
        None => None,
    };
    let loader = args.loader.loader()?;
    let mut epoch = loader.epoch(args.epoch)?;
    let batches = args.batches.min(loader.steps().unwrap_or(0));
    let bar = progress::bar(batches, "decoding", "batches");
    let (mut failure, mut cursor) = (None, None);
    let mut columns: Vec<Vec<u8>> = vec![Vec::new(); loader.layout().fields().len()];
    for batch in epoch.by_ref().take(batches as usize) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        for (column, field) in columns.iter_mut().zip(batch.fields()) {
            column.extend_from_slice(field.bytes);
        }
        for failed in batch.errors() {
            tell!(
                "maskstream: row {} of batch {} is zeroed, because its sample cannot be decoded: {}",
                failed.row,
                batch.step(),
                failed.error
            );
        }
        cursor = batch.cursor();
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(error) = failure {
        tell!("maskstream: {}", epoch.report());
        return Err(error.into());
    }
    write(&target, loader.layout(), batches as usize, &columns)?;
    if let Some(target) = &cursor_target {
        target.write(|out| Ok(serde_json::to_writer(out, &cursor)?))?;
    }
    let bytes: usize = columns.iter().map(Vec::len).sum();
    say!("{}: {batches} batches, {}", args.output.display(), size(bytes as u64));
    for field in loader.layout().fields() {
        say!("  {:16} {:4} {:?}", field.name(), field.dtype, stacked(&field.shape, batches as usize));
    }
    say!("{}", wrap(&format!("  {}", epoch.report())));
    Ok(())
}
