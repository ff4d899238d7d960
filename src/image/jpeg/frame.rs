//! How the blocks of a sequential JPEG are laid out, at one of the scales that it can be decoded at.

use std::ops::Range;

use super::huffman::Tables;
use super::picture::Picture;

/// Most blocks of a unit: 10 by the standard, more where several scans have become one.
pub(super) const MOST_BLOCKS: usize = 16;

/// A picture of one scan, at a scale.
pub(super) struct Frame {
    pub(super) parts: Vec<Part>,
    /// The blocks of a unit, in the order of the scan.
    pub(super) blocks: Vec<BlockPlan>,
    /// Units in each row, and rows of them.
    pub(super) units: (usize, usize),
    /// The columns and rows of units that are shown. Others are decoded only as far as those after them need it.
    pub(super) shown: (Range<usize>, Range<usize>),
    /// Width and height of the shown units at this scale, in pixels.
    pub(super) size: (usize, usize),
    /// The rows of pixels that are wanted, counted from the first shown one.
    pub(super) rows: Range<usize>,
}

/// A component at its own size.
pub(super) struct Part {
    /// Blocks of a unit, across and down.
    pub(super) blocks: (usize, usize),
    /// Samples of a block in each direction: 1, 2, 4 or 8.
    pub(super) samples: usize,
    /// Width and height of the shown units in samples.
    pub(super) size: (usize, usize),
    /// Pixels for each sample, across and down.
    pub(super) factors: (usize, usize),
    /// Whether values between samples are interpolated; otherwise samples are repeated.
    pub(super) is_smooth: bool,
    /// What each coefficient is multiplied with, in the order in which blocks are stored.
    pub(super) quantization: super::dct::Factors,
}

/// One block of a unit.
pub(super) struct BlockPlan {
    pub(super) component: usize,
    /// Numbers of the Huffman tables.
    pub(super) dc: usize,
    pub(super) ac: usize,
    /// Column and row among the component's blocks of the unit.
    pub(super) column: usize,
    pub(super) row: usize,
}

impl Frame {
    /// The layout of `picture`, at 1 / 2^`shift` of its size. Makes the tables that are missing in `tables`. `None` for
    /// pictures that are not of one sequential scan of one or three components, or not sampled by whole factors.
    pub(super) fn new(picture: &Picture<'_>, shift: u32, tables: &mut Tables) -> Option<Self> {
        let [scan] = &picture.scans[..] else { return None };
        if !(picture.is_sequential() && picture.has_one_scan() && matches!(picture.components.len(), 1 | 3)) {
            return None;
        }
        let (width, height) = picture.size();
        let (horizontal, vertical) = picture.sampling();
        let least = 8 >> shift;
        let mut parts = Vec::new();
        for component in &picture.components {
            let (across, down) = (horizontal * least, vertical * least);
            let samples = block_samples(least, (across, down), (component.horizontal, component.vertical));
            let (own_across, own_down) = (component.horizontal * samples, component.vertical * samples);
            if across % own_across != 0 || down % own_down != 0 {
                return None;
            }
            let factors = ((across / own_across) as usize, (down / own_down) as usize);
            let size = (
                (width * own_across).div_ceil(8 * horizontal) as usize,
                (height * own_down).div_ceil(8 * vertical) as usize,
            );
            parts.push(Part {
                blocks: (component.horizontal as usize, component.vertical as usize),
                samples: samples as usize,
                size,
                factors,
                is_smooth: least > 1 && is_smooth(factors, size.0),
                quantization: super::dct::factors(&component.quantization_table()?, samples as usize),
            });
        }
        let mut blocks = Vec::new();
        for member in &scan.members {
            let dc = tables.add(true, member.dc.definition?)?;
            let ac = tables.add(false, member.ac.definition?)?;
            let (across, down) = parts.get(member.component)?.blocks;
            let places = (0..down).flat_map(|row| (0..across).map(move |column| (column, row)));
            blocks.extend(places.map(|(column, row)| BlockPlan { component: member.component, dc, ac, column, row }));
        }
        let (across, down) = picture.units();
        let units = (across as usize, down as usize);
        let size = (width.div_ceil(1 << shift) as usize, height.div_ceil(1 << shift) as usize);
        (blocks.len() <= MOST_BLOCKS && width > 0 && height > 0).then_some(Self {
            parts,
            blocks,
            units,
            shown: (0..units.0, 0..units.1),
            size,
            rows: 0..size.1,
        })
    }

