//! The weights of an axis, ordered for processors that shuffle bytes.

use super::axis::Axis;

/// Outputs that are computed together.
pub(super) const WINDOW_OUTPUTS: usize = 8;

/// The weights of [`Axis`], ordered for the computation of eight outputs at once.
#[derive(Debug)]
pub(super) struct Windows {
    /// The first input of each half of each group.
    pub(super) begins: Vec<[usize; 2]>,
    pub(super) pairs: usize,
    /// For each group and pair of taps: which inputs of the window, and the weights.
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Step {
    pub(super) places: [u8; 32],
    pub(super) weights: [i16; 16],
}

impl Windows {
    /// `None` if four outputs have more inputs than a window.
    pub(super) fn new(axis: &Axis) -> Option<Self> {
        let pairs = axis.taps.div_ceil(2);
        let mut windows = Self { begins: Vec::new(), pairs, steps: Vec::new() };
        for group in (0..axis.starts.len()).step_by(WINDOW_OUTPUTS) {
            let begin = |half: usize| {
                let first = (group + 4 * half).min(axis.starts.len() - 1);
                // The last one comes first where the axis is mirrored.
                axis.starts[first..].iter().take(4).copied().min().unwrap_or(0)
            };
            let begins = [begin(0), begin(1)];
            windows.begins.push(begins);
            for pair in 0..pairs {
                // 0x80 makes a zero.
                let mut step = Step { places: [0x80; 32], weights: [0; 16] };
                for lane in 0..8 {
                    let Some(&start) = axis.starts.get(group + lane) else { continue };
                    for tap in (2 * pair..2 * pair + 2).take_while(|&tap| tap < axis.taps) {
                        let place = start + tap - begins[lane / 4];
                        let weight = axis.weights[(group + lane) * axis.taps + tap];
                        if weight == 0 {
                            continue;
                        }
                        if place > 15 {
                            return None;
                        }
                        let slot = 2 * lane + tap % 2;
                        step.places[2 * slot] = place as u8;
                        step.weights[slot] = weight;
                    }
                }
                windows.steps.push(step);
            }
        }
        Some(windows)
    }
}
