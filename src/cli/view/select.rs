//! Which samples are shown: by id, by place, at random, or those with the lowest scores.

use std::collections::HashSet;

use clap::ValueEnum;
use maskstream::index::{AnnotationStats, Entry, Indexer, resolve_patterns};
use maskstream::internals::Permutation;
use maskstream::{IdList, SampleId, ShardSet};

use crate::cli::args::LoaderArgs;
use crate::cli::output::WrongArguments;

const WHICH: &str = "Which samples to show";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// An image, and one of its annotations or all of them.
pub(super) type Choice = (i64, Option<i64>);

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
        let images = images(loader)?;
        if let Some(score) = self.worst {
            return worst(score, &images, loader).map(Some);
        }
        let places = if self.random { random(images.len(), loader) } else { self.index.clone() };
        let image = |place: usize| {
            let why = || format!("--index {place}: there are {} samples, counted from 0", images.len());
            images.get(place).map(|&id| (id, None)).ok_or_else(|| WrongArguments(why()))
        };
        Ok(Some(places.into_iter().map(image).collect::<Result<_, _>>()?))
    }
}

/// The choices as a list. It holds images or annotations, not both.
pub(super) fn ids(choices: &[Choice]) -> Result<IdList, WrongArguments> {
    let annotations: Vec<(i64, i64)> =
        choices.iter().filter_map(|&(image, annotation)| Some((image, annotation?))).collect();
    match annotations.len() {
        0 => Ok(IdList::images(choices.iter().map(|&(image, _)| image))),
        all if all == choices.len() => Ok(IdList::annotations(annotations)),
        _ => Err(WrongArguments("--id: name images, or annotations as IMAGE,ANNOTATION, not both".to_owned())),
    }
}

/// The first samples, as many as a batch has.
pub(super) fn first(loader: &LoaderArgs) -> Outcome<Vec<Choice>> {
    Ok(images(loader)?.into_iter().take(loader.samples_per_batch()).map(|id| (id, None)).collect())
}

fn choice(text: &str) -> Result<Choice, WrongArguments> {
    let wrong = || WrongArguments(format!("--id {text}: it must be an id, a name such as sa_1, or IMAGE,ANNOTATION"));
    let (image, annotation) = match text.split_once(',') {
        Some((image, annotation)) => (image, Some(annotation.parse().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let image: IdList = image.parse().map_err(|_| wrong())?;
    Ok((*image.image_ids().first().ok_or_else(wrong)?, annotation))
}

/// The samples of a set, in the order of the shards.
pub(super) fn entries(set: &ShardSet) -> impl Iterator<Item = (SampleId, &Entry)> {
    let of_shard = |shard: u32| (0..).map_while(move |entry| Some(SampleId { shard, entry }));
    let all = (0..set.reports().len() as u32).map(of_shard);
    all.flat_map(|ids| ids.map_while(|id| Some((id, set.entry(id)?))))
}

/// The ids of the images that are selected and pass the filter, in the order of the shards.
fn images(loader: &LoaderArgs) -> Outcome<Vec<i64>> {
    let set = loader.open(loader.shard_settings(None)?)?;
    Ok(entries(&set).map(|(_, entry)| entry.image_id).collect())
}

/// Different places below `samples`, as many as a batch has.
fn random(samples: usize, loader: &LoaderArgs) -> Vec<usize> {
    let order = Permutation::new(samples as u64, loader.seed());
    (0..samples.min(loader.samples_per_batch()) as u64).map(|at| order.get(at) as usize).collect()
}

/// The annotations of `images` that pass the filter and have the lowest scores, as many as a batch has samples.
fn worst(score: Metric, images: &[i64], loader: &LoaderArgs) -> Outcome<Vec<Choice>> {
    let (filter, images): (_, HashSet<&i64>) = (loader.filter(None)?, images.iter().collect());
    let mut lowest: Vec<(f64, Choice)> = Vec::new();
    for path in resolve_patterns(&loader.shards.shards)? {
        let shard = Indexer::new().sidecar(loader.shards.sidecar()).index(&path)?;
        let entries = shard.index.entries().iter().enumerate().filter(|(_, entry)| images.contains(&entry.image_id));
        for (at, entry) in entries {
            let stats = shard.index.stats(at).iter().filter(|stats| filter.keeps(stats, entry.width, entry.height));
            let scored = stats.map(|stats| (score.of(stats), (entry.image_id, Some(stats.id))));
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
