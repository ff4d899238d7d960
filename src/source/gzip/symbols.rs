//! The symbols of a deflate block: a bit reader, and the decoding of literals and matches with the block's tables.
//! Invalid codes and distances are errors.
//!
//! JPEG data compresses to a chain of literals, and each has to be looked up before the next one can be. The fast loop
//! decodes four of them per refill of a 64-bit buffer, and looks up the fifth before it refills. Near the ends of input
//! and output, symbols are decoded one at a time.

use super::huffman::{
    DISTANCE_ROOT, DistanceTable, END_OF_BLOCK, EXCEPTIONAL, LITERAL, LITERAL_MASK, LITERAL_ROOT, LiteralTable,
    SUBTABLE,
};

/// Length of the longest match.
pub(crate) const MAX_MATCH: usize = 258;
/// Bytes that one round of the fast loop may write: three literals, a match, and the rest of a copied word.
const MAX_ROUND_OUTPUT: usize = 3 + MAX_MATCH + 7;
/// Bytes that the three refills of one round may read.
const MAX_ROUND_INPUT: usize = 32;

/// A part of the compressed file.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) bytes: &'a [u8],
    /// Offset of the first byte in the file.
    pub(crate) start: u64,
}

/// The state of the fast loop.
pub(super) struct FastLoop<'a> {
    bits: BitReader<'a>,
    at: usize,
    floor: usize,
    literals: &'a LiteralTable,
    distances: &'a DistanceTable,
    /// The table entry of the next symbol.
    entry: u32,
}

/// Whether a round of the fast loop can begin with `room` bytes of output left.
pub(super) fn has_room(bits: &BitReader<'_>, room: usize) -> bool {
    bits.next + MAX_ROUND_INPUT <= bits.bytes.len() && room >= MAX_ROUND_OUTPUT
}

/// Why the fast loop has ended.
pub(super) enum FastLoopExit {
    /// Input or output have no room for another round.
    NoRoom,
    EndOfBlock,
    Invalid(&'static str),
}

impl<'a> FastLoop<'a> {
    /// Continues at `bits`. Matches must not refer to bytes before `floor`.
    pub(super) fn new(
        mut bits: BitReader<'a>,
        literals: &'a LiteralTable,
        distances: &'a DistanceTable,
        at: usize,
        floor: usize,
    ) -> Self {
        bits.refill();
        let mut fast_loop = Self { bits, at, floor, literals, distances, entry: 0 };
        fast_loop.entry = fast_loop.next_entry();
        fast_loop
    }

    /// The index in the output and the bit of the file that it has reached.
    pub(super) fn position(&self) -> (usize, u64) {
        (self.at, self.bits.position())
    }

    /// Decodes four literals, or up to three and the other symbol after them.
    #[inline(always)]
    pub(super) fn round(&mut self, out: &mut [u8], on_match: &mut impl FnMut(usize, usize)) -> Option<FastLoopExit> {
        let chunk = out.get_mut(self.at..).and_then(|rest| rest.first_chunk_mut::<MAX_ROUND_OUTPUT>());
        let has_input = self.bits.next + MAX_ROUND_INPUT <= self.bits.bytes.len();
        let (Some(chunk), true) = (chunk, has_input) else { return Some(FastLoopExit::NoRoom) };
        // The buffer holds at least 56 bits: four codes of the main table, and the index of a fifth.
        let mut entry = self.entry;
        macro_rules! literal {
            ($index:literal) => {
                if entry & LITERAL == 0 {
                    self.at += $index;
                    return self.slow_symbol(entry, out, on_match);
                }
                chunk[$index] = (entry >> 8) as u8;
                self.bits.consume_entry(entry);
                entry = self.next_entry();
            };
        }
        literal!(0);
        literal!(1);
        literal!(2);
        literal!(3);
        self.at += 4;
        self.entry = entry;
        self.bits.refill();
        None
    }

    #[inline(always)]
    fn next_entry(&self) -> u32 {
        self.literals[self.bits.peek(LITERAL_ROOT) as usize & LITERAL_MASK]
    }

