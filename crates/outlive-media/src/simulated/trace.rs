//! Everything that was done to a medium, to be done again up to any point.

use std::sync::Arc;

use super::cells::{Cells, Part};
use super::cut::Cut;

/// What happened to a medium since it was made, or since its trace began anew.
#[derive(Clone, Debug)]
pub struct Trace {
    pub(super) before: Cells,
    pub(super) events: Vec<Event>,
}

/// One change of what is placed or persistent.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Store { at: u64, bytes: Arc<[u8]> },
    Zero { at: u64, len: u64 },
    Persist { covers: usize, part: Part },
}

/// One event, for those who choose where to cut and for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Bytes were placed.
    Store {
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// A flush ended, whole or short.
    Persist,
}

impl Trace {
    /// Stores and persists, in order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Happened> {
        self.events.iter().map(|event| match event {
            Event::Store { at, bytes } => Happened::Store {
                at: *at,
                len: bytes.len() as u64,
            },
            Event::Zero { at, len } => Happened::Store { at: *at, len: *len },
            Event::Persist { .. } => Happened::Persist,
        })
    }

    /// Cuts the power before the first event, after it, and so on to the last, until `visit` says that it has seen
    /// enough. A cut in the middle of a store needs no visit of its own: it leaves some of the store's
    /// words, which the cut behind it may leave, too.
    ///
    /// # Errors
    /// The visitor's, at once.
    pub fn each_cut<E>(&self, mut visit: impl FnMut(&Cut<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut cells = self.before.clone();
        cells.events = 0;
        visit(&Cut::new(&cells))?;
        for event in &self.events {
            event.happen(&mut cells);
            visit(&Cut::new(&cells))?;
        }
        Ok(())
    }
}

impl Event {
    pub(super) fn happen(&self, cells: &mut Cells) {
        match self {
            Self::Store { at, bytes } => cells.store(*at, bytes),
            Self::Zero { at, len } => cells.zero(*at, *len),
            Self::Persist { covers, part } => cells.persist(*covers, *part),
        }
    }
}
