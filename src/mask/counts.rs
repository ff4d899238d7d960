//! The counts string. Comes in: bytes, or runs. Goes out: runs, or a string. Fails on anything that is not an encoding
//! of exactly `pixels` pixels. The format is in the room's head.

use super::RleError;

/// A run needs at most seven groups of five bits: 32 bits and a sign.
const MAX_GROUPS: u32 = 7;

/// Reads `counts` into `runs` (cleared first). The number of runs never exceeds the length of the string.
pub(super) fn parse(counts: &[u8], pixels: u64, runs: &mut Vec<u32>) -> Result<(), RleError> {
    if parse_sound(counts, pixels, runs) { Ok(()) } else { parse_closely(counts, pixels, runs) }
}

/// Bytes looked at together.
const BLOCK: usize = 64;

/// [`parse`] for strings without fault: looks for the ends of the numbers in a whole block, then takes the numbers
/// apart with hardly a branch on their lengths. `false` if anything is odd.
fn parse_sound(counts: &[u8], pixels: u64, runs: &mut Vec<u32>) -> bool {
    runs.clear();
    if pixels >= 1 << 31 || counts.iter().fold(0, |all, byte| all | byte.wrapping_sub(48)) >= 64 {
        return false;
    }
    // Real strings hold about three bytes for two runs.
    runs.reserve(counts.len().min(1 << 16));
    let mut start = 0;
    while start < counts.len() && runs.len() < 2 {
        let Ok(value @ 0..0x8000_0000) = number(counts, &mut start, 0) else { return false };
        runs.push(value as u32);
    }
    // Differences begin with the fourth number: `before` is the run it adds to, `last` that of the one after it.
    let (mut before, mut last) = (0, runs.get(1).copied().unwrap_or(0));
    let mut numbers = [0; BLOCK];
    for base in (start..counts.len()).step_by(BLOCK) {
        let mut ends = ends_of_numbers(&counts[base..]);
        let mut count = 0;
        while ends != 0 {
            let end = base + ends.trailing_zeros() as usize;
            ends &= ends - 1;
            let groups = (end + 1 - start) as u32;
            let word = word_at(counts, start);
            let value = match groups {
                1 | 2 => join_two(word as u32, groups),
                3..=MAX_SHORT => join_groups(word, groups),
                _ => return false,
            };
            let run = value.wrapping_add(before);
            (before, last) = (last, run);
            numbers[count] = run;
            count += 1;
            start = end + 1;
        }
        runs.extend_from_slice(&numbers[..count]);
    }
    // No number was as large as 2^29 either way, so a run below zero has become one beyond 2^31, and the sum tells.
    start == counts.len() && runs.iter().map(|&run| u64::from(run)).sum::<u64>() == pixels
}

/// Groups of a number whose size is below 2^29.
const MAX_SHORT: u32 = 6;

/// For each of the first bytes, whether a number ends there; bytes past the end of the string end none.
#[inline]
fn ends_of_numbers(counts: &[u8]) -> u64 {
    let mut padded = [MORE; BLOCK];
    let block = counts.first_chunk().unwrap_or_else(|| {
        padded[..counts.len()].copy_from_slice(counts);
        &padded
    });
    let mut ends = 0;
    for (i, word) in block.as_chunks::<8>().0.iter().enumerate() {
        let last = !(u64::from_le_bytes(*word) - EACH * 48) >> 5 & EACH;
        ends |= (last.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
    }
    ends
}

/// The eight bytes from `at` on, zeros past the end.
#[inline]
fn word_at(counts: &[u8], at: usize) -> u64 {
    let rest = &counts[at..];
    u64::from_le_bytes(rest.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; 8];
        padded[..rest.len()].copy_from_slice(rest);
        padded
    }))
}

/// The signed number in the word's first one or two bytes, as its lowest 32 bits: five bits of each, the lowest first.
#[inline]
fn join_two(word: u32, groups: u32) -> u32 {
    // 48 has no bit below 0x10: taking it away flips that one.
    let bits = (word & 0x1f | word >> 3 & 0x3e0) ^ 0x210;
    extend(bits.into(), groups)
}