    /// Decodes a symbol whose entry in the main table is not a literal.
    #[inline(always)]
    fn slow_symbol(
        &mut self,
        mut entry: u32,
        out: &mut [u8],
        on_match: &mut impl FnMut(usize, usize),
    ) -> Option<FastLoopExit> {
        let Self { bits, at, floor, literals, distances, .. } = self;
        bits.refill();
        if entry & EXCEPTIONAL != 0 {
            if entry & SUBTABLE != 0 {
                entry = subtable_entry(entry, bits, literals);
            }
            if entry & LITERAL != 0 {
                out[*at] = (entry >> 8) as u8;
                *at += 1;
                bits.consume(entry & 0xff);
                bits.refill();
                self.entry = self.next_entry();
                return None;
            }
            if entry & END_OF_BLOCK != 0 {
                bits.consume(entry & 0xff);
                return Some(FastLoopExit::EndOfBlock);
            }
            if entry & EXCEPTIONAL != 0 {
                return Some(FastLoopExit::Invalid(BAD_CODE));
            }
        }
        let length = base_plus_extra(entry, bits);
        // A length takes up to 20 of the 56 bits with its extra bits; a distance needs at most 28 of the other 36.
        let mut entry = distances[bits.peek(DISTANCE_ROOT) as usize & 511];
        if entry & (EXCEPTIONAL | SUBTABLE) == EXCEPTIONAL | SUBTABLE {
            entry = subtable_entry(entry, bits, distances);
        }
        if entry & EXCEPTIONAL != 0 {
            return Some(FastLoopExit::Invalid(BAD_DISTANCE));
        }
        let distance = base_plus_extra(entry, bits);
        if distance > *at - *floor {
            return Some(FastLoopExit::Invalid(TOO_FAR));
        }
        on_match(*at - distance, *at - distance + length);
        // Looked up before the copy, so that the look-up does not wait for it.
        bits.refill();
        let to = *at;
        *at += length;
        self.entry = self.next_entry();
        copy_match(out, to, distance, length);
        None
    }
}

const BAD_CODE: &str = "invalid literal/length code";
const BAD_DISTANCE: &str = "invalid distance code";
pub(super) const TOO_FAR: &str = "invalid distance too far back";

pub(super) enum Symbol {
    Literal(u8),
    End,
    Match { distance: usize, length: usize },
}

/// Decodes one symbol. The caller refills `bits` before, and checks afterwards that they did not end within it.
pub(super) fn next_symbol(
    bits: &mut BitReader<'_>,
    literals: &LiteralTable,
    distances: &DistanceTable,
) -> Result<Symbol, &'static str> {
    let mut entry = literals[bits.peek(LITERAL_ROOT) as usize & LITERAL_MASK];
    if entry & (LITERAL | EXCEPTIONAL | SUBTABLE) == EXCEPTIONAL | SUBTABLE {
        entry = subtable_entry(entry, bits, literals);
    }
    if entry & LITERAL != 0 {
        bits.consume(entry & 0xff);
        return Ok(Symbol::Literal((entry >> 8) as u8));
    }
    if entry & (EXCEPTIONAL | END_OF_BLOCK) == EXCEPTIONAL | END_OF_BLOCK {
        bits.consume(entry & 0xff);
        return Ok(Symbol::End);
    }
    if entry & EXCEPTIONAL != 0 {
        return Err(BAD_CODE);
    }
    let length = base_plus_extra(entry, bits);
    let mut entry = distances[bits.peek(DISTANCE_ROOT) as usize & 511];
    if entry & (EXCEPTIONAL | SUBTABLE) == EXCEPTIONAL | SUBTABLE {
        entry = subtable_entry(entry, bits, distances);
    }
    if entry & EXCEPTIONAL != 0 {
        return Err(BAD_DISTANCE);
    }
    Ok(Symbol::Match { distance: base_plus_extra(entry, bits), length })
}

