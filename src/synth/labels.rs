//! The label map: which region each pixel shows.
//!
//! Outlines are filled in back to front. The result is a run-length mask for each region: the visible pixels of the
//! region and of its parts.

use super::outline::Outline;
use crate::Result;
use crate::mask::Rle;

/// The label of every pixel, and the parent of every label: the region it is a part of.
pub(super) struct LabelMap {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Column-major, as runs are: pixel (x, y) is at `x * height + y`.
    labels: Vec<u16>,
    /// By label. Labels count up from 0; a parent's label is lower than those of its parts.
    parents: Vec<Option<u16>>,
}

impl LabelMap {
    /// A map with one region, label 0, that covers the whole image.
    pub(super) fn new(width: u32, height: u32) -> Self {
        Self { width, height, labels: vec![0; width as usize * height as usize], parents: vec![None] }
    }

    /// A map of known labels, column-major, and parents.
    pub(super) fn from_labels(width: u32, height: u32, labels: Vec<u16>, parents: Vec<Option<u16>>) -> Self {
        Self { width, height, labels, parents }
    }

    /// Adds a region without pixels and returns its label.
    pub(super) fn add(&mut self, parent: Option<u16>) -> u16 {
        self.parents.push(parent);
        (self.parents.len() - 1) as u16
    }

    /// Number of regions.
    pub(super) fn len(&self) -> usize {
        self.parents.len()
    }

    /// The region that `label` is a part of.
    pub(super) fn parent(&self, label: u16) -> Option<u16> {
        self.parents[usize::from(label)]
    }

    /// Sets the pixels inside `outline` to `label`: all of them, or those whose label is `within`.
    pub(super) fn fill(&mut self, outline: &Outline, label: u16, within: Option<u16>) {
        let (height, labels) = (self.height as usize, &mut self.labels);
        outline.for_each_span(self.width, self.height, |x, y0, y1| {
            let span = &mut labels[x as usize * height + y0 as usize..x as usize * height + y1 as usize];
            match within {
                None => span.fill(label),
                Some(within) => span.iter_mut().filter(|shown| **shown == within).for_each(|shown| *shown = label),
            }
        });
    }

    /// Copies rows from `y` on into `out`, row-major, as many as fit. A band of rows at a time, because one row of a
    /// column-major map touches as many cache lines as a whole band.
    pub(super) fn copy_rows(&self, y: usize, out: &mut [u16]) {
        let (height, width) = (self.height as usize, self.width as usize);
        let rows = out.len() / width;
        for (x, column) in self.labels.chunks_exact(height).enumerate() {
            for (row, &label) in column[y..y + rows].iter().enumerate() {
                out[row * width + x] = label;
            }
        }
    }

    /// The mask of every region, by label: the pixels of the region and of its parts. One pass over the image.
    ///
    /// # Errors
    /// None in practice: the runs add up by construction.
    pub(super) fn masks(&self) -> Result<Vec<Rle>> {
        let mut runs: Vec<Vec<u32>> = vec![Vec::new(); self.len()];
        let mut ends = vec![0_u32; self.len()];
        let mut start = 0;
        for run in self.labels.chunk_by(|a, b| a == b) {
            let end = start + run.len() as u32;
            let mut next = run.first().copied();
            while let Some(label) = next {
                let (runs, last) = (&mut runs[usize::from(label)], &mut ends[usize::from(label)]);
                match runs.last_mut() {
                    Some(run) if *last == start => *run += end - start,
                    _ => runs.extend([start - *last, end - start]),
                }
                *last = end;
                next = self.parent(label);
            }
            start = end;
        }
        let finish = |(mut runs, last): (Vec<u32>, u32)| {
            if last < start {
                runs.push(start - last);
            }
            Rle::from_runs(runs, self.height, self.width).map_err(|cause| crate::Error::corrupt(cause.to_string()))
        };
        runs.into_iter().zip(ends).map(finish).collect()
    }
}
