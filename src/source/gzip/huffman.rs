//! Huffman decoding tables, built from code lengths (RFC 1951, 3.2.2). Lengths that are not a prefix code are an error.
//!
//! # Tables
//!
//! The low `root` bits of the input index the main table. A code longer than that leads to a subtable, which the next
//! bits index. An entry contains all that its symbol needs, so that one look-up decodes it:
//!
//! | bits | literal | length or distance | subtable pointer | end of block |
//! |---|---|---|---|---|
//! | 31 | 1 | 0 | 0 | 0 |
//! | 16-30 | | base | start of the subtable | |
//! | 15 | the byte (8-15) | 0 | 1 | 1 |
//! | 14, 13 | | | 1, 0 | 0, 1 |
//! | 8-12 | | bits of the code | bits of the subtable's index | bits of the code |
//! | 0-7 | bits of the code | bits of code and extra | `root` | bits of the code |
//!
//! Bit 31 is tested first; bit 15 has a meaning only where it is 0. Bit 15 without 14 and 13 marks an unused code.

pub(super) const LITERAL: u32 = 1 << 31;
/// An entry that is neither a literal nor a base: a subtable pointer, the end of the block, or an unused code.
pub(super) const EXCEPTIONAL: u32 = 1 << 15;
pub(super) const SUBTABLE: u32 = 1 << 14;
pub(super) const END_OF_BLOCK: u32 = 1 << 13;

/// Index bits of the main tables. Most codes of image data have 7 to 9 bits.
pub(super) const LITERAL_ROOT: u32 = 10;
pub(super) const DISTANCE_ROOT: u32 = 8;
const PRECODE_ROOT: u32 = 7;
/// Table sizes are powers of two above what any code needs (1334, 402 and 128 entries), so that a mask keeps every
/// index in bounds.
pub(super) type LiteralTable = [u32; LITERAL_MASK + 1];
pub(super) const LITERAL_MASK: usize = 2047;
pub(super) type DistanceTable = [u32; 512];
pub(super) type PrecodeTable = [u32; 128];

/// Length of the longest code.
const MAX_BITS: usize = 15;

/// Base and number of extra bits of each length symbol from 257 on (RFC 1951, 3.2.5).
const LENGTHS: [(u32, u32); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// Builds the table of literals, lengths and the end of the block.
pub(super) fn build_literals(table: &mut LiteralTable, lengths: &[u8]) -> Result<(), &'static str> {
    if lengths.get(256).is_none_or(|&bits| bits == 0) {
        return Err("missing end-of-block code");
    }
    build(table, LITERAL_ROOT, lengths, true, |symbol| match symbol {
        0..256 => LITERAL | symbol << 8,
        256 => EXCEPTIONAL | END_OF_BLOCK,
        _ => LENGTHS.get(symbol as usize - 257).map_or(EXCEPTIONAL, |&(base, extra)| base << 16 | extra),
    })
}

/// Builds the table of distances.
pub(super) fn build_distances(table: &mut DistanceTable, lengths: &[u8]) -> Result<(), &'static str> {
    build(table, DISTANCE_ROOT, lengths, true, |symbol| match symbol {
        0..4 => (symbol + 1) << 16,
        // There are two symbols for each number of extra bits.
        4..30 => (1 + ((2 + symbol % 2) << (symbol / 2 - 1))) << 16 | (symbol / 2 - 1),
        _ => EXCEPTIONAL,
    })
}

/// Builds the table of the precode, which code lengths are written in. The symbol is in bits 16 and above of an entry.
pub(super) fn build_precode(table: &mut PrecodeTable, lengths: &[u8; 19]) -> Result<(), &'static str> {
    build(table, PRECODE_ROOT, lengths, false, |symbol| symbol << 16)
}

