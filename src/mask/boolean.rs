//! Masks by logic. Comes in: masks of one size. Goes out: their union, intersection, difference or symmetric
//! difference, in canonical form. Fails on masks of different sizes.

use super::{Rle, RleError, builder::push_run, rle::check_same_sizes};

/// What [`merge`] makes of several masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Pixels of any mask.
    Union,
    /// Pixels of all masks.
    Intersection,
    /// Pixels of the first mask that are in none of the others.
    Difference,
    /// Pixels of an odd number of masks.
    Xor,
}

/// Merges masks. As in pycocotools one mask comes back as it is, and none give the mask of size 0 x 0.
///
/// # Errors
/// [`RleError::Sizes`] if the masks are not all of one size.
pub fn merge(masks: &[Rle], how: Merge) -> Result<Rle, RleError> {
    let Some((first, others)) = masks.split_first() else { return Ok(Rle::default()) };
    check_same_sizes(masks)?;
    if others.is_empty() {
        return Ok(first.clone());
    }
    Ok(match how {
        Merge::Difference => combine(first, &fold(others, Merge::Union), how),
        _ => fold(masks, how),
    })
}

/// Merges masks of one size in pairs, then pairs of pairs: each run is walked as often as the count has bits.
fn fold(masks: &[Rle], how: Merge) -> Rle {
    match masks {
        [] => Rle::default(),
        [mask] => mask.clone(),
        [a, b] => combine(a, b, how),
        _ => {
            let (left, right) = masks.split_at(masks.len() / 2);
            combine(&fold(left, how), &fold(right, how), how)
        }
    }
}

impl Rle {
    /// Pixels of this mask, of the other, or of both.
    ///
    /// # Errors
    /// [`RleError::Sizes`] if the masks differ in size.
    pub fn union(&self, other: &Self) -> Result<Self, RleError> {
        self.merged(other, Merge::Union)
    }

    /// Pixels of both masks.
    ///
    /// # Errors
    /// As [`Rle::union`].
    pub fn intersection(&self, other: &Self) -> Result<Self, RleError> {
        self.merged(other, Merge::Intersection)
    }

    /// Pixels of this mask that are not in the other.
    ///
    /// # Errors
    /// As [`Rle::union`].
    pub fn difference(&self, other: &Self) -> Result<Self, RleError> {
        self.merged(other, Merge::Difference)
    }

    /// Pixels of one of the masks but not of both.
    ///
    /// # Errors
    /// As [`Rle::union`].
    pub fn xor(&self, other: &Self) -> Result<Self, RleError> {
        self.merged(other, Merge::Xor)
    }

    /// Number of pixels of both masks.
    ///
    /// # Errors
    /// As [`Rle::union`].
    pub fn intersection_area(&self, other: &Self) -> Result<u64, RleError> {
        self.check_same_size(other, 1)?;
        Ok(shared_pixels(self, other))
    }

    fn merged(&self, other: &Self, how: Merge) -> Result<Self, RleError> {
        self.check_same_size(other, 1)?;
        Ok(combine(self, other, how))
    }

    /// All pixels but those of this mask, in canonical form.
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
        Self::trusted(runs, self.height(), self.width())
    }
}

/// The merge of two masks of one size.
pub(super) fn combine(a: &Rle, b: &Rle, how: Merge) -> Rle {
    match how {
        Merge::Union => select(a, b, |a, b| a | b),
        Merge::Intersection => select(a, b, |a, b| a & b),
        Merge::Difference => select(a, b, |a, b| a & !b),
        Merge::Xor => select(a, b, |a, b| a ^ b),
    }
}

/// The pixels that `keep`, of whether the masks have them, says to keep. It is false where neither has.
fn select(a: &Rle, b: &Rle, keep: impl Fn(bool, bool) -> bool) -> Rle {
    let runs = match u32::try_from(a.pixels()) {
        Ok(0) => vec![0],
        Ok(pixels) => select_canonical(a.as_canonical().runs(), b.as_canonical().runs(), pixels, keep),
        Err(_) => select_wide(a, b, keep),
    };
    Rle::trusted(runs, a.height(), a.width())
}

