//! `maskstream replay`: decodes one batch of a training run again, from a cursor, and prints its samples and the values
//! in its fields.

use std::path::{Path, PathBuf};

use maskstream::{Augment, Batch, Cursor, DType, FieldView, Loader};
use serde::Serialize;

use super::advice::in_flags;
use super::args::LoaderArgs;
use super::output::{Outcome, unbroken, wrap};
use super::target::Target;
use super::tensors::write;
use super::view::{LookArgs, for_pictures};

/// Decode one batch of a training run again, and show its samples and the values in its fields
///
/// Use it to find the sample behind a NaN loss. During training, log the cursor of each batch (`batch.cursor()`,
/// serialized as JSON). Then give it to this command, with the shards of the run.
///
/// The cursor holds the settings that decide which samples are in a batch: filter, top-k, seed, batch size and so on.
/// A flag that contradicts it is an error that names both values. Only lists must be given again (--ids, --quarantine).
/// Image size, --fit, number types and masks are not part of it: repeat them where augmentation or prompts are used,
/// which may depend on them. Without --rank and --world-size, the batch is that of all
/// ranks together. Interleaved sets need `Loader::replay` in a program of your own.
///
/// Prints for each row its image id, size and number of masks, the shard, and the position of the image in it, and what
/// augmentation has drawn for it; then a table with the minimum, mean and maximum of each field, and how many of its
/// values are NaN or infinite. Ids have no mean.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    loader: LoaderArgs,
    /// The cursor, as JSON or as the path of a JSON file
    #[arg(long, value_name = "JSON|FILE")]
    cursor: String,
    /// Batch of the cursor's epoch, counted from 0 [default: the one before the cursor]
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// Also write the batch to this safetensors file, as `maskstream export` does
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also draw the batch, as `maskstream view` does, to this PNG file
    #[arg(long, value_name = "FILE")]
    view: Option<PathBuf>,
    #[command(flatten)]
    look: LookArgs,
    /// Overwrite the files of --output and --view if they exist
    #[arg(long)]
    force: bool,
    /// Print one JSON object, for programs
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  maskstream replay sa1b --cursor cursor.json
  maskstream replay sa1b --cursor cursor.json --batch 1207 -o batch.safetensors
  maskstream replay sa1b --cursor cursor.json --view batch.png
  maskstream replay sa1b --cursor cursor.json --rank 3 --world-size 8

Exit status: 0 on success, also if a row cannot be decoded (it is listed); 1 if
the shards or settings are not those of the run; 2 if the arguments are wrong.";

#[derive(Serialize)]
struct Replay {
    epoch: u64,
    batch: u64,
    rows: Vec<Row>,
    fields: Vec<Values>,
}

/// A row: its sample, and where that is.
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
    drawn: Option<Drawn>,
    error: Option<String>,
}

/// What augmentation has drawn for a row.
#[derive(Serialize)]
struct Drawn {
    /// Left, top, right and bottom edge of what is shown, in pixels of the image.
    crop: [u32; 4],
    /// Width and height on the canvas.
    content: [u32; 2],
    flip_x: bool,
    flip_y: bool,
    turned: bool,
    colors: Vec<String>,
}

/// Statistics of a field over the valid rows.
#[derive(Serialize)]
struct Values {
    name: &'static str,
    min: f64,
    /// Ids have none.
    mean: Option<f64>,
    max: f64,
    not_finite: usize,
}

pub(super) fn run(args: &Args) -> Outcome {
    let output = target(args, args.output.as_deref(), None)?;
    let picture = target(args, args.view.as_deref(), args.output.as_deref())?;
    let cursor = read_cursor(&args.cursor)?;
    let loader = args.loader.loader_like(Some(&cursor))?;
    let step = match args.batch.or(cursor.step().checked_sub(1)) {
        Some(step) => step,
        None => {
            return Err(
                "the cursor is at the start of its epoch, before any batch: choose a batch with --batch N".into()
            );
        }
    };
    let batch = loader.replay(&cursor, step)?;
    if let Some(target) = &output {
        let columns: Vec<Vec<u8>> = batch.fields().map(|field| field.bytes.to_vec()).collect();
        write(target, loader.layout(), 1, &columns)?;
    }
    if let Some(target) = &picture {
        draw(args, &cursor, step, target)?;
    }
    let replay = Replay {
        epoch: batch.epoch(),
        batch: batch.step(),
        rows: rows(&loader, &batch, cursor.augment()?),
        fields: batch.fields().map(|field| values(&batch, field)).collect(),
    };
    if args.json {
        say!("{}", serde_json::to_string(&replay)?);
        return Ok(());
    }
    print(&replay)
}

/// A file to write, which is none of those that are read, nor another one that is written.
fn target<'a>(
    args: &Args,
    path: Option<&'a Path>,
    other: Option<&Path>,
) -> Result<Option<Target<'a>>, Box<dyn std::error::Error>> {
    let Some(path) = path else { return Ok(None) };
    let mut files = args.loader.files()?;
    files.push(PathBuf::from(&args.cursor));
    files.extend(other.map(Path::to_owned));
    Target::new(path, args.force, files).map(Some)
}

