//! GET and HEAD of an object, with the faults that change what they say.
use bytes::Bytes;

use super::answer::Answer;
use super::fault::Fault;
use super::request::Request;
use super::store::Object;
use super::text::http_date;

pub(super) fn answer(current: Option<Object>, request: &Request, faults: &[Fault]) -> Answer {
    let replaced = faults.iter().find_map(|fault| match fault {
        Fault::Replaced(bytes) => Some(Object::new(bytes.clone())),
        _ => None,
    });
    let has = |wanted: fn(&Fault) -> bool| faults.iter().any(wanted);
    let checked = replaced.is_none() && !has(|fault| matches!(fault, Fault::IgnoreIfMatch));
    let Some(object) = replaced.or(current) else {
        return Answer::error(404, "NoSuchKey", "The specified key does not exist.");
    };
    if checked && !meets(request.if_match.as_deref(), object.etag.as_deref()) {
        return precondition_failed();
    }

    let length = object.bytes.len() as u64;
    let whole = has(|fault| matches!(fault, Fault::NotPartial));
    let asked = if whole { None } else { request.range_of(Some(length)) };
    let start = asked.as_ref().map_or(0, |range| range.start);
    let answer = match asked {
        None => Answer::new(200).with_body(object.bytes.clone()),
        Some(range) if range.start >= length || range.is_empty() => {
            return Answer::error(416, "InvalidRange", "The requested range is not satisfiable")
                .with("Content-Range", format!("bytes */{length}"));
        }
        Some(range) => {
            let end = range.end.min(length);
            let off = u64::from(has(|fault| matches!(fault, Fault::WrongContentRange)));
            let sent = object.bytes.slice(range.start as usize..end as usize);
            let said = format!("bytes {}-{}/{length}", range.start + off, end - 1 + off);
            Answer::new(206).with("Content-Range", said).with_body(sent)
        }
    };
    let mut answer = answer
        .with("Content-Type", "application/octet-stream")
        .with("Accept-Ranges", "bytes")
        .with("Last-Modified", http_date(object.modified));
    if let Some(etag) = etag_to_say(&object, faults) {
        answer = answer.with("ETag", etag);
    }
    if request.method == "GET" {
        change_body(&mut answer, &object.bytes, start, faults);
    }
    answer
}

/// Applies the faults that change the body, which starts at this byte of the object.
fn change_body(answer: &mut Answer, object: &Bytes, start: u64, faults: &[Fault]) {
    if faults.iter().any(|fault| matches!(fault, Fault::ShiftedBody)) {
        answer.body = shifted(object, start, answer.length());
    }
    for fault in faults {
        match *fault {
            Fault::FlipBit { at } => flip(&mut answer.body, at),
            Fault::TooLong(bytes) => answer.body.push(vec![0; bytes as usize].into()),
            Fault::ShortBody(bytes) => shorten(&mut answer.body, bytes),
            _ => {}
        }
    }
}

/// Whether `If-Match` allows an answer. Weak ETags match nothing, and a server that has no ETag has nothing to compare.
pub(super) fn meets(if_match: Option<&str>, etag: Option<&str>) -> bool {
    let (Some(if_match), Some(etag)) = (if_match, etag) else {
        return true;
    };
    let mut wanted = if_match.split(',').map(str::trim);
    wanted.any(|wanted| wanted == "*" || (wanted == etag && !etag.starts_with("W/")))
}

pub(super) fn precondition_failed() -> Answer {
    let message = "At least one of the pre-conditions you specified did not hold";
    Answer::error(412, "PreconditionFailed", message)
}

fn etag_to_say(object: &Object, faults: &[Fault]) -> Option<String> {
    let mut etag = object.etag.clone();
    for fault in faults {
        match fault {
            Fault::ETag(other) => etag = Some(other.clone()),
            Fault::NoETag => etag = None,
            _ => {}
        }
    }
    etag
}

/// As many bytes from one later on.
fn shifted(object: &Bytes, start: u64, length: u64) -> Vec<Bytes> {
    if length == 0 {
        return Vec::new();
    }
    let (start, end) = (start as usize + 1, (start + length) as usize + 1);
    if end <= object.len() { vec![object.slice(start..end)] } else { vec![object.slice(start..), vec![0].into()] }
}

fn flip(body: &mut Vec<Bytes>, at: u64) {
    let mut at = at as usize;
    for (index, piece) in body.iter().enumerate() {
        if at < piece.len() {
            let flipped = [piece.slice(..at), vec![piece[at] ^ 1].into(), piece.slice(at + 1..)];
            body.splice(index..=index, flipped);
            return;
        }
        at -= piece.len();
    }
}

fn shorten(body: &mut [Bytes], bytes: u64) {
    let mut left = bytes as usize;
    for piece in body {
        piece.truncate(left);
        left -= piece.len();
    }
}