/// Consumes the root bits of `entry` and looks up the rest of the code in its subtable.
#[inline(always)]
fn subtable_entry<const N: usize>(entry: u32, bits: &mut BitReader<'_>, table: &[u32; N]) -> u32 {
    bits.consume(entry & 0xff);
    let start = (entry >> 16 & 0x7fff) as usize;
    table[(start + bits.peek(entry >> 8 & 15) as usize) & (N - 1)]
}

/// The length or distance of an entry: its base plus the value of its extra bits. Consumes the code and the extra bits.
#[inline(always)]
fn base_plus_extra(entry: u32, bits: &mut BitReader<'_>) -> usize {
    let all = bits.peek(entry & 0xff);
    bits.consume(entry & 0xff);
    (entry >> 16) as usize + (all >> (entry >> 8 & 31)) as usize
}

/// Copies `length` bytes from `distance` bytes back to `at`; the two may overlap. Overwrites up to 7 bytes after them.
#[inline(always)]
fn copy_match(out: &mut [u8], at: usize, distance: usize, length: usize) {
    let Some(out) = out.get_mut(at - distance..at + length + 7) else { return };
    if distance >= 8 {
        let mut index = 0;
        while index < length {
            let word: [u8; 8] = out[index..].first_chunk().copied().unwrap_or_default();
            if let Some(to) = out[index + distance..].first_chunk_mut() {
                *to = word;
            }
            index += 8;
        }
    } else if distance == 1 {
        let byte = out[0];
        out[1..=length].fill(byte);
    } else {
        for index in 0..length {
            out[index + distance] = out[index];
        }
    }
}

/// Reads bits from the input, lowest bit first.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    start: u64,
    /// Index of the next byte to load into the buffer.
    next: usize,
    buffer: u64,
    /// Number of valid bits in the buffer.
    count: u32,
}

impl<'a> BitReader<'a> {
    /// Starts at this bit of the file.
    pub(super) fn at(input: Input<'a>, bit: u64) -> Self {
        let next = (bit / 8).saturating_sub(input.start) as usize;
        let mut bits = Self { bytes: input.bytes, start: input.start, next, buffer: 0, count: 0 };
        bits.refill();
        bits.consume((bit % 8) as u32);
        bits
    }

    /// Fills the buffer to at least 56 bits. Bits past the end of the input are 0.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        if let Some(word) = self.bytes.get(self.next..).and_then(|rest| rest.first_chunk()) {
            let count = self.count & 63;
            self.buffer |= u64::from_le_bytes(*word) << count;
            self.next += ((63 - count) >> 3) as usize;
            self.count = count | 56;
        } else {
            self.refill_near_end();
        }
    }

    /// Consumes the code of a literal of the main table. Until the next refill, the upper bits of the count are
    /// garbage: subtracting the whole entry saves a mask.
    #[inline(always)]
    fn consume_entry(&mut self, entry: u32) {
        self.buffer >>= entry & 63;
        self.count = self.count.wrapping_sub(entry);
    }

    #[cold]
    fn refill_near_end(&mut self) {
        self.count &= 63;
        while self.count < 56 {
            let byte = self.bytes.get(self.next).copied().unwrap_or(0);
            self.buffer |= u64::from(byte) << self.count;
            self.next += 1;
            self.count += 8;
        }
    }

    /// The next `count` bits.
    #[inline(always)]
    pub(super) fn peek(&self, count: u32) -> u32 {
        (self.buffer & ((1 << count) - 1)) as u32
    }

    #[inline(always)]
    pub(super) fn consume(&mut self, count: u32) {
        self.buffer >>= count & 63;
        self.count -= count;
    }

    /// Reads and consumes `count` bits.
    pub(super) fn take(&mut self, count: u32) -> u32 {
        let value = self.peek(count);
        self.consume(count);
        value
    }

    /// Skips to the next byte boundary.
    pub(super) fn align(&mut self) {
        self.consume(self.count % 8);
    }

    /// The next bit of the file.
    pub(super) fn position(&self) -> u64 {
        8 * (self.start + self.next as u64) - u64::from(self.count & 63)
    }

    /// The bit of the file at which the input ends.
    pub(super) fn end(&self) -> u64 {
        8 * (self.start + self.bytes.len() as u64)
    }
}
