//! Runs <-> a full column-major bitmap. Comes in: runs, or bytes whose length was checked by the caller. Cannot fail.

/// Fills `out` with the runs' 0 and 1. The runs add up to `out.len()`.
pub(super) fn decode(runs: &[u32], out: &mut [u8]) {
    let (mut rest, mut value) = (out, 0);
    for &run in runs {
        let (head, tail) = rest.split_at_mut(run as usize);
        head.fill(value);
        (rest, value) = (tail, value ^ 1);
    }
}

/// The runs of `bitmap`, background first.
pub(super) fn encode(bitmap: &[u8]) -> Vec<u32> {
    let mut runs = Vec::new();
    let (mut rest, mut inside) = (bitmap, false);
    while !rest.is_empty() {
        let run = rest.iter().position(|&pixel| (pixel != 0) != inside).unwrap_or(rest.len());
        // A run of 2^32 pixels or more has no form in the format: it is cut by an empty run of the other kind.
        let run = run.min(u32::MAX as usize);
        runs.push(run as u32);
        rest = &rest[run..];
        inside = !inside;
    }
    runs
}
