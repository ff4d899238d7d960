//! The 64-bit hash behind the crate's seeded random choices and its digests.

/// splitmix64's step and finalizer, a bijection of 64-bit values whose outputs look independent of its inputs (Steele,
/// Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub(crate) fn mix64(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A digest of bytes: eight at a time, folded by [`mix64`]. It stands in saved files, so it must not change.
pub(crate) fn mix_bytes(bytes: &[u8]) -> u64 {
    let word = |bytes: &[u8]| bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    bytes.chunks(8).fold(bytes.len() as u64, |digest, bytes| mix64(digest ^ word(bytes)))
}
