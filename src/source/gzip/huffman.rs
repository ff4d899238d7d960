//! Code lengths -> decoding tables. Comes in: the length of each symbol's code. Goes out: a table that names the symbol
//! at the low bits of the input, and how many bits it takes. Fails on lengths that are no prefix code.
//!
//! # Tables
//!
//! The low `root` bits of the input index the table. Codes longer than that lead to a second table, which the bits
//! after them index. An entry holds all that its symbol needs, so that one look-up decodes it:
//!
//! | bits | literal | length or distance | second table | end of block |
//! |---|---|---|---|---|
//! | 31 | 1 | 0 | 0 | 0 |
//! | 16-30 | | base | where it starts | |
//! | 15 | the byte (8-15) | 0 | 1 | 1 |
//! | 14, 13 | | | 1, 0 | 0, 1 |
//! | 8-12 | | bits of the code | bits of its index | bits of the code |
//! | 0-7 | bits of the code | bits of code and extra | `root` | bits of the code |
//!
//! Bits 31 and 15 tell all: 15 counts only where 31 is 0. Bit 15 alone: no code leads here.

pub(super) const LITERAL: u32 = 1 << 31;
/// Neither a literal nor a base.
pub(super) const OTHER: u32 = 1 << 15;
pub(super) const SECOND: u32 = 1 << 14;
pub(super) const END: u32 = 1 << 13;

/// Index bits of the first table: most codes of image data have 7 to 9 bits.
pub(super) const LITERAL_ROOT: u32 = 10;
pub(super) const DISTANCE_ROOT: u32 = 8;
const PRECODE_ROOT: u32 = 7;
/// Powers of two above what any code needs (1334, 402 and 128 entries), so that a mask keeps every index inside.
pub(super) type LiteralTable = [u32; LITERAL_MASK + 1];
pub(super) const LITERAL_MASK: usize = 2047;
pub(super) type DistanceTable = [u32; 512];
pub(super) type PrecodeTable = [u32; 128];

/// Longest code in bits.
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

/// The table of literals, lengths and the end of the block.
pub(super) fn literals(table: &mut LiteralTable, lengths: &[u8]) -> Result<(), &'static str> {
    if lengths.get(256).is_none_or(|&bits| bits == 0) {
        return Err("a block without a code for its end");
    }
    build(table, LITERAL_ROOT, lengths, true, |symbol| match symbol {
        0..256 => LITERAL | symbol << 8,
        256 => OTHER | END,
        _ => LENGTHS.get(symbol as usize - 257).map_or(OTHER, |&(base, extra)| base << 16 | extra),
    })
}

/// The table of distances.
pub(super) fn distances(table: &mut DistanceTable, lengths: &[u8]) -> Result<(), &'static str> {
    build(table, DISTANCE_ROOT, lengths, true, |symbol| match symbol {
        0..4 => (symbol + 1) << 16,
        // Two symbols for each number of extra bits.
        4..30 => (1 + ((2 + symbol % 2) << (symbol / 2 - 1))) << 16 | (symbol / 2 - 1),
        _ => OTHER,
    })
}

/// The table of the code that code lengths are written in; its symbols are in bits 16 and above.
pub(super) fn precode(table: &mut PrecodeTable, lengths: &[u8; 19]) -> Result<(), &'static str> {
    build(table, PRECODE_ROOT, lengths, false, |symbol| symbol << 16)
}

/// `entry` gives each symbol's entry without the bits of its code; extra bits stand in bits 0-7. `allow_one`: a code
/// that leaves others unused may be the only one.
fn build(
    table: &mut [u32],
    root: u32,
    lengths: &[u8],
    allow_one: bool,
    entry: impl Fn(u32) -> u32,
) -> Result<(), &'static str> {
    let mut counts = [0_usize; MAX_BITS + 1];
    for &bits in lengths {
        counts[usize::from(bits) & MAX_BITS] += 1;
    }
    counts[0] = 0;
    // How many codes of the current length are still free.
    let mut free = 1_i64;
    for &count in &counts[1..] {
        free = free * 2 - count as i64;
        if free < 0 {
            return Err("code lengths that overlap");
        }
    }
    let coded = |entry: u32, bits: u32| match entry {
        OTHER => OTHER,
        literal if literal & LITERAL != 0 => literal + bits,
        entry => entry + (bits << 8) + bits,
    };
    if free > 0 {
        // A single code of one bit is a usual way to write "only one distance", and none for "no distances".
        let codes: usize = counts.iter().sum();
        if !allow_one || codes > 1 || counts[1] != codes {
            return Err("code lengths that leave codes without a meaning");
        }
        table[..1 << root].fill(OTHER);
        if let Some(symbol) = lengths.iter().position(|&bits| bits == 1) {
            let entry = coded(entry(symbol as u32), 1);
            table[..1 << root].iter_mut().step_by(2).for_each(|slot| *slot = entry);
        }
        return Ok(());
    }

    // Symbols by length of code, then by value: the order of their codes.
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

    // Codes up to `root` bits: the table of n bits, twice, is the table of n + 1 bits less the codes of that length.
    let (mut code, mut next) = (0_u32, 0);
    for bits in 1..=root {
        let half = 1_usize << (bits - 1);
        table.copy_within(..half, half);
        code <<= 1;
        for &symbol in &symbols[next..next + counts[bits as usize]] {
            table[reversed(code, bits)] = coded(entry(u32::from(symbol)), bits);
            code += 1;
        }
        next += counts[bits as usize];
    }

    // Longer ones share a second table with all that begin like them.
    let (mut prefix, mut start, mut index_bits) = (usize::MAX, 0, 0);
    let mut end = 1_usize << root;
    let mut left = counts;
    for bits in root + 1..=MAX_BITS as u32 {
        code <<= 1;
        for &symbol in &symbols[next..next + counts[bits as usize]] {
            let index = reversed(code, bits);
            if index & ((1 << root) - 1) != prefix {
                prefix = index & ((1 << root) - 1);
                index_bits = second_bits(&left, root, bits);
                start = end;
                end += 1 << index_bits;
                table[prefix] = (start as u32) << 16 | OTHER | SECOND | index_bits << 8 | root;
            }
            let entry = coded(entry(u32::from(symbol)), bits - root);
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

/// Index bits of the second table whose first code has `bits` bits: as many as its longest code has beyond `root`.
fn second_bits(left: &[usize; MAX_BITS + 1], root: u32, bits: u32) -> u32 {
    let mut index_bits = bits - root;
    let mut used = left[bits as usize];
    while used < 1 << index_bits && ((root + index_bits) as usize) < MAX_BITS {
        index_bits += 1;
        used = used * 2 + left[(root + index_bits) as usize];
    }
    index_bits
}

/// Codes are written from their highest bit on, into bytes that are read from their lowest.
fn reversed(code: u32, bits: u32) -> usize {
    (code.reverse_bits() >> (u32::BITS - bits)) as usize
}
