//! Makes rows of columns.

/// Side of the squares that are turned one after the other, so that both sides stay in the cache.
const TILE: usize = 16;

/// Writes the columns of `from`, which has rows of `width`, as rows to `out`.
pub(crate) fn turn<T: Copy>(from: &[T], width: usize, out: &mut [T]) {
    let height = from.len() / width.max(1);
    for top in (0..height).step_by(TILE) {
        for left in (0..width).step_by(TILE) {
            for x in left..width.min(left + TILE) {
                for y in top..height.min(top + TILE) {
                    out[x * height + y] = from[y * width + x];
                }
            }
        }
    }
}
