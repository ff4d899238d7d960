//! Building a [`ShardIndex`]: one pass over a whole shard reads its members and pairs them.
//!
//! Only a source that cannot be read is an error; damaged data becomes a [`Finding`](super::Finding).
//!
//! Samples are in the order in which a reader has both members. A pass that emits each sample as soon as it is complete
//! therefore has the order of the finished index.

use std::cell::RefCell;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use rayon::prelude::*;

use super::index::{PassObserver, ReadMember, ShardIndex};
use super::pairing::{Admitted, AnnotationSummary, Content, ImageSummary, MemberKind, Pairing, named};
use super::scan::{self, Member, Walked};
use super::{Extent, Finding};
use crate::image::HEAD_BYTES;
use crate::source::{GzipPass, Restarts, Source, is_gzip};
use crate::{Error, Result};

impl ShardIndex {
    /// Builds an index by reading a whole shard once: a plain one in parallel on the current rayon pool, a gzip stream
    /// from front to back. `progress` is called with the number of file bytes read since its last call.
    ///
    /// The index alone does not suffice to read a gzip shard in place; [`Indexer::index`](super::Indexer::index) keeps
    /// the restart points as well.
    ///
    /// # Errors
    /// If the source cannot be read.
    pub fn build(source: &dyn Source, progress: &(dyn Fn(u64) + Sync)) -> Result<Self> {
        match is_gzip(source)? {
            true => Self::pass_gzip(source, progress, &mut ()).map(|(index, _)| index),
            false => Self::build_plain(source, progress),
        }
    }

    /// Reads a whole plain shard once, on the current rayon pool.
    pub(super) fn build_plain(source: &dyn Source, progress: &(dyn Fn(u64) + Sync)) -> Result<Self> {
        let Listed { mut pairing, members, findings } = Listed::of(source)?;
        // In file order, so that each thread reads a contiguous part of the shard.
        let read: Vec<Result<Content>> = members
            .par_iter()
            .map(|(member, kind)| {
                let result = read_member(source, member, *kind);
                progress(u64::from(member.len));
                result
            })
            .collect();
        let member_bytes: u64 = members.iter().map(|(member, _)| u64::from(member.len)).sum();
        progress(source.len().saturating_sub(member_bytes));
        for ((member, _), content) in members.iter().zip(read) {
            pairing.add(member, content)?;
        }
        pairing.finish(findings, None, source.len(), u64::MAX)
    }

    /// Reads the headers of a plain shard, the heads of its images, and its JSON: as good as an index of it, but
    /// without the checksums of the images.
    pub(super) fn outline(source: &dyn Source) -> Result<Self> {
        let Listed { mut pairing, members, findings } = Listed::of(source)?;
        for (member, kind) in &members {
            let content = match kind {
                MemberKind::Image => {
                    let head = u64::from(member.len).min(HEAD_BYTES as u64);
                    let head = source.read(member.offset..member.offset + head).map_err(named(member))?;
                    let extent = Extent { offset: member.offset, len: member.len, crc32c: 0 };
                    content_of(extent, &head, member, *kind)
                }
                MemberKind::Annotations => read_member(source, member, *kind),
            };
            pairing.add(member, content)?;
        }
        pairing.finish(findings, None, source.len(), u64::MAX)
    }

    /// Reads a whole plain shard once, from front to back, and emits each sample as soon as it is complete.
    pub(super) fn pass(source: &dyn Source, progress: &dyn Fn(u64), observer: &mut dyn PassObserver) -> Result<Self> {
        let (mut pairing, mut done) = (Pairing::default(), 0);
        let findings = scan::walk(source, &mut |member| {
            observer.on_member()?;
            if let Some(Admitted::Data(member, kind) | Admitted::Link { member, kind, .. }) = pairing.admit(member) {
                let end = member.offset + u64::from(member.len);
                let content = read_bytes(source, &member).and_then(|(extent, bytes)| {
                    let content = content_of(extent, &bytes, &member, kind);
                    observe(observer, &member, kind, extent, bytes);
                    content
                });
                pairing.add(&member, content)?;
                pairing.emit(observer, None, u64::MAX)?;
                progress(end.saturating_sub(done));
                done = done.max(end);
            }
            Ok(())
        })?;
        progress(source.len().saturating_sub(done));
        pairing.finish(findings, None, source.len(), u64::MAX)
    }

