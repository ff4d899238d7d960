//! Tar members as the official shards hold them. Comes in: names and bytes. Goes out: a plain tar stream that starts
//! with the entry of the directory `./`. Fails if writing does.

use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

/// A tar stream that takes members.
pub(crate) struct TarWriter<'a>(Builder<&'a mut dyn Write>);

impl<'a> TarWriter<'a> {
    /// Writes the directory entry.
    pub(crate) fn start(out: &'a mut dyn Write) -> io::Result<Self> {
        let mut members = Self(Builder::new(out));
        members.0.append(&header("./", EntryType::Directory, 0), io::empty())?;
        Ok(members)
    }

    /// Appends a member of exactly this name with `len` bytes of `content`.
    pub(crate) fn append(&mut self, name: &str, len: u64, content: impl Read) -> io::Result<()> {
        if name.len() > NAME_BYTES {
            // GNU's way: an entry that holds the name of the next one.
            let long = format!("{name}\0");
            let announcement = header("././@LongLink", EntryType::GNULongName, long.len() as u64);
            self.0.append(&announcement, long.as_bytes())?;
        }
        self.0.append(&header(name, EntryType::Regular, len), content.take(len))
    }

    /// Writes the end of the archive.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.0.finish()
    }
}

/// Room for a name in a tar header.
const NAME_BYTES: usize = 100;

/// A header without time or owner, so that the same members give the same bytes. The name is written as it is: the
/// library's own setter drops a leading `./`.
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
