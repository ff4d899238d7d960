//! The image data of a scan without what is there only so that it looks like no marker.

use std::ops::Range;

use memchr::memchr;

use super::segments::{RST0, RST7};

/// Zeros behind the data, so that a reader need not ask for each byte whether there is one.
const PADDING: usize = 16;

/// Copies `data`, which begins in interval `first`, to `out` without the zeros behind each 0xff and without restart
/// markers. `intervals` are the parts between the markers. Returns whether the markers are in order.
pub(super) fn unstuff(data: &[u8], first: usize, out: &mut Vec<u8>, intervals: &mut Vec<Range<usize>>) -> bool {
    out.clear();
    out.reserve(data.len() + PADDING);
    intervals.clear();
    let (mut rest, mut begins, mut is_in_order) = (data, 0, true);
    while let Some(at) = memchr(0xff, rest) {
        let fill = rest[at..].iter().take_while(|&&byte| byte == 0xff).count();
        let behind = at + fill;
        match rest.get(behind) {
            Some(0) => out.extend_from_slice(&rest[..=at]),
            marker => {
                out.extend_from_slice(&rest[..at]);
                let number = RST0 + ((first + intervals.len()) % 8) as u8;
                is_in_order &= marker.is_some_and(|marker| (RST0..=RST7).contains(marker) && *marker == number);
                intervals.push(begins..out.len());
                begins = out.len();
            }
        }
        rest = rest.get(behind + 1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    // A few encoders put a marker behind the last interval too.
    if begins < out.len() || intervals.is_empty() {
        intervals.push(begins..out.len());
    }
    out.resize(out.len() + PADDING, 0);
    is_in_order
}
