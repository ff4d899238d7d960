//! Decodes the Huffman codes of blocks.

use super::frame::BlockPlan;
use super::huffman::{Entry, INDEX_BITS, INVALID, Tables, is_end_of_block};
use super::zigzag::{BLOCK, PLACES};

/// A place in the image data, and the bits that follow.
#[derive(Clone, Copy, Default)]
pub(super) struct Stream {
    /// The next bits are the highest ones.
    buffer: u64,
    /// How many they are. Behind them are bits that the next refill brings again.
    held: u32,
    /// The byte that follows those that are held.
    at: usize,
}

impl Stream {
    /// A stream from bit `position` of `data` on.
    pub(super) fn new(data: &[u8], position: usize) -> Self {
        let (at, used) = (position / 8, position as u32 % 8);
        let mut stream = Self { buffer: 0, held: 0, at };
        if used > 0 {
            stream.refill(data);
            stream.drop(used);
        }
        stream
    }

    /// How many bits of the data are used.
    pub(super) fn position(&self) -> usize {
        8 * self.at - self.held as usize
    }

    /// Makes at least 56 bits available.
    #[inline(always)]
    fn refill(&mut self, data: &[u8]) {
        self.buffer |= load(data, self.at) >> self.held;
        self.at += ((63 - self.held) >> 3) as usize;
        self.held |= 56;
    }

    #[inline(always)]
    fn drop(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.held -= bits;
    }

    /// The next symbol, and the value with it. `number` is that of `table`.
    #[inline(always)]
    fn symbol(&mut self, data: &[u8], tables: &Tables, table: &[Entry; 1 << INDEX_BITS], number: usize) -> (u32, i32) {
        let entry = table[(self.buffer >> (64 - INDEX_BITS)) as usize];
        if entry.is_slow() {
            return self.slow_symbol(data, tables, entry, number);
        }
        let value = entry.value(self.buffer);
        self.drop(entry.bits());
        (entry.advance(), value)
    }

    #[cold]
    #[inline(never)]
    fn slow_symbol(&mut self, data: &[u8], tables: &Tables, entry: Entry, number: usize) -> (u32, i32) {
        self.refill(data);
        let entry = tables.slow(number, entry, self.buffer);
        let value = entry.slow_value(self.buffer);
        self.drop(entry.bits());
        self.refill(data);
        (entry.advance(), value)
    }
}

/// Eight bytes as a number; zeros where there are not as many.
#[inline(always)]
pub(super) fn load(data: &[u8], at: usize) -> u64 {
    match data.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => 0,
    }
}

/// Decodes units of blocks, `plans` of each unit, to `coefficients`, which must be zeros. First coefficients are
/// differences. Returns whether all codes are valid; reads beyond the end of `data` as zeros.
#[inline(always)]
pub(super) fn decode_units(
    stream: &mut Stream,
    data: &[u8],
    tables: &Tables,
    plans: &[BlockPlan],
    coefficients: &mut [i16],
) -> bool {
    let mut local = *stream;
    let mut is_valid = true;
    for unit in coefficients.chunks_exact_mut(plans.len() * BLOCK) {
        for (block, plan) in unit.as_chunks_mut::<BLOCK>().0.iter_mut().zip(plans) {
            is_valid &= decode_block(&mut local, data, tables, plan, block);
        }
    }
    *stream = local;
    is_valid
}

#[inline(always)]
fn decode_block(stream: &mut Stream, data: &[u8], tables: &Tables, plan: &BlockPlan, block: &mut [i16; BLOCK]) -> bool {
    stream.refill(data);
    let (advance, value) = stream.symbol(data, tables, tables.first(plan.dc), plan.dc);
    block[0] = value as i16;
    if advance == INVALID {
        return false;
    }
    let ac = tables.first(plan.ac);
    let mut k = 1;
    loop {
        stream.refill(data);
        // Three quick symbols use at most 54 bits.
        for _ in 0..3 {
            let (advance, value) = stream.symbol(data, tables, ac, plan.ac);
            k += advance;
            block[usize::from(PLACES[k as usize & 255]) % BLOCK] = value as i16;
            if k >= BLOCK as u32 {
                return is_end_of_block(k);
            }
        }
    }
}
