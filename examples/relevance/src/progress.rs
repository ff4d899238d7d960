//! Progress output: a bar on a terminal, else a line every 50 steps.

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::Report;

/// Steps between two lines where there is no progress bar.
const STEPS_PER_LINE: u64 = 50;

/// A progress bar, or lines if the output is not a terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// Progress towards `steps` steps.
    pub fn new(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        let style = ProgressStyle::with_template("{bar:30.cyan/blue} {pos:>4}/{len} steps · {msg} · {eta} left");
        // The template is valid; the default style only avoids a panic.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        Self(bar)
    }

    /// Shows the state after a step.
    pub fn show(&self, report: &Report) {
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

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
