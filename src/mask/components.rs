//! Connected regions of a mask and of its background. Comes in: a mask and which neighbours count. Goes out: a mask for
//! each region, in the order of their first pixels. Fails on very many regions in images of 2^32 pixels or more.
//!
//! # How
//!
//! The blocks of neighbouring columns are compared in one pass from top to bottom; those that touch are joined in a
//! union-find forest, whose roots are the first blocks of their regions. A second pass hands each block to its region's
//! builder, so that a region costs no more memory than its own blocks need.

use super::blocks::Block;
use super::builder::Builder;
use super::{Rle, RleError};

/// Cuts of runs of 2^32 pixels that all regions together may need.
const MOST_CUTS: u64 = 1 << 23;

/// Which pixels are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Those that share a side.
    Four,
    /// Those that share a side or a corner.
    Eight,
}

impl Rle {
    /// The connected regions of the mask, in the column-major order of their first pixels. An empty mask has none.
    ///
    /// All regions together have at most as many runs as the mask cut at every column. Only in images of 2^32 pixels or
    /// more does each region need some more, two for 2^32 pixels.
    ///
    /// # Errors
    /// [`RleError::Image`] if these would be more than 2^24.
    pub fn components(&self, connectivity: Connectivity) -> Result<Vec<Self>, RleError> {
        let blocks = self.blocks();
        let roots = roots(&blocks, connectivity);
        self.collect(&blocks, &roots, |_| true)
    }

    /// The connected regions of the background that do not touch the image's edge, in the column-major order of their
    /// first pixels. `connectivity` is that of the background: `Four` where the mask is thought of as connected by
    /// `Eight`, and the other way round.
    ///
    /// # Errors
    /// As [`Rle::components`].
    pub fn holes(&self, connectivity: Connectivity) -> Result<Vec<Self>, RleError> {
        let blocks = self.complement().blocks();
        let roots = roots(&blocks, connectivity);
        let open = self.open(&blocks, &roots);
        self.collect(&blocks, &roots, |root| !open[root])
    }

    /// The mask with all its holes filled: the background keeps the pixels from which the image's edge is reached over
    /// background pixels that share a side ([`Connectivity::Four`]). In canonical form.
    pub fn fill_holes(&self) -> Self {
        let background = self.complement();
        let blocks = background.blocks();
        let roots = roots(&blocks, Connectivity::Four);
        let open = self.open(&blocks, &roots);
        let mut outside = Builder::like(self, background.runs().len());
        for (block, _) in blocks.iter().zip(roots).filter(|&(_, root)| open[root]) {
            outside.push_block(block.x0, block.x1, block.y0, block.y1);
        }
        outside.finish().complement()
    }

    /// For each root whether its region touches the image's edge.
    fn open(&self, blocks: &[Block], roots: &[usize]) -> Vec<bool> {
        let mut open = vec![false; blocks.len()];
        for (block, &root) in blocks.iter().zip(roots) {
            let [right, bottom] = [block.x1 == self.width(), block.y1 == self.height()];
            open[root] |= block.x0 == 0 || block.y0 == 0 || right || bottom;
        }
        open
    }

    /// One mask for each root to be kept.
    fn collect(&self, blocks: &[Block], roots: &[usize], keep: impl Fn(usize) -> bool) -> Result<Vec<Self>, RleError> {
        let regions = roots.iter().enumerate().filter(|&(index, &root)| index == root && keep(root)).count();
        if regions as u64 * (self.pixels() >> 32) > MOST_CUTS {
            return Err(RleError::Image { height: self.height(), width: self.width() });
        }
        let mut sizes = vec![0; blocks.len()];
        roots.iter().for_each(|&root| sizes[root] += 1);
        // A root is the first block of its region: its place is known when the others come.
        let mut places = vec![0; blocks.len()];
        let mut made: Vec<Builder> = Vec::new();
        for (index, (block, &root)) in blocks.iter().zip(roots).enumerate() {
            if !keep(root) {
                continue;
            }
            if index == root {
                places[root] = made.len();
                made.push(Builder::like(self, 2 * sizes[root] + 1));
            }
            made[places[root]].push_block(block.x0, block.x1, block.y0, block.y1);
        }
        Ok(made.into_iter().map(Builder::finish).collect())
    }
}

/// For each block the first block of its region.
fn roots(blocks: &[Block], connectivity: Connectivity) -> Vec<usize> {
    // How many rows apart blocks of neighbouring columns may be.
    let reach = match connectivity {
        Connectivity::Four => 0,
        Connectivity::Eight => 1,
    };
    let before = |a: &Block, b: &Block| u64::from(a.y1) + reach <= u64::from(b.y0);
    let mut parents: Vec<usize> = (0..blocks.len()).collect();
    // The first block that may touch this one or one that comes later: in the column on the left, or beyond it.
    let mut left = 0;
    for (index, block) in blocks.iter().enumerate() {
        let past = |other: &Block| other.x1 < block.x0 || other.x1 == block.x0 && before(other, block);
        while past(&blocks[left]) {
            left += 1;
        }
        let touches = |other: &Block| other.x1 == block.x0 && !before(block, other);
        for other in (left..index).take_while(|&other| touches(&blocks[other])) {
            let (a, b) = (root(&mut parents, other), root(&mut parents, index));
            parents[a.max(b)] = a.min(b);
        }
    }
    // Parents come first, so theirs are roots already.
    for index in 0..parents.len() {
        parents[index] = parents[parents[index]];
    }
    parents
}

fn root(parents: &mut [usize], mut of: usize) -> usize {
    while parents[of] != of {
        parents[of] = parents[parents[of]];
        of = parents[of];
    }
    of
}
