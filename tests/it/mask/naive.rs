//! A naive mask of one value per pixel, the reference for other tests.

use maskstream::mask::Rle;

/// A mask with one value per pixel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Naive {
    pub(crate) height: u32,
    pub(crate) width: u32,
    /// In column-major order.
    pixels: Vec<bool>,
}

impl Naive {
    /// The mask of all pixels (x, y) for which `inside` returns true.
    pub(crate) fn made(height: u32, width: u32, mut inside: impl FnMut(u32, u32) -> bool) -> Self {
        let mut pixels = Vec::new();
        for x in 0..width {
            pixels.extend((0..height).map(|y| inside(x, y)));
        }
        Self { height, width, pixels }
    }

    pub(crate) fn of(mask: &Rle) -> Self {
        let mut pixels = Vec::new();
        for (index, &run) in mask.runs().iter().enumerate() {
            pixels.resize(pixels.len() + run as usize, index % 2 == 1);
        }
        assert_eq!(pixels.len() as u64, u64::from(mask.height()) * u64::from(mask.width()));
        Self { height: mask.height(), width: mask.width(), pixels }
    }

    /// Whether (x, y) belongs to the mask; false outside the image.
    pub(crate) fn at(&self, x: i64, y: i64) -> bool {
        let (height, width) = (i64::from(self.height), i64::from(self.width));
        (0..width).contains(&x) && (0..height).contains(&y) && self.pixels[(x * height + y) as usize]
    }

    pub(crate) fn area(&self) -> u64 {
        self.pixels.iter().filter(|&&inside| inside).count() as u64
    }

    /// The x and y of every pixel of the mask.
    pub(crate) fn points(&self) -> Vec<(u32, u32)> {
        let places = (0..self.width).flat_map(|x| (0..self.height).map(move |y| (x, y)));
        places.zip(&self.pixels).filter(|(_, inside)| **inside).map(|(place, _)| place).collect()
    }

    pub(crate) fn bbox(&self) -> [u32; 4] {
        let points = self.points();
        let side = |values: Vec<u32>| {
            let low = values.iter().min().copied().unwrap_or(0);
            (low, values.iter().max().map_or(0, |high| high - low + 1))
        };
        let (x, w) = side(points.iter().map(|point| point.0).collect());
        let (y, h) = side(points.iter().map(|point| point.1).collect());
        [x, y, w, h]
    }

    pub(crate) fn column_major(&self) -> Vec<u8> {
        self.pixels.iter().map(|&inside| u8::from(inside)).collect()
    }

    pub(crate) fn row_major(&self) -> Vec<u8> {
        let at = |x: u32, y: u32| u8::from(self.at(x.into(), y.into()));
        (0..self.height).flat_map(|y| (0..self.width).map(move |x| at(x, y))).collect()
    }

    /// The row-major bitmap with eight pixels per byte, the first in the highest bit.
    pub(crate) fn packed(&self) -> Vec<u8> {
        let bit = |x: u32, y: u32, i: u32| u8::from(self.at((8 * x + i).into(), y.into())) << (7 - i);
        let byte = |x: u32, y: u32| (0..8).map(|i| bit(x, y, i)).sum::<u8>();
        (0..self.height).flat_map(|y| (0..self.width.div_ceil(8)).map(move |x| byte(x, y))).collect()
    }

    /// The canonical runs: none is empty, except possibly the first.
    pub(crate) fn runs(&self) -> Vec<u32> {
        let mut runs = vec![0];
        for &inside in &self.pixels {
            if inside == (runs.len() % 2 == 0) {
                *runs.last_mut().unwrap() += 1;
            } else {
                runs.push(1);
            }
        }
        runs
    }

    /// Asserts that `mask` equals this mask and is in canonical form.
    #[track_caller]
    pub(crate) fn assert_is(&self, mask: &Rle, case: &str) {
        assert_eq!((mask.height(), mask.width()), (self.height, self.width), "size: {case}");
        assert_eq!(mask.runs(), self.runs(), "{case}");
        assert!(mask.is_canonical(), "{case}");
    }
}

/// Random runs that fill the image: noise, larger patches, empty or full masks, often with empty runs. `below(n)`
/// returns a random number below n.
pub(crate) fn random_mask(mut below: impl FnMut(u64) -> u64, height: u32, width: u32) -> Rle {
    let mut left = height * width;
    let mut runs = Vec::new();
    let longest = match below(4) {
        0 => 2,
        1 => u64::from(height) + 1,
        2 => u64::from(height) * 3,
        _ => u64::from(left) * 2,
    };
    let empty_ones = below(2) == 0;
    while left > 0 {
        let mut run = (below(longest + 1) as u32).min(left);
        if run == 0 && !empty_ones && !runs.is_empty() {
            run = 1;
        }
        runs.push(run);
        left -= run;
    }
    if empty_ones {
        runs.extend(vec![0; below(3) as usize]);
    }
    Rle::from_runs(runs, height, width).unwrap()
}
