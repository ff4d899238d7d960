//! Masks by logic. Comes in: masks of one size. Goes out: their union, intersection, difference or symmetric
//! difference, in canonical form. Fails on masks of different sizes.

use std::borrow::Cow;

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
        let canonical = if self.is_canonical() { Cow::Borrowed(self) } else { Cow::Owned(self.canonical()) };
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

/// The pixels that `keep` says to keep.
fn select(a: &Rle, b: &Rle, keep: impl Fn(bool, bool) -> bool) -> Rle {
    struct Runs {
        runs: Vec<u32>,
        last: u64,
    }
    impl Turns for Runs {
        #[inline(always)]
        fn turn(&mut self, at: u64) {
            push_run(&mut self.runs, at - self.last);
            self.last = at;
        }
    }
    let pixels = a.pixels();
    if pixels == 0 {
        return Rle::trusted(vec![0], a.height(), a.width());
    }
    let mut kept = Runs { runs: Vec::with_capacity(a.runs().len() + b.runs().len() + 1), last: 0 };
    walk(a.runs(), b.runs(), pixels, keep, &mut kept);
    if kept.last < pixels {
        kept.turn(pixels);
    }
    Rle::trusted(kept.runs, a.height(), a.width())
}

/// Number of pixels that two masks of one size share.
pub(super) fn shared_pixels(a: &Rle, b: &Rle) -> u64 {
    #[derive(Default)]
    struct Shared {
        /// The ends of the shared stretches minus their starts: end - (start - all before).
        sum: u64,
        inside: bool,
    }
    impl Turns for Shared {
        #[inline(always)]
        fn turn(&mut self, at: u64) {
            self.sum = at.wrapping_sub(self.sum);
            self.inside = !self.inside;
        }
    }
    let mut shared = Shared::default();
    walk(a.runs(), b.runs(), a.pixels(), |a, b| a & b, &mut shared);
    if shared.inside {
        shared.turn(a.pixels());
    }
    shared.sum
}

/// What is told of the positions at which a mask begins and ends.
trait Turns {
    fn turn(&mut self, at: u64);
}

/// One pass over two lists of runs: tells `turns` each position in the column-major order at which `keep`, of
/// whether the masks have the pixel there, changes. `keep` is false where neither has.
#[inline]
fn walk(a: &[u32], b: &[u32], pixels: u64, keep: impl Fn(bool, bool) -> bool, turns: &mut impl Turns) {
    let mut inside = false;
    let mut set = |keep: bool, at: u64| {
        if keep != inside {
            inside = keep;
            turns.turn(at);
        }
    };
    let (mut a, mut b) = (Ends::new(a), Ends::new(b));
    loop {
        // As long as only one of the masks changes.
        while a.at < b.at {
            let at = a.pass();
            set(keep(a.inside, b.inside), at);
        }
        while b.at < a.at {
            let at = b.pass();
            set(keep(a.inside, b.inside), at);
        }
        if a.at == b.at {
            if a.at >= pixels {
                return;
            }
            let at = a.pass();
            b.pass();
            set(keep(a.inside, b.inside), at);
        }
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

    /// Goes past the end that stands here, and all others at the same place: empty runs make several.
    #[inline]
    fn pass(&mut self) -> u64 {
        let at = self.at;
        while self.at == at {
            self.at = self.runs.next().map_or(u64::MAX, |&run| at + u64::from(run));
            self.inside = !self.inside;
        }
        at
    }
}
