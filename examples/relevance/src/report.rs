//! Progress of a training run: losses and timing.

use std::time::Duration;

/// Losses and timing of a run up to its last step.
#[derive(Default)]
pub struct Report {
    /// Loss of every step, including the steps before a resumed checkpoint.
    pub losses: Vec<f32>,
    /// Samples that this process trained on.
    pub samples: u64,
    /// Wall time of this process's training steps.
    pub wall: Duration,
    /// The part of `wall` that was spent waiting for data.
    pub wait: Duration,
}

impl Report {
    /// Number of steps done.
    pub fn steps(&self) -> u64 {
        self.losses.len() as u64
    }

    /// Mean loss of the last 20 steps.
    pub fn loss(&self) -> f32 {
        let last = &self.losses[self.losses.len().saturating_sub(20)..];
        last.iter().sum::<f32>() / last.len().max(1) as f32
    }

    /// Training throughput.
    pub fn samples_per_s(&self) -> f64 {
        self.samples as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    /// Percentage of the wall time spent waiting for data.
    pub fn wait_percent(&self) -> f64 {
        100.0 * self.wait.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }
}
