//! Which samples are shown: by id, by place, at random, or those with the lowest scores.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use maskstream::index::{AnnotationStats, Entry};
use maskstream::internals::Permutation;
use maskstream::{IdList, SampleId, ShardSet};

use crate::cli::args::LoaderArgs;
use crate::cli::output::WrongArguments;
use crate::cli::stores;

const WHICH: &str = "Which samples to show";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// An image, and one of its annotations or all of them.
#[derive(Clone)]
pub(super) struct Choice {
    image: i64,
    annotation: Option<i64>,
    /// Its shard, if that is known. Then no other one has to be opened.
    shard: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct SelectArgs {
    /// Show these images: ids, or names such as sa_1; with IMAGE,ANNOTATION one mask of the image
    #[arg(long, value_name = "ID", num_args = 1.., conflicts_with = "ids", help_heading = WHICH)]
    id: Vec<String>,
    /// Show the samples at these places in the shards, counted from 0 over those that pass the filter
    #[arg(long, value_name = "N", num_args = 1.., group = "which", conflicts_with = "id", help_heading = WHICH)]
    index: Vec<usize>,
    /// Show as many random samples as a batch has (--batch-size); --seed chooses others
    #[arg(long, group = "which", conflicts_with = "id", help_heading = WHICH)]
    pub(super) random: bool,
    /// Show the masks that have the lowest score of those that pass the filter, each in its image
    #[arg(long, value_enum, value_name = "SCORE", group = "which", conflicts_with = "id", help_heading = WHICH)]
    worst: Option<Metric>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Metric {
    #[value(alias = "stability")]
    StabilityScore,
    #[value(alias = "iou")]
    PredictedIou,
    /// Number of pixels
    Area,
}

impl Metric {
    fn of(self, stats: &AnnotationStats) -> f64 {
        match self {
            Self::StabilityScore => f64::from(stats.stability_score),
            Self::PredictedIou => f64::from(stats.predicted_iou),
            Self::Area => stats.area as f64,
        }
    }
}

impl SelectArgs {
    /// What is chosen of the samples that pass the filter; `None` for the first batch.
    pub(super) fn choices(&self, loader: &LoaderArgs) -> Outcome<Option<Vec<Choice>>> {
        if !self.id.is_empty() {
            return Ok(Some(self.id.iter().map(|text| choice(text)).collect::<Result<_, _>>()?));
        }
        if self.index.is_empty() && !self.random && self.worst.is_none() {
            return Ok(None);
        }
        let set = selected(loader)?;
        if let Some(score) = self.worst {
            return worst(score, &set, loader).map(Some);
        }
        let samples = set.len() as usize;
        let places = if self.random { random(samples, loader) } else { self.index.clone() };
        let image = |place: usize| {
            let why = || format!("--index {place}: there are {samples} samples, counted from 0");
            entries(&set).nth(place).map(|found| image(&set, found)).ok_or_else(|| WrongArguments(why()))
        };
        Ok(Some(places.into_iter().map(image).collect::<Result<_, _>>()?))
    }
}

/// The choices as a list. It holds images or annotations, not both.
pub(super) fn ids(choices: &[Choice]) -> Result<IdList, WrongArguments> {
    let annotations: Vec<(i64, i64)> =
        choices.iter().filter_map(|choice| Some((choice.image, choice.annotation?))).collect();
    match annotations.len() {
        0 => Ok(IdList::images(choices.iter().map(|choice| choice.image))),
        all if all == choices.len() => Ok(IdList::annotations(annotations)),
        _ => Err(WrongArguments("--id: name images, or annotations as IMAGE,ANNOTATION, not both".to_owned())),
    }
}

/// The largest number of annotations of one image; `None` if all of each are chosen.
pub(super) fn most_masks(choices: &[Choice]) -> Option<usize> {
    let mut counts: HashMap<i64, usize> = HashMap::new();
    choices.iter().filter(|choice| choice.annotation.is_some()).for_each(|choice| {
        *counts.entry(choice.image).or_default() += 1;
    });
    counts.into_values().max()
}

/// Names the annotations that were chosen by id and are not among those that are shown.
pub(super) fn warn_missing(choices: &[Choice], is_shown: impl Fn(i64, i64) -> bool) {
    for Choice { image, annotation, .. } in choices {
        if let Some(annotation) = annotation.filter(|&annotation| !is_shown(*image, annotation)) {
            tell!("maskstream: image {image} has no annotation {annotation} that passes the filter");
        }
    }
}

/// The first samples, as many as a batch has.
pub(super) fn first(loader: &LoaderArgs) -> Outcome<Vec<Choice>> {
    let set = selected(loader)?;
    Ok(entries(&set).take(loader.samples_per_batch()).map(|found| image(&set, found)).collect())
}

/// The shards that hold the choices: all of them, if it is not known of each choice.
pub(super) fn shards(choices: &[Choice], loader: &LoaderArgs) -> Outcome<Vec<PathBuf>> {
    let known: Option<BTreeSet<PathBuf>> = choices.iter().map(|choice| choice.shard.clone()).collect();
    Ok(known
        .map_or_else(|| stores::resolve_patterns(&loader.shards.shards), |known| Ok(known.into_iter().collect()))?)
}

/// Finds the shards of choices that were given by id.
pub(super) fn locate(choices: &mut [Choice], loader: &LoaderArgs) -> Outcome<()> {
    if choices.iter().all(|choice| choice.shard.is_some()) {
        return Ok(());
    }
    let set = loader.open(loader.shard_settings(None)?.ids(ids(choices)?))?;
    let mut found: HashMap<i64, PathBuf> = HashMap::new();
    for (id, entry) in entries(&set) {
        found.extend(set.shard_path(id).map(|path| (entry.image_id, path.to_owned())));
    }
    choices.iter_mut().for_each(|choice| choice.shard = found.get(&choice.image).cloned());
    Ok(())
}

fn choice(text: &str) -> Result<Choice, WrongArguments> {
    let wrong = || WrongArguments(format!("--id {text}: it must be an id, a name such as sa_1, or IMAGE,ANNOTATION"));
    let (image, annotation) = match text.split_once(',') {
        Some((image, annotation)) => (image, Some(annotation.parse().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let image: IdList = image.parse().map_err(|_| wrong())?;
    Ok(Choice { image: *image.image_ids().first().ok_or_else(wrong)?, annotation, shard: None })
}

/// The samples of a set, in the order of the shards.
pub(super) fn entries(set: &ShardSet) -> impl Iterator<Item = (SampleId, &Entry)> {
    let of_shard = |shard: u32| (0..).map_while(move |entry| Some(SampleId { shard, entry }));
    let all = (0..set.reports().len() as u32).map(of_shard);
    all.flat_map(|ids| ids.map_while(|id| Some((id, set.entry(id)?))))
}

/// The samples that are selected and pass the filter.
fn selected(loader: &LoaderArgs) -> Outcome<ShardSet> {
    loader.open(loader.shard_settings(None)?)
}

/// The choice of one of them with all its annotations.
fn image(set: &ShardSet, (id, entry): (SampleId, &Entry)) -> Choice {
    Choice { image: entry.image_id, annotation: None, shard: set.shard_path(id).map(Path::to_owned) }
}

/// Different places below `samples`, as many as a batch has.
fn random(samples: usize, loader: &LoaderArgs) -> Vec<usize> {
    let order = Permutation::new(samples as u64, loader.seed());
    (0..samples.min(loader.samples_per_batch()) as u64).map(|at| order.get(at) as usize).collect()
}

/// The annotations in `set` that pass the filter and have the lowest scores, as many as a batch has samples.
fn worst(score: Metric, set: &ShardSet, loader: &LoaderArgs) -> Outcome<Vec<Choice>> {
    let images: HashSet<i64> = entries(set).map(|(_, entry)| entry.image_id).collect();
    let filter = loader.filter(None)?;
    let mut lowest: Vec<(f64, Choice)> = Vec::new();
    for path in stores::resolve_patterns(&loader.shards.shards)? {
        let shard = stores::indexer().sidecar(loader.shards.sidecar()).index(&path)?;
        let entries = shard.index.entries().iter().enumerate().filter(|(_, entry)| images.contains(&entry.image_id));
        for (at, entry) in entries {
            let stats = shard.index.stats(at).iter().filter(|stats| filter.keeps(stats, entry.width, entry.height));
            let choice = |id| Choice { image: entry.image_id, annotation: Some(id), shard: Some(path.clone()) };
            let scored = stats.map(|stats| (score.of(stats), choice(stats.id)));
            lowest.extend(scored.filter(|(score, _)| !score.is_nan()));
        }
        lowest.sort_by(|a, b| a.0.total_cmp(&b.0));
        lowest.truncate(loader.samples_per_batch());
    }
    if lowest.is_empty() {
        return Err("no mask that passes the filter has this score".into());
    }
    Ok(lowest.into_iter().map(|(_, choice)| choice).collect())
}
