//! What can go wrong with an answer, on request.
use std::time::Duration;

use bytes::Bytes;

/// A fault of one answer. Those that change an object's bytes or headers leave other answers as they are, and HEAD
/// knows nothing of changed bytes; those of the delivery work on any answer. Bytes are counted from the start of the
/// body that is sent.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This status and body in place of the answer. [`Fault::status`] has S3's own bodies.
    Status {
        code: u16,
        body: String,
        /// Seconds, in the header `Retry-After`.
        retry_after: Option<u64>,
    },
    /// The connection is reset (RST) and nothing sent.
    CloseBeforeHeaders,
    /// The connection is reset after so many bytes of a body that has more. The client sees at most these.
    ResetAfter(u64),
    /// The connection ends in order (FIN) after so many bytes, before `Content-Length`.
    FinAfter(u64),
    /// Only so many bytes, and `Content-Length` agrees with them; `Content-Range` is as it was asked for.
    ShortBody(u64),
    /// Nothing for a while after so many bytes, then the rest.
    Stall { after_bytes: u64, pause: Duration },
    /// So many bytes at a time, with this pause between them.
    Drip { bytes: u64, every: Duration },
    /// The headers come so late.
    LateFirstByte(Duration),
    /// Another ETag than the object's. `If-Match` is still compared with the object's own.
    ETag(String),
    /// No ETag.
    NoETag,
    /// `If-Match` is not looked at.
    IgnoreIfMatch,
    /// Another object's bytes, ETag and length, and `If-Match` is not looked at.
    Replaced(Bytes),
    /// The whole object, with status 200, where a range was asked for.
    NotPartial,
    /// `Content-Range` says a range one byte later than asked for and sent.
    WrongContentRange,
    /// The bytes from one later on, under the right headers. The byte after the object's last is 0.
    ShiftedBody,
    /// The lowest bit of this byte of the body is flipped.
    FlipBit { at: u64 },
    /// So many bytes of 0 after those asked for: `Content-Length` counts them, `Content-Range` does not.
    TooLong(u64),
}

impl Fault {
    /// This status, with the body that S3 sends with it.
    pub(crate) fn status(code: u16) -> Self {
        let (name, message) = match code {
            400 => ("BadRequest", "The request is not valid."),
            401 | 403 => ("AccessDenied", "Access Denied"),
            404 => ("NoSuchKey", "The specified key does not exist."),
            408 => ("RequestTimeout", "Your socket connection to the server was not read from or written to in time."),
            429 => ("TooManyRequests", "Please reduce your request rate."),
            500 => ("InternalError", "We encountered an internal error. Please try again."),
            503 => ("SlowDown", "Please reduce your request rate."),
            _ => ("Error", "The request failed."),
        };
        Self::Status { code, body: error_body(name, message), retry_after: None }
    }
}

/// The body of an error, as S3 writes it.
pub(super) fn error_body(name: &str, message: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{name}</Code><Message>{message}</Message>\
         <RequestId>0</RequestId></Error>"
    )
}

/// How an answer is sent, apart from what it says.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// Nothing is sent, and the connection reset.
    pub(super) silent: bool,
    pub(super) late: Duration,
    /// Where the body ends too early, and how.
    pub(super) cut: Option<(u64, Cut)>,
    pub(super) stall: Option<(u64, Duration)>,
    pub(super) drip: Option<(u64, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    Reset,
    Fin,
}

impl Delivery {
    pub(super) fn new(faults: &[Fault]) -> Self {
        let mut delivery = Self::default();
        for fault in faults {
            match *fault {
                Fault::CloseBeforeHeaders => delivery.silent = true,
                Fault::LateFirstByte(late) => delivery.late = late,
                Fault::ResetAfter(bytes) => delivery.cut = Some((bytes, Cut::Reset)),
                Fault::FinAfter(bytes) => delivery.cut = Some((bytes, Cut::Fin)),
                Fault::Stall { after_bytes, pause } => delivery.stall = Some((after_bytes, pause)),
                Fault::Drip { bytes, every } => delivery.drip = Some((bytes.max(1), every)),
                _ => {}
            }
        }
        delivery
    }
}
