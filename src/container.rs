//! A writer of plain tar archives laid out as the official shards: a directory entry `./`, then the members. Errors are
//! those of the output.

use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

/// Writes a tar archive member by member.
pub(crate) struct TarWriter<'a>(Builder<&'a mut dyn Write>);

impl<'a> TarWriter<'a> {
    /// Writes the directory entry.
    pub(crate) fn start(out: &'a mut dyn Write) -> io::Result<Self> {
        let mut writer = Self(Builder::new(out));
        writer.0.append(&header("./", EntryType::Directory, 0), io::empty())?;
        Ok(writer)
    }

    /// Appends a regular file with exactly this name and the first `len` bytes of `content`.
    pub(crate) fn append(&mut self, name: &str, len: u64, content: impl Read) -> io::Result<()> {
        if name.len() > NAME_BYTES {
            // The GNU extension for long names: an entry whose data is the name of the next one.
            let long = format!("{name}\0");
            let long_link = header("././@LongLink", EntryType::GNULongName, long.len() as u64);
            self.0.append(&long_link, long.as_bytes())?;
        }
        self.0.append(&header(name, EntryType::Regular, len), content.take(len))
    }

    /// Writes the end-of-archive marker.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.0.finish()
    }
}

/// Length of the name field of a tar header.
const NAME_BYTES: usize = 100;
const BLOCK_BYTES: u64 = 512;

/// Bytes that an archive has besides its members: the directory entry and the end-of-archive marker.
pub(crate) const FRAME_BYTES: u64 = 3 * BLOCK_BYTES;

/// Bytes that a member takes whose name has `name` bytes and whose content has `len`.
pub(crate) fn member_bytes(name: usize, len: u64) -> u64 {
    let blocks = |len: u64| BLOCK_BYTES + len.next_multiple_of(BLOCK_BYTES);
    let long = if name > NAME_BYTES { blocks(name as u64 + 1) } else { 0 };
    long + blocks(len)
}

/// A header without time or owner, so that the same members always give the same bytes. The name is copied unchanged,
/// because the setter of the `tar` crate drops a leading `./`.
fn header(name: &str, kind: EntryType, len: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(len);
    let field = &mut header.as_old_mut().name;
    let len = name.len().min(NAME_BYTES);
    field[..len].copy_from_slice(&name.as_bytes()[..len]);
    header.set_cksum();
    header
}
