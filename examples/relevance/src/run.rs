//! A whole run: opens the data, trains, evaluates, writes the output files and decides the exit code.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::ValueEnum;

use crate::args::{Args, AugmentPreset, Settings, Task};
use crate::checkpoint::Checkpoint;
use crate::data::{Data, MAX_ALLOCATED_MASKS};
use crate::evaluate::{Heads, evaluate};
use crate::init::init_weights;
use crate::model::Model;
use crate::query::{PointSampler, QuerySampler};
use crate::report::Report;
use crate::result::Result;
use crate::state_dict::{self, StateDict};
use crate::{figure, loss_plot};

/// Examples in the figure.
const EXAMPLES: usize = 6;

/// File name of the trained weights.
const WEIGHTS: &str = "weights.safetensors";

/// Builds a model from its weights, and from the optimizer's state if the dict holds it.
pub type BuildFn<'a, M> = &'a dyn Fn(&StateDict) -> Result<M>;

/// Trains a model: with [`train`](crate::train::train), or with the framework's own trainer.
pub type TrainFn<'a, M> = &'a dyn Fn(&Data, M, Option<Checkpoint>) -> Result<(M, Report)>;

/// The exit code of `main`; prints the error if there is one.
pub fn exit_code(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// Runs a job. `shapes` are the names and shapes of the head's weights.
///
/// Exits with 0 if the trained head beats the baselines or if the run stops early, else with 2. Fails if a part of it
/// fails.
pub fn run<M: Model>(
    args: &Args,
    settings: &Settings,
    shapes: &[(String, Vec<usize>)],
    build: BuildFn<'_, M>,
    train: TrainFn<'_, M>,
) -> Result<ExitCode> {
    let start = Instant::now();
    fs::create_dir_all(&args.out).map_err(|e| format!("cannot create {}: {e}", args.out.display()))?;
    let (grid, steps) = (settings.grid, settings.steps);
    match settings.task {
        Task::Point => {
            println!(
                "Task: given one patch of an image, which of its {grid} x {grid} patches belong to the same object?\n"
            );
        }
        Task::Allocate => {
            println!("Task: how should an image's {grid} x {grid} patches be divided among all objects in it?\n");
        }
    }
    let checkpoint = Checkpoint::for_resume(args, settings)?;
    let initial = match &args.init {
        Some(path) => read_init(path, args, shapes)?,
        None => init_weights(shapes, settings.seed),
    };
    let data = Data::open(args, *settings)?;
    let model = match &checkpoint {
        Some(checkpoint) => {
            print_labelled("resumed", format!("after {} of {steps} steps", checkpoint.steps()));
            if !checkpoint.has_cursor() {
                println!("its shards had no index, so their epoch starts over; with an index, no sample is repeated");
            }
            build(&checkpoint.state)?
        }
        None => {
            if args.resume {
                print_labelled("resumed", "no checkpoint yet: starting from step 0");
            }
            build(&initial)?
        }
    };
    let count: usize = shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let targets = match settings.task {
        Task::Point => format!("up to {} queries each", settings.queries),
        Task::Allocate => format!("up to {MAX_ALLOCATED_MASKS} masks each"),
    };
    let augment = match settings.augment {
        AugmentPreset::None => String::new(),
        preset => {
            format!(", augment {}", preset.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned()))
        }
    };
    print_labelled(
        "training",
        format!(
            "{count} weights, {steps} steps of {} images with {targets}, seed {}{augment}",
            settings.batch_size, settings.seed
        ),
    );
    let (model, report) = train(&data, model, checkpoint)?;
    print_labelled(
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
    if let Some(verdict) = data.train.stats().verdict() {
        print_labelled("loader", verdict);
    }
    let [weights_path, loss_path, figure_path] = [WEIGHTS, "loss.png", "examples.png"].map(|name| args.out.join(name));
    let state = model.state_dict()?;
    state_dict::write(&weights_path, &state_dict::select(&state, shapes)?, None)?;
    loss_plot::draw(&report.losses, &loss_path)?;
    if report.steps() < steps {
        println!("stopped after {} of {steps} steps; continue with --resume", report.steps());
        return Ok(ExitCode::SUCCESS);
    }

    let held_out = data.held_out()?;
    let evaluation_start = Instant::now();
    let sampler = QuerySampler { settings: *settings, points: PointSampler::Annotated };
    let batches = model.batches(held_out.epoch(0)?, &sampler);
    let heads = Heads { trained: &model, untrained: &build(&initial)? };
    let images = held_out.shards().map_or(0, |shards| shards.len() as usize);
    let (table, examples) = evaluate(batches, settings.task, heads, images, EXAMPLES)?;
    let seconds = evaluation_start.elapsed().as_secs_f64();
    print_labelled(
        "evaluated",
        format!("{} queries on {} held-out images in {seconds:.1} s", table.queries(), table.images()),
    );
    let verdict = table.verdict();
    println!("\n{table}\n\n{verdict}\n");
    figure::draw(&examples, &figure_path)?;
    println!("wrote {}, {}", weights_path.display(), loss_path.display());
    println!("wrote {} (image | target | prediction | kept patches)", figure_path.display());
    println!("total time: {:.1} s", start.elapsed().as_secs_f64());

    let criterion = match settings.task {
        Task::Point => "the trained head beats the distance to the point and the colour distance in AUC and best IoU",
        Task::Allocate => "the trained head beats the strongest edges in coverage",
    };
    let Some(doubt) = verdict.doubt() else {
        println!("success: {criterion}");
        return Ok(ExitCode::SUCCESS);
    };
    println!("no success; the criterion is that {criterion},");
    println!("but {doubt}");
    Ok(ExitCode::from(2))
}

/// Reads the weights of `--init`. Rejects the files that this run writes: the table needs the initial weights.
fn read_init(path: &Path, args: &Args, shapes: &[(String, Vec<usize>)]) -> Result<StateDict> {
    let name = path.display();
    let state = state_dict::read(path)?.0;
    for written in [args.out.join(WEIGHTS), Checkpoint::path(&args.out), Checkpoint::backup_path(&args.out)] {
        if written.exists() && fs::canonicalize(&written)? == fs::canonicalize(path)? {
            return Err(format!("--init {name} would be overwritten: use another --out").into());
        }
    }
    let does_not_fit = |e| format!("{name}: {e}; --preset, --context and --task must match the training of this file");
    Ok(state_dict::select(&state, shapes).map_err(does_not_fit)?)
}

fn print_labelled(label: &str, text: impl Display) {
    println!("{label:>10}: {text}");
}
