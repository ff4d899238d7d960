//! The tar structure of a shard: the name and range of every regular file, in file order, and the place where the
//! structure is broken, if it is.
//!
//! In a plain shard, the members' data is skipped; in the first pass over a gzip stream, the callback can read it.
//! Errors are those of the source and of the callback.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom};

use super::{Finding, FindingKind, sniff};
use crate::source::{Allowance, GzipPass, Source, SourceReader};
use crate::{Error, Result};

const BLOCK_BYTES: u64 = 512;
/// Type of the entry in which GNU tar keeps the label of the archive.
const GNU_VOLUME_LABEL: u8 = b'V';
/// Maximum size of the headers of one member, with long names and PAX records.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Maximum number of members of a shard: two hundred times that of an official shard.
const MAX_MEMBERS: usize = 1 << 22;
/// Maximum total length of their names.
const MAX_NAME_BYTES: usize = 256 << 20;
/// Maximum length of the zeros after the last member of a plain shard, unless they fill a record. tar pads the last
/// record; a longer run of zeros comes from a downloader that preallocated the file.
const MAX_END_BYTES: u64 = 64 << 10;
/// Maximum length of a record, which is a power of two if it is longer than `MAX_END_BYTES`.
const MAX_RECORD_BYTES: u64 = 64 << 20;

/// A regular file inside the tar, or another name of one.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) offset: u64,
    pub(super) len: u32,
    /// The name that a hard link refers to. It has no data of its own.
    pub(super) link: Option<String>,
}

/// The result of a walk over a gzip stream.
pub(super) struct Walked {
    pub(super) findings: Vec<Finding>,
    /// Offset up to which members are valid: damage may begin before the place where it shows.
    pub(super) valid_until: u64,
    /// Offset up to which the stream's checksums have been checked and match.
    pub(super) verified_until: u64,
}

/// Walks the headers of a plain shard from its start to the end marker or to the first break; returns the findings.
pub(super) fn walk(source: &dyn Source, each: &mut dyn FnMut(Member) -> Result<()>) -> Result<Vec<Finding>> {
    let allowance = Allowance::new(MAX_HEADER_BYTES);
    let mut archive = tar::Archive::new(Labelled::new(SourceReader::new(source, &allowance)));
    let mut walk = Walk::default();
    let entries = archive.entries_with_seek().map_err(|e| Error::io("cannot read the tar headers", e))?;
    for entry in entries {
        allowance.set(MAX_HEADER_BYTES);
        let accepted =
            entry.map_err(|e| header_error(e, walk.end, source.len(), || first_block(source))).and_then(|entry| {
                check_size(&entry, source.len())?;
                let member = walk.accept(&entry)?;
                walk.finish_entry(&entry);
                Ok(member)
            });
        match accepted {
            Ok(Some(member)) => each(member)?,
            Ok(None) => {}
            Err(error) if error.is_io() => return Err(error.at_offset(walk.end)),
            Err(error) => return Ok(walk.broken(&error)),
        }
    }
    match check_end(source, walk.end) {
        Ok(()) => Ok(walk.findings),
        Err(error) if error.is_io() => Err(error),
        Err(error) => Ok(walk.broken(&error)),
    }
}

