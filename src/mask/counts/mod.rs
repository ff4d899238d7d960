//! The counts string. Comes in: bytes, or runs. Goes out: runs, or a string. Fails on anything that is not an encoding
//! of exactly `pixels` pixels. The format is in the room's head.

use super::RleError;

#[cfg(target_arch = "x86_64")]
mod shuffle;

/// A run needs at most seven groups of five bits: 32 bits and a sign.
const MAX_GROUPS: u32 = 7;

/// A byte after which a number goes on.
#[cfg(target_arch = "x86_64")]
const MORE: u8 = 0x20 + 48;
/// Room that a step of writing may ask for.
const LONGEST: usize = 16;

/// Reads `counts` into `runs` (cleared first). The number of runs never exceeds the length of the string.
pub(super) fn parse(counts: &[u8], pixels: u64, runs: &mut Vec<u32>) -> Result<(), RleError> {
    #[cfg(target_arch = "x86_64")]
    if shuffle::parse_sound(counts, pixels, runs) {
        return Ok(());
    }
    parse_closely(counts, pixels, runs)
}

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
    let mut out = vec![0; runs.len() + runs.len() / 2 + LONGEST];
    let (mut index, mut len) = (0, 0);
    while index < runs.len() {
        #[cfg(target_arch = "x86_64")]
        shuffle::write_short(runs, &mut index, &mut out, &mut len);
        let Some(&run) = runs.get(index) else { break };
        if len + LONGEST > out.len() {
            out.resize(2 * out.len(), 0);
            continue;
        }
        let before = if index > 2 { runs[index - 2] } else { 0 };
        len += write_number(i64::from(run) - i64::from(before), &mut out[len..]);
        index += 1;
    }
    out.truncate(len);
    // The alphabet is a part of ASCII.
    String::from_utf8(out).unwrap_or_default()
}

/// Writes one number and returns its length, at most [`MAX_GROUPS`].
fn write_number(mut value: i64, out: &mut [u8]) -> usize {
    let mut len = 0;
    loop {
        let group = (value & 0x1f) as u8;
        value >>= 5;
        let more = value != if group & 0x10 != 0 { -1 } else { 0 };
        out[len] = (group | u8::from(more) << 5) + 48;
        len += 1;
        if !more {
            return len;
        }
    }
}
