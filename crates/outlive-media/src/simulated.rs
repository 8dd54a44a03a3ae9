//! Persistent memory that loses power where a test wants it to.
//!
//! [`SimulatedMedia`] keeps apart what is *placed* and what is *persistent*, word by word: 8 bytes are what the
//! processor stores at once, and nothing larger is ever whole by itself. It writes down every store and every persist in a
//! [`Trace`]; [`Trace::each_cut`] then cuts the power between any two of them, and a [`Cut`] says what may be
//! left: each word that is not persistent is kept or lost by itself, and one that was placed several times may
//! be left as any of them.
//!
//! Short traces are tried exhaustively ([`Cut::every_outcome`]), long ones by choices that have broken systems
//! before ([`Survival::ADVERSARIAL`]) and by seeded samples. [`SimulatedMedia::of`] is the unit after the power came
//! back; [`SimulatedMedia::left`] is one whose users were killed: what they had placed is still there, and still
//! not persistent.
//!
//! Media errors: a cache line that cannot be read, a flush that fails whole or half done, a device that is full, a bit that
//! is not written as it was given.
//!
//! What it is not: a model of a device that lies (says persistent and is not), tears words, or loses what was persistent.
//!
//! ```
//! use outlive_media::simulated::{SimulatedMedia, Survival};
//!
//! let media = SimulatedMedia::new(4096);
//! let medium = media.medium();
//! medium.store(0, b"first is ")?;
//! medium.persist()?;
//! medium.store(9, b"persistent")?;
//! let mut lost = 0;
//! media.trace().each_cut(|cut| {
//!     let mut text = [0; 19];
//!     cut.survivors(Survival::None).read(0, &mut text);
//!     lost += usize::from(!text.starts_with(b"first is "));
//!     Ok::<_, std::convert::Infallible>(())
//! }).unwrap();
//! assert_eq!(lost, 2); // before the first store, and between it and the persist
//! # Ok::<(), outlive_media::MediaError>(())
//! ```

mod cells;
mod cut;
mod image;
mod random;
mod trace;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cells::{Cells, Part};
pub use cut::{Cut, Survival};
pub use image::Image;
pub use random::Random;
use trace::Event;
pub use trace::{Happened, Trace};

use crate::media::check_range;
use crate::{Media, MediaError, Medium, Persistence};

/// What is placed at once, and never torn.
const WORD: u64 = 8;
/// What a medium error takes with it.
const LINE: u64 = 64;

type Word = [u8; 8];
const _: () = assert!(size_of::<Word>() as u64 == WORD);

/// What the device does wrong with flushes from now on. The medium above it is poisoned by either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushFault {
    /// It makes nothing persistent and says so.
    Fails,
    /// It makes half of it persistent and says that it failed.
    Short,
}

/// Simulated persistent memory. Clones are the same medium: one is given to a [`Medium`], a test keeps the other.
#[derive(Clone, Debug)]
pub struct SimulatedMedia {
    device: Arc<Device>,
    len: u64,
}

#[derive(Debug)]
struct Device {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    cells: Cells,
    before: Cells,
    trace: Vec<Event>,
    unreadable: BTreeSet<u64>,
    flush_fault: Option<FlushFault>,
    room: Option<u64>,
    flip: Option<Vec<u8>>,
    holding: bool,
    flushing: bool,
}

impl SimulatedMedia {
    /// `len` zero bytes, all persistent.
    pub fn new(len: u64) -> Self {
        Self::of(Image::zeroed(len))
    }

    /// The unit has power again, and this is what was left; all of it is persistent.
    pub fn of(image: Image) -> Self {
        Self::with(Cells::new(image))
    }

    /// The unit never lost power, but who used it was killed: users see `placed`, and only `persistent` is certain.
    ///
    /// # Panics
    /// When the two differ in length.
    pub fn left(persistent: Image, placed: Image) -> Self {
        assert_eq!(persistent.len(), placed.len(), "images of one medium");
        Self::with(Cells::left(persistent, placed))
    }

    /// Takes it into use: what a unit would have. One at a time, as for every medium.
    pub fn medium(&self) -> Medium {
        Medium::new(Box::new(self.clone()))
    }

    /// How many stores and persists there were since the trace began.
    pub fn events(&self) -> usize {
        self.lock().trace.len()
    }

    /// Everything since the trace began.
    pub fn trace(&self) -> Trace {
        let state = self.lock();
        Trace {
            before: state.before.clone(),
            events: state.trace.clone(),
        }
    }

    /// Begins the trace anew: cuts before this point are of no interest.
    pub fn forget(&self) {
        let mut state = self.lock();
        state.cells.rebase();
        state.before = state.cells.clone();
        state.trace.clear();
    }

    /// What users of the medium see.
    pub fn placed(&self) -> Image {
        self.lock().cells.placed.clone()
    }

    /// What is certain to survive.
    pub fn persistent(&self) -> Image {
        self.lock().cells.persistent.clone()
    }

    /// What is left if power goes now and this survives.
    pub fn survivors(&self, survival: Survival) -> Image {
        Cut::new(&self.lock().cells).survivors(survival)
    }

    /// The cache line of 64 bytes that holds `at` cannot be read any more, until it is written whole.
    pub fn poison(&self, at: u64) {
        self.lock().unreadable.insert(at / LINE);
    }

    /// Flushes fail from now on, or work again.
    pub fn fail_flushes(&self, fault: Option<FlushFault>) {
        self.lock().flush_fault = fault;
    }

