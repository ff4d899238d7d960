//! Tar structure -> members. Comes in: a source, or the first pass over a gzip file. Goes out: every regular file's
//! name and range, in file order, and where the structure broke, if it did. A plain shard's data is passed over; a gzip
//! stream's is offered for reading as it comes by. Fails if the source does, or if the receiver of the members does.

use std::cell::RefCell;
use std::io::{self, Read};

use super::{Finding, FindingKind};
use crate::source::{Allowance, GzipPass, Source, SourceReader};
use crate::{Error, Result};

const BLOCK_BYTES: u64 = 512;
/// Long names and PAX records before one member, at most.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Members of one shard, at most: two hundred times an official shard.
const MAX_MEMBERS: usize = 1 << 22;
/// Their names together, at most.
const MAX_NAME_BYTES: usize = 256 << 20;
/// Zeros behind the last member of a plain shard, at most: tar fills up a record, and downloaders a file.
const MAX_END_BYTES: u64 = 1 << 20;

/// A regular file inside the tar.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// Walks the headers of a plain shard from its start to the end marker or to the first break; returns what is wrong.
pub(super) fn walk(source: &dyn Source, each: &mut dyn FnMut(Member) -> Result<()>) -> Result<Vec<Finding>> {
    let allowance = Allowance::new(MAX_HEADER_BYTES);
    let mut archive = tar::Archive::new(SourceReader::new(source, &allowance));
    let mut walk = Walk::default();
    let entries = archive.entries_with_seek().map_err(|e| Error::io("cannot read the tar headers", e))?;
    for entry in entries {
        allowance.set(MAX_HEADER_BYTES);
        let accepted = entry.map_err(|e| refused(source, e)).and_then(|entry| {
            fits(&entry, source.len())?;
            let member = walk.accept(&entry)?;
            walk.passed(&entry);
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

/// Walks a gzip stream from where `pass` stands, which is its start. `each` may read a member's data; the stream has a
/// restart point at each member when it is called. Returns what is wrong, and up to where the members are sound: where
/// a stream breaks, the damage may have begun before it shows.
pub(super) fn walk_gzip(
    pass: &RefCell<GzipPass<'_>>,
    each: &mut dyn FnMut(Member, &mut dyn Read) -> Result<()>,
) -> Result<(Vec<Finding>, u64)> {
    let allowance = Allowance::new(MAX_HEADER_BYTES);
    let mut archive = tar::Archive::new(PassReader { pass, allowance: &allowance });
    let mut walk = Walk::default();
    // A header that is none may stand where the last member, which lost or gained bytes, does not end.
    let mut last_start = 0;
    let entries = archive.entries().map_err(|e| Error::io("cannot read the tar headers", e))?;
    for entry in entries {
        // What broke the stream explains whatever it did to the header.
        let failure = || pass.borrow().failure().cloned();
        let accepted = match entry {
            Err(error) => Err(failure().unwrap_or_else(|| Error::corrupt(error.to_string()))),
            Ok(entry) => {
                pass.borrow_mut().mark()?;
                walk.accept(&entry).map(|member| (entry, member))
            }
        };
        let read = accepted.and_then(|(mut entry, member)| {
            // Data may be long, and what is not read is passed over before the next header.
            allowance.set(u64::MAX);
            let mut rest = stored(&entry);
            if let Some(member) = member {
                let mut data = Data { entry: &mut entry, pass, at: member.offset, left: u64::from(member.len) };
                each(member, &mut data)?;
                data.pass_over()?;
                rest = 0;
            }
            last_start = walk.end;
            walk.passed(&entry);
            allowance.set(rest.saturating_add(MAX_HEADER_BYTES));
            Ok(())
        });
        match read {
            Ok(()) => {}
            Err(error) if error.is_corrupt() => {
                let has_failed = pass.borrow().failure().is_some();
                // The end of the stream says whether a header was broken before it was packed.
                let sound = match has_failed || read_on(pass, &mut |_, _| {}).is_some() {
                    true if has_failed => pass.borrow().sound_until(),
                    true => {
                        walk.last_name = walk.name_before.take();
                        last_start
                    }
                    false => u64::MAX,
                };
                return Ok((walk.broken(&error), sound));
            }
            Err(error) => return Err(error.at_offset(walk.end)),
        }
    }
    let sound = |pass: &RefCell<GzipPass<'_>>| pass.borrow().sound_until();
    match check_end_of_stream(pass, walk.end) {
        Ok(()) => Ok((walk.findings, sound(pass))),
        Err(error) if error.is_corrupt() => {
            let mut findings = walk.broken(&error);
            if let (true, Some(last)) = (pass.borrow().is_mismatch(), findings.last_mut()) {
                last.kind = FindingKind::WrongChecksum;
            }
            Ok((findings, sound(pass)))
        }
        Err(error) => Err(error),
    }
}

/// How far a walk has come.
#[derive(Default)]
struct Walk {
    findings: Vec<Finding>,
    members: usize,
    name_bytes: usize,
    last_name: Option<String>,
    /// The one before that.
    name_before: Option<String>,
    /// Where the last good member ended.
    end: u64,
}

impl Walk {
    /// Takes in one entry: a regular file is a member.
    fn accept<R: Read>(&mut self, entry: &tar::Entry<'_, R>) -> Result<Option<Member>> {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        let (offset, size) = (entry.raw_file_position(), stored(entry));
        if self.members >= MAX_MEMBERS {
            return Err(Error::corrupt(format!("more than {MAX_MEMBERS} members")).at_offset(offset));
        }
        self.name_bytes += name.len();
        if self.name_bytes > MAX_NAME_BYTES {
            return Err(Error::corrupt(format!("more than {MAX_NAME_BYTES} bytes of names")).at_offset(offset));
        }
        self.members += 1;
        let member = match (kind.is_file(), u32::try_from(size)) {
            (true, Ok(len)) => Some(Member { name, offset, len }),
            _ if kind.is_dir() => None,
            _ => {
                self.findings.push(Finding {
                    kind: FindingKind::UnknownMember,
                    member: name,
                    offset,
                    message: format!("of tar type {:?} and {size} bytes", kind.as_byte() as char),
                });
                None
            }
        };
        Ok(member)
    }

    /// Says that this entry is whole.
    fn passed<R: Read>(&mut self, entry: &tar::Entry<'_, R>) {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        self.name_before = self.last_name.replace(name);
        let end = entry.raw_file_position().checked_add(stored(entry));
        self.end = end.and_then(|end| end.checked_next_multiple_of(BLOCK_BYTES)).unwrap_or(u64::MAX);
    }

    /// The findings, with the break that `error` describes.
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

/// Bytes of an entry's data in the tar. The size of a sparse file is that of the file.
fn stored<R: Read>(entry: &tar::Entry<'_, R>) -> u64 {
    match entry.header().entry_type().is_gnu_sparse() {
        true => entry.header().entry_size().unwrap_or(u64::MAX),
        false => entry.size(),
    }
}

fn fits<R: Read>(entry: &tar::Entry<'_, R>, len: u64) -> Result<()> {
    let (offset, size) = (entry.raw_file_position(), stored(entry));
    if offset.checked_add(size).is_some_and(|end| end <= len) {
        return Ok(());
    }
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let text = format!("member {name} needs {size} bytes from byte {offset} on, but the shard ends at byte {len}");
    Err(Error::corrupt(text).at_offset(offset))
}

/// Tells a broken header from a source that could not be read.
fn refused(source: &dyn Source, error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::corrupt(format!("{error} (the shard has {} bytes)", source.len())),
    }
}

/// After the last member a tar has blocks of zeros. None at all means that it was cut exactly between two members; very
/// many, that a download was given its full length and not all of its bytes; anything else that members are hidden
/// behind the end.
fn check_end(source: &dyn Source, end: u64) -> Result<()> {
    let len = source.len();
    if len < end.saturating_add(BLOCK_BYTES) {
        return Err(no_end_marker(len));
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
    if len - end > MAX_END_BYTES {
        let text = format!("nothing but zeros for {} bytes after the last member: the rest was not written", len - end);
        return Err(Error::corrupt(text).at_offset(end));
    }
    Ok(())
}

/// The same of a stream, which has to be read to its end for that, and for its checksum.
fn check_end_of_stream(pass: &RefCell<GzipPass<'_>>, end: u64) -> Result<()> {
    let mut other = None;
    let failure = read_on(pass, &mut |at, bytes| {
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

/// Reads a stream to its end; returns what breaks it, if anything does.
fn read_on(pass: &RefCell<GzipPass<'_>>, each: &mut dyn FnMut(u64, &[u8])) -> Option<Error> {
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
    Error::corrupt(format!("ends at byte {len} without the closing block of zeros: it is truncated"))
}

fn data_after_end(bytes: u64, offset: u64) -> Error {
    Error::corrupt(format!("{bytes} bytes of other data after the end marker")).at_offset(offset)
}

/// The pass as a stream for the `tar` crate, which takes more than a header only with an allowance.
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

/// The data of one member of a stream. Whatever ends it early is an error that says why.
struct Data<'a, 'b, 'c, R: Read> {
    entry: &'a mut tar::Entry<'c, R>,
    pass: &'a RefCell<GzipPass<'b>>,
    at: u64,
    left: u64,
}

impl<R: Read> Data<'_, '_, '_, R> {
    fn pass_over(&mut self) -> Result<()> {
        let mut buffer = [0; 8 << 10];
        while self.left > 0 {
            self.read(&mut buffer).map_err(Error::unwrapped)?;
        }
        Ok(())
    }
}

impl<R: Read> Read for Data<'_, '_, '_, R> {
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
