//! Media that remember every write since the last flush, and whose flush can be made to fail or to wait.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar, Mutex};

use outlive_media::{Media, MediaError, Medium, Persistence};

/// Shared by the test and the medium that it is part of.
#[derive(Clone)]
pub(crate) struct Faulty(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
pub(crate) struct State {
    /// What reads see.
    placed: Vec<u8>,
    /// What a power cut leaves.
    pub(crate) persistent: Vec<u8>,
    /// Every store, in order.
    pub(crate) stores: Vec<(u64, Vec<u8>)>,
    pub(crate) fail_flush: bool,
    pub(crate) hold_flush: bool,
    pub(crate) flushing: bool,
}

impl Faulty {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let state = State {
            placed: bytes.clone(),
            persistent: bytes,
            ..State::default()
        };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    pub(crate) fn medium(&self) -> Medium {
        Medium::new(Box::new(self.clone()))
    }

    pub(crate) fn state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
        changed
    }

    pub(crate) fn await_flushing(&self) {
        let state = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(state, |state| !state.flushing).unwrap());
    }
}

fn range(at: u64, len: usize) -> std::ops::Range<usize> {
    let at = usize::try_from(at).unwrap();
    at..at + len
}

impl Media for Faulty {
    fn len(&self) -> u64 {
        self.state(|state| state.placed.len() as u64)
    }

    fn persistence(&self) -> Persistence {
        Persistence::AfterFlush
    }

    fn describe(&self) -> String {
        "faulty".into()
    }

    fn store(&self, at: u64, bytes: &[u8]) -> Result<(), MediaError> {
        self.state(|state| {
            state.placed[range(at, bytes.len())].copy_from_slice(bytes);
            state.stores.push((at, bytes.to_vec()));
        });
        Ok(())
    }

    fn load(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.state(|state| into.copy_from_slice(&state.placed[range(at, into.len())]));
        Ok(())
    }

    fn receive(&self, _: u64, _: u64, _: BorrowedFd<'_>) -> Result<Option<io::Result<usize>>, MediaError> {
        Ok(None)
    }

    fn zero(&self, at: u64, len: u64) -> Result<(), MediaError> {
        self.store(at, &vec![0; usize::try_from(len).unwrap()])
    }

    /// Makes persistent what was placed when it began, as an unkind device would.
    fn flush(&self) -> io::Result<()> {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        let placed = state.placed.clone();
        state.flushing = true;
        changed.notify_all();
        state = changed.wait_while(state, |state| state.hold_flush).unwrap();
        state.flushing = false;
        if state.fail_flush {
            return Err(io::Error::other("the device is gone"));
        }
        state.persistent = placed;
        Ok(())
    }
}
