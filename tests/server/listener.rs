//! The port of a server, and the threads of its connections.
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket, sockopt};

use super::connection;
use super::lock::locked;
use super::socket::Socket;
use super::state::State;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A port of this machine. It can stop to listen and keeps the port for itself meanwhile.
#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    /// Has the port but never listens, so that no one else gets the port while no one listens on it.
    _holder: OwnedFd,
    accepting: Mutex<Option<Accepting>>,
    connections: Arc<Connections>,
}

#[derive(Debug)]
struct Accepting {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Port {
    pub(super) fn open(state: Arc<State>) -> io::Result<Self> {
        let holder = holder()?;
        let address = SocketAddr::try_from(getsockname(&holder)?)?;
        let connections = Arc::new(Connections { state, open: Mutex::default() });
        let port = Self { address, _holder: holder, accepting: Mutex::default(), connections };
        port.listen()?;
        Ok(port)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens, if it does not yet.
    pub(super) fn listen(&self) -> io::Result<()> {
        let mut accepting = locked(&self.accepting);
        if accepting.is_some() {
            return Ok(());
        }
        let listener = TcpListener::bind(self.address)?;
        listen(&listener, BACKLOG)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (connections, stopped) = (self.connections.clone(), stop.clone());
        let thread = thread::Builder::new().name("server".into());
        let thread = thread.spawn(move || accept(&listener, &connections, &stopped))?;
        *accepting = Some(Accepting { stop, thread });
        Ok(())
    }

    /// Stops to listen: whoever connects now is refused.
    pub(super) fn refuse(&self) {
        if let Some(Accepting { stop, thread }) = locked(&self.accepting).take() {
            stop.store(true, Ordering::SeqCst);
            // Wakes the thread.
            let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
            let _ = thread.join();
        }
    }

    /// Resets the connections that are open now.
    pub(super) fn reset_connections(&self) {
        for peer in &*locked(&self.connections.open) {
            if let Some(socket) = peer.socket.upgrade() {
                socket.reset();
            }
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.refuse();
        let open = std::mem::take(&mut *locked(&self.connections.open));
        let mut threads = Vec::new();
        for Peer { socket, thread } in open {
            if let Some(socket) = socket.upgrade() {
                socket.close();
            }
            threads.push(thread);
        }
        for thread in threads {
            // A script that owns the server may drop it from a connection's thread.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// A socket with a port of its own. It shares it with one that listens, as both, like all of `std`, reuse addresses.
fn holder() -> io::Result<OwnedFd> {
    let holder = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    fcntl_setfd(&holder, FdFlags::CLOEXEC)?;
    sockopt::set_socket_reuseaddr(&holder, true)?;
    bind(&holder, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    Ok(holder)
}

/// The connections that are open, and the threads of some that have just ended.
#[derive(Debug)]
struct Connections {
    state: Arc<State>,
    open: Mutex<Vec<Peer>>,
}

#[derive(Debug)]
struct Peer {
    socket: Weak<Socket>,
    thread: JoinHandle<()>,
}

fn accept(listener: &TcpListener, connections: &Arc<Connections>, stop: &AtomicBool) {
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        match stream {
            Ok(stream) => connections.begin(stream),
            // Out of files, for one.
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

impl Connections {
    fn begin(self: &Arc<Self>, stream: TcpStream) {
        let mut open = locked(&self.open);
        open.retain(|peer| !peer.thread.is_finished());
        let socket = Arc::new(Socket::new(stream));
        let noted = Arc::downgrade(&socket);
        self.state.log.connection_began();
        let counted = Counted(self.state.clone());
        let thread = thread::Builder::new().name("connection".into()).spawn(move || {
            connection::serve(&socket, &counted.0);
            // Counted before the client sees the end.
            drop(counted);
            drop(socket);
        });
        if let Ok(thread) = thread {
            open.push(Peer { socket: noted, thread });
        }
    }
}

/// An open connection in the log, also where a script panics.
struct Counted(Arc<State>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.log.connection_ended();
    }
}
