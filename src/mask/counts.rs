//! The counts string. Comes in: bytes, or runs. Goes out: runs, or a string. Fails on anything that is not an encoding
//! of exactly `pixels` pixels. The format is in the room's head.

use super::RleError;

/// A run needs at most seven groups of five bits: 32 bits and a sign.
const MAX_GROUPS: u32 = 7;

/// Reads `counts` into `runs` (cleared first). The number of runs never exceeds the length of the string.
pub(super) fn parse(counts: &[u8], pixels: u64, runs: &mut Vec<u32>) -> Result<(), RleError> {
    runs.clear();
    // Real strings hold about three bytes for two runs.
    runs.reserve(counts.len().min(1 << 16));
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
    let mut out = String::with_capacity(runs.len() * 2);
    for (index, &run) in runs.iter().enumerate() {
        let mut rest = i64::from(run);
        if index > 2 {
            rest -= i64::from(runs[index - 2]);
        }
        loop {
            let mut group = (rest & 0x1f) as u8;
            rest >>= 5;
            let more = rest != if group & 0x10 != 0 { -1 } else { 0 };
            if more {
                group |= 0x20;
            }
            out.push(char::from(group + 48));
            if !more {
                break;
            }
        }
    }
    out
}