    /// Reads a whole gzip shard once, from front to back: inflating it once gives members, checksums, annotations and
    /// restart points. Emits each sample as soon as it can be read in place.
    pub(super) fn pass_gzip(
        source: &dyn Source,
        progress: &dyn Fn(u64),
        observer: &mut dyn PassObserver,
    ) -> Result<(Self, Arc<Restarts>)> {
        let pass = RefCell::new(GzipPass::new(source));
        let restarts = Arc::clone(pass.borrow().restarts());
        let (mut pairing, mut done) = (Pairing::default(), 0);
        let Walked { findings, valid_until, verified_until } = scan::walk_gzip(&pass, &mut |member, data| {
            observer.on_member()?;
            // There is a restart point at this member, so all members before it can be read.
            pairing.emit(observer, Some(&restarts), pass.borrow().valid_until())?;
            match pairing.admit(member) {
                Some(Admitted::Data(member, kind)) => {
                    let (extent, bytes) = read_streamed_member(data, &member, kind, observer.wants_bytes())?;
                    let content = content_of(extent, &bytes, &member, kind);
                    pairing.add(&member, content)?;
                    observe(observer, &member, kind, extent, bytes.into());
                }
                Some(Admitted::Link { member, kind, target }) => {
                    if let Some(content) = pairing.linked_content(&target, kind) {
                        pairing.add(&member, Ok(content))?;
                    }
                }
                None => {}
            }
            let at = pass.borrow().file_offset();
            progress(at - done);
            done = at;
            Ok(())
        })?;
        pass.borrow_mut().finish()?;
        pairing.drop_after(valid_until);
        pairing.emit(observer, Some(&restarts), valid_until)?;
        progress(source.len().saturating_sub(done));
        Ok((pairing.finish(findings, Some(done), source.len(), verified_until)?, restarts))
    }
}

/// The members of a plain shard that are the last of their names, in file order.
struct Listed {
    pairing: Pairing,
    members: Vec<(Member, MemberKind)>,
    findings: Vec<Finding>,
}

impl Listed {
    fn of(source: &dyn Source) -> Result<Self> {
        let mut pairing = Pairing::default();
        let mut members = Vec::new();
        let findings = scan::walk(source, &mut |member| {
            let at = member.offset;
            members.extend(pairing.admit(member).map(|admitted| {
                let (Admitted::Data(member, kind) | Admitted::Link { member, kind, .. }) = admitted;
                (member, kind, at)
            }));
            Ok(())
        })?;
        let is_last = |(member, kind, at): &(Member, MemberKind, u64)| pairing.is_last(&member.name, *kind, *at);
        members.retain(is_last);
        let members = members.into_iter().map(|(member, kind, _)| (member, kind)).collect();
        Ok(Self { pairing, members, findings })
    }
}

fn read_member(source: &dyn Source, member: &Member, kind: MemberKind) -> Result<Content> {
    let (extent, bytes) = read_bytes(source, member)?;
    content_of(extent, &bytes, member, kind)
}

fn read_bytes(source: &dyn Source, member: &Member) -> Result<(Extent, Bytes)> {
    let bytes = source.read(member.offset..member.offset + u64::from(member.len)).map_err(named(member))?;
    let extent = Extent { offset: member.offset, len: member.len, crc32c: crc32c::crc32c(&bytes) };
    Ok((extent, bytes))
}

/// `bytes` are those of the member; of an image, its head suffices.
fn content_of(extent: Extent, bytes: &[u8], member: &Member, kind: MemberKind) -> Result<Content> {
    match kind {
        MemberKind::Image => Ok(Content::Image(ImageSummary::of(extent, bytes))),
        MemberKind::Annotations => {
            AnnotationSummary::of(bytes).map(|summary| Content::Annotations(extent, summary)).map_err(named(member))
        }
    }
}

/// Hands the bytes of a member to the observer, if it wants them.
fn observe(observer: &mut dyn PassObserver, member: &Member, kind: MemberKind, extent: Extent, bytes: Bytes) {
    if observer.wants_bytes() {
        observer.on_bytes(ReadMember { name: member.name.clone(), is_image: kind == MemberKind::Image, extent, bytes });
    }
}

/// Reads the data of a member of a stream. Returns what is to be kept of it: JSON whole, and of an image only the head
/// unless `keeps_images`. An error is that of the stream.
fn read_streamed_member(
    data: &mut dyn Read,
    member: &Member,
    kind: MemberKind,
    keeps_images: bool,
) -> Result<(Extent, Vec<u8>)> {
    let mut extent = Extent { offset: member.offset, len: member.len, crc32c: 0 };
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = data.read(&mut buffer).map_err(Error::unwrapped)?;
        if count == 0 {
            break;
        }
        extent.crc32c = crc32c::crc32c_append(extent.crc32c, &buffer[..count]);
        // Grow with the data, because the size in a header may be wrong.
        let wanted = match kind {
            MemberKind::Image if !keeps_images => HEAD_BYTES.saturating_sub(bytes.len()),
            MemberKind::Image | MemberKind::Annotations => count,
        };
        bytes.extend_from_slice(&buffer[..count.min(wanted)]);
    }
    Ok((extent, bytes))
}
