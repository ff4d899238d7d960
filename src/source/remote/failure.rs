//! Why a request failed, whether it helps to repeat it, and the words for it.

use std::error::Error as StdError;
use std::path::Path;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::observe::Answer;
use crate::{Error, ErrorKind};

/// Why a request failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: Option<u16>,
    kind: Kind,
    text: String,
    pub(super) retry_after: Duration,
    /// Attempts and their time, once it has been given up.
    pub(super) attempts: (u32, Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The endpoint has too much to do.
    Overload,
    /// It may be different the next time.
    Passing,
    /// It is the same the next time.
    Permanent,
    /// The object is another one now.
    Replaced,
}

impl Failure {
    fn new(kind: Kind, text: String) -> Self {
        Self { status: None, kind, text, retry_after: Duration::ZERO, attempts: (1, Duration::ZERO) }
    }

    /// Of a request without an answer, or with one that is no success.
    pub(super) fn of(error: object_store::Error, answer: &Answer) -> Self {
        let of_status = Self::of_status(answer.status(), &error);
        Self { retry_after: answer.retry_after(), ..of_status }
    }

    /// Of a request whose answer was not observed: a list, or a write.
    pub(super) fn of_error(error: object_store::Error) -> Self {
        let status = match root_of(&error).split_once("status code: ") {
            Some((_, rest)) => rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|code| code.parse().ok()),
            None => None,
        };
        match (status, &error) {
            (Some(status), _) => Self::of_status(Some(status), &error),
            (None, object_store::Error::Generic { .. }) => Self::of_status(None, &error),
            // What the client itself refuses.
            (None, _) => Self::new(Kind::Permanent, root_of(&error)),
        }
    }

    fn of_status(status: Option<u16>, error: &object_store::Error) -> Self {
        let root = root_of(error);
        let (kind, text) = match status {
            None => (Kind::Passing, root),
            Some(status @ (429 | 503)) => (Kind::Overload, with_code(status, error)),
            Some(status @ (408 | 500 | 502 | 504)) => (Kind::Passing, with_code(status, error)),
            Some(412) => (Kind::Replaced, "it has another ETag now".to_owned()),
            Some(416) => (Kind::Replaced, "it has fewer bytes now".to_owned()),
            // What is wrong is the answer, not the request.
            Some(200) => (Kind::Permanent, "the server ignores ranges (status 200, not 206)".to_owned()),
            Some(206) => (Kind::Permanent, format!("the answer is not valid: {root}")),
            Some(status) => (Kind::Permanent, with_code(status, error)),
        };
        Self { status, ..Self::new(kind, text) }
    }

    /// Of a body that broke off.
    pub(super) fn interrupted(error: &object_store::Error) -> Self {
        Self::new(Kind::Passing, format!("the connection broke: {}", root_of(error)))
    }

    /// Of a body that ended before it was complete.
    pub(super) fn short(text: String) -> Self {
        Self::new(Kind::Passing, text)
    }

    /// Of an answer, or the next piece of one, that did not come.
    pub(super) fn timeout(limit: Duration) -> Self {
        Self::new(Kind::Overload, format!("nothing was received for {:.1} s", limit.as_secs_f64()))
    }

    /// Of an object that is another one now.
    pub(super) fn replaced(text: String) -> Self {
        Self::new(Kind::Replaced, text)
    }

    /// Of an answer that can only be wrong again.
    pub(super) fn permanent(text: String, answer: &Answer) -> Self {
        Self { status: answer.status(), ..Self::new(Kind::Permanent, text) }
    }

    /// Whether it came before any answer.
    pub(super) fn is_unanswered(&self) -> bool {
        self.kind == Kind::Passing && self.status.is_none()
    }

    /// The same, of a request that could not be signed.
    pub(super) fn without_credentials(self) -> Self {
        Self { status: Some(401), kind: Kind::Permanent, text: "there are no credentials".to_owned(), ..self }
    }

    pub(super) fn is_overload(&self) -> bool {
        self.kind == Kind::Overload
    }

    pub(super) fn is_permanent(&self) -> bool {
        matches!(self.kind, Kind::Permanent | Kind::Replaced)
    }
}

/// The error of a failure that is given up.
pub(super) fn describe(address: &Path, endpoint: &Endpoint, failure: Failure) -> Error {
    let Failure { status, kind, text, attempts: (count, time), .. } = failure;
    let text = match (kind, status) {
        (Kind::Replaced, _) => {
            format!("the object was replaced while in use: {text}; put the old one back, or open the set again")
        }
        (_, Some(404)) if text.contains("NoSuchBucket") => format!("there is no such bucket: {}", endpoint.advice()),
        (_, Some(404)) => "there is no such object".to_owned(),
        (_, Some(400 | 401 | 403)) => format!("access is denied ({text}): {}", endpoint.advice()),
        (_, Some(301 | 307 | 308)) => format!("the request was sent elsewhere ({text}): {}", endpoint.advice()),
        (Kind::Permanent, _) => format!("the store refuses it: {text}"),
        (Kind::Overload | Kind::Passing, _) => format!(
            "the store cannot be reached: {text}; given up after {count} attempts in {:.0} s without a byte",
            time.as_secs_f64()
        ),
    };
    Error::new(ErrorKind::Io, text).in_shard(address)
}

/// The innermost cause: the outer ones have the whole address, with its signature.
fn root_of(error: &object_store::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The status, and the code in the body of an S3 or Azure answer.
fn with_code(status: u16, error: &object_store::Error) -> String {
    let text = root_of(error);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    match code {
        Some((code, _)) => format!("status {status}, {code}"),
        None => format!("status {status}"),
    }
}
