//! Boolean operations on masks: union, intersection, difference, symmetric difference and complement.
//!
//! Results are in canonical form. Masks of different sizes are an error.

use super::{Rle, RleError, rle::check_same_sizes, runs::push_run};

/// The operation of [`merge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Pixels that belong to at least one mask.
    Union,
    /// Pixels that belong to every mask.
    Intersection,
    /// Pixels that belong to the first mask and to none of the others.
    Difference,
    /// Pixels that belong to an odd number of masks.
    Xor,
}

/// Merges any number of masks. As in pycocotools, a single mask is returned unchanged, and an empty list gives a mask
/// of size 0 x 0.
///
/// # Errors
/// Returns [`RleError::Sizes`] if the masks differ in size.
///
/// ```
/// use maskstream::mask::{Merge, Rle, merge};
///
/// // 1 row, 4 columns.
/// let masks = [Rle::from_runs(vec![0, 3, 1], 1, 4)?, Rle::from_runs(vec![2, 2], 1, 4)?];
/// assert_eq!(merge(&masks, Merge::Union)?.runs(), [0, 4]);
/// assert_eq!(merge(&masks, Merge::Intersection)?.runs(), [2, 1, 1]);
/// assert_eq!(merge(&masks, Merge::Difference)?.runs(), [0, 2, 2]);
/// assert_eq!(merge(&masks, Merge::Xor)?.runs(), [0, 2, 1, 1]);
/// # Ok::<(), maskstream::mask::RleError>(())
/// ```
pub fn merge(masks: &[Rle], op: Merge) -> Result<Rle, RleError> {
    let Some((first, others)) = masks.split_first() else { return Ok(Rle::default()) };
    check_same_sizes(masks)?;
    if others.is_empty() {
        return Ok(first.clone());
    }
    Ok(match op {
        Merge::Difference => combine(first, &fold(others, Merge::Union), op),
        _ => fold(masks, op),
    })
}

/// Merges masks of the same size in a balanced tree, so each run is visited about log2(number of masks) times.
fn fold(masks: &[Rle], op: Merge) -> Rle {
    match masks {
        [] => Rle::default(),
        [mask] => mask.clone(),
        [a, b] => combine(a, b, op),
        _ => {
            let (left, right) = masks.split_at(masks.len() / 2);
            combine(&fold(left, op), &fold(right, op), op)
        }
    }
}

impl Rle {
    /// Pixels that belong to this mask, to the other mask, or to both.
    ///
    /// # Errors
    /// Returns [`RleError::Sizes`] if the masks differ in size.
    pub fn union(&self, other: &Self) -> Result<Self, RleError> {
        self.merged(other, Merge::Union)
    }

    /// Pixels that belong to both masks.
    ///
    /// # Errors
    /// Same as [`Rle::union`].
    pub fn intersection(&self, other: &Self) -> Result<Self, RleError> {
        self.merged(other, Merge::Intersection)
    }

    /// Pixels that belong to this mask but not to the other.
    ///
    /// # Errors
    /// Same as [`Rle::union`].
    pub fn difference(&self, other: &Self) -> Result<Self, RleError> {
        self.merged(other, Merge::Difference)
    }

    /// Pixels that belong to exactly one of the two masks.
    ///
    /// # Errors
    /// Same as [`Rle::union`].
    pub fn xor(&self, other: &Self) -> Result<Self, RleError> {
        self.merged(other, Merge::Xor)
    }

    /// Number of pixels that belong to both masks.
    ///
    /// # Errors
    /// Same as [`Rle::union`].
    pub fn intersection_area(&self, other: &Self) -> Result<u64, RleError> {
        self.check_same_size(other, 1)?;
        Ok(intersection_pixels(self, other))
    }

    fn merged(&self, other: &Self, op: Merge) -> Result<Self, RleError> {
        self.check_same_size(other, 1)?;
        Ok(combine(self, other, op))
    }

    /// All pixels that do not belong to this mask, in canonical form.
    ///
    /// ```
    /// use maskstream::mask::Rle;
    ///
    /// let mask = Rle::from_runs(vec![1, 2, 1], 2, 2)?;
    /// assert_eq!(mask.complement().runs(), [0, 1, 2, 1]);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn complement(&self) -> Self {
        let canonical = self.as_canonical();
        let mut runs = Vec::with_capacity(canonical.runs().len() + 1);
        match canonical.runs() {
            [0, rest @ ..] if self.pixels() > 0 => runs.extend_from_slice(rest),
            [0] => runs.push(0),
            all => {
                runs.push(0);
                runs.extend_from_slice(all);
            }
        }
        Self::from_runs_unchecked(runs, self.height(), self.width())
    }
}

/// Merges two masks of the same size.
pub(super) fn combine(a: &Rle, b: &Rle, op: Merge) -> Rle {
    match op {
        Merge::Union => merge_with(a, b, |a, b| a | b),
        Merge::Intersection => merge_with(a, b, |a, b| a & b),
        Merge::Difference => merge_with(a, b, |a, b| a & !b),
        Merge::Xor => merge_with(a, b, |a, b| a ^ b),
    }
}

/// Merges two masks of the same size. `keep(in_a, in_b)` says which pixels to keep; `keep(false, false)` is false.
fn merge_with(a: &Rle, b: &Rle, keep: impl Fn(bool, bool) -> bool) -> Rle {
    let runs = match u32::try_from(a.pixels()) {
        Ok(0) => vec![0],
        Ok(pixels) => merge_canonical(a.as_canonical().runs(), b.as_canonical().runs(), pixels, keep),
        Err(_) => merge_wide(a, b, keep),
    };
    Rle::from_runs_unchecked(runs, a.height(), a.width())
}

