//! Bounds of runs that are computed, and runs too long for one number.

use super::RleError;

/// Longest side of an image for which runs are computed rather than decoded. Bounds the cost of a mask whose size comes
/// from an untrusted source.
pub(super) const MAX_SIDE: u32 = 1 << 22;

/// Returns an error if a side of the image exceeds [`MAX_SIDE`].
pub(super) fn check_sides(height: u32, width: u32) -> Result<(), RleError> {
    if height.max(width) > MAX_SIDE { Err(RleError::Image { height, width }) } else { Ok(()) }
}

/// Appends a run to `runs`. The format cannot represent a run of 2^32 pixels or more, so such a run is split by empty
/// runs of the other kind.
#[inline]
pub(super) fn push_run(runs: &mut Vec<u32>, mut run: u64) {
    while run > u64::from(u32::MAX) {
        runs.extend([u32::MAX, 0]);
        run -= u64::from(u32::MAX);
    }
    runs.push(run as u32);
}
