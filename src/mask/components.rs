//! Connected components of a mask and of its background.
//!
//! Each component is returned as a mask of its own, in the order of the components' first pixels. Very many components
//! in an image of 2^32 pixels or more are an error.
//!
//! # Algorithm
//!
//! One pass compares the blocks of neighbouring columns from top to bottom and joins those that touch in a union-find
//! forest, in which the root of a component is its first block. A second pass appends each block to the builder of its
//! component, so a component takes only as much memory as its own blocks.

use super::blocks::Block;
use super::builder::Builder;
use super::{Rle, RleError};

/// Upper bound for how often runs of 2^32 pixels or more may be split, over all components together.
const MAX_SPLITS: u64 = 1 << 23;

/// Which pixels are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Pixels that share a side.
    Four,
    /// Pixels that share a side or a corner.
    Eight,
}

impl Rle {
    /// The connected components of the mask, in the column-major order of their first pixels. An empty mask has none.
    ///
    /// All components together have at most as many runs as the mask has after splitting it at every column. In images
    /// of 2^32 pixels or more, each component needs two more runs for every 2^32 pixels.
    ///
    /// # Errors
    /// Returns [`RleError::Image`] if these extra runs would be more than 2^24.
    ///
    /// ```
    /// use maskstream::mask::{Connectivity, Rle};
    ///
    /// // Two pixels that share a corner.
    /// let mask = Rle::from_column_major(&[1, 0, 0, 1], 2, 2)?;
    /// assert_eq!(mask.components(Connectivity::Four)?.len(), 2);
    /// assert_eq!(mask.components(Connectivity::Eight)?.len(), 1);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn components(&self, connectivity: Connectivity) -> Result<Vec<Self>, RleError> {
        let blocks = self.blocks();
        let roots = root_of_each(&blocks, connectivity);
        self.build_masks(&blocks, &roots, |_| true)
    }

    /// The connected components of the background that do not touch the edge of the image, in the column-major order of
    /// their first pixels. `connectivity` is that of the background: use `Four` if the mask is considered
    /// eight-connected, and `Eight` if it is considered four-connected.
    ///
    /// # Errors
    /// Same as [`Rle::components`].
    ///
    /// ```
    /// use maskstream::mask::{Connectivity, Rle};
    ///
    /// // A ring of 3 x 3 pixels around one pixel of background.
    /// let ring = Rle::from_runs(vec![0, 4, 1, 4], 3, 3)?;
    /// assert_eq!(ring.holes(Connectivity::Four)?[0].bbox(), [1, 1, 1, 1]);
    /// assert_eq!(ring.fill_holes().area(), 9);
    /// # Ok::<(), maskstream::mask::RleError>(())
    /// ```
    pub fn holes(&self, connectivity: Connectivity) -> Result<Vec<Self>, RleError> {
        let blocks = self.complement().blocks();
        let roots = root_of_each(&blocks, connectivity);
        let touches_edge = self.edge_roots(&blocks, &roots);
        self.build_masks(&blocks, &roots, |root| !touches_edge[root])
    }

    /// The mask with all its holes filled, in canonical form. Only those background pixels remain that are connected to
    /// the edge of the image through background pixels that share a side ([`Connectivity::Four`]).
    pub fn fill_holes(&self) -> Self {
        let background = self.complement();
        let blocks = background.blocks();
        let roots = root_of_each(&blocks, Connectivity::Four);
        let touches_edge = self.edge_roots(&blocks, &roots);
        let mut outside = Builder::like(self, background.runs().len());
        for (block, _) in blocks.iter().zip(roots).filter(|&(_, root)| touches_edge[root]) {
            outside.push_block(block.x0, block.x1, block.y0, block.y1);
        }
        outside.finish().complement()
    }

    /// For each root: whether its component touches the edge of the image.
    fn edge_roots(&self, blocks: &[Block], roots: &[usize]) -> Vec<bool> {
        let mut touches_edge = vec![false; blocks.len()];
        for (block, &root) in blocks.iter().zip(roots) {
            let [right, bottom] = [block.x1 == self.width(), block.y1 == self.height()];
            touches_edge[root] |= block.x0 == 0 || block.y0 == 0 || right || bottom;
        }
        touches_edge
    }

    /// Builds one mask for each root that `keep` selects.
    fn build_masks(
        &self,
        blocks: &[Block],
        roots: &[usize],
        keep: impl Fn(usize) -> bool,
    ) -> Result<Vec<Self>, RleError> {
        let count = roots.iter().enumerate().filter(|&(index, &root)| index == root && keep(root)).count();
        if count as u64 * (self.pixels() >> 32) > MAX_SPLITS {
            return Err(RleError::Image { height: self.height(), width: self.width() });
        }
        let mut sizes = vec![0; blocks.len()];
        roots.iter().for_each(|&root| sizes[root] += 1);
        // A root is the first block of its component, so its index is known before the other blocks need it.
        let mut indices = vec![0; blocks.len()];
        let mut builders: Vec<Builder> = Vec::new();
        for (index, (block, &root)) in blocks.iter().zip(roots).enumerate() {
            if !keep(root) {
                continue;
            }
            if index == root {
                indices[root] = builders.len();
                builders.push(Builder::like(self, 2 * sizes[root] + 1));
            }
            builders[indices[root]].push_block(block.x0, block.x1, block.y0, block.y1);
        }
        Ok(builders.into_iter().map(Builder::finish).collect())
    }
}

/// For each block, the first block of its component.
fn root_of_each(blocks: &[Block], connectivity: Connectivity) -> Vec<usize> {
    // How many rows apart blocks of neighbouring columns may be and still touch.
    let gap = match connectivity {
        Connectivity::Four => 0,
        Connectivity::Eight => 1,
    };
    let before = |a: &Block, b: &Block| u64::from(a.y1) + gap <= u64::from(b.y0);
    let mut parents: Vec<usize> = (0..blocks.len()).collect();
    // The first block that may touch this block or a later one. It is in the column on the left, or further right.
    let mut left = 0;
    for (index, block) in blocks.iter().enumerate() {
        let past = |other: &Block| other.x1 < block.x0 || other.x1 == block.x0 && before(other, block);
        while past(&blocks[left]) {
            left += 1;
        }
        let touches = |other: &Block| other.x1 == block.x0 && !before(block, other);
        for other in (left..index).take_while(|&other| touches(&blocks[other])) {
            let (a, b) = (find_root(&mut parents, other), find_root(&mut parents, index));
            parents[a.max(b)] = a.min(b);
        }
    }
    // A parent precedes its children, so it already points to its root.
    for index in 0..parents.len() {
        parents[index] = parents[parents[index]];
    }
    parents
}

fn find_root(parents: &mut [usize], mut of: usize) -> usize {
    while parents[of] != of {
        parents[of] = parents[parents[of]];
        of = parents[of];
    }
    of
}
