//! The order of names in which numbers count by their value: sa_2 before sa_10.

use std::cmp::Ordering;

/// Compares runs of digits by their value, and all else by its bytes. Names that are equal so far, such as sa_1 and
/// sa_01, are in the order of their bytes, so only equal names are equal.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    loop {
        let (m, n) = (digits(left), digits(right));
        let ordering = match (m, n) {
            (1.., 1..) => by_value(&left[..m], &right[..n]),
            _ => left.first().cmp(&right.first()),
        };
        if ordering.is_ne() || left.is_empty() {
            return ordering.then_with(|| a.cmp(b));
        }
        (left, right) = (&left[m.max(1)..], &right[n.max(1)..]);
    }
}

/// Number of digits at the start.
fn digits(name: &[u8]) -> usize {
    name.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn by_value(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &'_ [u8]| digits.iter().take_while(|&&digit| digit == b'0').count();
    let (a, b) = (&a[significant(a)..], &b[significant(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}
