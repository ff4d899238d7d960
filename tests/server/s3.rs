//! The part of S3 that clients of object stores use: objects by path, listings, uploads in one and in parts.
use std::fmt::Write as _;

use bytes::Bytes;

use super::answer::Answer;
use super::fault::Fault;
use super::object::{self, meets, precondition_failed};
use super::request::Request;
use super::store::{Object, Store, UploadError, bucket_of};
use super::text::{decode, elements, encode, escape, iso_date, unescape};

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
/// Most keys on a page of a listing, as with S3.
const LARGEST_PAGE: usize = 1000;

/// Answers a request, in pages of at most so many keys.
pub(super) fn answer(store: &Store, request: &Request, body: Bytes, faults: &[Fault], page: usize) -> Answer {
    let path = request.path.as_str();
    let upload = request.parameter("uploadId");
    let bucket = path.strip_suffix('/').unwrap_or(path);
    let is_bucket = !bucket.contains('/') && store.get(path).is_none();
    match (request.method.as_str(), is_bucket) {
        ("GET" | "HEAD", true) if !store.has_bucket(bucket) => no_such_bucket(),
        ("HEAD", true) => Answer::new(200),
        ("GET", true) if request.parameter("list-type").as_deref() == Some("2") => list(store, bucket, request, page),
        ("GET" | "HEAD", _) => object::answer(store.get(path), request, faults),
        ("PUT", true) => {
            store.create_bucket(bucket);
            Answer::new(200)
        }
        ("POST", true) if request.parameter("delete").is_some() => delete_objects(store, bucket, &body),
        ("PUT", false) if !store.has_bucket(bucket_of(path)) => no_such_bucket(),
        ("PUT", false) => match upload {
            Some(upload) => put_part(store, path, &upload, request, body),
            None => put(store, path, request, body),
        },
        ("POST", false) => match upload {
            Some(upload) => complete_upload(store, path, &upload, &body),
            None if request.parameter("uploads").is_some() => begin_upload(store, path),
            None => not_implemented(),
        },
        ("DELETE", false) => match upload {
            Some(upload) => or_error(store.abort_upload(path, &upload), |()| Answer::new(204)),
            None => {
                store.remove(path);
                Answer::new(204)
            }
        },
        _ => not_implemented(),
    }
}

fn put(store: &Store, path: &str, request: &Request, body: Bytes) -> Answer {
    let current = store.get(path);
    let refused = match &current {
        Some(object) => {
            request.header("if-none-match") == Some("*") || !meets(request.if_match.as_deref(), object.etag.as_deref())
        }
        None => request.if_match.is_some(),
    };
    if refused {
        return precondition_failed();
    }
    let object = Object::new(body);
    let answer = Answer::new(200).with("ETag", object.etag.clone().unwrap_or_default());
    store.put(path, object);
    answer
}

fn begin_upload(store: &Store, path: &str) -> Answer {
    let name = store.begin_upload(path);
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let inside = [("Bucket", bucket), ("Key", key), ("UploadId", &name)];
    document("InitiateMultipartUploadResult", &elements_of(&inside))
}

fn put_part(store: &Store, path: &str, upload: &str, request: &Request, body: Bytes) -> Answer {
    let number = request.parameter("partNumber").and_then(|number| number.parse().ok());
    let Some(number) = number else {
        return Answer::error(400, "InvalidArgument", "Part number must be an integer");
    };
    or_error(store.put_part(path, upload, number, body), |etag| Answer::new(200).with("ETag", etag))
}

fn complete_upload(store: &Store, path: &str, upload: &str, body: &[u8]) -> Answer {
    let body = String::from_utf8_lossy(body);
    let mut parts = Vec::new();
    for part in elements(&body, "Part") {
        let number = elements(part, "PartNumber").first().and_then(|number| number.trim().parse().ok());
        let (Some(number), Some(etag)) = (number, elements(part, "ETag").first().map(|etag| unescape(etag))) else {
            return Answer::error(400, "MalformedXML", "A part has no number or no ETag.");
        };
        parts.push((number, etag));
    }
    if parts.is_empty() || !parts.is_sorted_by(|a, b| a.0 < b.0) {
        return Answer::error(400, "InvalidPartOrder", "The list of parts was not in ascending order.");
    }
    or_error(store.complete_upload(path, upload, &parts), |etag| {
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        document("CompleteMultipartUploadResult", &elements_of(&[("Bucket", bucket), ("Key", key), ("ETag", &etag)]))
    })
}

fn delete_objects(store: &Store, bucket: &str, body: &[u8]) -> Answer {
    let mut deleted = String::new();
    for key in elements(&String::from_utf8_lossy(body), "Key") {
        store.remove(&format!("{bucket}/{}", unescape(key)));
        let _ = write!(deleted, "<Deleted><Key>{key}</Key></Deleted>");
    }
    document("DeleteResult", &deleted)
}