/// Number of pixels that two masks of one size share.
pub(super) fn shared_pixels(a: &Rle, b: &Rle) -> u64 {
    combine(a, b, Merge::Intersection).area()
}

/// Runs that are passed together.
const BLOCK: usize = 16;
/// Ends that are passed before blocks are tried again.
const STEPS: usize = 8;

/// [`select`] of canonical runs of `pixels` pixels. As long as one mask stays in a run, blocks of the other's runs are
/// copied or skipped; where the masks alternate, which of them ends next is no branch.
fn select_canonical(a: &[u32], b: &[u32], pixels: u32, keep: impl Fn(bool, bool) -> bool) -> Vec<u32> {
    let mut runs = vec![0; a.len() + b.len() + 1];
    let (mut a, mut b) = (Walker::new(a), Walker::new(b));
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
            a.pass(at);
            b.pass(at);
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

/// Writes the run from `last` to `at`, and all runs of the block but its last. Returns where they end.
#[inline]
fn copy(at: u32, block: &[u32; BLOCK], last: u32, out: &mut [u32]) -> u32 {
    let [others @ .., _] = block;
    if let Some([first, rest @ ..]) = out.first_chunk_mut::<BLOCK>() {
        *first = at - last;
        rest.copy_from_slice(others);
    }
    at + others.iter().sum::<u32>()
}

/// Where the runs of a canonical mask end, one after the other.
struct Walker<'a> {
    runs: &'a [u32],
    /// Number of the run that ends at `at`.
    index: usize,
    at: u32,
    /// Whether that is a run of the mask.
    inside: bool,
}

impl<'a> Walker<'a> {
    fn new(runs: &'a [u32]) -> Self {
        let index = usize::from(runs[0] == 0 && runs.len() > 1);
        Self { runs, index, at: runs[index], inside: index > 0 }
    }

    /// Goes past the end at `at`, if it stands here and is not the last.
    #[inline]
    fn pass(&mut self, at: u32) {
        let here = self.at == at;
        self.index += usize::from(here);
        self.at += if here { self.runs[self.index] } else { 0 };
        self.inside ^= here;
    }

    /// Goes past as many ends as a block has runs, if they and the one after them lie before `limit`. Returns the
    /// first, and the runs behind them.
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

/// [`select`] in an image of 2^32 pixels or more, end by end.
fn select_wide(a: &Rle, b: &Rle, keep: impl Fn(bool, bool) -> bool) -> Vec<u32> {
    let pixels = a.pixels();
    let mut runs = Vec::with_capacity(a.runs().len() + b.runs().len() + 1);
    let (mut a, mut b) = (Ends::new(a.runs()), Ends::new(b.runs()));
    let (mut last, mut inside) = (0, false);
    loop {
        let at = a.at.min(b.at);
        if at >= pixels {
            break;
        }
        a.pass(at);
        b.pass(at);
        if keep(a.inside, b.inside) != inside {
            push_run(&mut runs, at - last);
            (last, inside) = (at, !inside);
        }
    }
    push_run(&mut runs, pixels - last);
    runs
}

/// Where the runs of a mask end, one after the other, of any length.
struct Ends<'a> {
    runs: std::slice::Iter<'a, u32>,
    /// The end of the run that stands here; beyond the image after the last.
    at: u64,
    /// Whether that is a run of the mask.
    inside: bool,
}

impl<'a> Ends<'a> {
    fn new(runs: &'a [u32]) -> Self {
        let mut runs = runs.iter();
        let at = runs.next().map_or(u64::MAX, |&run| u64::from(run));
        Self { runs, at, inside: false }
    }

    /// Goes past all ends at `at`: empty runs make several.
    #[inline]
    fn pass(&mut self, at: u64) {
        while self.at == at {
            self.at = self.runs.next().map_or(u64::MAX, |&run| at + u64::from(run));
            self.inside = !self.inside;
        }
    }
}
