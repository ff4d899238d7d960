//! Makes one scan of the several that a sequential JPEG may have, one for each component or for some of them.
//!
//! zune-jpeg decodes such files wrongly. The blocks only change places: the codes of all coefficients but the first are
//! copied as they are, and the first, which is coded as a difference from the block before, is coded anew.

use super::entropy::{Sink, sequential};
use super::picture::{Picture, Scan, segment};
use super::segments::{DHT, EOI};
use crate::{Error, Result};

/// Writes `picture`, which is sequential, as a JPEG with one scan, to `out`.
///
/// # Errors
/// If its image data is not whole.
pub(crate) fn interleave(picture: &Picture<'_>, out: &mut Vec<u8>) -> Result<()> {
    let (across, down) = picture.units();
    let grids = picture.components.iter().map(|component| Grid {
        across: (across * component.horizontal) as usize,
        blocks: vec![Block::default(); (across * component.horizontal * down * component.vertical) as usize],
    });
    let mut blocks = Blocks { grids: grids.collect(), codes: BitWriter::default(), current: (0, 0) };
    sequential(picture, &mut blocks)?;

    let mut members: Vec<_> = picture.scans.iter().flat_map(|scan| scan.members.iter().cloned()).collect();
    members.sort_by_key(|member| member.component);
    picture.write_header(out);
    let mut ends = Vec::new();
    for (number, member) in members.iter_mut().enumerate() {
        (member.dc.number, member.ac.number) = (0, number as u8);
        let definition = member.ac.definition.unwrap_or_default();
        segment(DHT, &[&[0x10 | number as u8], definition], out);
        ends.push(end_of_block(definition));
    }
    segment(DHT, &[&[0], &DC_COUNTS, &DC_SYMBOLS], out);
    let scan = Scan { members, band: (0, 63), precision: (0, 0), restart: 0, data: &[], data_at: 0 };
    picture.write_scan_header(&scan, out);

    let mut written = BitWriter::default();
    let mut before = [0_i16; 4];
    for unit in 0..across * down {
        for (component, grid) in blocks.grids.iter().enumerate() {
            let Some(known) = picture.components.get(component) else { continue };
            for row in 0..known.vertical {
                for column in 0..known.horizontal {
                    let column = unit % across * known.horizontal + column;
                    let row = unit / across * known.vertical + row;
                    let block = &grid.blocks[row as usize * grid.across + column as usize];
                    let before = &mut before[component];
                    if block.bits > 0 {
                        write_difference(block.dc.wrapping_sub(*before), &mut written);
                        *before = block.dc;
                        written.copy(&blocks.codes, block.at, block.bits);
                    } else {
                        // A block that fills up the last unit of a row or column. Nobody sees it.
                        let (code, length) = ends[component].ok_or_else(|| {
                            Error::corrupt(format!("jpeg: component {component} lacks a code for the end of a block"))
                        })?;
                        write_difference(0, &mut written);
                        written.put(code, length);
                    }
                }
            }
        }
    }
    written.finish(out);
    out.extend_from_slice(&[0xff, EOI]);
    Ok(())
}

/// The Huffman table of the differences: each of the 16 sizes has a code of 5 bits, its own number.
const DC_COUNTS: [u8; 16] = [0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const DC_SYMBOLS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn write_difference(difference: i16, written: &mut BitWriter) {
    let size = 16 - difference.unsigned_abs().leading_zeros();
    written.put(size as u16, 5);
    let value = if difference < 0 { difference.wrapping_sub(1) } else { difference };
    written.put(value as u16 & ((1_u32 << size) - 1) as u16, size);
}

/// The code for "the rest of the block is 0" (symbol 0), and its length.
fn end_of_block(definition: &[u8]) -> Option<(u16, u32)> {
    let (counts, symbols) = definition.split_at_checked(16)?;
    let (mut code, mut symbols) = (0_u32, symbols.iter());
    for (length, &count) in (1..=16_u32).zip(counts) {
        for symbol in symbols.by_ref().take(usize::from(count)) {
            if *symbol == 0 {
                return Some((code as u16, length));
            }
            code += 1;
        }
        code <<= 1;
    }
    None
}

/// The blocks of all components, in rows and columns.
struct Blocks {
    grids: Vec<Grid>,
    /// The codes of all blocks but for their first coefficients, one after the other.
    codes: BitWriter,
    /// Component and place of the block that is being read.
    current: (usize, usize),
}

struct Grid {
    across: usize,
    blocks: Vec<Block>,
}

#[derive(Clone, Copy, Default)]
struct Block {
    /// Where its codes begin, in bits.
    at: u64,
    /// How many bits they are. 0 where there is no such block.
    bits: u16,
    dc: i16,
}

impl Sink for Blocks {
    fn block(&mut self, component: usize, column: u32, row: u32, dc: i16) {
        let grid = &mut self.grids[component];
        let place = row as usize * grid.across + column as usize;
        grid.blocks[place] = Block { at: self.codes.len(), bits: 0, dc };
        self.current = (component, place);
    }

    fn bits(&mut self, bits: u16, count: u32) {
        self.codes.put(bits, count);
        let (component, place) = self.current;
        self.grids[component].blocks[place].bits += count as u16;
    }
}

/// Bits one after the other, highest first.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    buffer: u32,
    held: u32,
}

impl BitWriter {
    fn len(&self) -> u64 {
        8 * self.bytes.len() as u64 + u64::from(self.held)
    }

    /// Appends the lowest `count` bits, at most 16.
    fn put(&mut self, bits: u16, count: u32) {
        self.buffer = self.buffer << count | u32::from(bits);
        self.held += count;
        while self.held >= 8 {
            self.held -= 8;
            self.bytes.push((self.buffer >> self.held) as u8);
        }
    }

    /// Appends `count` bits of `from`, from bit `at` on.
    fn copy(&mut self, from: &Self, at: u64, count: u16) {
        let (mut at, mut left) = (at, u32::from(count));
        while left > 0 {
            let step = left.min(8 - (at % 8) as u32);
            let place = (at / 8) as usize;
            // The last bits of all may still be in the buffer.
            let byte = from.bytes.get(place).copied().unwrap_or((from.buffer << (8 - from.held)) as u8);
            let bits = (u32::from(byte) << (at % 8) & 0xff) >> (8 - step);
            self.put(bits as u16, step);
            (at, left) = (at + u64::from(step), left - step);
        }
    }

    /// Appends everything to `out` as image data: padded with ones, and a zero behind each 0xff.
    fn finish(mut self, out: &mut Vec<u8>) {
        let padding = (8 - self.held % 8) % 8;
        self.put(((1 << padding) - 1) as u16, padding);
        for byte in self.bytes {
            out.push(byte);
            if byte == 0xff {
                out.push(0);
            }
        }
    }
}
