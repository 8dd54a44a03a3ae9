//! Nonblocking sockets, and a way to wake a thread that waits for one.

use std::io::{self, IoSlice, Read};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};
use socket2::{SockRef, TcpKeepalive};

/// A host that acknowledges nothing for this long is gone. The heartbeats above notice earlier;
/// this frees the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;

/// What one nonblocking receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    Bytes(usize),
    Nothing,
    End,
}

/// Sets what every connection of ours wants: no Nagle, a silent host noticed, no blocking.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

pub(super) fn receive(mut stream: &TcpStream, into: &mut [u8]) -> io::Result<Received> {
    loop {
        return match stream.read(into) {
            Ok(0) => Ok(Received::End),
            Ok(count) => Ok(Received::Bytes(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}

/// Sends what the socket takes of `parts`; 0 when it takes nothing now.
pub(super) fn send(stream: &TcpStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        return match SockRef::from(stream).send_vectored_with_flags(parts, libc::MSG_NOSIGNAL) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    Input,
    Output,
    Both,
}

impl Interest {
    pub(super) fn wants_input(self) -> bool {
        self != Self::Output
    }

    pub(super) fn wants_output(self) -> bool {
        self != Self::Input
    }

    /// It, and output as well.
    pub(super) fn and_output(self) -> Self {
        if self == Self::Input { Self::Both } else { self }
    }

    fn flags(self) -> PollFlags {
        match self {
            Self::Input => PollFlags::IN,
            Self::Output => PollFlags::OUT,
            Self::Both => PollFlags::IN | PollFlags::OUT,
        }
    }
}

/// Waits until `fd` is ready, or `wake` was woken, or `timeout` has passed (`None`: never). Returns
/// false after the timeout. A signal ends it early, as if ready.
pub(super) fn await_ready(
    fd: &impl AsFd,
    interest: Interest,
    wake: Option<&Wake>,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    poll(fd, interest, wake, timeout).map(Ready::any)
}

/// What a wait has found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// There is input, or the connection is broken.
    pub(super) input: bool,
    /// Output is taken, or the connection is broken.
    pub(super) output: bool,
    pub(super) woken: bool,
}

impl Ready {
    pub(super) fn any(self) -> bool {
        self.input || self.output || self.woken
    }
}

/// As [`await_ready`], telling what it is that is ready.
pub(super) fn poll(
    fd: &impl AsFd,
    interest: Interest,
    wake: Option<&Wake>,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    let mut fds = [
        PollFd::new(fd, interest.flags()),
        PollFd::from_borrowed_fd(wake.map_or(fd.as_fd(), |wake| wake.event.as_fd()), PollFlags::IN),
    ];
    let count = if wake.is_some() { 2 } else { 1 };
    // A time-out too long for the system's type is as good as none.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match rustix::event::poll(&mut fds[..count], timeout.as_ref()) {
        Ok(_) => {
            let found = fds[0].revents();
            let is_broken = found.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
            Ok(Ready {
                input: is_broken || found.contains(PollFlags::IN),
                output: is_broken || found.contains(PollFlags::OUT),
                woken: wake.is_some() && !fds[1].revents().is_empty(),
            })
        }
        Err(rustix::io::Errno::INTR) => Ok(Ready {
            input: true,
            output: true,
            woken: false,
        }),
        Err(errno) => Err(errno.into()),
    }
}

/// The first byte that has come, left where it is. `None` while there is none.
pub(super) fn peek(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut first = [0];
    loop {
        return match stream.peek(&mut first) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(Some(first[0])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}

/// Wakes a thread out of [`await_ready`], for good: it is never reset.
pub(super) struct Wake {
    event: OwnedFd,
}

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event })
    }

    /// Never blocks: a full counter is awake already.
    pub(super) fn wake(&self) {
        let _ = rustix::io::write(&self.event, &1u64.to_le_bytes());
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
