//! Numbers of a counts string, several at a time, by byte shuffles (SSSE3). Comes in: a sound stretch of a string, or
//! runs. Goes out: runs, or the stretch. Numbers of more than two bytes are read one by one, and left to the caller when
//! writing.
//!
//! Contract: the only `unsafe` of the room is two calls of safe functions that need SSSE3, each after the processor was
//! asked for it. Reading is 2.6 times as fast as the best plain code was, writing 3 times.
//!
//! Eight bytes are looked at together. Which of them end a number makes a pattern of eight bits, and a table says for
//! each pattern where to move the bytes so that each number has 16 bits of its own. Writing is the reverse.

use std::arch::x86_64::*;

use super::{MORE, number};

/// How the bytes of one pattern move, to numbers of 16 bits.
#[repr(align(16))]
#[derive(Clone, Copy)]
struct Move {
    /// Where the first and the second byte of each number come from, 0x80 for none.
    two: [u8; 16],
    /// The same for the third byte.
    third: [u8; 16],
    /// The sign bit of each number.
    sign: [u16; 8],
    /// Whole numbers of one to three bytes at the beginning of the pattern.
    numbers: u8,
    /// Their bytes.
    bytes: u8,
}

/// By the bits of the bytes that end a number.
static TAKE_APART: [Move; 256] = {
    let mut table = [Move { two: [NONE; 16], third: [NONE; 16], sign: [0x10; 8], numbers: 0, bytes: 0 }; 256];
    let mut pattern = 0_usize;
    while pattern < 256 {
        let (mut at, mut number) = (0_u8, 0);
        while pattern >> at != 0 {
            let bytes = (pattern >> at).trailing_zeros() as u8 + 1;
            if bytes > 3 {
                break;
            }
            table[pattern].two[2 * number] = at;
            if bytes > 1 {
                table[pattern].two[2 * number + 1] = at + 1;
            }
            if bytes > 2 {
                table[pattern].third[2 * number] = at + 2;
            }
            table[pattern].sign[number] = 0x10 << (5 * (bytes - 1));
            at += bytes;
            number += 1;
        }
        table[pattern].numbers = number as u8;
        table[pattern].bytes = at;
        pattern += 1;
    }
    table
};

/// Moves the bytes of numbers together. `long` bits of the index say which of `count` numbers have more than one byte,
/// the ones above which have more than two; a number's bytes lie `apart` bytes from the next one's.
const fn put_together(count: usize, apart: u8) -> [[u8; 16]; 256] {
    let mut table = [[NONE; 16]; 256];
    let mut pattern = 0;
    while pattern < 256 {
        let (mut number, mut at) = (0, 0);
        while number < count {
            let bytes = 1 + (pattern >> number & 1) + if count < 8 { pattern >> (number + count) & 1 } else { 0 };
            let mut byte = 0;
            while byte < bytes {
                table[pattern][at] = number as u8 * apart + byte as u8;
                at += 1;
                byte += 1;
            }
            number += 1;
        }
        pattern += 1;
    }
    table
}

/// For eight numbers of 16 bits, of one or two bytes.
static PUT_EIGHT: [[u8; 16]; 256] = put_together(8, 2);
/// For four numbers of 32 bits, of one to three bytes.
static PUT_FOUR: [[u8; 16]; 256] = put_together(4, 4);

/// Shuffled from here, a byte becomes zero.
const NONE: u8 = 0x80;

/// Whether this processor has the instructions.
fn available() -> bool {
    is_x86_feature_detected!("ssse3")
}

/// Reads a whole string if it is sound; `false` if anything is odd, or the processor too old. `runs` is cleared first.
pub(super) fn parse_sound(counts: &[u8], pixels: u64, runs: &mut Vec<u32>) -> bool {
    runs.clear();
    let in_alphabet = |counts: &[u8]| counts.iter().fold(0, |all, byte| all | byte.wrapping_sub(48)) < 64;
    if pixels >= 1 << 31 || !available() || !in_alphabet(counts) {
        return false;
    }
    // Real strings hold about three bytes for two runs.
    runs.reserve(counts.len().min(1 << 16));
    // SAFETY: `available` has seen that the processor has SSSE3, the only thing asked for.
    #[allow(unsafe_code)]
    let read = unsafe { read(counts, runs) };
    // No number was as large as 2^29 either way, so a run below zero has become one beyond 2^31, and the sum tells.
    read && runs.iter().map(|&run| u64::from(run)).sum::<u64>() == pixels
}

