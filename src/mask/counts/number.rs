//! One number of a counts string, byte by byte.

use crate::mask::RleError;

/// A run takes at most seven groups of five bits: 32 bits and a sign.
pub(super) const MAX_GROUPS: u32 = 7;

/// A byte that is not the last of its number.
#[cfg(target_arch = "x86_64")]
pub(super) const CONTINUATION: u8 = 0x20 + 48;

/// Decodes the signed number at `*at` and moves past it. `run` is its index, for errors.
#[inline]
pub(super) fn number(counts: &[u8], at: &mut usize, run: usize) -> Result<i64, RleError> {
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
            // Bit 0x10 of the last group is the sign: extend it to the top.
            return Ok((value << (64 - shift)) >> (64 - shift));
        }
        if shift == 5 * MAX_GROUPS {
            return Err(RleError::Run { index: run, value });
        }
    }
}
