//! Which requests give a list of ranges: neighbours share one, long ranges take several. Pure arithmetic.

use std::ops::Range;

/// Ranges with at most so many bytes between them are read by one request: the bytes between take as long as a tenth
/// of the wait for another answer.
pub(super) const GAP_BYTES: u64 = 128 << 10;
/// The longest request. A connection passes it in a fraction of a second, and a longer one gains nothing.
pub(super) const MAX_REQUEST_BYTES: u64 = 16 << 20;

/// A request, and the numbers of the ranges that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) range: Range<u64>,
    pub(super) holds: Vec<usize>,
}

/// The requests that hold these ranges, each of them in one request, by offset. Empty ranges are in none.
pub(super) fn requests(ranges: &[Range<u64>], gap: u64, max: u64) -> Vec<Request> {
    let mut order: Vec<usize> = (0..ranges.len()).filter(|&i| ranges[i].start < ranges[i].end).collect();
    order.sort_by_key(|&i| (ranges[i].start, ranges[i].end));
    let mut requests: Vec<Request> = Vec::new();
    for i in order {
        let range = &ranges[i];
        let last = requests.last_mut().filter(|last| {
            let end = range.end.max(last.range.end);
            range.start <= last.range.end.saturating_add(gap) && end - last.range.start <= max
        });
        match last {
            Some(last) => {
                last.range.end = last.range.end.max(range.end);
                last.holds.push(i);
            }
            None => requests.push(Request { range: range.clone(), holds: vec![i] }),
        }
    }
    requests
}

/// The parts of a range that is read by several requests at once: of equal length, each at most `max`.
pub(super) fn parts(range: &Range<u64>, max: u64) -> Vec<Range<u64>> {
    let len = range.end.saturating_sub(range.start);
    let count = len.div_ceil(max.max(1)).max(1);
    let cut = |part: u64| range.start + (u128::from(len) * u128::from(part) / u128::from(count)) as u64;
    (0..count).map(|part| cut(part)..cut(part + 1)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_share_a_request_and_strangers_do_not() {
        let request = |range, holds: &[usize]| Request { range, holds: holds.to_vec() };
        assert_eq!(
            requests(&[500..600, 0..100, 110..200, 5..5], 10, 1000),
            [request(0..200, &[1, 2]), request(500..600, &[0])]
        );
        // One that lies inside another one, and one that would make the request too long.
        assert_eq!(requests(&[0..100, 10..20, 90..130], 10, 120), [request(0..100, &[0, 1]), request(90..130, &[2])]);
    }

    proptest! {
        #[test]
        fn each_range_is_in_one_request_that_is_bounded(
            list in prop::collection::vec((0_u64..5000, 0_u64..300), 0..40), gap in 0_u64..200, max in 1_u64..1000,
        ) {
            let ranges: Vec<Range<u64>> = list.iter().map(|&(start, len)| start..start + len).collect();
            let found = requests(&ranges, gap, max);
            let mut held = vec![0; ranges.len()];
            for request in &found {
                let len = request.range.end - request.range.start;
                prop_assert!(len <= max || request.holds.len() == 1);
                for &i in &request.holds {
                    held[i] += 1;
                    prop_assert!(request.range.start <= ranges[i].start && ranges[i].end <= request.range.end);
                }
                // What is read for nothing is only the gaps.
                let mut wanted = vec![false; len as usize];
                for &i in &request.holds {
                    (ranges[i].start..ranges[i].end).for_each(|at| wanted[(at - request.range.start) as usize] = true);
                }
                let longest = wanted.split(|&is_wanted| is_wanted).map(<[bool]>::len).max().unwrap();
                prop_assert!(longest as u64 <= gap);
            }
            for (range, &count) in ranges.iter().zip(&held) {
                prop_assert_eq!(count, usize::from(!range.is_empty()));
            }
        }

        #[test]
        fn the_parts_of_a_range_are_the_range(start in 0_u64..1000, len in 0_u64..1000, max in 1_u64..100) {
            let parts = parts(&(start..start + len), max);
            prop_assert!(parts.iter().all(|part| part.end - part.start <= max));
            prop_assert_eq!(parts[0].start, start);
            prop_assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            prop_assert_eq!(parts[parts.len() - 1].end, start + len);
        }
    }
}
