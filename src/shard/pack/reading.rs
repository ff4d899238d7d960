//! Reading the two files of a sample, and what makes a sample bad.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::listing::{Lengths, Listing};
use crate::annotation::AnnotationStats;
use crate::error::OneLine;
use crate::image::check_header;
use crate::shard::Entry;
use crate::shard::pairing::{MAX_MEMBER_BYTES, sample_of};
use crate::{Error, Result};

/// A sample that is not packed, because one of its files is damaged or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadSample {
    /// The file that is at fault.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for BadSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", OneLine(self.path.display()), OneLine(&self.reason))
    }
}

/// A sample that can be packed.
pub(super) struct Members {
    pub(super) image: Vec<u8>,
    pub(super) json: Vec<u8>,
    pub(super) entry: Entry,
    pub(super) stats: Vec<AnnotationStats>,
}

impl Listing {
    /// Reads a sample. `listed` are the lengths that its files had before.
    ///
    /// # Errors
    /// If a file has changed or vanished, or the device fails. The inner one: the sample is bad.
    pub(super) fn read_sample(&self, at: usize, listed: Option<Lengths>) -> Result<Result<Members, BadSample>> {
        let [image_path, json_path] = self.paths(at);
        let [image_len, json_len] = listed.map_or([None, None], |lengths| lengths.map(Some));
        let bad = |path: &Path, reason: String| Ok(Err(BadSample { path: path.to_owned(), reason }));
        let json = match read(&json_path, json_len)? {
            Ok(json) => json,
            Err(reason) => return bad(&json_path, reason),
        };
        let image = match read(&image_path, image_len)? {
            Ok(image) => image,
            Err(reason) => return bad(&image_path, reason),
        };
        let [image_name, _] = self.members(at);
        let (entry, stats) = match sample_of(&image_name, &image, &json) {
            Ok(sample) => sample,
            Err(error) => return bad(&json_path, error.message().to_owned()),
        };
        match check_header(&image, (entry.width, entry.height)) {
            Ok(()) => Ok(Ok(Members { image, json, entry, stats })),
            Err(error) => bad(&image_path, error.message().to_owned()),
        }
    }
}

/// Reads a whole file.
///
/// # Errors
/// If it has changed since it was listed, changes now, or cannot be read for a reason that may pass. The inner one: it
/// cannot be a member.
fn read(path: &Path, listed: Option<u32>) -> Result<Result<Vec<u8>, String>> {
    let cannot = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => {
            Error::io(format!("{} was there when its directory was listed, and is gone", path.display()), e)
        }
        _ => Error::io(format!("cannot read {}", path.display()), e),
    };
    // To open a fifo that has come into its place would wait without end.
    let opened = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    let file = match opened {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(Err(format!("cannot be read: {e}"))),
        opened => opened.map_err(cannot)?,
    };
    let before = file.metadata().map_err(cannot)?;
    let changed = |then: u64, now: u64| {
        let text = format!("{} had {then} bytes when it was listed and has {now} now", path.display());
        Error::corrupt(format!("{text}: it changes while it is packed; pack it when it is complete"))
    };
    if !before.is_file() {
        return Err(Error::corrupt(format!("{} is no regular file any more", path.display())));
    }
    let len = before.len();
    match listed {
        Some(listed) if u64::from(listed) != len.min(u32::MAX.into()) => return Err(changed(listed.into(), len)),
        _ => {}
    }
    match len {
        0 => return Ok(Err("it is empty".to_owned())),
        _ if len > MAX_MEMBER_BYTES.into() => {
            let reason = format!("it has {len} bytes, more than the {MAX_MEMBER_BYTES} that an image or json may have");
            return Ok(Err(reason));
        }
        _ => {}
    }
    let mut bytes = Vec::with_capacity(len as usize);
    (&file).take(len + 1).read_to_end(&mut bytes).map_err(cannot)?;
    let after = file.metadata().map_err(cannot)?;
    let state = |found: &Metadata| (found.len(), found.mtime(), found.mtime_nsec());
    if bytes.len() as u64 != len || state(&before) != state(&after) {
        return Err(changed(len, after.len()));
    }
    Ok(Ok(bytes))
}