/// Walks a gzip stream from its start, which must be the position of `pass`. `each` may read a member's data; when it
/// is called, there is a restart point at the member.
pub(super) fn walk_gzip(
    pass: &RefCell<GzipPass<'_>>,
    each: &mut dyn FnMut(Member, &mut dyn Read) -> Result<()>,
) -> Result<Walked> {
    let allowance = Allowance::new(MAX_HEADER_BYTES);
    let mut archive = tar::Archive::new(Labelled::new(PassReader { pass, allowance: &allowance }));
    let mut walk = Walk::default();
    // If a header is invalid, the member before it may have lost or gained bytes.
    let mut last_start = 0;
    let entries = archive.entries().map_err(|e| Error::io("cannot read the tar headers", e))?;
    for entry in entries {
        // If the stream is broken, that is the cause of the invalid header.
        let failure = || pass.borrow().failure().cloned();
        let accepted = match entry {
            Err(error) => Err(failure().unwrap_or_else(|| {
                let pass = pass.borrow();
                header_error(error, walk.end, pass.position(), || pass.head().to_vec())
            })),
            Ok(entry) => {
                pass.borrow_mut().mark()?;
                walk.accept(&entry).map(|member| (entry, member))
            }
        };
        let read = accepted.and_then(|(mut entry, member)| {
            // The data may be long; the tar reader skips what is not read before the next header.
            allowance.set(u64::MAX);
            let mut rest = stored_bytes(&entry);
            if let Some(member) = member {
                let mut data = MemberData { entry: &mut entry, pass, at: member.offset, left: u64::from(member.len) };
                each(member, &mut data)?;
                data.skip_rest()?;
                rest = 0;
            }
            last_start = walk.end;
            walk.finish_entry(&entry);
            allowance.set(rest.saturating_add(MAX_HEADER_BYTES));
            Ok(())
        });
        match read {
            Ok(()) => {}
            Err(error) if error.is_corrupt() => {
                let has_failed = pass.borrow().failure().is_some();
                // If the rest of the stream is valid, the header was invalid before compression.
                let valid_until = match has_failed || read_to_end(pass, &mut |_, _| {}).is_some() {
                    true if has_failed => pass.borrow().valid_until(),
                    true => {
                        walk.last_name = walk.name_before.take();
                        last_start
                    }
                    false => u64::MAX,
                };
                // A break of the tar alone does not make the checksums of the stream wrong.
                let verified_until = pass.borrow().verified_until();
                return Ok(Walked { findings: walk.broken(&error), valid_until, verified_until });
            }
            Err(error) => return Err(error.at_offset(walk.end)),
        }
    }
    let end = check_end_of_stream(pass, walk.end);
    let (valid_until, verified_until) = (pass.borrow().valid_until(), pass.borrow().verified_until());
    let findings = match end {
        Ok(()) => walk.findings,
        Err(error) if error.is_corrupt() => {
            let mut findings = walk.broken(&error);
            if let (true, Some(last)) = (pass.borrow().is_mismatch(), findings.last_mut()) {
                last.kind = FindingKind::WrongChecksum;
            }
            findings
        }
        Err(error) => return Err(error),
    };
    Ok(Walked { findings, valid_until, verified_until })
}

/// The state of a walk.
#[derive(Default)]
struct Walk {
    findings: Vec<Finding>,
    members: usize,
    name_bytes: usize,
    /// Name of the last good entry.
    last_name: Option<String>,
    /// Name of the entry before that one.
    name_before: Option<String>,
    /// End of the last good entry.
    end: u64,
}

impl Walk {
    /// Checks an entry; returns a member if it is a regular file.
    fn accept<R: Read>(&mut self, entry: &tar::Entry<'_, R>) -> Result<Option<Member>> {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        let (offset, size) = (entry.raw_file_position(), stored_bytes(entry));
        if self.members >= MAX_MEMBERS {
            return Err(Error::corrupt(format!("more than {MAX_MEMBERS} members")).at_offset(offset));
        }
        self.name_bytes += name.len();
        if self.name_bytes > MAX_NAME_BYTES {
            return Err(Error::corrupt(format!("more than {MAX_NAME_BYTES} bytes of names")).at_offset(offset));
        }
        self.members += 1;
        let link = || Some(String::from_utf8_lossy(&entry.link_name_bytes()?).into_owned());
        if let (true, Ok(len)) = (kind.is_file(), u32::try_from(size)) {
            return Ok(Some(Member { name, offset, len, link: None }));
        }
        if let (true, Some(target)) = (kind.is_hard_link(), link()) {
            return Ok(Some(Member { name, offset, len: 0, link: Some(target) }));
        }
        if !kind.is_dir() && kind.as_byte() != GNU_VOLUME_LABEL {
            let message = match kind.is_symlink() {
                true => "a symbolic link; it is ignored".to_owned(),
                false => {
                    format!("a tar entry of type {} with {size} bytes; it is ignored", kind.as_byte().escape_ascii())
                }
            };
            self.findings.push(Finding { kind: FindingKind::UnknownMember, member: name, offset, message });
        }
        Ok(None)
    }