/// One line of a listing.
enum Item {
    Object(String, Object),
    /// What all keys up to a delimiter have in common.
    Prefix(String),
}

fn list(store: &Store, bucket: &str, request: &Request, page: usize) -> Answer {
    let parameter = |name| request.parameter(name).unwrap_or_default();
    let (prefix, delimiter, start_after) = (parameter("prefix"), parameter("delimiter"), parameter("start-after"));
    let most = request.parameter("max-keys").and_then(|keys| keys.parse().ok()).unwrap_or(LARGEST_PAGE);
    let page = most.min(page).min(LARGEST_PAGE);
    let token = request.parameter("continuation-token");
    // The last name of the page before, under a cover that keeps clients from reading it.
    let after = token.as_deref().and_then(|token| token.strip_prefix("after:")).map(decode);

    let mut items: Vec<Item> = Vec::new();
    let mut last = String::new();
    let mut truncated = false;
    for (key, object) in store.list(bucket, &prefix) {
        let common = common_prefix(&key, &prefix, &delimiter);
        let name = common.clone().unwrap_or_else(|| key.clone());
        let seen =
            after.as_ref().is_some_and(|after| name <= *after) || (!start_after.is_empty() && key <= start_after);
        if seen || (common.is_some() && name == last) {
            continue;
        }
        if items.len() == page {
            truncated = page > 0;
            break;
        }
        items.push(if common.is_some() { Item::Prefix(name.clone()) } else { Item::Object(key, object) });
        last = name;
    }

    let in_url_form = request.parameter("encoding-type").as_deref() == Some("url");
    let name = |name: &str| if in_url_form { encode(name) } else { escape(name) };
    let (count, most, is_truncated) = (items.len().to_string(), most.to_string(), truncated.to_string());
    let mut inside = elements_of(&[("Name", bucket), ("KeyCount", &count), ("MaxKeys", &most)]);
    let _ = write!(inside, "<IsTruncated>{is_truncated}</IsTruncated><Prefix>{}</Prefix>", name(&prefix));
    if in_url_form {
        inside.push_str("<EncodingType>url</EncodingType>");
    }
    if !delimiter.is_empty() {
        let _ = write!(inside, "<Delimiter>{}</Delimiter>", name(&delimiter));
    }
    if !start_after.is_empty() {
        let _ = write!(inside, "<StartAfter>{}</StartAfter>", name(&start_after));
    }
    if let Some(token) = token {
        let _ = write!(inside, "<ContinuationToken>{}</ContinuationToken>", escape(&token));
    }
    if truncated {
        let _ = write!(inside, "<NextContinuationToken>after:{}</NextContinuationToken>", encode(&last));
    }
    for item in &items {
        match item {
            Item::Prefix(prefix) => {
                let _ = write!(inside, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", name(prefix));
            }
            Item::Object(key, object) => {
                let (size, modified) = (object.bytes.len(), iso_date(object.modified));
                let etag =
                    object.etag.as_ref().map(|etag| format!("<ETag>{}</ETag>", escape(etag))).unwrap_or_default();
                let _ = write!(
                    inside,
                    "<Contents><Key>{}</Key><LastModified>{modified}</LastModified>{etag}<Size>{size}</Size>\
                     <StorageClass>STANDARD</StorageClass></Contents>",
                    name(key)
                );
            }
        }
    }
    document("ListBucketResult", &inside)
}

/// The key up to the first delimiter after the prefix.
fn common_prefix(key: &str, prefix: &str, delimiter: &str) -> Option<String> {
    if delimiter.is_empty() {
        return None;
    }
    let at = key[prefix.len()..].find(delimiter)?;
    Some(key[..prefix.len() + at + delimiter.len()].to_owned())
}

fn elements_of(elements: &[(&str, &str)]) -> String {
    elements.iter().map(|(name, text)| format!("<{name}>{}</{name}>", escape(text))).collect()
}

fn document(root: &str, inside: &str) -> Answer {
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    Answer::xml(200, format!("{head}<{root} xmlns=\"{NAMESPACE}\">{inside}</{root}>"))
}

fn or_error<T>(result: Result<T, UploadError>, answer: impl FnOnce(T) -> Answer) -> Answer {
    match result {
        Ok(value) => answer(value),
        Err(UploadError::NoSuchUpload) => {
            Answer::error(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        }
        Err(UploadError::InvalidPart) => {
            Answer::error(400, "InvalidPart", "A specified part was not uploaded, or its ETag does not match.")
        }
    }
}

fn no_such_bucket() -> Answer {
    Answer::error(404, "NoSuchBucket", "The specified bucket does not exist")
}

fn not_implemented() -> Answer {
    Answer::error(501, "NotImplemented", "This server does not know such requests.")
}
