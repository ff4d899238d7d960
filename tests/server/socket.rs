//! A connection's socket, which another thread can end at any time.
//!
//! Waits notice that within 50 ms: reads and pauses are woken, writes and short sleeps end of themselves.
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

/// Longest wait that nothing wakes.
const STEP: Duration = Duration::from_millis(50);
/// Shorter sleeps are left out: the next block makes up for it.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const RESET: u8 = 2;

/// The client or the server has ended the connection.
#[derive(Debug)]
pub(super) struct Gone;

/// A socket. It is closed when the last owner drops it.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    state: AtomicU8,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        // A socket whose client is gone already takes no options; the first read tells.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_write_timeout(Some(STEP));
        Self { stream, state: AtomicU8::new(OPEN) }
    }

    /// Wakes the connection's thread, which is then to drop the socket.
    pub(super) fn close(&self) {
        self.end(CLOSED);
    }

    /// As [`close`](Self::close), and the client sees a reset.
    pub(super) fn reset(&self) {
        self.end(RESET);
    }

    fn end(&self, state: u8) {
        self.state.fetch_max(state, Ordering::SeqCst);
        // Sends nothing.
        let _ = self.stream.shutdown(Shutdown::Read);
    }

    fn ended(&self) -> bool {
        self.state.load(Ordering::SeqCst) != OPEN
    }

    /// How long a read may wait.
    pub(super) fn read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout.map(|timeout| timeout.max(SHORTEST_SLEEP)))
    }

    /// Sleeps until then, unless the connection ends before.
    pub(super) fn sleep_until(&self, then: Instant) -> Result<(), Gone> {
        loop {
            let left = then.saturating_duration_since(Instant::now());
            if self.ended() {
                return Err(Gone);
            }
            if left < SHORTEST_SLEEP {
                return Ok(());
            }
            if left <= STEP {
                thread::sleep(left);
                continue;
            }
            // A timeout of a socket may come some milliseconds late, so the last part is slept.
            self.read_timeout(Some(left - STEP / 2)).map_err(|_| Gone)?;
            match self.stream.peek(&mut [0]) {
                Ok(0) => return Err(Gone),
                // The client has sent more already, so it cannot be seen whether it stays.
                Ok(_) => thread::sleep(STEP),
                Err(error) if is_timeout(&error) => {}
                Err(_) => return Err(Gone),
            }
        }
    }

    /// Writes all, or tells how many bytes were not written.
    pub(super) fn write(&self, mut bytes: &[u8]) -> Result<(), usize> {
        while !bytes.is_empty() {
            if self.ended() {
                return Err(bytes.len());
            }
            match (&self.stream).write(bytes) {
                Ok(0) => return Err(bytes.len()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if is_timeout(&error) => {}
                Err(_) => return Err(bytes.len()),
            }
        }
        Ok(())
    }
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        (&self.stream).read(buffer)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if *self.state.get_mut() == RESET {
            let _ = set_socket_linger(&self.stream, Some(Duration::ZERO));
        }
    }
}

/// Whether to try again.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
