//! Look-up tables that decode a Huffman code together with the bits of its value.
//!
//! A symbol of a JPEG is a code, which says how many coefficients to pass over and how many bits the next one has, and
//! these bits. An entry of a table has all of that for the code that ten bits begin with. Of the value it has what the
//! ten bits determine, and the number of bits that are still to be added: so values of any common length need one
//! look-up. Codes of more than ten bits, which are the last ones in the order of codes, are in a second table.

use std::collections::BTreeMap;

use super::zigzag::BLOCK;

/// Bits that index the first table.
pub(super) const INDEX_BITS: u32 = 11;
const INDEXES: usize = 1 << INDEX_BITS;
/// Tables that can be held: two for each of three components, of a few frames.
pub(super) const TABLES: usize = 32;
/// Code and value of a quick symbol have at most so many bits. Three of them are fewer than a refill makes available.
const QUICK_BITS: u32 = 18;
/// Most bits of a quick symbol's value: what is known of it fits the twelve bits of an entry.
const QUICK_SIZE: u32 = 11;

/// How far symbols advance among the coefficients of a block, of which 64 end it. A code for the end of the block, and
/// an invalid code, advance beyond anything that another symbol can reach.
const END_OF_BLOCK: u32 = 80;
pub(super) const INVALID: u32 = 144;

/// Whether a block that symbols have advanced to `k` has ended as it should.
#[inline(always)]
pub(super) fn is_end_of_block(k: u32) -> bool {
    k == BLOCK as u32 || (END_OF_BLOCK..INVALID).contains(&k)
}

/// One symbol, as a table has it.
///
/// | bits | of a quick symbol | of a slow one |
/// |---|---|---|
/// | 0 to 5 | bits of code and value | the same, or 0 if the code is in the second table |
/// | 6 | 0 | 1 |
/// | 8 to 15 | how far it advances | the same |
/// | 16 to 19 | bits of the value that are still to be added | 16 to 23: bits of the code |
/// | 20 to 31 | the value without them, signed | 24 to 31: bits of the value |
#[derive(Clone, Copy)]
pub(super) struct Entry(u32);

impl Entry {
    const SLOW: u32 = 1 << 6;
    const LONG: Self = Self(Self::SLOW);

    #[inline(always)]
    pub(super) fn is_slow(self) -> bool {
        self.0 & Self::SLOW != 0
    }

    /// Bits of code and value together.
    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        self.0 & 63
    }

    #[inline(always)]
    pub(super) fn advance(self) -> u32 {
        (self.0 >> 8) & 255
    }

    /// The value of a quick symbol that `buffer` begins with.
    #[inline(always)]
    pub(super) fn value(self, buffer: u64) -> i32 {
        let rest = (self.0 >> 16) & 15;
        let bits = (buffer >> (self.0.wrapping_neg() & 63)) & ((1 << rest) - 1);
        (self.0 as i32 >> 20) + bits as i32
    }

    /// The value of a slow symbol that `buffer` begins with.
    pub(super) fn slow_value(self, buffer: u64) -> i32 {
        let (code, size) = ((self.0 >> 16) & 255, self.0 >> 24);
        extend((buffer << code).checked_shr(64 - size).unwrap_or(0) as i32, size)
    }

    fn slow(code: u32, symbol: Symbol) -> Self {
        Self((code + symbol.size) | Self::SLOW | symbol.advance << 8 | code << 16 | symbol.size << 24)
    }

    /// The symbol of a code of `code` bits, where `index` are the bits that the code begins.
    fn quick(code: u32, symbol: Symbol, index: u32) -> Self {
        let Symbol { advance, size } = symbol;
        if code + size > QUICK_BITS || size > QUICK_SIZE || (size > 0 && code == INDEX_BITS) {
            return Self::slow(code, symbol);
        }
        let known = size.min(INDEX_BITS - code);
        let rest = size - known;
        let bits = (index >> (INDEX_BITS - code - known)) & ((1 << known) - 1);
        // Its sign depends on the first bit only.
        let value = extend((bits << rest) as i32, size);
        Self((code + size) | advance << 8 | rest << 16 | (value as u32) << 20)
    }
}

/// The value that `bits`, `size` of them, stand for: those that begin with 0 are negative.
fn extend(bits: i32, size: u32) -> i32 {
    if size > 0 && bits >> (size - 1) == 0 { bits - (1 << size) + 1 } else { bits }
}

