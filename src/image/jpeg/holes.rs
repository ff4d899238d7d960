//! Holes in image data: long runs of zeros, where a part of the file was never written.
//!
//! A hole often leaves the number of blocks right by chance, and then no decoder notices it. But zeros are codes too,
//! the first of each table. Where that is a coefficient and not the end of a block, a run of zeros makes blocks in
//! which each coefficient has the same small value, which no picture has.

use super::picture::Picture;
use crate::{Error, Result};

/// More than two units of blocks, of 4:2:0 in the standard's tables, that consist of zeros.
const LONG: usize = 512;
/// The first symbol of a table, behind its 16 counts, has the code of zeros.
const FIRST_SYMBOL: usize = 16;

/// Refuses a sequential picture with a hole in its image data.
///
/// # Errors
/// If zeros follow each other for so long that they are no codes of a picture.
pub(crate) fn refuse_holes(picture: &Picture<'_>) -> Result<()> {
    if !picture.is_sequential() {
        return Ok(());
    }
    for scan in &picture.scans {
        let ends_block = |definition: &[u8]| definition.get(FIRST_SYMBOL) == Some(&0);
        if scan.members.iter().filter_map(|member| member.ac.definition).all(ends_block) {
            continue;
        }
        // A long run has one of these places in it.
        for at in (0..scan.data.len()).step_by(LONG / 2).filter(|&at| scan.data[at] == 0) {
            let before = scan.data[..at].iter().rev().take_while(|&&byte| byte == 0).count();
            let behind = scan.data[at..].iter().take_while(|&&byte| byte == 0).count();
            if before + behind >= LONG {
                let (length, at) = (before + behind, scan.data_at + at - before);
                return Err(Error::corrupt(format!(
                    "jpeg: damaged: {length} bytes of the image data, from byte {at} on, are zeros; get the file again"
                )));
            }
        }
    }
    Ok(())
}