    /// The device takes so many bytes more, as a sparse file on a disk that others fill; a store
    /// beyond that places what fits and fails. `None`: it is not full.
    pub fn fill_up(&self, room: Option<u64>) {
        self.lock().room = room;
    }

    /// Of the next store that holds these bytes, one bit is written otherwise. `None`: every store is written as it is given.
    pub fn flip_in(&self, bytes: Option<&[u8]>) {
        self.lock().flip = bytes.map(<[u8]>::to_vec);
    }

    /// Whether a bit is still to be written otherwise.
    pub fn will_flip(&self) -> bool {
        self.lock().flip.is_some()
    }

    /// Makes flushes wait until they are let go. A flush covers what was placed before it began.
    pub fn hold_flushes(&self, hold: bool) {
        self.lock().holding = hold;
        self.device.changed.notify_all();
    }

    /// Waits until a flush waits.
    pub fn await_flushing(&self) {
        let waiting = self
            .device
            .changed
            .wait_while(self.lock(), |state| !state.flushing);
        drop(waiting.unwrap_or_else(PoisonError::into_inner));
    }

    fn with(cells: Cells) -> Self {
        let len = cells.placed.len();
        let state = State {
            before: cells.clone(),
            cells,
            trace: Vec::new(),
            unreadable: BTreeSet::new(),
            flush_fault: None,
            room: None,
            flip: None,
            holding: false,
            flushing: false,
        };
        let device = Device {
            state: Mutex::new(state),
            changed: Condvar::new(),
        };
        Self {
            device: Arc::new(device),
            len,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.device.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn happen(&mut self, event: Event) {
        event.happen(&mut self.cells);
        self.trace.push(event);
    }

    /// How much of `len` bytes the device takes.
    fn take_room(&mut self, len: u64) -> u64 {
        let taken = self.room.map_or(len, |room| room.min(len));
        self.room = self.room.map(|room| room - taken);
        taken
    }

    /// What is written instead of `bytes`.
    fn written(&mut self, bytes: &[u8]) -> Arc<[u8]> {
        let mut written: Arc<[u8]> = bytes.into();
        let wanted = self.flip.as_deref().filter(|wanted| !wanted.is_empty());
        let found = wanted.and_then(|wanted| bytes.windows(wanted.len()).position(|window| window == wanted));
        if let Some(at) = found {
            self.flip = None;
            Arc::make_mut(&mut written)[at] ^= 0x10;
        }
        written
    }

    /// Lines that are written whole can be read again.
    fn heal(&mut self, at: u64, len: u64) {
        if !self.unreadable.is_empty() {
            let (first, end) = (at.div_ceil(LINE), (at + len) / LINE);
            self.unreadable.retain(|line| !(first..end).contains(line));
        }
    }
}

impl Media for SimulatedMedia {
    fn len(&self) -> u64 {
        self.len
    }

    fn persistence(&self) -> Persistence {
        Persistence::AfterFlush
    }

    fn describe(&self) -> String {
        "simulated memory".to_owned()
    }

    fn store(&self, at: u64, bytes: &[u8]) -> Result<(), MediaError> {
        let len = bytes.len() as u64;
        check_range(at, len, self.len)?;
        let mut state = self.lock();
        let taken = state.take_room(len);
        let fits = usize::try_from(taken).expect("no more than there are");
        if fits > 0 {
            let bytes = state.written(&bytes[..fits]);
            state.happen(Event::Store { at, bytes });
            state.heal(at, taken);
        }
        check_room(at, len, taken)
    }

    fn load(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        let len = into.len() as u64;
        check_range(at, len, self.len)?;
        let state = self.lock();
        let lines = at / LINE..(at + len).div_ceil(LINE);
        if len > 0 && state.unreadable.range(lines).next().is_some() {
            let source = io::Error::from(rustix::io::Errno::IO);
            return Err(MediaError::Load { at, len, source });
        }
        state.cells.placed.read(at, into);
        Ok(())
    }

    fn receive(&self, at: u64, len: u64, _: BorrowedFd<'_>) -> Result<Option<io::Result<usize>>, MediaError> {
        check_range(at, len, self.len)?;
        Ok(None)
    }

    fn zero(&self, at: u64, len: u64) -> Result<(), MediaError> {
        check_range(at, len, self.len)?;
        let mut state = self.lock();
        let taken = state.take_room(len);
        if taken > 0 {
            state.happen(Event::Zero { at, len: taken });
            state.heal(at, taken);
        }
        check_room(at, len, taken)
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        let covers = state.cells.events;
        state.flushing = true;
        self.device.changed.notify_all();
        let held = self.device.changed.wait_while(state, |state| state.holding);
        let mut state = held.unwrap_or_else(PoisonError::into_inner);
        state.flushing = false;
        let part = match state.flush_fault {
            None => Part::Whole,
            Some(FlushFault::Short) => Part::FirstHalf,
            Some(FlushFault::Fails) => return Err(io::Error::other("the device is gone")),
        };
        state.happen(Event::Persist { covers, part });
        match part {
            Part::Whole => Ok(()),
            Part::FirstHalf => Err(io::Error::other("the device wrote half of it")),
        }
    }
}

fn check_room(at: u64, len: u64, taken: u64) -> Result<(), MediaError> {
    if taken == len {
        return Ok(());
    }
    let source = io::Error::from(io::ErrorKind::StorageFull);
    Err(MediaError::Store { at, len, source })
}
