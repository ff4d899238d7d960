//! A connection: reads requests and sends answers until one side ends it.
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::answer::Answer;
use super::fault::{Cut, Delivery, Fault};
use super::log::Entry;
use super::pace::Line;
use super::request::{Request, read_body, read_head};
use super::s3;
use super::socket::{Gone, Socket, is_timeout};
use super::state::State;

/// How long bytes before a reset have to reach the client: a reset overtakes those that are still on their way.
const BEFORE_RESET: Duration = Duration::from_millis(10);

/// Serves a connection until it ends.
pub(super) fn serve(socket: &Socket, state: &State) {
    let mut reader = BufReader::new(socket);
    let mut line = Line::default();
    while await_request(socket, &mut reader, state) {
        let Ok((mut request, body)) = read(socket, &mut reader) else {
            return;
        };
        let length = state.store.get(&request.path).map(|object| object.bytes.len() as u64);
        request.range = request.range_of(length);
        let mut entry = state.log.enter(&mut request);
        let faults = state.settings().script.map_or_else(Vec::new, |script| script(&request));
        let answer = answer(state, &request, body, &faults);
        let delivery = Delivery::new(&faults);
        let mut sending = Sending { socket, state, line: &mut line, entry: &mut entry, sent: 0 };
        if sending.send(&request, &answer, &delivery).is_err() || request.closes() {
            return;
        }
    }
}

/// Waits for a request. False if the connection ended or was idle too long.
fn await_request(socket: &Socket, reader: &mut BufReader<&Socket>, state: &State) -> bool {
    loop {
        let timeout = state.settings().idle_timeout;
        if socket.read_timeout(timeout).is_err() {
            return false;
        }
        match reader.fill_buf() {
            Ok(bytes) => return !bytes.is_empty(),
            Err(error) if is_timeout(&error) && timeout.is_none() => {}
            Err(_) => return false,
        }
    }
}

fn read(socket: &Socket, reader: &mut BufReader<&Socket>) -> std::io::Result<(Request, Bytes)> {
    socket.read_timeout(None)?;
    let mut request = read_head(reader)?;
    let waits = request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
    if waits && socket.write(b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    }
    let body = read_body(&request, reader)?;
    request.began = Instant::now();
    Ok((request, body.into()))
}

fn answer(state: &State, request: &Request, body: Bytes, faults: &[Fault]) -> Answer {
    if state.expired() {
        return Answer::error(403, "ExpiredToken", "The provided token has expired.");
    }
    for fault in faults {
        if let Fault::Status { code, body, retry_after } = fault {
            let answer = Answer::xml(*code, body.clone());
            return match retry_after {
                Some(seconds) => answer.with("Retry-After", seconds.to_string()),
                None => answer,
            };
        }
    }
    s3::answer(&state.store, request, body, faults, state.settings().page)
}

/// The sending of one answer.
struct Sending<'a, 'b> {
    socket: &'a Socket,
    state: &'a State,
    line: &'a mut Line,
    entry: &'a mut Entry<'b>,
    /// Bytes of the body so far.
    sent: u64,
}

impl Sending<'_, '_> {
    fn send(&mut self, request: &Request, answer: &Answer, delivery: &Delivery) -> Result<(), Gone> {
        self.socket.sleep_until(request.began + self.state.pace.speed().first_byte + delivery.late)?;
        if delivery.silent {
            return self.cut(Cut::Reset);
        }
        self.entry.status(answer.status);
        let length = if request.method == "HEAD" { 0 } else { answer.length() };
        let end = delivery.cut.map_or(length, |(at, _)| at.min(length));
        let cut = delivery.cut.filter(|&(at, _)| at < length || at == 0);
        if end == 0 && cut.is_none() {
            self.entry.end(true);
        }
        self.socket.write(answer.head(request.closes()).as_bytes()).map_err(|_| self.fail())?;

        let mut left = end;
        for piece in &answer.body {
            let piece = &piece[..piece.len().min(left as usize)];
            left -= piece.len() as u64;
            self.send_piece(piece, end, cut.is_none(), delivery)?;
        }
        match cut {
            Some((_, how)) => self.cut(how),
            None => Ok(()),
        }
    }

    /// Sends a piece of a body of which all is sent up to `end`.
    fn send_piece(&mut self, mut piece: &[u8], end: u64, is_whole: bool, delivery: &Delivery) -> Result<(), Gone> {
        while !piece.is_empty() {
            let block = self.next_block(piece.len() as u64, delivery)?;
            let start = self.state.pace.book(self.line, block);
            self.socket.sleep_until(start)?;
            let (now, later) = piece.split_at(block as usize);
            piece = later;
            self.sent += block;
            self.entry.sent(block);
            if self.sent == end && is_whole {
                self.entry.end(true);
            }
            if let Err(missing) = self.socket.write(now) {
                self.entry.not_sent(missing as u64);
                return Err(self.fail());
            }
        }
        Ok(())
    }

    /// Bytes of the next block of at most so many, after the pause that comes before it.
    fn next_block(&mut self, most: u64, delivery: &Delivery) -> Result<u64, Gone> {
        let mut block = most.min(self.state.pace.speed().block());
        if let Some((at, pause)) = delivery.stall {
            if self.sent == at {
                self.socket.sleep_until(Instant::now() + pause)?;
            } else if self.sent < at {
                block = block.min(at - self.sent);
            }
        }
        if let Some((bytes, every)) = delivery.drip {
            if self.sent > 0 && self.sent.is_multiple_of(bytes) {
                self.socket.sleep_until(Instant::now() + every)?;
            }
            block = block.min(bytes - self.sent % bytes);
        }
        Ok(block)
    }

    fn fail(&mut self) -> Gone {
        self.entry.end(false);
        Gone
    }

    /// Ends the connection early.
    fn cut(&mut self, how: Cut) -> Result<(), Gone> {
        if how == Cut::Reset {
            if self.sent > 0 {
                self.socket.sleep_until(Instant::now() + BEFORE_RESET)?;
            }
            self.entry.end(false);
            self.socket.reset();
        }
        Err(self.fail())
    }
}
