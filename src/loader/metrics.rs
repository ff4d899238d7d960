//! The statistics of a loader as metrics for Prometheus.

use std::fmt::{self, Write};
use std::time::Duration;

use super::stats::LoaderStats;

impl LoaderStats {
    /// The statistics in Prometheus' text format, version 0.0.4: serve them from your own endpoint, or write them to a
    /// file for node_exporter's textfile collector. `labels` are added to each metric.
    ///
    /// Times are in seconds. All but `maskstream_workers` and `maskstream_prefetch_batches` are counters:
    /// `maskstream_wait_seconds_total` over `maskstream_wait_seconds_total + maskstream_consumer_seconds_total`, as
    /// rates, is the share of the time that the loop waits for data.
    ///
    /// ```
    /// # let stats = maskstream::LoaderStats::default(); // of `Loader::stats`
    /// let text = stats.prometheus(&[("job", "sam"), ("rank", "0")]);
    /// assert!(text.contains("\nmaskstream_batches_total{job=\"sam\",rank=\"0\"} 0\n"));
    /// ```
    ///
    /// The format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
    pub fn prometheus(&self, labels: &[(&str, &str)]) -> String {
        let mut page = Page { text: String::new(), labels };
        page.counter("batches_total", "Batches delivered.", self.batches);
        let samples = [("delivered", self.delivered), ("skipped", self.skipped)];
        page.counters("samples_total", "Samples in delivered batches.", "result", samples);
        page.counter("decoded_samples_total", "Samples decoded, delivered or not.", self.decoded);
        page.counter("wait_seconds_total", "Time that the loop waited for batches.", seconds(self.wait));
        let first = "Time that the loop waited for the first batch of each epoch.";
        page.counter("first_wait_seconds_total", first, seconds(self.first_wait));
        page.counter("consumer_seconds_total", "Time that the loop spent on batches.", seconds(self.consumer));
        let read = "Time that the feed thread spent reading.";
        page.counter("read_wall_seconds_total", read, seconds(self.read_wall));
        let work = "Time that the workers spent decoding, summed over them.";
        page.counter("work_wall_seconds_total", work, seconds(self.work_wall));
        let cpu = self.stages.named().map(|(step, time)| (step, seconds(time)));
        page.counters("step_cpu_seconds_total", "CPU time by step of the work.", "step", cpu);
        page.counters("step_bytes_total", "Bytes by step of the work.", "step", self.bytes.named());
        let asked = "Batches that the loop has asked for, after the first of each epoch.";
        page.counter("asked_batches_total", asked, self.occupancy.asked);
        let ready = "Sum of the numbers of batches that were ready then.";
        page.counter("ready_batches_total", ready, self.occupancy.ready);
        page.counter("empty_asks_total", "How often none was ready then.", self.occupancy.empty);
        page.metric("workers", "gauge", "Number of decoding threads.", "", [("", self.num_workers)]);
        let most = "Largest number of batches ahead.";
        page.metric("prefetch_batches", "gauge", most, "", [("", self.occupancy.capacity)]);
        page.text
    }
}

/// The text so far.
struct Page<'a> {
    text: String,
    labels: &'a [(&'a str, &'a str)],
}

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.metric(name, "counter", help, "", [("", value)]);
    }

    /// A counter for each value of a label.
    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: [(&str, impl fmt::Display); N],
    ) {
        self.metric(name, "counter", help, label, values);
    }

    fn metric<const N: usize>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        values: [(&str, impl fmt::Display); N],
    ) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "# HELP maskstream_{name} {help}\n# TYPE maskstream_{name} {kind}\n");
        for (value_of_label, value) in values {
            let own = Some((label, value_of_label)).filter(|(label, _)| !label.is_empty());
            let labels: Vec<String> = self.labels.iter().copied().chain(own).map(pair).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.text, "maskstream_{name}{labels} {value}");
        }
    }
}

/// A label with its value, escaped as the format wants it.
fn pair((name, value): (&str, &str)) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}