/// Number of pixels that two masks of the same size share.
pub(super) fn intersection_pixels(a: &Rle, b: &Rle) -> u64 {
    combine(a, b, Merge::Intersection).area()
}

/// Number of runs that are copied or skipped at once.
const BLOCK: usize = 16;
/// Number of single steps between two attempts to process whole blocks.
const STEPS: usize = 8;

/// [`merge_with`] for canonical runs that add up to `pixels`. While one mask stays in a single run, the runs of the
/// other are copied or skipped in blocks. Where the masks alternate, no branch depends on which run ends first.
fn merge_canonical(a: &[u32], b: &[u32], pixels: u32, keep: impl Fn(bool, bool) -> bool) -> Vec<u32> {
    let mut runs = vec![0; a.len() + b.len() + 1];
    let (mut a, mut b) = (RunCursor::new(a), RunCursor::new(b));
    let mut inside = keep(a.inside, b.inside);
    let (mut len, mut last) = (usize::from(inside), 0);
    'all: loop {
        while let Some((at, block)) = a.pass_block(b.at) {
            if keep(true, b.inside) != keep(false, b.inside) {
                last = copy(at, block, last, &mut runs[len..]);
                len += BLOCK;
            }
        }
        while let Some((at, block)) = b.pass_block(a.at) {
            if keep(a.inside, true) != keep(a.inside, false) {
                last = copy(at, block, last, &mut runs[len..]);
                len += BLOCK;
            }
        }
        for _ in 0..STEPS {
            let at = a.at.min(b.at);
            if at >= pixels {
                break 'all;
            }
            a.pass_end(at);
            b.pass_end(at);
            let keep = keep(a.inside, b.inside);
            runs[len] = at - last;
            len += usize::from(keep != inside);
            last = if keep != inside { at } else { last };
            inside = keep;
        }
    }
    runs[len] = pixels - last;
    runs.truncate(len + 1);
    runs
}

/// Writes the run from `last` to `at` and all runs of the block except the last. Returns the position where they end.
#[inline]
fn copy(at: u32, block: &[u32; BLOCK], last: u32, out: &mut [u32]) -> u32 {
    let [others @ .., _] = block;
    if let Some([first, rest @ ..]) = out.first_chunk_mut::<BLOCK>() {
        *first = at - last;
        rest.copy_from_slice(others);
    }
    at + others.iter().sum::<u32>()
}

/// Walks over the ends of the runs of a canonical mask.
struct RunCursor<'a> {
    runs: &'a [u32],
    /// Index of the current run, which ends at `at`.
    index: usize,
    at: u32,
    /// Whether the current run belongs to the mask.
    inside: bool,
}

impl<'a> RunCursor<'a> {
    fn new(runs: &'a [u32]) -> Self {
        let index = usize::from(runs[0] == 0 && runs.len() > 1);
        Self { runs, index, at: runs[index], inside: index > 0 }
    }

    /// Moves to the next run if the current one ends at `at`. There must be a next run.
    #[inline]
    fn pass_end(&mut self, at: u32) {
        let here = self.at == at;
        self.index += usize::from(here);
        self.at += if here { self.runs[self.index] } else { 0 };
        self.inside ^= here;
    }

    /// Skips as many runs as a block holds if they all end before `limit`. Returns the position where the first of them
    /// starts, and their lengths.
    #[inline]
    fn pass_block(&mut self, limit: u32) -> Option<(u32, &'a [u32; BLOCK])> {
        let block = self.runs.get(self.index + 1..)?.first_chunk::<BLOCK>()?;
        let sum: u32 = block.iter().sum();
        if self.at >= limit || limit - self.at <= sum {
            return None;
        }
        let at = self.at;
        (self.at, self.index) = (at + sum, self.index + BLOCK);
        Some((at, block))
    }
}

/// [`merge_with`] for images of 2^32 pixels or more, one run end at a time.
fn merge_wide(a: &Rle, b: &Rle, keep: impl Fn(bool, bool) -> bool) -> Vec<u32> {
    let pixels = a.pixels();
    let mut runs = Vec::with_capacity(a.runs().len() + b.runs().len() + 1);
    let (mut a, mut b) = (WideRunCursor::new(a.runs()), WideRunCursor::new(b.runs()));
    let (mut last, mut inside) = (0, false);
    loop {
        let at = a.at.min(b.at);
        if at >= pixels {
            break;
        }
        a.pass_end(at);
        b.pass_end(at);
        if keep(a.inside, b.inside) != inside {
            push_run(&mut runs, at - last);
            (last, inside) = (at, !inside);
        }
    }
    push_run(&mut runs, pixels - last);
    runs
}

/// Walks over the ends of the runs of any mask, with 64-bit positions.
struct WideRunCursor<'a> {
    runs: std::slice::Iter<'a, u32>,
    /// The end of the current run, or a position beyond the image after the last run.
    at: u64,
    /// Whether the current run belongs to the mask.
    inside: bool,
}

impl<'a> WideRunCursor<'a> {
    fn new(runs: &'a [u32]) -> Self {
        let mut runs = runs.iter();
        let at = runs.next().map_or(u64::MAX, |&run| u64::from(run));
        Self { runs, at, inside: false }
    }

    /// Moves past all runs that end at `at`; empty runs make several.
    #[inline]
    fn pass_end(&mut self, at: u64) {
        while self.at == at {
            self.at = self.runs.next().map_or(u64::MAX, |&run| at + u64::from(run));
            self.inside = !self.inside;
        }
    }
}
