//! Bits -> symbols. Comes in: compressed bytes and the codes of a block. Goes out: literals and matches, one at a time
//! near the ends of input and output, four at a time elsewhere. Fails on codes that stand for nothing, and on references
//! to before the start of the data.
//!
//! JPEG data is a chain of literals, each of which has to be looked up before the next one can be. The fast loop takes
//! four of them from one refill of a 64-bit buffer, and looks up the fifth before it refills.

use super::huffman::{
    DISTANCE_ROOT, DistanceTable, END, LITERAL, LITERAL_MASK, LITERAL_ROOT, LiteralTable, OTHER, SECOND,
};

/// Longest match.
pub(crate) const MAX_MATCH: usize = 258;
/// What one round of the fast loop may write: three literals, a match, and the rest of a copied word.
const FAST_OUT: usize = 3 + MAX_MATCH + 7;
/// What three refills in one round of it may read.
const FAST_IN: usize = 32;
/// A stretch of the compressed file.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) bytes: &'a [u8],
    /// Offset of the first of them in the file.
    pub(crate) start: u64,
}

/// One run of the fast loop.
pub(super) struct Lane<'a> {
    bits: Bits<'a>,
    at: usize,
    floor: usize,
    literals: &'a LiteralTable,
    distances: &'a DistanceTable,
    /// The look-up of what comes next.
    entry: u32,
}

/// Whether a round can begin with `room` bytes of output left.
pub(super) fn has_room(bits: &Bits<'_>, room: usize) -> bool {
    bits.next + FAST_IN <= bits.bytes.len() && room >= FAST_OUT
}

/// Why a lane has ended.
pub(super) enum LaneEnd {
    /// Input or output are nearly at their end.
    NoRoom,
    Block,
    Fault(&'static str),
}

impl<'a> Lane<'a> {
    /// Goes on at `bits`. Matches must not refer to anything before `floor`.
    pub(super) fn new(
        mut bits: Bits<'a>,
        literals: &'a LiteralTable,
        distances: &'a DistanceTable,
        at: usize,
        floor: usize,
    ) -> Self {
        bits.refill();
        let mut lane = Self { bits, at, floor, literals, distances, entry: 0 };
        lane.entry = lane.next_entry();
        lane
    }

    /// Where it has come to: in the output, and in bits of the file.
    pub(super) fn stop(&self) -> (usize, u64) {
        (self.at, self.bits.position())
    }

