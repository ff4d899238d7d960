//! Masks of images that are turned: they are drawn with rows as columns, and then turned.

use crate::field::MaskFormat;
use crate::image::turn;
use crate::mask::Grid;

/// Cells that are not in their place yet.
#[derive(Debug, Default)]
pub(super) struct Turned {
    cells: Vec<u8>,
    rows: Vec<u8>,
    shares: Vec<f32>,
}

impl Turned {
    /// Room for the cells of a grid, one byte each.
    pub(super) fn cells(&mut self, grid: &Grid) -> &mut [u8] {
        self.cells.resize(grid.rows() * grid.columns(), 0);
        &mut self.cells
    }

    /// Room for a number for each cell of a grid.
    pub(super) fn shares(&mut self, grid: &Grid) -> &mut [f32] {
        self.shares.resize(grid.rows() * grid.columns(), 0.0);
        &mut self.shares
    }

    /// Writes the cells to their place.
    pub(super) fn write_cells(&mut self, grid: &Grid, format: MaskFormat, out: &mut [u8]) {
        match format {
            MaskFormat::Bytes => turn(&self.cells, grid.columns(), out),
            MaskFormat::Bits => {
                self.rows.resize(self.cells.len(), 0);
                turn(&self.cells, grid.columns(), &mut self.rows);
                // What were its rows are the columns now.
                let width = grid.rows();
                for (row, out) in self.rows.chunks_exact(width).zip(out.chunks_exact_mut(width.div_ceil(8))) {
                    for (cells, out) in row.chunks(8).zip(out) {
                        *out = cells.iter().rev().fold(0, |bits, &cell| bits >> 1 | u8::from(cell != 0) << 7);
                    }
                }
            }
        }
    }

    /// Writes the numbers to their place.
    pub(super) fn write_shares(&self, grid: &Grid, out: &mut [f32]) {
        turn(&self.shares, grid.columns(), out);
    }
}