    /// Records that the entry is complete.
    fn finish_entry<R: Read>(&mut self, entry: &tar::Entry<'_, R>) {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        self.name_before = self.last_name.replace(name);
        let end = entry.raw_file_position().checked_add(stored_bytes(entry));
        self.end = end.and_then(|end| end.checked_next_multiple_of(BLOCK_BYTES)).unwrap_or(u64::MAX);
    }

    /// Returns the findings, with the break that `error` describes as the last one.
    fn broken(mut self, error: &Error) -> Vec<Finding> {
        self.findings.push(Finding {
            kind: FindingKind::BrokenShard,
            member: format!("{} (the last good one)", self.last_name.as_deref().unwrap_or("(none)")),
            offset: error.location().offset.unwrap_or(self.end),
            message: error.message().to_owned(),
        });
        self.findings
    }
}

/// Number of bytes of an entry's data in the tar. (The size of a sparse entry is that of the unpacked file.)
fn stored_bytes<R: Read>(entry: &tar::Entry<'_, R>) -> u64 {
    match entry.header().entry_type().is_gnu_sparse() {
        true => entry.header().entry_size().unwrap_or(u64::MAX),
        false => entry.size(),
    }
}

/// Checks that an entry ends within the shard.
fn check_size<R: Read>(entry: &tar::Entry<'_, R>, len: u64) -> Result<()> {
    let (offset, size) = (entry.raw_file_position(), stored_bytes(entry));
    if offset.checked_add(size).is_some_and(|end| end <= len) {
        return Ok(());
    }
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let text = format!("member {name} needs {size} bytes from byte {offset} on, but the shard ends at byte {len}");
    Err(Error::corrupt(text).at_offset(offset))
}

/// The error of a header at byte `at` that could not be read: that of the source, or an invalid header in an archive of
/// `len` bytes. `head` returns its first bytes.
fn header_error(error: io::Error, at: u64, len: u64, head: impl FnOnce() -> Vec<u8>) -> Error {
    // The message of the `tar` crate quotes the bytes of the header.
    error.downcast::<Error>().unwrap_or_else(|_| match at {
        0 => Error::corrupt(sniff::describe(&head())),
        _ if len < at.saturating_add(BLOCK_BYTES) => {
            Error::corrupt(format!("the tar ends at byte {len}, inside of a header: it is truncated"))
        }
        _ => Error::corrupt("what follows is no tar header, or its checksum is wrong"),
    })
}

/// The first bytes of a plain shard.
fn first_block(source: &dyn Source) -> Vec<u8> {
    source.read(0..source.len().min(BLOCK_BYTES)).map(|bytes| bytes.to_vec()).unwrap_or_default()
}

/// Checks what follows the last member, which should be blocks of zeros. None at all means that the shard was cut
/// between two members; very many, that a download preallocated the file and did not fill it; other data, that there
/// may be members behind the end marker.
fn check_end(source: &dyn Source, end: u64) -> Result<()> {
    let len = source.len();
    if len < end.saturating_add(BLOCK_BYTES) {
        return Err(if len == 0 { Error::corrupt(sniff::describe(&[])) } else { no_end_marker(len) });
    }
    let mut at = end;
    while at < len {
        let next = len.min(at + (1 << 20));
        let bytes = source.read(at..next)?;
        if let Some(index) = bytes.iter().position(|&byte| byte != 0) {
            let offset = at + index as u64;
            return Err(data_after_end(len - offset, offset));
        }
        at = next;
    }
    let fills_a_record = || {
        let record = (len - end).next_power_of_two();
        end > 0 && record <= MAX_RECORD_BYTES && len.is_multiple_of(record)
    };
    if len - end > MAX_END_BYTES && !fills_a_record() {
        let text =
            format!("{} bytes of zeros follow the last member: the rest of the shard was not written", len - end);
        return Err(Error::corrupt(text).at_offset(end));
    }
    Ok(())
}

