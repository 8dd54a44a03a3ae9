//! A line between one initiator and a target at a TCP address, which a test can interfere with.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::conformance::{Line, Unable};

/// One piece on its way: small, so that a line falls silent close to where it was told to.
const PIECE_BYTES: usize = 16 << 10;

/// Passes one connection on, byte for byte, until it is told otherwise. Dropping it breaks the connection.
pub struct TcpLine {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    silent: bool,
    /// Bytes that still travel to the target before it falls silent.
    until_silent: Option<u64>,
    is_cut: bool,
    ends: Option<Ends>,
}

/// The two halves: towards the initiator, and towards the target.
struct Ends {
    initiator: TcpStream,
    target: TcpStream,
}

impl TcpLine {
    /// A line to `target`, at an address of its own. It takes one connection.
    ///
    /// # Errors
    /// What the system says where it cannot listen on loopback.
    pub fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        thread::Builder::new().name("test-line".into()).spawn({
            let shared = Arc::clone(&shared);
            move || pass_on(&shared, &listener, target)
        })?;
        Ok(Self { address, shared })
    }

    /// Where an initiator connects to.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn with_target<T>(&self, act: impl FnOnce(&TcpStream) -> io::Result<T>) -> Result<T, Unable> {
        let state = self.shared.state();
        let ends = state.ends.as_ref();
        let ends = ends.ok_or_else(|| Unable::because("nobody has connected over this line"))?;
        act(&ends.target).map_err(|error| Unable::because(&error.to_string()))
    }
}

impl Line for TcpLine {
    fn fall_silent(&self) {
        self.shared.state().silent = true;
    }

    fn fall_silent_after(&self, bytes: u64) {
        self.shared.state().until_silent = Some(bytes);
    }

    fn heal(&self) {
        let mut state = self.shared.state();
        state.silent = false;
        state.until_silent = None;
        self.shared.changed.notify_all();
    }

    fn cut(&self) {
        let mut state = self.shared.state();
        state.is_cut = true;
        if let Some(ends) = &state.ends {
            // Either may be gone already.
            let _ = ends.initiator.shutdown(Shutdown::Both);
            let _ = ends.target.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
    }

    fn end_sending(&self) -> Result<(), Unable> {
        self.with_target(|target| target.shutdown(Shutdown::Write))
    }

    fn inject(&self, bytes: &[u8]) -> Result<(), Unable> {
        self.with_target(|mut target| target.write_all(bytes))
    }
}

impl Drop for TcpLine {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits out a silence, and says how many of these bytes may travel now; `None` when it is cut.
    fn may_pass(&self, wanted: usize, counts: bool) -> Option<usize> {
        let mut state = self.state();
        loop {
            if state.is_cut {
                return None;
            }
            if counts && state.until_silent == Some(0) {
                state.silent = true;
            }
            if !state.silent {
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.until_silent.as_mut().filter(|_| counts) {
            None => Some(wanted),
            Some(left) => {
                let passing = usize::try_from(*left).map_or(wanted, |left| left.min(wanted));
                *left -= passing as u64;
                Some(passing)
            }
        }
    }
}

fn pass_on(shared: &Arc<Shared>, listener: &TcpListener, target: SocketAddr) {
    let connected = listener.accept().and_then(|(initiator, _)| {
        let target = TcpStream::connect(target)?;
        initiator.set_nodelay(true)?;
        target.set_nodelay(true)?;
        let ends = Ends {
            initiator: initiator.try_clone()?,
            target: target.try_clone()?,
        };
        shared.state().ends = Some(ends);
        Ok((initiator.try_clone()?, target.try_clone()?, initiator, target))
    });
    // The initiator sees a connection that is lost.
    let Ok((from_initiator, to_target, to_initiator, from_target)) = connected else {
        return;
    };
    let back = thread::Builder::new().name("test-line-back".into()).spawn({
        let shared = Arc::clone(shared);
        move || pump(&shared, from_target, to_initiator, false)
    });
    if back.is_ok() {
        pump(shared, from_initiator, to_target, true);
    }
}

/// One direction, until it ends.
fn pump(shared: &Shared, mut from: TcpStream, mut to: TcpStream, counts: bool) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let mut passed = 0;
        while passed < count {
            let Some(passing) = shared.may_pass(count - passed, counts) else {
                return;
            };
            if to.write_all(&piece[passed..passed + passing]).is_err() {
                // Whoever sends learns that nobody takes it.
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
            passed += passing;
        }
    }
    if shared.may_pass(0, false).is_some() {
        let _ = to.shutdown(Shutdown::Write);
    }
}