/// What a code means.
#[derive(Clone, Copy)]
struct Symbol {
    advance: u32,
    /// Bits of the value.
    size: u32,
}

impl Symbol {
    const INVALID: Self = Self { advance: INVALID, size: 0 };

    fn of(byte: u8, is_dc: bool) -> Self {
        let (run, size) = (u32::from(byte >> 4), u32::from(byte & 15));
        match (is_dc, run, size) {
            (true, 0, _) => Self { advance: 1, size },
            (true, ..) => Self::INVALID,
            (false, 0..15, 0) => Self { advance: END_OF_BLOCK, size },
            (false, ..) => Self { advance: run + 1, size },
        }
    }
}

/// Tables with the same number of code and definition are the same table.
type Key = (bool, Vec<u8>);

/// All Huffman tables of a frame.
pub(super) struct Tables {
    /// The first tables one after the other.
    first: Box<[Entry; TABLES * INDEXES]>,
    second: Vec<Second>,
    /// The definitions that they were made of.
    known: BTreeMap<Key, usize>,
}

/// The codes of more than ten bits of one table.
struct Second {
    /// The first 16 bits of the first such code.
    begins: u32,
    entries: Vec<Entry>,
}

impl Tables {
    pub(super) fn new() -> Self {
        Self { first: Box::new([Entry::LONG; TABLES * INDEXES]), second: Vec::new(), known: BTreeMap::new() }
    }

    /// The number of the table of that `definition`: 16 counts, then the symbols. Makes the table if it is new;
    /// `None` if the definition is invalid or there are too many tables.
    pub(super) fn add(&mut self, is_dc: bool, definition: &[u8]) -> Option<usize> {
        let key = (is_dc, definition.to_vec());
        if let Some(&number) = self.known.get(&key) {
            return Some(number);
        }
        let codes = codes(definition)?;
        let number = self.second.len();
        let first = self.first.as_chunks_mut::<INDEXES>().0.get_mut(number)?;
        self.second.push(fill(&codes, is_dc, first));
        self.known.insert(key, number);
        Some(number)
    }

    /// Whether the tables of another frame fit.
    pub(super) fn has_room(&self) -> bool {
        self.second.len() + 6 <= TABLES
    }

    /// The first table of that number.
    #[inline(always)]
    pub(super) fn first(&self, number: usize) -> &[Entry; INDEXES] {
        &self.first.as_chunks::<INDEXES>().0[number % TABLES]
    }

    /// All first tables, one after the other.
    #[inline(always)]
    pub(super) fn flat(&self) -> &[Entry; TABLES * INDEXES] {
        &self.first
    }

    /// The entry of a slow symbol of table `number`, which `buffer` begins with.
    pub(super) fn slow(&self, number: usize, entry: Entry, buffer: u64) -> Entry {
        if entry.bits() != 0 {
            return entry;
        }
        let invalid = Entry::slow(1, Symbol::INVALID);
        let Some(Second { begins, entries }) = self.second.get(number) else { return invalid };
        let place = ((buffer >> 48) as u32).wrapping_sub(*begins);
        entries.get(place as usize).copied().unwrap_or(invalid)
    }
}

/// Length and symbol of each code, in the order of the codes.
fn codes(definition: &[u8]) -> Option<Vec<(u32, u8)>> {
    let (counts, symbols) = definition.split_at_checked(16)?;
    let lengths = (1..=16).zip(counts).flat_map(|(length, &count)| std::iter::repeat_n(length, usize::from(count)));
    let codes: Vec<_> = lengths.zip(symbols.iter().copied()).collect();
    let used: u32 = codes.iter().map(|(length, _)| 1 << (16 - length)).sum();
    (used <= 1 << 16).then_some(codes)
}

fn fill(codes: &[(u32, u8)], is_dc: bool, first: &mut [Entry; INDEXES]) -> Second {
    // Of the 16 bits that a code begins, so far.
    let mut next = 0_u32;
    let mut second = Second { begins: 1 << 16, entries: Vec::new() };
    for &(length, byte) in codes {
        let symbol = Symbol::of(byte, is_dc);
        let count = 1 << (16 - length);
        if length <= INDEX_BITS {
            let shift = 16 - INDEX_BITS;
            for index in next >> shift..(next + count) >> shift {
                first[index as usize] = Entry::quick(length, symbol, index);
            }
        } else {
            second.begins = second.begins.min(next);
            second.entries.extend(std::iter::repeat_n(Entry::slow(length, symbol), count as usize));
        }
        next += count;
    }
    second
}