    /// Shows no more than the units that `columns` and `rows` of pixels need. Returns the number of columns that are
    /// shown before the first of `columns`.
    pub(super) fn show(&mut self, columns: Range<usize>, rows: Range<usize>) -> usize {
        let across: Vec<_> = self.parts.iter_mut().map(Part::across).collect();
        let (shown, size, before) = cut(across, columns, self.units.0, self.size.0);
        (self.shown.0, self.size.0) = (shown, size);
        let down: Vec<_> = self.parts.iter_mut().map(Part::down).collect();
        let wanted = rows.len();
        let (shown, size, above) = cut(down, rows, self.units.1, self.size.1);
        (self.shown.1, self.size.1, self.rows) = (shown, size, above..above + wanted);
        before
    }
}

/// A component in one direction.
struct Extent<'a> {
    /// Samples of a unit.
    unit: usize,
    /// Samples in all.
    size: &'a mut usize,
    factor: usize,
    is_smooth: bool,
}

impl Part {
    fn across(&mut self) -> Extent<'_> {
        let (unit, factor, is_smooth) = (self.blocks.0 * self.samples, self.factors.0, self.is_smooth);
        Extent { unit, size: &mut self.size.0, factor, is_smooth }
    }

    fn down(&mut self) -> Extent<'_> {
        let (unit, factor, is_smooth) = (self.blocks.1 * self.samples, self.factors.1, self.is_smooth);
        Extent { unit, size: &mut self.size.1, factor, is_smooth }
    }
}

/// Cuts components to what the `wanted` pixels of one direction need, of `units` units and `size` pixels. Returns the
/// units that are left, their size in pixels, and the number of pixels before the wanted ones.
fn cut(parts: Vec<Extent<'_>>, wanted: Range<usize>, units: usize, size: usize) -> (Range<usize>, usize, usize) {
    let pixels = parts.first().map_or(8, |part| part.unit * part.factor);
    // A pixel between two samples needs both.
    let beside = parts.iter().filter(|part| part.is_smooth).map(|part| part.factor).max().unwrap_or(0);
    let first = wanted.start.saturating_sub(beside) / pixels;
    let end = (wanted.end + beside).div_ceil(pixels).min(units);
    for part in parts {
        *part.size = (*part.size).min(end * part.unit) - first * part.unit;
    }
    (first..end, size.min(end * pixels) - first * pixels, wanted.start - first * pixels)
}

impl BlockPlan {
    /// The numbers of its Huffman tables, for the first coefficient and the others.
    pub(super) fn tables(&self) -> (usize, usize) {
        (self.dc, self.ac)
    }
}

/// Samples of a component's block: twice or four times as many as of the largest component, where that spares making
/// the component larger afterwards. As libjpeg decides.
fn block_samples(least: u32, (across, down): (u32, u32), (horizontal, vertical): (u32, u32)) -> u32 {
    let mut samples = least;
    while samples < 8 && across % (horizontal * samples * 2) == 0 && down % (vertical * samples * 2) == 0 {
        samples *= 2;
    }
    samples
}

/// Whether libjpeg interpolates: where pixels are two to a sample, unless the component is too narrow.
fn is_smooth(factors: (usize, usize), width: usize) -> bool {
    match factors {
        (2, 1 | 2) => width > 2,
        (1, 2) => true,
        _ => false,
    }
}
