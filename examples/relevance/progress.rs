//! What is shown while training. Comes in: reports. Goes out: a progress bar on a terminal, else a line now and then.
//! Cannot fail.

use indicatif::{ProgressBar, ProgressStyle};

use super::train::Report;

/// Steps between two lines where there is no progress bar.
const STEPS_PER_LINE: u64 = 50;

/// A bar, or lines where a bar would be noise.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// For so many steps.
    pub(crate) fn new(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        let style = ProgressStyle::with_template("{bar:30.cyan/blue} {pos:>4}/{len} steps · {msg} · {eta} left");
        // The template above is valid; were it not, the plain bar would do.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        Self(bar)
    }

    /// Shows how far training is.
    pub(crate) fn show(&self, report: &Report) {
        let line = format!(
            "loss {:.4} · {:.0} samples/s · {:.1} % waiting for data",
            report.loss(),
            report.samples_per_s(),
            report.wait_percent()
        );
        if !self.0.is_hidden() {
            self.0.set_position(report.steps());
            self.0.set_message(line);
        } else if report.steps().is_multiple_of(STEPS_PER_LINE) {
            println!("{:>10}: {line}", format!("step {}", report.steps()));
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
