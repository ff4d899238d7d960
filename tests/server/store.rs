//! The objects, and the parts of uploads that are not complete.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::SystemTime;

use bytes::Bytes;

use super::lock::locked;

/// An object. A clone shares its bytes.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    /// With its quotes.
    pub(super) etag: Option<String>,
    pub(super) modified: SystemTime,
}

impl Object {
    pub(super) fn new(bytes: Bytes) -> Self {
        let etag = Some(format!("\"{}\"", digest(&bytes)));
        Self { bytes, etag, modified: SystemTime::now() }
    }
}

/// Objects by `bucket/key`, in the order of their bytes, as S3 lists them.
#[derive(Debug, Default)]
pub(super) struct Store {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<String, Object>,
    buckets: BTreeSet<String>,
    uploads: BTreeMap<String, Upload>,
    /// How many uploads ever began.
    began: u64,
}

#[derive(Debug, Default)]
struct Upload {
    path: String,
    parts: BTreeMap<u32, Bytes>,
}

/// Why an upload cannot be gone on with: the error's name, as S3 calls it.
#[derive(Debug)]
pub(super) enum UploadError {
    NoSuchUpload,
    InvalidPart,
}

impl Store {
    pub(super) fn put(&self, path: &str, object: Object) {
        let mut inner = locked(&self.inner);
        inner.buckets.insert(bucket_of(path).to_owned());
        inner.objects.insert(path.to_owned(), object);
    }

    pub(super) fn get(&self, path: &str) -> Option<Object> {
        locked(&self.inner).objects.get(path).cloned()
    }

    pub(super) fn remove(&self, path: &str) -> Option<Object> {
        locked(&self.inner).objects.remove(path)
    }

    /// Whether there is such an object.
    pub(super) fn set_etag(&self, path: &str, etag: Option<String>) -> bool {
        locked(&self.inner).objects.get_mut(path).map(|object| object.etag = etag).is_some()
    }

    pub(super) fn create_bucket(&self, name: &str) {
        locked(&self.inner).buckets.insert(name.to_owned());
    }

    pub(super) fn has_bucket(&self, name: &str) -> bool {
        locked(&self.inner).buckets.contains(name)
    }

    /// Keys and objects of a bucket, from a prefix on.
    pub(super) fn list(&self, bucket: &str, prefix: &str) -> Vec<(String, Object)> {
        let from = format!("{bucket}/{prefix}");
        let inner = locked(&self.inner);
        let found = inner.objects.range(from.clone()..).take_while(|(path, _)| path.starts_with(&from));
        found.map(|(path, object)| (path[bucket.len() + 1..].to_owned(), object.clone())).collect()
    }

    /// Begins an upload and gives its name.
    pub(super) fn begin_upload(&self, path: &str) -> String {
        let mut inner = locked(&self.inner);
        inner.began += 1;
        let name = format!("upload-{}", inner.began);
        inner.uploads.insert(name.clone(), Upload { path: path.to_owned(), parts: BTreeMap::new() });
        name
    }

    /// Keeps a part and gives its ETag.
    pub(super) fn put_part(&self, path: &str, upload: &str, part: u32, bytes: Bytes) -> Result<String, UploadError> {
        let etag = format!("\"{}\"", digest(&bytes));
        let mut inner = locked(&self.inner);
        let upload = inner.uploads.get_mut(upload).filter(|upload| upload.path == path);
        upload.ok_or(UploadError::NoSuchUpload)?.parts.insert(part, bytes);
        Ok(etag)
    }

    /// Joins the parts, given by number and ETag, to an object and gives its ETag.
    pub(super) fn complete_upload(
        &self,
        path: &str,
        upload: &str,
        parts: &[(u32, String)],
    ) -> Result<String, UploadError> {
        let mut inner = locked(&self.inner);
        let found = inner.uploads.get(upload).filter(|upload| upload.path == path).ok_or(UploadError::NoSuchUpload)?;
        let mut whole = Vec::new();
        for (number, etag) in parts {
            let part = found.parts.get(number).ok_or(UploadError::InvalidPart)?;
            if etag.trim_matches('"') != digest(part) {
                return Err(UploadError::InvalidPart);
            }
            whole.extend_from_slice(part);
        }
        let mut object = Object::new(whole.into());
        let etag = format!("\"{}-{}\"", digest(&object.bytes), parts.len());
        object.etag = Some(etag.clone());
        inner.uploads.remove(upload);
        inner.objects.insert(path.to_owned(), object);
        Ok(etag)
    }

    pub(super) fn abort_upload(&self, path: &str, upload: &str) -> Result<(), UploadError> {
        let mut inner = locked(&self.inner);
        match inner.uploads.get(upload) {
            Some(found) if found.path == path => inner.uploads.remove(upload),
            _ => return Err(UploadError::NoSuchUpload),
        };
        Ok(())
    }

    pub(super) fn open_uploads(&self) -> usize {
        locked(&self.inner).uploads.len()
    }
}

pub(super) fn bucket_of(path: &str) -> &str {
    path.split_once('/').map_or(path, |(bucket, _)| bucket)
}

/// 128 bits that any change of one byte changes: each word is mixed in by a step that can be undone. Not for secrets,
/// but as fast as memory.
fn digest(bytes: &[u8]) -> String {
    let mut lanes = [bytes.len() as u64, !(bytes.len() as u64)];
    let mut mix = |word: u64| {
        lanes[0] = (lanes[0] ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        lanes[1] = (lanes[1] ^ word.rotate_left(17)).wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(37);
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        mix(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(u64::from_le_bytes(last));
    mix(0);
    format!("{:016x}{:016x}", lanes[0], lanes[1])
}