/// Writes numbers from `runs[*index]` on as long as they are short; `out` is the whole string's buffer, of which `*len`
/// bytes are in use.
pub(super) fn write_short(runs: &[u32], index: &mut usize, out: &mut [u8], len: &mut usize) {
    if *index > 2 && runs.len() - *index >= 8 && available() {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            write(runs, index, out, len);
        }
    }
}

/// Numbers of the block that runs are collected in, of which the first two are the last of the block before.
const BLOCK: usize = 256;
/// Bytes of which it is found out at once which of them end a number.
const WINDOW: usize = 64;

/// Reads all numbers; `false` if one is cut off or as large as 2^29. Runs are right in their lowest 32 bits.
#[target_feature(enable = "ssse3")]
fn read(counts: &[u8], runs: &mut Vec<u32>) -> bool {
    let mut block = [0_u32; BLOCK];
    let (mut at, mut count) = (0, 2);
    while at < counts.len() {
        // The number that comes next, of all.
        let index = runs.len() + count - 2;
        let start = at;
        // Differences begin with the fourth number.
        if index >= 3 {
            // What is missing at the end are numbers that go on.
            let mut padded = [MORE; WINDOW + 16];
            let rest = &counts[at..];
            let window = rest.first_chunk().unwrap_or_else(|| {
                padded[..rest.len()].copy_from_slice(rest);
                &padded
            });
            at += read_short(window, &mut block, &mut count);
        }
        if at == start {
            let Ok(value @ -0x1fff_ffff..0x2000_0000) = number(counts, &mut at, 0) else { return false };
            let before = if index >= 3 { block[count - 2] } else { 0 };
            block[count] = before.wrapping_add(value as u32);
            count += 1;
        }
        if count + WINDOW + SLACK > BLOCK || at == counts.len() {
            runs.extend_from_slice(&block[2..count]);
            (block[0], block[1]) = (block[count - 2], block[count - 1]);
            count = 2;
        }
    }
    true
}

/// Runs that [`read_short`] may write behind the last.
const SLACK: usize = 8;

/// Reads numbers of up to three bytes from the beginning of `window` into `block`, which has room for a whole window, and
/// adds each to the run two places before it. `count` places are in use, at least two. Returns how many bytes were read.
#[target_feature(enable = "ssse3")]
#[inline]
fn read_short(window: &[u8; WINDOW + 16], block: &mut [u32; BLOCK], count: &mut usize) -> usize {
    let mut ends = 0;
    for (i, bytes) in window[..WINDOW].as_chunks::<16>().0.iter().enumerate() {
        // Bit 0x20 of a byte less 48 says that more follow. Shifted to the top of its byte, movemask sees it.
        let more = _mm_slli_epi16::<2>(_mm_sub_epi8(bytemuck::cast(*bytes), _mm_set1_epi8(48)));
        ends |= ((!_mm_movemask_epi8(more) & 0xffff) as u64) << (16 * i);
    }
    let five = _mm_set1_epi16(0x1f);
    let mut at = 0;
    while let (true, Some(bytes)) = (at < WINDOW, window[at..].first_chunk::<16>()) {
        let Move { two, third, sign, numbers, bytes: used } = &TAKE_APART[(ends >> at & 0xff) as usize];
        if *numbers == 0 {
            break;
        }
        let bytes: __m128i = bytemuck::cast(*bytes);
        let bytes = _mm_xor_si128(bytes, _mm_set1_epi8(0x10));
        let two = _mm_shuffle_epi8(bytes, bytemuck::cast(*two));
        let low = _mm_and_si128(two, five);
        let middle = _mm_and_si128(_mm_srli_epi16::<3>(two), _mm_slli_epi16::<5>(five));
        let third = _mm_and_si128(_mm_shuffle_epi8(bytes, bytemuck::cast(*third)), five);
        let joined = _mm_or_si128(_mm_or_si128(low, middle), _mm_slli_epi16::<10>(third));
        let sign: __m128i = bytemuck::cast(*sign);
        let values = _mm_sub_epi16(_mm_xor_si128(joined, sign), sign);
        // To 32 bits; then each is added to the number two places on, and all to the last two runs.
        let top = _mm_srai_epi16::<15>(values);
        let (a, b) = (_mm_unpacklo_epi16(values, top), _mm_unpackhi_epi16(values, top));
        let [before, last] = [block[*count - 2], block[*count - 1]].map(|run| run as i32);
        let a = _mm_add_epi32(_mm_add_epi32(a, _mm_slli_si128::<8>(a)), _mm_set_epi32(last, before, last, before));
        let b = _mm_add_epi32(_mm_add_epi32(b, _mm_slli_si128::<8>(b)), _mm_unpackhi_epi64(a, a));
        block[*count..*count + SLACK].copy_from_slice(&bytemuck::cast::<_, [u32; SLACK]>([a, b]));
        *count += usize::from(*numbers);
        at += usize::from(*used);
    }
    at
}

