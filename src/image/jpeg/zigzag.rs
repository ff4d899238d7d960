//! The order of a block's coefficients in a JPEG, and the one in which they are stored here.

/// Coefficients of a block.
pub(super) const BLOCK: usize = 64;

/// Where a block has the coefficient that follows `k - 1` others: row after row, vertical frequency after vertical
/// frequency. The end of a block, whose value is 0, goes to the last place.
pub(super) static PLACES: [u8; 256] = {
    let mut places = [63; 256];
    let (mut k, mut sum) = (0, 0);
    while sum < 15 {
        let mut step = 0;
        while step <= sum {
            // Along each diagonal, in turn up and down.
            let vertical = if sum % 2 == 0 { sum - step } else { step };
            let horizontal = sum - vertical;
            if vertical < 8 && horizontal < 8 {
                k += 1;
                places[k] = (8 * vertical + horizontal) as u8;
            }
            step += 1;
        }
        sum += 1;
    }
    places
};

/// Where a block has its coefficient `k`, in the order of a JPEG, 0 to 63.
pub(super) fn place(k: usize) -> usize {
    usize::from(PLACES[k + 1])
}

#[cfg(test)]
mod tests {
    use super::PLACES;

    #[test]
    fn coefficients_come_in_the_zigzag_order_of_the_standard() {
        // Figure A.6 of the standard, by rows.
        let zigzag: [usize; 64] = [
            0, 1, 5, 6, 14, 15, 27, 28, 2, 4, 7, 13, 16, 26, 29, 42, 3, 8, 12, 17, 25, 30, 41, 43, 9, 11, 18, 24, 31,
            40, 44, 53, 10, 19, 23, 32, 39, 45, 52, 54, 20, 22, 33, 38, 46, 51, 55, 60, 21, 34, 37, 47, 50, 56, 59, 61,
            35, 36, 48, 49, 57, 58, 62, 63,
        ];
        for (place, k) in zigzag.into_iter().enumerate() {
            assert_eq!(usize::from(PLACES[k + 1]), place);
        }
    }
}
