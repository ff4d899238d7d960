//! An answer: what is said, without how it is sent.
use std::fmt::Write as _;
use std::time::SystemTime;

use bytes::Bytes;

use super::fault::error_body;
use super::text::http_date;

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    /// The body in pieces, which are parts of an object or of the answer's own.
    pub(super) body: Vec<Bytes>,
}

impl Answer {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn xml(status: u16, body: String) -> Self {
        Self::new(status).with("Content-Type", "application/xml").with_body(body)
    }

    pub(super) fn error(status: u16, name: &str, message: &str) -> Self {
        Self::xml(status, error_body(name, message))
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = vec![body.into()];
        self
    }

    pub(super) fn length(&self) -> u64 {
        self.body.iter().map(|piece| piece.len() as u64).sum()
    }

    /// The status line and the headers.
    pub(super) fn head(&self, closes: bool) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let _ = write!(head, "Date: {}\r\nServer: test\r\n", http_date(SystemTime::now()));
        if self.status != 204 {
            let _ = write!(head, "Content-Length: {}\r\n", self.length());
        }
        if closes {
            head.push_str("Connection: close\r\n");
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        head
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