/// Writes eight or four numbers at a time, the differences of runs to those two places before them, as long as they are
/// short and there is room. `*index` is 3 or more.
#[target_feature(enable = "ssse3")]
fn write(runs: &[u32], index: &mut usize, out: &mut [u8], len: &mut usize) {
    let load = |from: usize| runs[from..].first_chunk::<8>().map(|runs| bytemuck::cast::<_, [__m128i; 2]>(*runs));
    while let (Some([a, b]), Some([c, d])) = (load(*index), load(*index - 2)) {
        let Some(out) = out[*len..].first_chunk_mut::<16>() else { return };
        // A difference wraps only between runs of which one is 2^31 or more.
        let large = _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d));
        if _mm_movemask_ps(_mm_castsi128_ps(large)) != 0 {
            return;
        }
        let [a, b] = [_mm_sub_epi32(a, c), _mm_sub_epi32(b, d)];
        // Saturated to 16 bits: what does not fit is not short either.
        let eight = _mm_packs_epi32(a, b);
        if _mm_movemask_epi8(beyond(eight, 512)) == 0 {
            let more = beyond(eight, 16);
            let pattern = _mm_movemask_epi8(_mm_packs_epi16(more, _mm_setzero_si128())) as usize;
            let low =
                _mm_or_si128(_mm_and_si128(eight, _mm_set1_epi16(0x1f)), _mm_and_si128(more, _mm_set1_epi16(0x20)));
            let high = _mm_and_si128(_mm_slli_epi16::<3>(eight), _mm_set1_epi16(0x1f00));
            let bytes = _mm_add_epi8(_mm_or_si128(low, high), _mm_set1_epi8(48));
            *out = bytemuck::cast(_mm_shuffle_epi8(bytes, bytemuck::cast(PUT_EIGHT[pattern])));
            *index += 8;
            *len += 8 + pattern.count_ones() as usize;
        } else {
            let four = _mm_packs_epi32(a, a);
            if _mm_movemask_epi8(beyond(four, 1 << 14)) != 0 {
                return;
            }
            let (more, most) = (beyond(four, 16), beyond(four, 512));
            let lanes = |mask: __m128i| _mm_unpacklo_epi16(mask, mask);
            let (more, most) = (lanes(more), lanes(most));
            let signs = |mask: __m128i| _mm_movemask_ps(_mm_castsi128_ps(mask)) as usize;
            let pattern = signs(more) | signs(most) << 4;
            let first = _mm_or_si128(_mm_and_si128(a, _mm_set1_epi32(0x1f)), _mm_and_si128(more, _mm_set1_epi32(0x20)));
            let second = _mm_and_si128(_mm_slli_epi32::<3>(a), _mm_set1_epi32(0x1f00));
            let second = _mm_or_si128(second, _mm_and_si128(most, _mm_set1_epi32(0x2000)));
            let third = _mm_and_si128(_mm_slli_epi32::<6>(a), _mm_set1_epi32(0x1f_0000));
            let bytes = _mm_add_epi8(_mm_or_si128(_mm_or_si128(first, second), third), _mm_set1_epi8(48));
            *out = bytemuck::cast(_mm_shuffle_epi8(bytes, bytemuck::cast(PUT_FOUR[pattern])));
            *index += 4;
            *len += 4 + pattern.count_ones() as usize;
        }
    }
}

/// Which of the numbers do not lie within `-limit..limit`.
#[target_feature(enable = "ssse3")]
#[inline]
fn beyond(numbers: __m128i, limit: i16) -> __m128i {
    let above = _mm_cmpgt_epi16(numbers, _mm_set1_epi16(limit - 1));
    _mm_or_si128(above, _mm_cmplt_epi16(numbers, _mm_set1_epi16(-limit)))
}