    /// Decodes four literals, or up to three and what comes after them.
    #[inline(always)]
    pub(super) fn round(&mut self, out: &mut [u8], note: &mut impl FnMut(usize, usize)) -> Option<LaneEnd> {
        let chunk = out.get_mut(self.at..).and_then(|rest| rest.first_chunk_mut::<FAST_OUT>());
        let has_input = self.bits.next + FAST_IN <= self.bits.bytes.len();
        let (Some(chunk), true) = (chunk, has_input) else { return Some(LaneEnd::NoRoom) };
        // At least 56 bits are there: four codes of the first table, and the index of a fifth.
        let mut entry = self.entry;
        macro_rules! literal {
            ($index:literal) => {
                if entry & LITERAL == 0 {
                    self.at += $index;
                    return self.rare(entry, out, note);
                }
                chunk[$index] = (entry >> 8) as u8;
                self.bits.skip_entry(entry);
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

    /// What begins with an entry that is no literal.
    #[inline(always)]
    fn rare(&mut self, mut entry: u32, out: &mut [u8], note: &mut impl FnMut(usize, usize)) -> Option<LaneEnd> {
        let Self { bits, at, floor, literals, distances, .. } = self;
        bits.refill();
        if entry & OTHER != 0 {
            if entry & SECOND != 0 {
                entry = second(entry, bits, literals);
            }
            if entry & LITERAL != 0 {
                out[*at] = (entry >> 8) as u8;
                *at += 1;
                bits.skip(entry & 0xff);
                bits.refill();
                self.entry = self.next_entry();
                return None;
            }
            if entry & END != 0 {
                bits.skip(entry & 0xff);
                return Some(LaneEnd::Block);
            }
            if entry & OTHER != 0 {
                return Some(LaneEnd::Fault(NO_CODE));
            }
        }
        let length = value(entry, bits);
        // 56 bits less the longest code and extra bits of a length: 36 are left, a distance takes 28.
        let mut entry = distances[bits.peek(DISTANCE_ROOT) as usize & 511];
        if entry & (OTHER | SECOND) == OTHER | SECOND {
            entry = second(entry, bits, distances);
        }
        if entry & OTHER != 0 {
            return Some(LaneEnd::Fault(NO_DISTANCE));
        }
        let distance = value(entry, bits);
        if distance > *at - *floor {
            return Some(LaneEnd::Fault(TOO_FAR));
        }
        note(*at - distance, *at - distance + length);
        // The next look-up does not wait for the copy.
        bits.refill();
        let to = *at;
        *at += length;
        self.entry = self.next_entry();
        copy_match(out, to, distance, length);
        None
    }
}

const NO_CODE: &str = "a code that stands for nothing";
const NO_DISTANCE: &str = "a distance code that stands for nothing";
pub(super) const TOO_FAR: &str = "a reference to before the start of the data";

pub(super) enum Symbol {
    Literal(u8),
    End,
    Match { distance: usize, length: usize },
}

pub(super) fn next_symbol(
    bits: &mut Bits<'_>,
    literals: &LiteralTable,
    distances: &DistanceTable,
) -> Result<Symbol, &'static str> {
    let mut entry = literals[bits.peek(LITERAL_ROOT) as usize & LITERAL_MASK];
    if entry & (LITERAL | OTHER | SECOND) == OTHER | SECOND {
        entry = second(entry, bits, literals);
    }
    if entry & LITERAL != 0 {
        bits.skip(entry & 0xff);
        return Ok(Symbol::Literal((entry >> 8) as u8));
    }
    if entry & (OTHER | END) == OTHER | END {
        bits.skip(entry & 0xff);
        return Ok(Symbol::End);
    }
    if entry & OTHER != 0 {
        return Err(NO_CODE);
    }
    let length = value(entry, bits);
    let mut entry = distances[bits.peek(DISTANCE_ROOT) as usize & 511];
    if entry & (OTHER | SECOND) == OTHER | SECOND {
        entry = second(entry, bits, distances);
    }
    if entry & OTHER != 0 {
        return Err(NO_DISTANCE);
    }
    Ok(Symbol::Match { distance: value(entry, bits), length })
}

/// Follows an entry to the second table.
#[inline(always)]
fn second<const N: usize>(entry: u32, bits: &mut Bits<'_>, table: &[u32; N]) -> u32 {
    bits.skip(entry & 0xff);
    let start = (entry >> 16 & 0x7fff) as usize;
    table[(start + bits.peek(entry >> 8 & 15) as usize) & (N - 1)]
}

/// The length or distance of an entry: its base and its extra bits, which are taken.
#[inline(always)]
fn value(entry: u32, bits: &mut Bits<'_>) -> usize {
    let all = bits.peek(entry & 0xff);
    bits.skip(entry & 0xff);
    (entry >> 16) as usize + (all >> (entry >> 8 & 31)) as usize
}

/// Copies what `distance` bytes back begins with `length` bytes, which it may overlap. Writes up to 7 bytes more.
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

/// Bits of the input, lowest first.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    start: u64,
    /// The byte that comes into the buffer next.
    next: usize,
    buffer: u64,
    /// How many bits of the buffer count.
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn at(input: Input<'a>, bit: u64) -> Self {
        let next = (bit / 8).saturating_sub(input.start) as usize;
        let mut bits = Self { bytes: input.bytes, start: input.start, next, buffer: 0, count: 0 };
        bits.refill();
        bits.skip((bit % 8) as u32);
        bits
    }

    /// Makes at least 56 bits available; beyond the end of the input they are 0.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        if let Some(word) = self.bytes.get(self.next..).and_then(|rest| rest.first_chunk()) {
            let count = self.count & 63;
            self.buffer |= u64::from_le_bytes(*word) << count;
            self.next += ((63 - count) >> 3) as usize;
            self.count = count | 56;
        } else {
            self.refill_at_the_end();
        }
    }

    /// Skips the code of an entry of the first table. Leaves nonsense in the upper bits of the count until the next
    /// refill.
    #[inline(always)]
    fn skip_entry(&mut self, entry: u32) {
        self.buffer >>= entry & 63;
        self.count = self.count.wrapping_sub(entry);
    }

    #[cold]
    fn refill_at_the_end(&mut self) {
        self.count &= 63;
        while self.count < 56 {
            let byte = self.bytes.get(self.next).copied().unwrap_or(0);
            self.buffer |= u64::from(byte) << self.count;
            self.next += 1;
            self.count += 8;
        }
    }

    #[inline(always)]
    pub(super) fn peek(&self, count: u32) -> u32 {
        (self.buffer & ((1 << count) - 1)) as u32
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        self.buffer >>= count & 63;
        self.count -= count;
    }

    pub(super) fn take(&mut self, count: u32) -> u32 {
        let value = self.peek(count);
        self.skip(count);
        value
    }

    /// Drops the rest of the current byte.
    pub(super) fn align(&mut self) {
        self.skip(self.count % 8);
    }

    /// The bit of the file that comes next.
    pub(super) fn position(&self) -> u64 {
        8 * (self.start + self.next as u64) - u64::from(self.count & 63)
    }

    pub(super) fn end(&self) -> u64 {
        8 * (self.start + self.bytes.len() as u64)
    }
}
