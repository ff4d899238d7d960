//! The report of the measurements: a table on standard output, or one JSON object.

use serde_json::{Map, Value, json};

use super::ours::About;

/// Times of one operation, each in nanoseconds per result, one per round.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) about: About,
    pub(super) ours: Vec<f64>,
    /// By peer; `None` if it has no such operation.
    pub(super) cells: Vec<Option<Cell>>,
}

pub(super) struct Cell {
    pub(super) times: Vec<f64>,
    /// Whether its results agree with ours.
    pub(super) agrees: bool,
}

impl Row {
    /// The fastest peer's time over ours: the median over the rounds, because the load is the same within a round.
    fn ratio(&self) -> Option<f64> {
        let ratio = |cell: &Cell| {
            let ratios: Vec<_> = cell.times.iter().zip(&self.ours).map(|(peer, ours)| peer / ours).collect();
            median(&ratios)
        };
        self.cells.iter().flatten().map(ratio).min_by(f64::total_cmp)
    }
}

/// Prints rows as they come, or keeps them for the end.
pub(super) struct Report {
    json: bool,
    /// Names and versions.
    peers: Vec<[String; 2]>,
    rows: Vec<Row>,
}

/// Width of the column of names.
const NAME: usize = 40;

impl Report {
    pub(super) fn new(json: bool, peers: Vec<[String; 2]>) -> Self {
        if !json {
            let title = |[name, version]: &[String; 2]| format!("{name} {version}");
            let titles: String = peers.iter().map(|peer| format!("  {:>16}", title(peer))).collect();
            println!("{:NAME$} {:>10}{titles}  {:>8}", "CPU time in us per result", "ours", "ratio");
        }
        Self { json, peers, rows: Vec::new() }
    }

    pub(super) fn add(&mut self, row: Row) {
        if !self.json {
            let cell = |(cell, [name, version]): (&Option<Cell>, &[String; 2])| {
                let width = (name.len() + 1 + version.len()).max(16);
                let text = cell
                    .as_ref()
                    .map(|cell| format!("{}{}", us(median(&cell.times)), if cell.agrees { "" } else { "!" }));
                format!("  {:>width$}", text.unwrap_or_default())
            };
            let cells: String = row.cells.iter().zip(&self.peers).map(cell).collect();
            let ratio = row.ratio().map(|ratio| format!("{ratio:.1} x")).unwrap_or_default();
            let name = format!("{}{}", row.name, row.about.sign());
            println!("{name:NAME$} {:>10}{cells}  {ratio:>8}", us(median(&row.ours)));
        }
        self.rows.push(row);
    }

    pub(super) fn finish(self) {
        if self.json {
            return println!("{}", self.to_json());
        }
        let behind = |row: &&Row| row.ratio().is_some_and(|ratio| ratio < 2.0);
        let behind: Vec<_> = self.rows.iter().filter(behind).map(|row| row.name).collect();
        println!("\n{LEGEND}");
        if !behind.is_empty() {
            println!("\nless than twice as fast as the fastest peer: {}", behind.join(", "));
        }
    }

    fn to_json(&self) -> Value {
        let cell = |(cell, [name, _]): (&Option<Cell>, &[String; 2])| {
            let Cell { times, agrees } = cell.as_ref()?;
            Some((name.clone(), json!({"us": median(times) / 1e3, "agrees": agrees})))
        };
        let row = |row: &Row| {
            let peers: Map<_, _> = row.cells.iter().zip(&self.peers).filter_map(cell).collect();
            json!({"name": row.name, "us": median(&row.ours) / 1e3, "peers": peers, "ratio": row.ratio()})
        };
        let versions: Map<_, _> = self.peers.iter().map(|[name, version]| (name.clone(), json!(version))).collect();
        json!({"peers": versions, "operations": self.rows.iter().map(row).collect::<Vec<_>>()})
    }
}

const LEGEND: &str = "\
Medians of the rounds. Ratio: the fastest peer's time over ours, as the median of the rounds' ratios.
'string': includes parsing counts strings and, if the result is a mask, writing one; otherwise from runs to runs.
'bitmap': 1500 x 2250 bytes or similar, allocated each time; 'buffer': reused, and written completely.
Matrices, nms: a result is that of an image with its 83 masks. Peers with bitmaps use OpenCV for resizing and the like.
~: results differ by rounding or at edges; ?: another definition of the task; !: a peer's result differs from ours.";

/// Three digits of a time in nanoseconds, as microseconds.
fn us(ns: f64) -> String {
    let us = ns / 1e3;
    let digits = (2 - us.log10().floor() as i32).clamp(0, 3) as usize;
    format!("{us:.digits$}")
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
