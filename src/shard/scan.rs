//! Tar structure -> members. Comes in: a source. Goes out: every regular file's name and range, and where the structure
//! broke, if it did. Reads headers only. Fails if the source does.

use std::cell::Cell;
use std::io;

use super::{Problem, ProblemKind};
use crate::source::{Source, SourceReader};
use crate::{Error, Result};

const BLOCK_BYTES: u64 = 512;
/// Long names and PAX records before one member, at most.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Members of one shard, at most: two hundred times an official shard.
const MAX_MEMBERS: usize = 1 << 22;

/// A regular file inside the tar.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// What a scan found, in file order.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) members: Vec<Member>,
    pub(super) problems: Vec<Problem>,
}

/// Walks the headers of `source` from its start to the end marker or to the first break.
pub(super) fn scan(source: &dyn Source) -> Result<Scan> {
    let mut scan = Scan::default();
    let allowance = Cell::new(MAX_HEADER_BYTES);
    let mut archive = tar::Archive::new(SourceReader::new(source, &allowance));
    let mut end = 0;
    let mut last_name = String::from("(none)");
    let entries = archive.entries_with_seek().map_err(|e| Error::io("cannot read the tar headers", e))?;
    for entry in entries {
        allowance.set(MAX_HEADER_BYTES);
        let step = entry.map_err(|e| refused(source, e)).and_then(|entry| accept(source, &entry, &mut scan));
        match step {
            Ok((name, next)) => (last_name, end) = (name, next),
            Err(error) if error.is_io() => return Err(error.at_offset(end)),
            Err(error) => {
                scan.problems.push(broken(&last_name, end, &error));
                return Ok(scan);
            }
        }
    }
    if let Err(error) = check_end(source, end) {
        if error.is_io() {
            return Err(error);
        }
        scan.problems.push(broken(&last_name, end, &error));
    }
    Ok(scan)
}

/// Takes in one entry; returns its name and where the next header starts.
fn accept<R: io::Read>(source: &dyn Source, entry: &tar::Entry<'_, R>, scan: &mut Scan) -> Result<(String, u64)> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let kind = entry.header().entry_type();
    let (offset, size) = (entry.raw_file_position(), entry.size());
    let end = offset.checked_add(size).filter(|&end| end <= source.len());
    let Some(end) = end else {
        return Err(Error::corrupt(format!(
            "member {name} needs {size} bytes from byte {offset} on, but the shard ends at byte {}",
            source.len()
        ))
        .at_offset(offset));
    };
    if scan.members.len() + scan.problems.len() >= MAX_MEMBERS {
        return Err(Error::corrupt(format!("more than {MAX_MEMBERS} members")).at_offset(offset));
    }
    match (kind.is_file(), u32::try_from(size)) {
        (true, Ok(len)) => scan.members.push(Member { name: name.clone(), offset, len }),
        _ if kind.is_dir() => {}
        _ => scan.problems.push(Problem {
            kind: ProblemKind::UnknownMember,
            member: name.clone(),
            offset,
            message: format!("of tar type {:?} and {size} bytes", kind.as_byte() as char),
        }),
    }
    Ok((name, end.next_multiple_of(BLOCK_BYTES)))
}

/// Tells a broken header from a source that could not be read.
fn refused(source: &dyn Source, error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::corrupt(format!("{error} (the shard has {} bytes)", source.len())),
    }
}

/// After the last member a tar has blocks of zeros. None at all means that it was cut exactly between two members;
/// anything else that members are hidden behind the end.
fn check_end(source: &dyn Source, end: u64) -> Result<()> {
    let len = source.len();
    if len < end + BLOCK_BYTES {
        return Err(Error::corrupt(format!("ends at byte {len} without the closing block of zeros: it is truncated")));
    }
    let mut at = end;
    while at < len {
        let next = len.min(at + (1 << 20));
        let bytes = source.read(at..next)?;
        if let Some(index) = bytes.iter().position(|&byte| byte != 0) {
            let offset = at + index as u64;
            return Err(
                Error::corrupt(format!("{} bytes of other data after the end marker", len - offset)).at_offset(offset)
            );
        }
        at = next;
    }
    Ok(())
}

/// The break that `error` describes; `end` is where the last good member ended.
fn broken(last_name: &str, end: u64, error: &Error) -> Problem {
    Problem {
        kind: ProblemKind::BrokenShard,
        member: format!("{last_name} (the last good one)"),
        offset: error.location().offset.unwrap_or(end),
        message: error.to_string(),
    }
}
