//! Shards as the official files are. Comes in: names and bytes. Goes out: a tar stream, plain or gzip. Fails if writing
//! does.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::container::TarWriter;
use crate::{Error, Result};

/// Packs members into a shard in memory, in the given order: the directory entry `./`, then a member `./name` for each.
///
/// # Errors
/// None in practice: memory takes all that is written.
pub fn pack<'a>(members: impl IntoIterator<Item = (&'a str, &'a [u8])>, gzip: bool) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    write_tar(&mut out, gzip, |tar| {
        members.into_iter().try_for_each(|(name, bytes)| tar.append(&format!("./{name}"), bytes.len() as u64, bytes))
    })
    .map_err(|cause| Error::io("cannot pack members", cause))?;
    Ok(out)
}

/// Writes the members that `append_members` appends.
pub(super) fn write_tar(
    out: &mut dyn Write,
    gzip: bool,
    append_members: impl FnOnce(&mut TarWriter<'_>) -> io::Result<()>,
) -> io::Result<()> {
    if gzip {
        let mut gzip = GzEncoder::new(out, Compression::default());
        append_all(&mut gzip, append_members)?;
        gzip.finish().map(drop)
    } else {
        append_all(out, append_members)
    }
}

fn append_all(
    out: &mut dyn Write,
    append_members: impl FnOnce(&mut TarWriter<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut members = TarWriter::start(out)?;
    append_members(&mut members)?;
    members.finish()
}
