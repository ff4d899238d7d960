//! Bytes that are here, but perhaps still packed. Comes in: what a source fetched. Goes out: the bytes that were asked
//! for. Fails where packed bytes are broken.

use bytes::Bytes;

use super::gzip::{Inflater, Packed};
use crate::Result;

/// What [`Source::fetch`](super::Source::fetch) returns: nothing is left to wait for, only to compute.
#[derive(Debug)]
pub struct Fetched(Form);

#[derive(Debug)]
enum Form {
    Ready(Bytes),
    Packed(Packed),
}

impl Fetched {
    pub(super) fn packed(packed: Packed) -> Self {
        Self(Form::Packed(packed))
    }

    /// The bytes. Packed ones are inflated into the memory of `unpacker`.
    ///
    /// # Errors
    /// If a gzip stream is broken here, or its restart point does not fit; the error names the offset.
    pub fn unpack<'a>(&'a self, unpacker: &'a mut Inflater) -> Result<&'a [u8]> {
        match &self.0 {
            Form::Ready(bytes) => Ok(bytes),
            Form::Packed(packed) => packed.unpack(unpacker),
        }
    }

    /// How many bytes [`Fetched::unpack`] has to inflate; 0 when they are not packed.
    pub fn inflated_bytes(&self) -> u64 {
        match &self.0 {
            Form::Ready(_) => 0,
            Form::Packed(packed) => packed.inflated_bytes(),
        }
    }
}

impl From<Bytes> for Fetched {
    fn from(bytes: Bytes) -> Self {
        Self(Form::Ready(bytes))
    }
}
