//! Media that the test holds up, or whose flush fails.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use outlive_media::{Media, MediaError, Medium, MemoryMedia, Persistence, Stored, Volume};

const LEN: u64 = 16 << 20;

/// Media on memory that claims to be persistent; the test keeps the handle.
#[derive(Clone)]
pub(crate) struct Controlled(Arc<Inner>);

struct Inner {
    bytes: MemoryMedia,
    fail_flush: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Stores at this address or behind it wait.
    hold_from: Option<u64>,
    held: usize,
    /// Addresses of stores that were carried out.
    stored: Vec<u64>,
}

impl Controlled {
    pub(crate) fn new() -> Self {
        let bytes = MemoryMedia::new(LEN).unwrap();
        Self(Arc::new(Inner {
            bytes,
            fail_flush: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    pub(crate) fn volume(&self, stored: Stored) -> Volume {
        Volume::start(Medium::new(Box::new(self.clone())), stored).unwrap()
    }

    pub(crate) fn fail_flushes(&self, fail: bool) {
        self.0.fail_flush.store(fail, Ordering::SeqCst);
    }

    /// From now on stores at `at` or behind it wait.
    pub(crate) fn hold(&self, at: u64) {
        self.0.state.lock().unwrap().hold_from = Some(at);
    }

    /// Waits until a store waits.
    pub(crate) fn await_held(&self) {
        let state = self.0.state.lock().unwrap();
        drop(self.0.changed.wait_while(state, |state| state.held == 0).unwrap());
    }

    pub(crate) fn release(&self) {
        self.0.state.lock().unwrap().hold_from = None;
        self.0.changed.notify_all();
    }

    /// Addresses of the stores carried out so far, in order.
    pub(crate) fn stored(&self) -> Vec<u64> {
        self.0.state.lock().unwrap().stored.clone()
    }
}

impl Media for Controlled {
    fn len(&self) -> u64 {
        LEN
    }

    fn persistence(&self) -> Persistence {
        Persistence::AfterFlush
    }

    fn describe(&self) -> String {
        "controlled".into()
    }

    fn store(&self, at: u64, bytes: &[u8]) -> Result<(), MediaError> {
        let mut state = self.0.state.lock().unwrap();
        let held = |state: &State| state.hold_from.is_some_and(|from| at >= from);
        if held(&state) {
            state.held += 1;
            self.0.changed.notify_all();
            state = self.0.changed.wait_while(state, |state| held(state)).unwrap();
            state.held -= 1;
        }
        state.stored.push(at);
        self.0.bytes.store(at, bytes)
    }

    fn load(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.0.bytes.load(at, into)
    }

    fn receive(&self, _: u64, _: u64, _: BorrowedFd<'_>) -> Result<Option<io::Result<usize>>, MediaError> {
        Ok(None)
    }

    fn zero(&self, at: u64, len: u64) -> Result<(), MediaError> {
        self.0.bytes.zero(at, len)
    }

    fn flush(&self) -> io::Result<()> {
        if self.0.fail_flush.load(Ordering::SeqCst) {
            Err(io::Error::other("the device is gone"))
        } else {
            Ok(())
        }
    }
}
