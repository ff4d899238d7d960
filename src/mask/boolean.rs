//! Masks by logic. Comes in: masks of one size. Goes out: their union, intersection, difference or symmetric
//! difference, in canonical form. Fails on masks of different sizes.

use super::{Rle, RleError, builder::push_run};

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
    for (index, mask) in masks.iter().enumerate() {
        first.check_same_size(mask, index)?;
    }
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
        let mut runs = self.canonical().into_runs();
        if runs.first() == Some(&0) && runs.len() > 1 {
            runs.remove(0);
        } else if self.pixels() > 0 {
            runs.insert(0, 0);
        }
        Self::trusted(runs, self.height(), self.width())
    }
}

/// Merges two masks of one size.
pub(super) fn combine(a: &Rle, b: &Rle, how: Merge) -> Rle {
    Rle::trusted(combine_runs(a.runs(), b.runs(), a.pixels(), how), a.height(), a.width())
}

/// Merges the runs of two masks of this many pixels each; the result is canonical.
pub(super) fn combine_runs(a: &[u32], b: &[u32], pixels: u64, how: Merge) -> Vec<u32> {
    match how {
        Merge::Union => walk(a, b, pixels, |a, b| a | b),
        Merge::Intersection => walk(a, b, pixels, |a, b| a & b),
        Merge::Difference => walk(a, b, pixels, |a, b| a & !b),
        Merge::Xor => walk(a, b, pixels, |a, b| a ^ b),
    }
}

/// One pass over two masks of one size. `keep` is false where neither has a pixel.
fn walk(a: &[u32], b: &[u32], pixels: u64, keep: impl Fn(bool, bool) -> bool) -> Vec<u32> {
    let (mut a_ends, mut b_ends) = (Ends::new(a), Ends::new(b));
    let mut runs = Vec::with_capacity(a.len() + b.len() + 1);
    let mut last = 0;
    let mut inside = false;
    loop {
        let at = a_ends.at.min(b_ends.at);
        if at >= pixels {
            break;
        }
        a_ends.pass(at);
        b_ends.pass(at);
        if keep(a_ends.inside, b_ends.inside) != inside {
            push_run(&mut runs, at - last);
            (last, inside) = (at, !inside);
        }
    }
    if last < pixels || pixels == 0 {
        push_run(&mut runs, pixels - last);
    }
    runs
}

/// Number of pixels that two masks of one size share.
pub(super) fn shared_pixels(a: &Rle, b: &Rle) -> u64 {
    let pixels = a.pixels();
    let (mut a_ends, mut b_ends) = (Ends::new(a.runs()), Ends::new(b.runs()));
    let (mut last, mut shared) = (0, 0);
    loop {
        let at = a_ends.at.min(b_ends.at).min(pixels);
        if a_ends.inside && b_ends.inside {
            shared += at - last;
        }
        if at == pixels {
            return shared;
        }
        last = at;
        a_ends.pass(at);
        b_ends.pass(at);
    }
}

/// Where the runs of a mask end, one after the other.
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

    /// Goes past all ends at `at`; empty runs make several.
    #[inline]
    fn pass(&mut self, at: u64) {
        while self.at == at {
            self.at = self.runs.next().map_or(u64::MAX, |&run| self.at + u64::from(run));
            self.inside = !self.inside;
        }
    }
}