/// Decodes the batch once more, with fields that can be drawn, and writes its picture.
fn draw(args: &Args, cursor: &Cursor, step: u64, target: &Target<'_>) -> Outcome {
    let options = for_pictures(args.loader.loader_settings(Some(cursor))?);
    let loader = options.build(args.loader.open(args.loader.shard_settings(Some(cursor))?)?)?;
    let picture = args.look.draw(&loader.replay(cursor, step)?);
    target.write(|out| picture.write_png(out))
}

fn read_cursor(text: &str) -> Result<Cursor, Box<dyn std::error::Error>> {
    let (text, name) = match text.trim_start().starts_with('{') || text.trim() == "null" {
        true => (text.to_owned(), "the cursor".to_owned()),
        false => {
            let name = format!("the cursor in {text}");
            (std::fs::read_to_string(Path::new(text)).map_err(|e| format!("cannot read {name}: {e}"))?, name)
        }
    };
    let cursor = serde_json::from_str::<Option<Cursor>>(&text)
        .map_err(|e| format!("{name} cannot be read: {e}; it must be the JSON of a `Cursor`"))?;
    let none = "a batch has no cursor while shards have no index, so build the indexes before training, with \
                `maskstream index`";
    Ok(cursor.ok_or_else(|| format!("{name} is null: {none}"))?)
}

fn rows(loader: &Loader, batch: &Batch, augment: Option<Augment>) -> Vec<Row> {
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
            drawn: augment.and_then(|augment| drawn(batch, row, augment)),
            error: failed.map(|failed| in_flags(&failed.error)),
        });
    }
    rows
}

fn drawn(batch: &Batch, row: usize, augment: Augment) -> Option<Drawn> {
    let geometry = batch.geometry_of(row)?;
    let [flip_x, flip_y] = geometry.flips();
    let colors = augment.color_steps(batch.epoch(), batch.image_ids()[row]);
    Some(Drawn {
        crop: geometry.window(),
        content: [geometry.content_width(), geometry.content_height()],
        flip_x,
        flip_y,
        turned: geometry.is_turned(),
        colors: colors.iter().map(|step| format!("{step:?}")).collect(),
    })
}

fn values(batch: &Batch, field: FieldView<'_>) -> Values {
    let numbers: Vec<f64> = numbers(field);
    let per_row = numbers.len() / batch.samples().len().max(1);
    let rows = numbers.chunks(per_row.max(1)).zip(batch.image_valid());
    let valid: Vec<f64> = rows.filter(|(_, valid)| **valid == 1).flat_map(|(row, _)| row.iter().copied()).collect();
    let finite: Vec<f64> = valid.iter().copied().filter(|value| value.is_finite()).collect();
    Values {
        name: field.spec.name(),
        min: finite.iter().copied().fold(f64::NAN, f64::min),
        mean: (field.spec.dtype != DType::I64).then(|| finite.iter().sum::<f64>() / finite.len() as f64),
        max: finite.iter().copied().fold(f64::NAN, f64::max),
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

impl std::fmt::Display for Drawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { crop: [left, top, right, bottom], content: [width, height], flip_x, flip_y, turned, colors } = self;
        write!(f, "drawn: x {left} to {right}, y {top} to {bottom}, as {width} x {height}")?;
        let flips =
            [(*flip_x, "flipped left to right"), (*flip_y, "flipped top to bottom"), (*turned, "columns as rows")];
        flips.iter().filter(|(is_so, _)| *is_so).try_for_each(|(_, way)| write!(f, ", {way}"))?;
        colors.iter().try_for_each(|step| write!(f, ", {step}"))
    }
}

fn print(replay: &Replay) -> Outcome {
    let Replay { epoch, batch, rows, fields } = replay;
    say!("epoch {epoch}, batch {batch}: {} samples", rows.len());
    for row in rows {
        let Row { row, image_id, shard, image, image_offset, image_bytes, height, width, masks, drawn, .. } = row;
        say!("  {row:3}  image {image_id}: {width} x {height}, {masks} masks");
        let (shard, image) = (unbroken(shard), unbroken(image));
        let place = format!("       {shard}, {image} at {image_offset} ({image_bytes} bytes)");
        say!("{}", wrap(&place));
        if let Some(drawn) = drawn {
            say!("{}", wrap(&format!("       {drawn}")));
        }
    }
    for Row { row, annotations, annotations_offset, annotations_bytes, error, .. } in rows {
        if let Some(error) = error {
            say!("{}", wrap(&format!("  {row:3}  CANNOT BE DECODED: {error}")));
            let annotations = unbroken(annotations);
            let place =
                format!("       annotations: {annotations} at {annotations_offset} ({annotations_bytes} bytes)");
            say!("{}", wrap(&place));
        }
    }
    say!("  {:16} {:>14} {:>14} {:>14} {:>12}", "field", "min", "mean", "max", "NaN or inf");
    for Values { name, min, mean, max, not_finite } in fields {
        match mean {
            Some(mean) => say!("  {name:16} {min:14.4} {mean:14.4} {max:14.4} {not_finite:12}"),
            None => say!("  {name:16} {min:14} {:>14} {max:14} {not_finite:12}", ""),
        }
    }
    Ok(())
}
