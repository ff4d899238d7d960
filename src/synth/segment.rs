//! Finds the regions of a photo, in two nested levels: a fine region for every pixel, and a coarse one for every fine
//! one.
//!
//! Graph-based segmentation after Felzenszwalb and Huttenlocher (2004): neighbouring pixels are merged in order of
//! their difference, as long as it is not much larger than the differences already inside both regions. The tolerance
//! shrinks with a region's size, so `scale` sets how large regions grow. The coarse level continues from the fine one
//! with a larger scale; therefore the levels are nested.

/// Rounds of blurring before differences are computed.
const BLUR_ROUNDS: usize = 3;

/// Two levels of regions of one image.
pub(super) struct Segments {
    /// By pixel, row-major: its fine region.
    pub(super) fine: Vec<u32>,
    /// By fine region: its coarse region. Both are numbered from 0.
    pub(super) coarse: Vec<u32>,
}

/// Finds fine regions of at least `min_pixels` pixels in a row-major RGB image, and coarse ones of at least four times
/// as many. `scales` are those of the two levels.
pub(super) fn segment(rgb: &[u8], width: usize, scales: [f32; 2], min_pixels: usize) -> Segments {
    let edges = sorted_edges(&blur(rgb, width), width);
    let mut sets = DisjointSets::new(rgb.len() / 3);
    sets.merge(&edges, scales[0], min_pixels);
    let (fine, roots) = sets.label();
    sets.merge(&edges, scales[1], 4 * min_pixels);
    let (all, _) = sets.label();
    let coarse = roots.iter().map(|&root| all[root as usize]).collect();
    Segments { fine, coarse }
}

/// A pair of neighbouring pixels and their difference.
struct Edge {
    difference: f32,
    pixels: [u32; 2],
}

/// Edges from each pixel to its neighbours on the right, below, and diagonally below; the smallest difference first.
fn sorted_edges(image: &[[f32; 3]], width: usize) -> Vec<Edge> {
    let height = image.len() / width;
    let mut edges = Vec::with_capacity(4 * image.len());
    for (index, a) in image.iter().enumerate() {
        let (x, y) = (index % width, index / width);
        let (right, below, left) = (x + 1 < width, y + 1 < height, x > 0);
        let neighbours =
            [(right, 1), (below, width), (below && right, width + 1), (below && left, width.wrapping_sub(1))];
        for (_, step) in neighbours.into_iter().filter(|(inside, _)| *inside) {
            let b = image[index + step];
            let difference = (0..3).map(|c| (a[c] - b[c]) * (a[c] - b[c])).sum::<f32>().sqrt();
            edges.push(Edge { difference, pixels: [index as u32, (index + step) as u32] });
        }
    }
    // Stable, so that equal differences keep their order and the result is the same everywhere.
    edges.sort_by(|a, b| a.difference.total_cmp(&b.difference));
    edges
}

/// Smooths away noise: each round averages every pixel with its neighbours along both axes.
fn blur(rgb: &[u8], width: usize) -> Vec<[f32; 3]> {
    let mut image: Vec<[f32; 3]> = rgb.chunks_exact(3).map(|p| [p[0], p[1], p[2]].map(f32::from)).collect();
    let height = image.len() / width;
    for step in [1, width].repeat(BLUR_ROUNDS) {
        let mixed = (0..image.len()).map(|index| {
            let (at, len) = if step == 1 { (index % width, width) } else { (index / width, height) };
            let before = if at > 0 { image[index - step] } else { image[index] };
            let after = if at + 1 < len { image[index + step] } else { image[index] };
            std::array::from_fn(|c| 0.25 * before[c] + 0.5 * image[index][c] + 0.25 * after[c])
        });
        image = mixed.collect();
    }
    image
}

/// Union-find over pixels: each region is a tree, and its size and internal difference are kept at the root.
struct DisjointSets {
    parents: Vec<u32>,
    sizes: Vec<u32>,
    /// Largest difference of the edges that were merged.
    internal_difference: Vec<f32>,
}

impl DisjointSets {
    fn new(pixels: usize) -> Self {
        Self { parents: (0..pixels as u32).collect(), sizes: vec![1; pixels], internal_difference: vec![0.0; pixels] }
    }

    fn find(&mut self, mut pixel: u32) -> u32 {
        while self.parents[pixel as usize] != pixel {
            let above = self.parents[self.parents[pixel as usize] as usize];
            self.parents[pixel as usize] = above;
            pixel = above;
        }
        pixel
    }

    fn union(&mut self, a: u32, b: u32, difference: f32) {
        let (a, b) = if self.sizes[a as usize] >= self.sizes[b as usize] { (a, b) } else { (b, a) };
        let internal_difference =
            self.internal_difference[a as usize].max(self.internal_difference[b as usize]).max(difference);
        self.parents[b as usize] = a;
        self.sizes[a as usize] += self.sizes[b as usize];
        self.internal_difference[a as usize] = internal_difference;
    }

    fn merge(&mut self, edges: &[Edge], scale: f32, min_pixels: usize) {
        let tolerance =
            |sets: &Self, root: u32| sets.internal_difference[root as usize] + scale / sets.sizes[root as usize] as f32;
        for edge in edges {
            let [a, b] = edge.pixels.map(|pixel| self.find(pixel));
            if a != b && edge.difference <= tolerance(self, a).min(tolerance(self, b)) {
                self.union(a, b, edge.difference);
            }
        }
        // Regions that are still too small are merged with their most similar neighbour.
        for edge in edges {
            let [a, b] = edge.pixels.map(|pixel| self.find(pixel));
            if a != b && (self.sizes[a as usize].min(self.sizes[b as usize]) as usize) < min_pixels {
                self.union(a, b, edge.difference);
            }
        }
    }

    /// The label of every pixel, numbered in the order of the regions' first pixels; and the first pixel of each
    /// region.
    fn label(&mut self) -> (Vec<u32>, Vec<u32>) {
        let (mut numbers, mut firsts) = (vec![u32::MAX; self.parents.len()], Vec::new());
        let labels = (0..self.parents.len() as u32)
            .map(|pixel| {
                let number = &mut numbers[self.find(pixel) as usize];
                if *number == u32::MAX {
                    *number = firsts.len() as u32;
                    firsts.push(pixel);
                }
                *number
            })
            .collect();
        (labels, firsts)
    }
}
