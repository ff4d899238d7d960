//! [`CellRect`]: the part of a grid that a mask changes. The rest of the grid is filled, each cell once.

/// The cells of columns `left..right` and rows `top..bottom`; all four are 0 if there is no cell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CellRect {
    pub(super) left: usize,
    pub(super) right: usize,
    pub(super) top: usize,
    pub(super) bottom: usize,
}

/// The rectangle around all cells that were found so far.
pub(super) struct CellBounds(CellRect);

impl CellBounds {
    /// Around nothing.
    pub(super) fn new() -> Self {
        Self(CellRect { left: usize::MAX, right: 0, top: usize::MAX, bottom: 0 })
    }

    /// Adds cells, at least one.
    #[inline]
    pub(super) fn include(&mut self, left: usize, right: usize, top: usize, bottom: usize) {
        let Self(rect) = self;
        rect.left = rect.left.min(left);
        rect.right = rect.right.max(right);
        rect.top = rect.top.min(top);
        rect.bottom = rect.bottom.max(bottom);
    }

    pub(super) fn rect(self) -> CellRect {
        if self.0.is_empty() { CellRect::default() } else { self.0 }
    }
}

impl CellRect {
    pub(super) fn is_empty(&self) -> bool {
        self.right == 0
    }

    /// Calls `draw(row, cells)` for each row of the rectangle, to write its cells, and sets all other cells of the
    /// row-major `out` to zero. `out` is written from front to back, each cell once.
    #[inline]
    pub(super) fn fill_around<T: Copy + Default>(
        &self,
        columns: usize,
        out: &mut [T],
        mut draw: impl FnMut(usize, &mut [T]),
    ) {
        let width = self.right - self.left;
        let (mut rest, mut gap) = (out, self.top * columns + self.left);
        for row in self.top..self.bottom {
            let (before, behind) = rest.split_at_mut(gap);
            let (cells, behind) = behind.split_at_mut(width);
            before.fill(T::default());
            draw(row, cells);
            (rest, gap) = (behind, columns - width);
        }
        rest.fill(T::default());
    }
}