/// The same for a stream. It is read to its end, where its checksum is.
fn check_end_of_stream(pass: &RefCell<GzipPass<'_>>, end: u64) -> Result<()> {
    let mut other = None;
    let failure = read_to_end(pass, &mut |at, bytes| {
        let index = bytes.iter().position(|&byte| byte != 0);
        other = other.or(index.map(|index| at + index as u64));
    });
    let at = pass.borrow().position();
    if let Some(failure) = failure {
        return Err(failure.at_offset(at));
    }
    match other {
        Some(offset) => Err(data_after_end(at - offset, offset)),
        None if at < end.saturating_add(BLOCK_BYTES) => Err(no_end_marker(at)),
        None => Ok(()),
    }
}

/// Reads a stream to its end; returns its failure, if it has one.
fn read_to_end(pass: &RefCell<GzipPass<'_>>, each: &mut dyn FnMut(u64, &[u8])) -> Option<Error> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let at = pass.borrow().position();
        let read = pass.borrow_mut().read(&mut buffer);
        match read {
            Ok(0) | Err(_) => return pass.borrow().failure().cloned(),
            Ok(count) => each(at, &buffer[..count]),
        }
    }
}

fn no_end_marker(len: u64) -> Error {
    Error::corrupt(format!("the tar ends at byte {len} without a closing block of zeros: it is truncated"))
}

fn data_after_end(bytes: u64, offset: u64) -> Error {
    Error::corrupt(format!("{bytes} bytes of other data after the end marker")).at_offset(offset)
}

/// A reader for the `tar` crate that completes the header of a volume label. GNU tar writes it as the first block, with
/// a name and a checksum but without a size, which the crate refuses.
struct Labelled<R> {
    inner: R,
    is_start: bool,
}

impl<R> Labelled<R> {
    fn new(inner: R) -> Self {
        Self { inner, is_start: true }
    }
}

impl<R: Read> Read for Labelled<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if std::mem::take(&mut self.is_start)
            && let Some(block) = buffer[..count].first_chunk_mut::<{ BLOCK_BYTES as usize }>()
            && block[156] == GNU_VOLUME_LABEL
        {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes().copy_from_slice(block);
            // A wrong checksum stays one.
            let is_valid = header.cksum().ok() == Some(checksum(block));
            if is_valid && header.entry_size().is_err() {
                header.set_size(0);
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        Ok(count)
    }
}

impl<R: Seek> Seek for Labelled<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// The checksum of a header: the sum of its bytes, those of the checksum taken as spaces.
fn checksum(block: &[u8]) -> u32 {
    let byte = |(at, &byte): (usize, &u8)| u32::from(if (148..156).contains(&at) { b' ' } else { byte });
    block.iter().enumerate().map(byte).sum()
}

/// The pass as a reader for the `tar` crate. Reading more than the allowance is an error.
struct PassReader<'a, 'b> {
    pass: &'a RefCell<GzipPass<'b>>,
    allowance: &'a Allowance,
}

impl Read for PassReader<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pass.borrow_mut().read(buffer)?;
        self.allowance.take(count as u64)?;
        Ok(count)
    }
}

/// Reads the data of one member of a stream. An early end is an error that has the cause.
struct MemberData<'a, 'b, 'c, R: Read> {
    entry: &'a mut tar::Entry<'c, R>,
    pass: &'a RefCell<GzipPass<'b>>,
    at: u64,
    left: u64,
}

impl<R: Read> MemberData<'_, '_, '_, R> {
    fn skip_rest(&mut self) -> Result<()> {
        let mut buffer = [0; 8 << 10];
        while self.left > 0 {
            self.read(&mut buffer).map_err(Error::unwrapped)?;
        }
        Ok(())
    }
}

impl<R: Read> Read for MemberData<'_, '_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.entry.read(buffer).unwrap_or(0);
        self.left = self.left.saturating_sub(count as u64);
        self.at += count as u64;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            let failure = self.pass.borrow().failure().cloned();
            let cut = || Error::corrupt(format!("the tar stream ends {} bytes before its member does", self.left));
            return Err(io::Error::other(failure.unwrap_or_else(cut).at_offset(self.at)));
        }
        Ok(count)
    }
}
