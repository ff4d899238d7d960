//! Weighs rows, column by column.

use super::axis::ONE;

/// Columns that are summed together.
pub(super) const COLUMNS: usize = 32;

pub(super) fn weighed_rows(ring: &[u8], rows: &[usize], weights: &[i16], out: &mut [u8]) {
    for (block, out) in out.as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
        let mut sums = [half(rows.len()); COLUMNS];
        for (&row, &weight) in rows.iter().zip(weights) {
            let Some(row) = ring[row + block * COLUMNS..].first_chunk::<COLUMNS>() else { return };
            let weight = widened(weight);
            for (sum, &byte) in sums.iter_mut().zip(row) {
                *sum += upper_product(u16::from(byte) << 8, weight);
            }
        }
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = (sum >> 8) as u8);
    }
}

/// The same with sums that keep all bits of the products.
pub(super) fn weighed_many_rows(ring: &[u8], rows: &[usize], weights: &[i16], out: &mut [u8]) {
    for (block, out) in out.as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
        let mut sums = [ONE / 2; COLUMNS];
        for (&row, &weight) in rows.iter().zip(weights) {
            let Some(row) = ring[row + block * COLUMNS..].first_chunk::<COLUMNS>() else { return };
            sums.iter_mut().zip(row).for_each(|(sum, &byte)| *sum += i32::from(byte) * i32::from(weight));
        }
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = (sum >> 14) as u8);
    }
}

/// Half of one, and what is lost where products are truncated: on average half of 1 / 256 of each.
#[inline(always)]
pub(super) fn half(taps: usize) -> u16 {
    128 + (taps / 2).min(127) as u16
}

/// A weight as part of 2^16.
#[inline(always)]
pub(super) fn widened(weight: i16) -> u16 {
    (weight.max(0) as u16).saturating_mul(4)
}

/// The upper 16 bits of a product.
#[inline(always)]
fn upper_product(a: u16, b: u16) -> u16 {
    ((u32::from(a) * u32::from(b)) >> 16) as u16
}
