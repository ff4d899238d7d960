//! Tar members as the official files hold them. Comes in: names and bytes. Goes out: a tar stream, plain or gzip, that
//! starts with the entry of the directory `./`. Fails if writing does.

use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use crate::{Error, Result};

/// Packs members into a shard in memory, in the given order: the directory entry `./`, then a member `./name` for each.
///
/// # Errors
/// None in practice: memory takes all that is written.
pub fn pack<'a>(members: impl IntoIterator<Item = (&'a str, &'a [u8])>, gzip: bool) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    write_tar(&mut out, gzip, |tar| {
        members.into_iter().try_for_each(|(name, bytes)| tar.append(name, bytes.len() as u64, bytes))
    })
    .map_err(|cause| Error::io("cannot pack members", cause))?;
    Ok(out)
}

/// Writes the directory entry, the members that `append_members` appends, and the end of the archive.
pub(super) fn write_tar(
    out: &mut dyn Write,
    gzip: bool,
    append_members: impl FnOnce(&mut Members<'_>) -> io::Result<()>,
) -> io::Result<()> {
    if gzip {
        let mut gzip = GzEncoder::new(out, Compression::default());
        append_all(&mut gzip, append_members)?;
        gzip.finish().map(drop)
    } else {
        append_all(out, append_members)
    }
}

fn append_all(out: &mut dyn Write, append_members: impl FnOnce(&mut Members<'_>) -> io::Result<()>) -> io::Result<()> {
    let mut members = Members(Builder::new(out));
    members.0.append(&header("./", EntryType::Directory, 0), io::empty())?;
    append_members(&mut members)?;
    members.0.finish()
}

/// A tar stream that takes members.
pub(super) struct Members<'a>(Builder<&'a mut dyn Write>);

impl Members<'_> {
    /// Appends `./name` with `len` bytes of `content`.
    pub(super) fn append(&mut self, name: &str, len: u64, content: impl Read) -> io::Result<()> {
        let path = format!("./{name}");
        if path.len() > NAME_BYTES {
            // GNU's way: an entry that holds the name of the next one.
            let long = format!("{path}\0");
            let announcement = header("././@LongLink", EntryType::GNULongName, long.len() as u64);
            self.0.append(&announcement, long.as_bytes())?;
        }
        self.0.append(&header(&path, EntryType::Regular, len), content.take(len))
    }
}

/// Room for a name in a tar header.
const NAME_BYTES: usize = 100;

/// A header without time or owner, so that the same members give the same bytes. The name is written as it is: the
/// library's own setter drops a leading `./`.
fn header(path: &str, kind: EntryType, len: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(len);
    let name = &mut header.as_old_mut().name;
    let len = path.len().min(NAME_BYTES);
    name[..len].copy_from_slice(&path.as_bytes()[..len]);
    header.set_cksum();
    header
}