/// Builds a table. `entry` returns a symbol's entry without the bits of its code, with the number of extra bits in bits
/// 0-7. `allow_single` allows an incomplete code of a single symbol, or of none.
fn build(
    table: &mut [u32],
    root: u32,
    lengths: &[u8],
    allow_single: bool,
    entry: impl Fn(u32) -> u32,
) -> Result<(), &'static str> {
    let mut counts = [0_usize; MAX_BITS + 1];
    for &bits in lengths {
        counts[usize::from(bits) & MAX_BITS] += 1;
    }
    counts[0] = 0;
    // Number of unused codes of the current length.
    let mut free = 1_i64;
    for &count in &counts[1..] {
        free = free * 2 - count as i64;
        if free < 0 {
            return Err("over-subscribed code lengths");
        }
    }
    let with_code_bits = |entry: u32, bits: u32| match entry {
        EXCEPTIONAL => EXCEPTIONAL,
        literal if literal & LITERAL != 0 => literal + bits,
        entry => entry + (bits << 8) + bits,
    };
    if free > 0 {
        // Encoders write a single code of one bit if a block uses one distance, and no code if it uses none.
        let codes: usize = counts.iter().sum();
        if !allow_single || codes > 1 || counts[1] != codes {
            return Err("incomplete code lengths");
        }
        table[..1 << root].fill(EXCEPTIONAL);
        if let Some(symbol) = lengths.iter().position(|&bits| bits == 1) {
            let entry = with_code_bits(entry(symbol as u32), 1);
            table[..1 << root].iter_mut().step_by(2).for_each(|slot| *slot = entry);
        }
        return Ok(());
    }

    // Symbols sorted by code length, then by value, which is the order of their codes.
    let mut starts = [0_usize; MAX_BITS + 2];
    for bits in 1..=MAX_BITS {
        starts[bits + 1] = starts[bits] + counts[bits];
    }
    let mut symbols = [0_u16; 320];
    for (symbol, &bits) in lengths.iter().enumerate().filter(|(_, bits)| **bits != 0) {
        let bits = usize::from(bits) & MAX_BITS;
        symbols[starts[bits]] = symbol as u16;
        starts[bits] += 1;
    }

    // Codes of up to `root` bits. The table of n bits, repeated twice, is the table of n + 1 bits without the codes of
    // that length.
    let (mut code, mut next) = (0_u32, 0);
    for bits in 1..=root {
        let half = 1_usize << (bits - 1);
        table.copy_within(..half, half);
        code <<= 1;
        for &symbol in &symbols[next..next + counts[bits as usize]] {
            table[reversed(code, bits)] = with_code_bits(entry(u32::from(symbol)), bits);
            code += 1;
        }
        next += counts[bits as usize];
    }

    // Longer codes: those with the same first `root` bits share a subtable.
    let (mut prefix, mut start, mut index_bits) = (usize::MAX, 0, 0);
    let mut end = 1_usize << root;
    let mut left = counts;
    for bits in root + 1..=MAX_BITS as u32 {
        code <<= 1;
        for &symbol in &symbols[next..next + counts[bits as usize]] {
            let index = reversed(code, bits);
            if index & ((1 << root) - 1) != prefix {
                prefix = index & ((1 << root) - 1);
                index_bits = subtable_bits(&left, root, bits);
                start = end;
                end += 1 << index_bits;
                table[prefix] = (start as u32) << 16 | EXCEPTIONAL | SUBTABLE | index_bits << 8 | root;
            }
            let entry = with_code_bits(entry(u32::from(symbol)), bits - root);
            for slot in (index >> root..1 << index_bits).step_by(1 << (bits - root)) {
                table[start + slot] = entry;
            }
            code += 1;
            left[bits as usize] -= 1;
        }
        next += counts[bits as usize];
    }
    Ok(())
}

/// Index bits of the subtable whose first code has `bits` bits: the length of its longest code less `root`.
fn subtable_bits(left: &[usize; MAX_BITS + 1], root: u32, bits: u32) -> u32 {
    let mut index_bits = bits - root;
    let mut used = left[bits as usize];
    while used < 1 << index_bits && ((root + index_bits) as usize) < MAX_BITS {
        index_bits += 1;
        used = used * 2 + left[(root + index_bits) as usize];
    }
    index_bits
}

/// Reverses a code: codes are written highest bit first, but the reader takes the lowest bit first.
fn reversed(code: u32, bits: u32) -> usize {
    (code.reverse_bits() >> (u32::BITS - bits)) as usize
}
