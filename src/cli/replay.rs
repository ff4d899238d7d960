//! `maskstream replay`. Comes in: shards, batch settings, a cursor. Goes out: one batch of the cursor's epoch, decoded
//! alone: where each row comes from, what each field holds. Fails as resuming does: on other shards or settings.

use std::path::{Path, PathBuf};

use maskstream::{Batch, Cursor, FieldView, Loader};
use serde::Serialize;

use super::Outcome;
use super::args::LoaderArgs;
use super::tensors::write;

/// Decode one batch that a training run has seen once more, and show where its rows come from and what they hold
///
/// For the day a loss turns NaN: save the cursor of each batch with the log (`batch.cursor()`, as JSON), and give it
/// here with the shards and the settings of the run. Settings that change which samples stand in a batch must be the
/// same, and the message says which one is not; image size, types and masks may be others. On one of several ranks,
/// give --rank and --world-size as well. A run with settings that have no argument here (mixtures, filters by area)
/// calls `Loader::replay` itself.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    loader: LoaderArgs,
    /// The cursor: JSON, or a file that holds it
    #[arg(long, value_name = "JSON|FILE")]
    cursor: String,
    /// Number of the batch in the cursor's epoch, from 0; by default the one the cursor stands behind
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// Also write the batch to this safetensors file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// One JSON object, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown {
    epoch: u64,
    batch: u64,
    rows: Vec<Row>,
    fields: Vec<Values>,
}

/// Where a row comes from.
#[derive(Serialize)]
struct Row {
    row: usize,
    image_id: i64,
    shard: String,
    image: String,
    image_offset: u64,
    image_bytes: u32,
    annotations: String,
    annotations_offset: u64,
    annotations_bytes: u32,
    height: u32,
    width: u32,
    masks: usize,
    error: Option<String>,
}

/// What a field holds in its valid rows.
#[derive(Serialize)]
struct Values {
    name: &'static str,
    least: f64,
    mean: f64,
    greatest: f64,
    not_finite: usize,
}

pub(super) fn run(args: &Args) -> Outcome {
    let cursor = read_cursor(&args.cursor)?;
    let loader = args.loader.loader()?;
    let step = match args.batch.or(cursor.step().checked_sub(1)) {
        Some(step) => step,
        None => return Err("the cursor stands before the first batch: name one with --batch".into()),
    };
    let batch = loader.replay(&cursor, step)?;
    if let Some(path) = &args.output {
        let columns: Vec<Vec<u8>> = batch.fields().map(|field| field.bytes.to_vec()).collect();
        write(path, loader.layout(), 1, &columns)?;
    }
    let shown = Shown {
        epoch: batch.epoch(),
        batch: batch.step(),
        rows: rows(&loader, &batch),
        fields: batch.fields().map(|field| values(&batch, field)).collect(),
    };
    if args.json {
        say!("{}", serde_json::to_string(&shown)?);
        return Ok(());
    }
    print(&shown)
}

fn read_cursor(text: &str) -> Result<Cursor, Box<dyn std::error::Error>> {
    let (text, name) = match text.trim_start().starts_with('{') {
        true => (text.to_owned(), "the cursor".to_owned()),
        false => {
            let name = format!("the cursor in {text}");
            (std::fs::read_to_string(Path::new(text)).map_err(|e| format!("cannot read {name}: {e}"))?, name)
        }
    };
    Ok(serde_json::from_str(&text).map_err(|e| format!("{name} cannot be read: {e}"))?)
}

fn rows(loader: &Loader, batch: &Batch) -> Vec<Row> {
    let mut rows = Vec::new();
    let Some(set) = loader.shards() else { return rows };
    for (row, sample) in batch.samples().iter().enumerate() {
        let Some((sample, entry)) = sample.and_then(|sample| Some((sample, set.entry(sample)?))) else { continue };
        let masks = batch.valid().len() / batch.samples().len();
        let failed = batch.errors().iter().find(|failed| failed.row == row);
        rows.push(Row {
            row,
            image_id: entry.image_id,
            shard: set.shard_path(sample).unwrap_or(Path::new("")).display().to_string(),
            image: entry.image_name(),
            image_offset: entry.image.offset,
            image_bytes: entry.image.len,
            annotations: entry.annotations_name(),
            annotations_offset: entry.annotations.offset,
            annotations_bytes: entry.annotations.len,
            height: entry.height,
            width: entry.width,
            masks: batch.valid()[row * masks..(row + 1) * masks].iter().filter(|&&valid| valid == 1).count(),
            error: failed.map(|failed| failed.error.to_string()),
        });
    }
    rows
}

fn values(batch: &Batch, field: FieldView<'_>) -> Values {
    let numbers: Vec<f64> = numbers(field);
    let per_row = numbers.len() / batch.samples().len().max(1);
    let rows = numbers.chunks(per_row.max(1)).zip(batch.image_valid());
    let valid: Vec<f64> = rows.filter(|(_, valid)| **valid == 1).flat_map(|(row, _)| row.iter().copied()).collect();
    let finite: Vec<f64> = valid.iter().copied().filter(|value| value.is_finite()).collect();
    Values {
        name: field.spec.name(),
        least: finite.iter().copied().fold(f64::NAN, f64::min),
        mean: finite.iter().sum::<f64>() / finite.len() as f64,
        greatest: finite.iter().copied().fold(f64::NAN, f64::max),
        not_finite: valid.len() - finite.len(),
    }
}

fn numbers(field: FieldView<'_>) -> Vec<f64> {
    fn all<T: Copy>(values: &[T], f: impl Fn(T) -> f64) -> Vec<f64> {
        values.iter().map(|&value| f(value)).collect()
    }
    None.or_else(|| field.values::<u8>().map(|values| all(values, f64::from)))
        .or_else(|| field.values::<u32>().map(|values| all(values, f64::from)))
        .or_else(|| field.values::<f32>().map(|values| all(values, f64::from)))
        .or_else(|| field.values::<half::f16>().map(|values| all(values, f64::from)))
        .or_else(|| field.values::<half::bf16>().map(|values| all(values, f64::from)))
        .or_else(|| field.values::<i64>().map(|values| all(values, |value| value as f64)))
        .unwrap_or_default()
}

fn print(shown: &Shown) -> Outcome {
    let Shown { epoch, batch, rows, fields } = shown;
    say!("epoch {epoch}, batch {batch}: {} samples", rows.len());
    for row in rows {
        let Row { row, image_id, shard, image, image_offset, image_bytes, height, width, masks, .. } = row;
        say!(
            "  {row:3}  image {image_id}: {width} x {height}, {masks} masks; {shard}, {image} at {image_offset} ({image_bytes} bytes)"
        );
    }
    for Row { row, annotations, annotations_offset, annotations_bytes, error, .. } in rows {
        if let Some(error) = error {
            say!("  {row:3}  CANNOT BE DECODED: {error}");
            say!("       its annotations: {annotations} at {annotations_offset} ({annotations_bytes} bytes)");
        }
    }
    say!("  {:16} {:>14} {:>14} {:>14} {:>12}", "field", "least", "mean", "greatest", "not finite");
    for Values { name, least, mean, greatest, not_finite } in fields {
        say!("  {name:16} {least:14.4} {mean:14.4} {greatest:14.4} {not_finite:12}");
    }
    Ok(())
}
