//! `maskstream view`: shows samples as pictures, in the terminal or as a PNG file.

mod picture;
mod select;
mod terminal;
mod tile;

use std::path::{Path, PathBuf};

use maskstream::{
    Batch, BoxFormat, CoordFrame, DType, Fit, Loader, LoaderBuilder, MaskFormat, MaskKind, Normalization, ScaledDecode,
    ShardSet, TopKBy,
};
use serde::Serialize;

use super::advice::misuse;
use super::args::LoaderArgs;
use super::output::{Outcome, WrongArguments, counted, unbroken, wrap};
use super::target::Target;
use picture::Picture;
use select::{Choice, SelectArgs};
use terminal::Protocol;
use tile::Look;

/// Show samples as a model gets them: images with masks, boxes, points and clicks
///
/// Draws the fields of a batch, with all settings of the loader: --fit, --augment, --top-k and so on. Without further
/// flags, it shows the first samples of the first epoch. In a terminal, the picture is shown there; -o writes a PNG.
///
/// Each mask has an outline, a tint and a number; small masks are drawn over large ones. The number leads to the list
/// that is printed, with the id, the scores and the area of each. The colour of an annotation is always the same. Boxes
/// are thin lines, and boxes that prompts have moved are white ones. A diamond is an annotated point, a disc a click in
/// the mask, and a cross a click beside it.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    loader: LoaderArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// Epoch to show: --augment and random orders differ from epoch to epoch
    #[arg(long, default_value_t = 0, value_name = "N")]
    epoch: u64,
    /// Show whole images as they are in the shards, with the largest 64 of the masks that pass the filter
    #[arg(long, conflicts_with_all = ["augment", "top_k"])]
    original: bool,
    #[command(flatten)]
    look: LookArgs,
    /// How the terminal shows pictures
    ///
    /// With auto, there is no picture if NO_COLOR is set or TERM is dumb.
    #[arg(long, value_enum, default_value = "auto", value_name = "PROTOCOL", conflicts_with = "output")]
    terminal: Protocol,
    /// Write the picture to this PNG file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
    /// Print one JSON object, for programs, and no picture in the terminal
    #[arg(long)]
    json: bool,
}

/// How the rows of a batch are drawn.
#[derive(clap::Args)]
pub(super) struct LookArgs {
    /// Longest side of a sample in the picture, in pixels
    #[arg(long, default_value_t = 512, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(16..=8192))]
    tile: u32,
    /// Samples side by side [default: as many as make the picture about square]
    #[arg(long, value_name = "N", value_parser = super::size::parse_count::<1024>)]
    columns: Option<usize>,
    /// Draw nothing on the images
    #[arg(long)]
    plain: bool,
}

const EXAMPLES: &str = "\
Examples:
  maskstream view sa1b/sa_000000.tar
  maskstream view sa1b --augment lsj --clicks 2 -o batch.png
  maskstream view sa1b --worst stability-score --batch-size 16 -o worst.png
  maskstream view sa1b --id 1 --original --tile 2250 -o sa_1.png

Exit status: 0 on success; 1 if a shard or a sample cannot be read, or if the
file exists or cannot be written; 2 if the arguments are wrong.";

/// Most masks of an original image.
const ORIGINAL_MASKS: usize = 64;

#[derive(Serialize)]
struct Shown {
    picture: Option<String>,
    rows: Vec<ShownRow>,
}

#[derive(Serialize)]
struct ShownRow {
    image_id: i64,
    shard: String,
    width: u32,
    height: u32,
    masks: Vec<ShownMask>,
    error: Option<String>,
}

#[derive(Serialize)]
struct ShownMask {
    number: usize,
    annotation_id: i64,
    predicted_iou: f32,
    stability_score: f32,
    area: f32,
}

pub(super) fn run(args: &Args) -> Outcome {
    let target = match &args.output {
        Some(path) => {
            if path.extension().is_some_and(|extension| !extension.eq_ignore_ascii_case("png"))
                || path == Path::new("-")
            {
                let why = format!("{}: the picture is a PNG, so name it FILE.png", path.display());
                return Err(WrongArguments(why).into());
            }
            Some(Target::new(path, args.force, args.loader.files()?)?)
        }
        None if args.json || terminal::is_there() => None,
        None => {
            let why = "standard output is no terminal: name a file for the picture with -o FILE.png, or take --json";
            return Err(WrongArguments(why.to_owned()).into());
        }
    };
    let (mut tiles, mut rows) = (Vec::new(), Vec::new());
    args.loader.check(None, args.select.random)?;
    let choices = args.select.choices(&args.loader)?;
    for loader in loaders(args, choices.clone())? {
        let Some(batch) = loader.epoch(args.epoch)?.next() else { continue };
        let batch = batch?;
        tiles.extend(tile::all(&batch, &args.look.look(args.original)));
        rows.extend(shown_rows(&loader, &batch));
    }
    select::warn_missing(&choices.unwrap_or_default(), |image, annotation| {
        let mut shown = rows.iter().filter(|row: &&ShownRow| row.image_id == image);
        shown.any(|row| row.masks.iter().any(|mask| mask.annotation_id == annotation))
    });
    let picture = Picture::grid(&tiles, args.look.columns);
    if let Some(target) = &target {
        target.write(|out| picture.write_png(out))?;
    } else if !args.json {
        terminal::show(&picture, args.terminal)?;
    }
    let picture = args.output.as_ref().map(|path| path.display().to_string());
    let shown = Shown { picture, rows };
    if args.json {
        say!("{}", serde_json::to_string(&shown)?);
        return Ok(());
    }
    print(&shown, args.original)
}

