//! Why a JSON member cannot be read, with the text at the fault. Numbers that JSON does not have, such as `NaN`, are
//! errors that name their annotation and field.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Error;

/// What Python's json and others write for numbers that are not finite.
const NOT_FINITE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The error of a member that serde_json refuses. SA-1B's files are one line, so the column is the byte.
pub(super) fn describe(json: &[u8], e: &serde_json::Error) -> Error {
    let start: usize = json.split_inclusive(|&b| b == b'\n').take(e.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let at = (start + e.column()).min(json.len());
    let text = not_finite(json, at).unwrap_or_else(|| {
        let near = &json[at.saturating_sub(24)..(at + 8).min(json.len())];
        format!("json: {e}, near {:?}", String::from_utf8_lossy(near))
    });
    Error::corrupt(text).caused_by(std::io::Error::other(e.to_string()))
}

/// The message for a number that is not finite at `at`; `None` if the fault is another one.
fn not_finite(json: &[u8], at: usize) -> Option<String> {
    let places = literals(json);
    let (name, place) = places.iter().find(|(_, place)| (place.start..place.end + 2).contains(&at))?;
    let field = key_before(&json[..place.start]).map_or_else(String::new, |field| format!("{field} is "));
    let annotation = annotation_at(json, &places, place.start).unwrap_or_default();
    Some(format!(
        "json: {annotation}{field}{name}, which is not JSON: leave the field out where there is no number, or write a \
         finite one"
    ))
}

/// The numbers that are not finite, outside of strings.
fn literals(json: &[u8]) -> Vec<(&'static str, Range<usize>)> {
    let (mut found, mut at, mut in_string) = (Vec::new(), 0, false);
    while let Some(&byte) = json.get(at) {
        let name = NOT_FINITE.into_iter().find(|name| !in_string && json[at..].starts_with(name.as_bytes()));
        let len = match (byte, name) {
            (_, Some(name)) => {
                found.push((name, at..at + name.len()));
                name.len()
            }
            (b'\\', None) if in_string => 2,
            (b'"', None) => {
                in_string = !in_string;
                1
            }
            _ => 1,
        };
        at += len;
    }
    found
}

/// The last key in `json`, which ends behind the key's colon or in a list that is its value.
fn key_before(json: &[u8]) -> Option<&str> {
    let colon = json.iter().rposition(|&byte| byte == b':')?;
    let end = json[..colon].iter().rposition(|&byte| byte == b'"')?;
    let start = json[..end].iter().rposition(|&byte| byte == b'"')?;
    std::str::from_utf8(&json[start + 1..end]).ok()
}

/// The id of the annotation at byte `at`, or its position in the file.
fn annotation_at(json: &[u8], places: &[(&str, Range<usize>)], at: usize) -> Option<String> {
    #[derive(Deserialize)]
    struct File<'a> {
        #[serde(borrow)]
        annotations: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Id {
        id: i64,
    }
    // With a string in their place, which is as long, all is JSON.
    let mut json = json.to_vec();
    for (_, place) in places {
        json[place.clone()].fill(b' ');
        json[place.start..place.start + 2].fill(b'"');
    }
    let file: File<'_> = serde_json::from_slice(&json).ok()?;
    let start = json.as_ptr() as usize;
    let place = |annotation: &RawValue| {
        let from = annotation.get().as_ptr() as usize - start;
        from..from + annotation.get().len()
    };
    let position = file.annotations.iter().position(|annotation| place(annotation).contains(&at))?;
    let id = serde_json::from_str::<Id>(file.annotations[position].get());
    Some(id.map_or_else(|_| format!("annotation {position} (from 0): "), |Id { id }| format!("annotation {id}: ")))
}
