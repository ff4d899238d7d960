//! What Burn's trainer measures and prints: a metric of the time spent waiting for data, and a line per metric and
//! epoch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use burn::tensor::TensorReadError;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Metric, MetricAttributes, MetricDefinition, MetricId, MetricMetadata, MetricName, Numeric, NumericAttributes,
    NumericEntry, SerializedEntry,
};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};

/// The time that a step waited for its batch.
pub struct Waited(pub Duration);

/// Milliseconds that a step waits for its batch.
#[derive(Clone)]
pub struct WaitMetric {
    name: MetricName,
    state: NumericMetricState,
}

impl Default for WaitMetric {
    fn default() -> Self {
        Self { name: Arc::new("wait for data".to_owned()), state: NumericMetricState::default() }
    }
}

impl WaitMetric {
    fn format(&self) -> FormatOptions {
        FormatOptions::new(Arc::clone(&self.name)).unit("ms").precision(2)
    }
}

impl Metric for WaitMetric {
    type Input = Waited;

    fn name(&self) -> MetricName {
        Arc::clone(&self.name)
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: Some("ms".to_owned()), higher_is_better: false }.into()
    }

    fn update(&mut self, waited: &Waited, _: &MetricMetadata) -> Result<SerializedEntry, TensorReadError> {
        self.state.update(waited.0.as_secs_f64() * 1e3, 1);
        Ok(self.state.compute_update(self.format()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.state.compute_final(self.format()))
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for WaitMetric {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}

/// Prints the metrics at the end of each epoch. Steps are shown by [`Progress`](crate::progress::Progress).
#[derive(Default)]
pub struct EpochLines {
    names: HashMap<MetricId, Arc<String>>,
    /// The last value of each metric, by split and name.
    last: BTreeMap<(&'static str, Arc<String>), String>,
    is_training: bool,
    /// Training steps of the current epoch.
    steps: usize,
}

impl EpochLines {
    fn update(&mut self, split: &'static str, state: MetricState) {
        let (MetricState::Numeric(entry, _) | MetricState::Generic(entry)) = state;
        let name = self.names.get(&entry.metric_id).cloned().unwrap_or_default();
        self.last.insert((split, name), entry.serialized_entry.formatted);
    }
}

impl MetricsRendererTraining for EpochLines {
    fn update_train(&mut self, state: MetricState) {
        self.update("train", state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.update("valid", state);
    }
}

impl TrainingProgressLogger for EpochLines {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}

    fn update_epoch(&mut self, epoch: usize) {
        // A resumed run may start at the end of an epoch, without a step.
        for ((split, name), value) in self.last.iter().filter(|_| self.steps > 0) {
            println!("{:>10}: {split} {name}: {value}", format!("epoch {epoch}"));
        }
    }

    fn start_split(&mut self, split: &str, _: usize) {
        self.is_training = split.eq_ignore_ascii_case("train");
        if self.is_training {
            self.steps = 0;
        }
    }

    fn update_split(&mut self, _: usize) {
        self.steps += usize::from(self.is_training);
    }

    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl EvaluationProgressLogger for EpochLines {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRendererEvaluation for EpochLines {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl MetricsRenderer for EpochLines {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.names.insert(definition.metric_id, definition.name);
    }
}