impl LookArgs {
    fn look(&self, is_cut: bool) -> Look {
        Look { side: self.tile, is_plain: self.plain, is_cut }
    }

    /// All rows of a batch whose fields are those of [`for_pictures`].
    pub(super) fn draw(&self, batch: &Batch) -> Picture {
        Picture::grid(&tile::all(batch, &self.look(false)), self.columns)
    }
}

/// The loaders whose first batches are shown: one of all samples, or one for each original image.
fn loaders(args: &Args, choices: Option<Vec<Choice>>) -> Result<Vec<Loader>, Box<dyn std::error::Error>> {
    if !args.original {
        return Ok(vec![loader(&args.loader, choices.as_deref(), |_, options| options)?]);
    }
    let mut choices = choices.map_or_else(|| select::first(&args.loader), Ok)?;
    select::locate(&mut choices, &args.loader)?;
    let tile = args.look.tile;
    let as_it_is = |set: &ShardSet, options: LoaderBuilder| {
        let side = select::entries(set).map(|(_, entry)| entry.width.max(entry.height)).max().unwrap_or(1);
        let options = options.image_size(side).fit(Fit::Letterbox).scaled_decode(ScaledDecode::Full);
        options.mask_size([tile.min(side); 2]).top_k(ORIGINAL_MASKS).top_k_by(TopKBy::LargestArea)
    };
    choices.iter().map(|choice| loader(&args.loader, Some(std::slice::from_ref(choice)), as_it_is)).collect()
}

/// A loader of the chosen samples, with the fields in the form that they are drawn from.
fn loader(
    args: &LoaderArgs,
    choices: Option<&[Choice]>,
    change: impl FnOnce(&ShardSet, LoaderBuilder) -> LoaderBuilder,
) -> Result<Loader, Box<dyn std::error::Error>> {
    let (shards, mut options) = (args.shard_settings(None)?, for_pictures(args.loader_settings(None)?));
    let set = match choices {
        Some(choices) => {
            let ids = select::ids(choices)?;
            options = options.batch_size(ids.len());
            if let Some(masks) = select::most_masks(choices) {
                options = options.top_k(masks);
            }
            args.open_some(shards.ids(ids), &select::shards(choices, args)?)?
        }
        None => args.open(shards)?,
    };
    options = change(&set, options);
    options.build(set).map_err(misuse)
}

/// Settings under which the fields of a batch can be drawn, and show the same.
pub(super) fn for_pictures(options: LoaderBuilder) -> LoaderBuilder {
    options
        .image_dtype(DType::U8)
        .normalize(Normalization::UNIT)
        .mask_kind(MaskKind::Nearest)
        .mask_format(MaskFormat::Bytes)
        .box_format(BoxFormat::Xyxy)
        .coord_frame(CoordFrame::CanvasPixels)
        .prefetch_batches(1)
}

fn shown_rows(loader: &Loader, batch: &Batch) -> Vec<ShownRow> {
    let top_k = batch.layout().top_k();
    let Some(set) = loader.shards() else { return Vec::new() };
    let rows = batch.samples().iter().enumerate().filter_map(|(row, sample)| Some((row, (*sample)?)));
    let shown = |(row, sample)| {
        let entry = set.entry(sample)?;
        let mask = |k: usize| ShownMask {
            number: k + 1,
            annotation_id: batch.annotation_ids()[row * top_k + k],
            predicted_iou: batch.predicted_iou()[row * top_k + k],
            stability_score: batch.stability_score()[row * top_k + k],
            area: batch.area()[row * top_k + k],
        };
        let failed = batch.errors().iter().find(|failed| failed.row == row);
        Some(ShownRow {
            image_id: entry.image_id,
            shard: set.shard_path(sample).map_or_else(String::new, |path| path.display().to_string()),
            width: entry.width,
            height: entry.height,
            masks: (0..top_k).filter(|k| batch.valid()[row * top_k + k] == 1).map(mask).collect(),
            error: failed.map(|failed| super::advice::in_flags(&failed.error)),
        })
    };
    rows.filter_map(shown).collect()
}

fn print(shown: &Shown, is_original: bool) -> Outcome {
    for ShownRow { image_id, shard, width, height, masks, error } in &shown.rows {
        let largest = if is_original && masks.len() == ORIGINAL_MASKS { "the largest " } else { "" };
        say!(
            "{}",
            wrap(&format!(
                "image {image_id}: {width} x {height}, {largest}{}, {}",
                counted(masks.len(), "mask"),
                unbroken(shard)
            ))
        );
        if let Some(error) = error {
            say!("{}", wrap(&format!("  CANNOT BE DECODED: {error}")));
        }
        if !masks.is_empty() {
            say!(
                "  {:>3} {:>14} {:>13} {:>15} {:>10}",
                "",
                "annotation_id",
                "predicted_iou",
                "stability_score",
                "area"
            );
        }
        for ShownMask { number, annotation_id, predicted_iou, stability_score, area } in masks {
            say!("  {number:3} {annotation_id:14} {predicted_iou:13.3} {stability_score:15.3} {area:10}");
        }
    }
    if let Some(path) = &shown.picture {
        say!("wrote {path}");
    }
    Ok(())
}
