//! The table by which devices unpack masks: they look up the eight cells of each byte.

/// The bits of each byte as eight bytes of 0 and 1, the highest first; row-major, 256 x 8.
pub(super) static CELLS_OF_BYTES: [u8; 256 * 8] = {
    let mut cells = [0; 256 * 8];
    let mut at = 0;
    while at < cells.len() {
        cells[at] = ((at / 8) >> (7 - at % 8)) as u8 & 1;
        at += 1;
    }
    cells
};
