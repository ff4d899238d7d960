//! The counts string of a COCO mask: decoding to runs and encoding from runs.
//!
//! Decoding fails unless the string encodes exactly the expected number of pixels. The format is described in the
//! documentation of [`mask`](super).

use super::RleError;
use number::number;

mod number;

#[cfg(target_arch = "x86_64")]
mod shuffle;

/// Space in the output that one encoding step may require.
const WRITE_ROOM: usize = 16;

/// Decodes `counts` into `runs`, which is cleared first. There are never more runs than bytes in the string.
pub(super) fn parse(counts: &[u8], pixels: u64, runs: &mut Vec<u32>) -> Result<(), RleError> {
    #[cfg(target_arch = "x86_64")]
    if shuffle::parse_ssse3(counts, pixels, runs) {
        return Ok(());
    }
    parse_scalar(counts, pixels, runs)
}

/// [`parse`] one number at a time, which identifies the first error.
fn parse_scalar(counts: &[u8], pixels: u64, runs: &mut Vec<u32>) -> Result<(), RleError> {
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

/// Encodes `runs` as a counts string.
pub(super) fn write(runs: &[u32]) -> String {
    let mut out = vec![0; runs.len() + runs.len() / 2 + WRITE_ROOM];
    let (mut index, mut len) = (0, 0);
    while index < runs.len() {
        #[cfg(target_arch = "x86_64")]
        shuffle::write_ssse3(runs, &mut index, &mut out, &mut len);
        let Some(&run) = runs.get(index) else { break };
        if len + WRITE_ROOM > out.len() {
            out.resize(2 * out.len(), 0);
            continue;
        }
        let before = if index > 2 { runs[index - 2] } else { 0 };
        len += write_number(i64::from(run) - i64::from(before), &mut out[len..]);
        index += 1;
    }
    out.truncate(len);
    // The alphabet is part of ASCII, so this cannot fail.
    String::from_utf8(out).unwrap_or_default()
}

/// Writes one number and returns its length, at most [`MAX_GROUPS`](number::MAX_GROUPS) bytes.
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
