//! A training run from beginning to end. Comes in: the command line, and what makes a model. Goes out: files, a table, the
//! exit code. Fails as its parts do.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use super::args::{Args, Settings, Task};
use super::data::{Data, MASKS_TO_SHARE};
use super::evaluate::evaluate;
use super::initial::initial;
use super::lesson::{Ask, PointAt};
use super::model::{Model, Result};
use super::named::{self, Named};
use super::train::{Checkpoint, Report};
use super::{curve, picture};

/// Examples in the picture.
const EXAMPLES: usize = 6;

/// What the trained weights are called.
const WEIGHTS: &str = "weights.safetensors";

/// Makes a model of these weights (and the optimizer's moments, if they are among them).
pub(crate) type Make<'a, M> = &'a dyn Fn(&Named) -> Result<M>;

/// How a model learns: from a loader, through [`train`](super::train::train) or in the framework's own way.
pub(crate) type Learn<'a, M> = &'a dyn Fn(&Data, M, Option<Checkpoint>) -> Result<(M, Report)>;

/// Prints what went wrong, if something did.
pub(crate) fn exit_code(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// Opens the data, trains, evaluates, writes. `shapes` are those of the head's weights.
pub(crate) fn run<M: Model>(
    args: &Args,
    settings: &Settings,
    shapes: &[(String, Vec<usize>)],
    make: Make<'_, M>,
    learn: Learn<'_, M>,
) -> Result<ExitCode> {
    let start = Instant::now();
    fs::create_dir_all(&args.out).map_err(|e| format!("cannot create {}: {e}", args.out.display()))?;
    let (grid, steps) = (settings.grid, settings.steps);
    match settings.task {
        Task::Point => {
            println!(
                "Pointed at one patch of an image, which of its {grid} x {grid} patches belong to the same thing?\n"
            );
        }
        Task::Allocate => {
            println!("How should an image's {grid} x {grid} patches be shared among all that is in it?\n")
        }
    }
    let checkpoint = Checkpoint::of(args, settings)?;
    let first = match &args.init {
        Some(path) => begin_with(path, args, shapes)?,
        None => initial(shapes, settings.seed),
    };
    let data = Data::open(args, *settings)?;
    let model = match &checkpoint {
        Some(checkpoint) => {
            say("resumed", format!("after {} steps of {steps}", checkpoint.steps()));
            if !checkpoint.has_cursor() {
                println!(
                    "its shards had no index then, so their epoch begins anew; with one, not a sample is repeated"
                );
            }
            make(&checkpoint.state)?
        }
        None => {
            if args.resume {
                say("resumed", "nothing: there is no checkpoint yet");
            }
            make(&first)?
        }
    };
    let count: usize = shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let asked = match settings.task {
        Task::Point => format!("up to {} queries each", settings.queries),
        Task::Allocate => format!("up to {MASKS_TO_SHARE} masks each"),
    };
    say(
        "training",
        format!(
            "{count} weights, {steps} steps of {} images with {asked}, seed {}",
            settings.batch_size, settings.seed
        ),
    );
    let (model, report) = learn(&data, model, checkpoint)?;
    say(
        "trained",
        format!(
            "{} steps in {:.1} s, {:.0} samples/s, {:.1} % of the time waiting for data, loss {:.4}",
            report.steps(),
            report.wall.as_secs_f64(),
            report.samples_per_s(),
            report.wait_percent(),
            report.loss()
        ),
    );
    let [weights, loss, picture] = [WEIGHTS, "loss.png", "examples.png"].map(|name| args.out.join(name));
    let state = model.state()?;
    named::write(&weights, &named::take(&state, shapes)?, None)?;
    curve::draw(&report.losses, &loss)?;
    if report.steps() < steps {
        println!("stopped at step {} of {steps}; --resume goes on", report.steps());
        return Ok(ExitCode::SUCCESS);
    }

    let held_out = data.held_out()?;
    let evaluating = Instant::now();
    let ask = Ask { settings: *settings, point_at: PointAt::Prompt };
    let lessons = model.lessons(held_out.epoch(0)?, &ask);
    let sizes = [held_out.shards().len() as usize, EXAMPLES];
    let (table, examples) = evaluate(lessons, settings.task, [&model, &make(&first)?], sizes)?;
    let seconds = evaluating.elapsed().as_secs_f64();
    say("evaluated", format!("{} queries on {} held-out images in {seconds:.1} s", table.queries(), table.images));
    println!("\n{table}\n");
    picture::draw(&examples, &picture)?;
    println!("wrote {}, {}", weights.display(), loss.display());
    println!("wrote {} (image | what is wanted | what the head says | the patches it keeps)", picture.display());
    println!("{:.1} s in all", start.elapsed().as_secs_f64());

    let (yes, above) = match settings.task {
        Task::Point => {
            (table.is_success(), "AUC and best IoU are above those of both distances, to the point and in colour")
        }
        Task::Allocate => (table.is_success(), "the head keeps more of the masks than the strongest edges do"),
    };
    if yes {
        println!("success: {above}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("not a success, which it would be if {above}; try more --steps");
    Ok(ExitCode::from(2))
}

/// The weights of a file of `--init`. It may be none that this run writes: its table has the head as it began.
fn begin_with(path: &Path, args: &Args, shapes: &[(String, Vec<usize>)]) -> Result<Named> {
    let name = path.display();
    let arrays = named::read(path)?.0;
    for written in [args.out.join(WEIGHTS), Checkpoint::path(&args.out), Checkpoint::path_before(&args.out)] {
        if written.exists() && fs::canonicalize(&written)? == fs::canonicalize(path)? {
            return Err(format!("--init {name} would be overwritten: give this run another --out").into());
        }
    }
    let fits = |e| format!("{name}: {e}; --preset, --context and --task must go with what it was trained with");
    Ok(named::take(&arrays, shapes).map_err(fits)?)
}

fn say(what: &str, how: impl Display) {
    println!("{what:>10}: {how}");
}
