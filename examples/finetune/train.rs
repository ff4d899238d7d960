//! The training loop. Comes in: a loader and a head. Goes out: the head trained in place, and [`Report`]. Fails as the
//! loader and candle do, or if no batch holds a mask to ask for.

use std::error::Error;
use std::time::{Duration, Instant};

use candle_core::Device;
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use maskstream::StreamLoader;

use crate::Args;
use crate::features::Features;
use crate::model::{Head, loss};
use crate::progress::Progress;
use crate::queries::{PointAt, Queries};

/// How training went so far.
#[derive(Default)]
pub(crate) struct Report {
    /// Steps done.
    pub(crate) steps: u64,
    /// Loss, averaged over about the last 20 steps.
    pub(crate) loss: f32,
    /// Samples trained on.
    pub(crate) samples: u64,
    /// Wall time.
    pub(crate) wall: Duration,
    /// Of it, time spent waiting for data.
    pub(crate) wait: Duration,
}

impl Report {
    /// Samples trained on in a second.
    pub(crate) fn samples_per_s(&self) -> f64 {
        self.samples as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    /// Share of the wall time spent waiting for data, in percent.
    pub(crate) fn wait_percent(&self) -> f64 {
        100.0 * self.wait.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }
}

/// Trains `head` for `args.steps` steps, through as many epochs as they take.
pub(crate) fn train(
    loader: &StreamLoader,
    head: &Head,
    args: &Args,
    device: &Device,
) -> Result<Report, Box<dyn Error>> {
    let settings = ParamsAdamW { lr: args.lr, weight_decay: 1e-4, ..Default::default() };
    let mut optimizer = AdamW::new(head.variables(), settings)?;
    let point_at = PointAt::Random { seed: args.seed };
    let progress = Progress::new(args.steps);
    let (mut report, start) = (Report::default(), Instant::now());

    'training: for number in 0.. {
        let steps_before = report.steps;
        for batch in loader.epoch(number)?.candle(device) {
            let batch = batch?;
            let queries = Queries::draw(&batch, args.queries, point_at, device)?;
            if queries.list.is_empty() {
                continue;
            }
            let features = Features::new(&batch)?;
            let loss = loss(&head.forward(&features, &queries)?, &queries, &features.valid)?;
            optimizer.set_learning_rate(args.lr * cosine(report.steps, args.steps));
            optimizer.backward_step(&loss)?;

            report.add(loss.to_scalar::<f32>()?, batch.samples.iter().flatten().count());
            (report.wall, report.wait) = (start.elapsed(), loader.stats().wait);
            progress.show(&report);
            if report.steps == args.steps {
                break 'training;
            }
        }
        if report.steps == steps_before {
            return Err("no mask of the training shards is large enough to ask for".into());
        }
    }
    progress.finish();
    Ok(report)
}

impl Report {
    /// Adds a step.
    fn add(&mut self, loss: f32, samples: usize) {
        self.steps += 1;
        self.samples += samples as u64;
        // A plain mean at first, a moving one later.
        self.loss += (loss - self.loss) / self.steps.min(20) as f32;
    }
}

/// Falls from 1 at the first step to nearly 0 at the last.
fn cosine(step: u64, steps: u64) -> f64 {
    0.5 + 0.5 * (std::f64::consts::PI * step as f64 / steps as f64).cos()
}
