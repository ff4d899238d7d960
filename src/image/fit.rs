//! The size of an image whose longer side has been set: on the canvas of a batch, and in a derived shard.

/// Width and height after an image of `width` x `height` pixels has been scaled so that its longer side is `longest`.
/// Rounded to the nearest pixel, as SAM does, but at least one pixel.
pub(crate) fn letterboxed(width: u32, height: u32, longest: u32) -> (u32, u32) {
    let from = u64::from(width.max(height)).max(1);
    let scaled = |length: u32| {
        let rounded = (2 * u64::from(length) * u64::from(longest) + from) / (2 * from);
        (rounded as u32).clamp(1, longest.max(1))
    };
    (scaled(width), scaled(height))
}
