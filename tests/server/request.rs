//! A request: what of it is logged and shown to scripts, and how it is read from a connection.
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::time::Instant;

use super::text::decode;

/// Longest request line and headers together.
const HEAD_LIMIT: u64 = 64 << 10;
/// Room that is reserved for a body on the client's word alone.
const BODY_RESERVE: u64 = 64 << 20;

/// A request as it stands in the log.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Its place in the log: 0 is the first request after the start, or after the log was cleared.
    pub(crate) number: usize,
    pub(crate) method: String,
    /// `bucket/key`: decoded, without the slash in front and without the query, as `Server::put` takes it.
    pub(crate) path: String,
    /// What follows `?`, as it was sent. [`parameter`](Self::parameter) reads it.
    pub(crate) query: String,
    /// The bytes that `Range` asks for, not clipped. `a-` and `-n` are resolved with the length of the object, and are
    /// `a..u64::MAX` and none without one.
    pub(crate) range: Option<Range<u64>>,
    pub(crate) if_match: Option<String>,
    /// Names in lower case, in the order in which they came.
    pub(crate) headers: Vec<(String, String)>,
    /// When its last byte was read.
    pub(crate) began: Instant,
    /// Bytes of the body that were handed to the socket so far.
    pub(crate) bytes_sent: u64,
    /// The status of the answer; 0 while there is none.
    pub(crate) status: u16,
    /// The whole answer was handed to the socket, as long as its `Content-Length` says.
    pub(crate) done: bool,
}

impl Request {
    /// The first header of this name, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The decoded value of a query parameter; empty for one without a value.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key) == name).then(|| decode(&value.replace('+', " ")))
        })
    }

    /// The bytes asked for in an object of this length, not clipped. None without a range, or with one that is to be
    /// ignored, which HTTP allows for those that it cannot read and for several at once.
    pub(super) fn range_of(&self, length: Option<u64>) -> Option<Range<u64>> {
        let (first, last) = self.header("range")?.trim().strip_prefix("bytes=")?.split_once('-')?;
        if first.is_empty() {
            let length = length?;
            return Some(length.saturating_sub(last.parse().ok()?)..length);
        }
        let first = first.parse().ok()?;
        let end = match last {
            "" => length.unwrap_or(u64::MAX).max(first),
            last => last.parse::<u64>().ok()?.saturating_add(1),
        };
        (last.is_empty() || first < end).then_some(first..end)
    }

    /// Whether the connection ends after the answer.
    pub(super) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Reads the request line and the headers.
pub(super) fn read_head(reader: &mut impl BufRead) -> io::Result<Request> {
    let mut reader = reader.take(HEAD_LIMIT);
    let line = read_line(&mut reader)?;
    let mut words = line.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(invalid("no request line"));
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        number: 0,
        method: method.to_owned(),
        path: decode(path.strip_prefix('/').unwrap_or(path)),
        query: query.to_owned(),
        range: None,
        if_match: None,
        headers: Vec::new(),
        began: Instant::now(),
        bytes_sent: 0,
        status: 0,
        done: false,
    };
    loop {
        let line = read_line(&mut reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header without a colon"))?;
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    request.if_match = request.header("if-match").map(str::to_owned);
    Ok(request)
}

/// Reads the body, which comes with its length or in chunks; inside there may be a second layer of chunks, S3's own.
pub(super) fn read_body(request: &Request, reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let in_chunks = request.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let body = if in_chunks {
        read_chunks(reader)?
    } else {
        let length = request.header("content-length").unwrap_or("0").parse().map_err(|_| invalid("a length"))?;
        read_exactly(reader, length)?
    };
    if !request.header("x-amz-content-sha256").is_some_and(|hash| hash.starts_with("STREAMING-")) {
        return Ok(body);
    }
    let body = read_chunks(&mut body.as_slice())?;
    match request.header("x-amz-decoded-content-length") {
        Some(length) if length != body.len().to_string() => Err(invalid("chunks of another length than announced")),
        _ => Ok(body),
    }
}

/// Chunks with their lengths in front, a last one of 0 bytes, and trailers. Signatures of chunks are not checked.
fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(reader)?;
        let length = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(length, 16).map_err(|_| invalid("the length of a chunk"))?;
        if length == 0 {
            break;
        }
        body.append(&mut read_exactly(reader, length)?);
        if !read_line(reader)?.is_empty() {
            return Err(invalid("a chunk longer than announced"));
        }
    }
    // Trailers end with an empty line, or with the body.
    while !reader.fill_buf()?.is_empty() && !read_line(reader)?.is_empty() {}
    Ok(body)
}

fn read_exactly(reader: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length.min(BODY_RESERVE) as usize);
    reader.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.take(HEAD_LIMIT).read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => {}
        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