/// The same for up to eight bytes.
#[inline]
fn join_groups(word: u64, groups: u32) -> u32 {
    let five = (word ^ (EACH * 0x10)) & (EACH * 0x1f);
    let ten = five & 0x001f_001f_001f_001f | five >> 3 & 0x03e0_03e0_03e0_03e0;
    let twenty = ten & 0x0000_03ff_0000_03ff | ten >> 6 & 0x000f_fc00_000f_fc00;
    extend(twenty & 0xf_ffff | twenty >> 12 & 0xff_fff0_0000, groups)
}

/// Carries the sign, the highest bit of the last group, to the top.
#[inline]
fn extend(bits: u64, groups: u32) -> u32 {
    let above = 64 - 5 * groups;
    (((bits << above) as i64) >> above) as u32
}

/// A one in each byte of a word.
const EACH: u64 = 0x0101_0101_0101_0101;
/// A byte after which a number goes on.
const MORE: u8 = 0x20 + 48;

/// [`parse`] step by step, naming the first fault.
fn parse_closely(counts: &[u8], pixels: u64, runs: &mut Vec<u32>) -> Result<(), RleError> {
    runs.clear();
    let (mut at, mut sum) = (0, 0_u64);
    while at < counts.len() {
        let index = runs.len();
        let mut value = number(counts, &mut at, index)?;
        if index > 2 {
            value += i64::from(runs[index - 2]);
        }
        let run = u32::try_from(value).map_err(|_| RleError::Run { index, value })?;
        sum += u64::from(run);
        if sum > pixels {
            return Err(RleError::Sum { sum, pixels });
        }
        runs.push(run);
    }
    if sum == pixels { Ok(()) } else { Err(RleError::Sum { sum, pixels }) }
}

/// Reads the signed number at `*at`, the one for run `run`, and moves past it.
#[inline]
fn number(counts: &[u8], at: &mut usize, run: usize) -> Result<i64, RleError> {
    let group = |index: usize| -> Result<i64, RleError> {
        let byte = *counts.get(index).ok_or(RleError::Truncated)?;
        let group = byte.wrapping_sub(48);
        if group < 64 { Ok(i64::from(group)) } else { Err(RleError::Character { index, byte }) }
    };
    let (mut value, mut shift) = (0_i64, 0);
    loop {
        let bits = group(*at)?;
        *at += 1;
        value |= (bits & 0x1f) << shift;
        shift += 5;
        if bits & 0x20 == 0 {
            // Bit 0x10 of the last group is the sign: carry it to the top.
            return Ok((value << (64 - shift)) >> (64 - shift));
        }
        if shift == 5 * MAX_GROUPS {
            return Err(RleError::Run { index: run, value });
        }
    }
}

/// Writes `runs` as a counts string.
pub(super) fn write(runs: &[u32]) -> String {
    let mut out = Vec::with_capacity(runs.len() * 3 / 2);
    let mut block = [0; BLOCK * MAX_GROUPS as usize + 1];
    let mut index = 0;
    for chunk in runs.chunks(BLOCK) {
        let mut len = 0;
        for &run in chunk {
            let before = if index > 2 { runs[index - 2] } else { 0 };
            len += write_number(i64::from(run) - i64::from(before), &mut block[len..]);
            index += 1;
        }
        out.extend_from_slice(&block[..len]);
    }
    // The alphabet is a part of ASCII.
    String::from_utf8(out).unwrap_or_default()
}

/// Writes one number and returns its length. May write a byte more than that.
#[inline]
fn write_number(value: i64, out: &mut [u8]) -> usize {
    // Mostly one group or two: both are written, and how many count is no branch.
    if let (-512..512, Some(two)) = (value, out.first_chunk_mut::<2>()) {
        let more = !(-16..16).contains(&value);
        let low = (value & 0x1f) as u8 | u8::from(more) << 5;
        *two = [low + 48, (value >> 5 & 0x1f) as u8 + 48];
        return 1 + usize::from(more);
    }
    let (mut rest, mut len) = (value, 0);
    loop {
        let group = (rest & 0x1f) as u8;
        rest >>= 5;
        let more = rest != if group & 0x10 != 0 { -1 } else { 0 };
        out[len] = (group | u8::from(more) << 5) + 48;
        len += 1;
        if !more {
            return len;
        }
    }
}
