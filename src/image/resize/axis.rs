//! The weights with which pixels of one direction are summed.

use std::ops::Range;

/// The weights of one direction.
#[derive(Debug)]
pub(in crate::image) struct Axis {
    /// Inputs of each output.
    pub(super) taps: usize,
    /// The first input of each output.
    pub(super) starts: Vec<usize>,
    /// Of 2^14, `taps` for each output.
    pub(super) weights: Vec<i16>,
    pub(super) is_identity: bool,
}

pub(super) const ONE: i32 = 1 << 14;

/// From so many inputs on, weights are so small that what rounding loses of each shows in the sum.
pub(super) const MANY: usize = 255;

impl Axis {
    /// From the samples `inputs`, of which `extent` is shown, to `outputs`. Where an image was decoded at half size,
    /// its last sample may be shown by half only. Samples beside `inputs` are not read.
    pub(in crate::image) fn new(inputs: Range<usize>, extent: Range<f64>, outputs: usize) -> Self {
        let step = (extent.end - extent.start) / outputs as f64;
        let reach = step.max(1.0);
        let ranges: Vec<_> = (0..outputs)
            .map(|output| {
                let centre = extent.start + (output as f64 + 0.5) * step;
                let first = ((centre - reach + 0.5) as usize).clamp(inputs.start, inputs.end - 1);
                let end = ((centre + reach + 0.5) as usize).clamp(first + 1, inputs.end);
                let weight = |input: usize| (1.0 - ((input as f64 + 0.5 - centre) / reach).abs()).max(0.0);
                let weights: Vec<f64> = (first..end).map(weight).collect();
                let leading = weights.iter().take(weights.len() - 1).take_while(|&&weight| weight < 1e-9).count();
                let trailing = weights[leading + 1..].iter().rev().take_while(|&&weight| weight < 1e-9).count();
                (first + leading, weights[leading..weights.len() - trailing].to_vec())
            })
            .collect();
        let taps = ranges.iter().map(|(_, weights)| weights.len()).max().unwrap_or(1);
        let mut axis = Self { taps, starts: Vec::new(), weights: Vec::new(), is_identity: false };
        for (first, weights) in ranges {
            // All outputs have as many inputs; those beyond the edge have no weight.
            let start = first.min(inputs.end.saturating_sub(taps));
            axis.starts.push(start);
            let mut row = vec![0.0; taps];
            for (i, weight) in weights.into_iter().enumerate() {
                if let Some(slot) = row.get_mut(first - start + i) {
                    *slot = weight;
                }
            }
            axis.weights.extend(integers(&row));
        }
        axis.is_identity = taps == 1 && axis.starts.iter().copied().eq(0..inputs.end);
        axis
    }

    /// The same with the last output first.
    pub(in crate::image) fn flipped(mut self) -> Self {
        self.is_identity = false;
        self.starts.reverse();
        self.weights = self.weights.rchunks_exact(self.taps).flatten().copied().collect();
        self
    }
}

/// The weights as parts of 2^14, with that sum.
fn integers(weights: &[f64]) -> Vec<i16> {
    let sum: f64 = weights.iter().sum();
    if weights.len() >= MANY {
        // What is lost of one weight goes to the next.
        let up_to = weights.iter().scan(0.0, |up_to, weight| {
            *up_to += weight;
            Some((*up_to / sum * f64::from(ONE)).round() as i16)
        });
        return up_to.scan(0, |before, up_to| Some(up_to - std::mem::replace(before, up_to))).collect();
    }
    let mut integers: Vec<i16> = weights.iter().map(|weight| (weight / sum * f64::from(ONE)).round() as i16).collect();
    let rest = ONE - integers.iter().map(|&weight| i32::from(weight)).sum::<i32>();
    if let Some(largest) = integers.iter_mut().max_by_key(|weight| **weight) {
        *largest += rest as i16;
    }
    integers
}
