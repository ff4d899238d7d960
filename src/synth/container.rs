//! Writes shards in the official container form: a tar stream, plain or gzip.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::container::TarWriter;
use crate::{Error, Result};

/// Packs members into a shard in memory, plain or gzip: the directory entry `./`, then `./name` for each member, in the
/// given order.
///
/// ```
/// use maskstream::synth::{Preset, SynthOptions, pack, sample};
///
/// let one = sample(1, &SynthOptions::new(Preset::Small))?;
/// let shard = pack([("sa_1.jpg", &one.image[..]), ("sa_1.json", &one.annotations)], true)?;
/// assert!(shard.starts_with(&[0x1f, 0x8b])); // gzip
/// # Ok::<(), maskstream::Error>(())
/// ```
///
/// # Errors
/// None in practice: writing to memory does not fail.
pub fn pack<'a>(members: impl IntoIterator<Item = (&'a str, &'a [u8])>, gzip: bool) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    write_tar(&mut out, gzip, |tar| {
        members.into_iter().try_for_each(|(name, bytes)| tar.append(&format!("./{name}"), bytes.len() as u64, bytes))
    })
    .map_err(|cause| Error::io("cannot pack members", cause))?;
    Ok(out)
}

/// Writes a tar stream, plain or gzip, of the members that `append_members` appends.
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
