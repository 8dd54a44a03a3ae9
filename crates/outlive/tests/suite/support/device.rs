//! A unit on simulated memory, in which power goes where a test wants it to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outlive_media::simulated::{Image, SimulatedMedia};
use outlive_media::{Stored, Volume};
use outlive_unit::Unit;

use super::Server;

/// The memory of a [`Server`], which its test keeps a hand on. Clones are the same.
#[derive(Clone)]
pub(crate) struct Device(Arc<Mutex<SimulatedMedia>>);

impl Device {
    /// A new medium, and a unit and a manager that serve it.
    pub(crate) fn new(len: u64) -> (Self, Server) {
        Self::serve(SimulatedMedia::new(len), Stored::New)
    }

    /// A unit and a manager on a medium that somebody used before, or nobody.
    pub(crate) fn serve(media: SimulatedMedia, mut stored: Stored) -> (Self, Server) {
        let device = Self(Arc::new(Mutex::new(media)));
        let opened = device.clone();
        let server = Server::with(move |options| {
            let stored = std::mem::replace(&mut stored, Stored::Before);
            let volume = Volume::start(opened.media().medium(), stored).expect("a volume");
            Unit::on(volume, options)
        });
        (device, server)
    }

    pub(crate) fn media(&self) -> SimulatedMedia {
        self.lock().clone()
    }

    /// From its next start on the unit finds this.
    pub(crate) fn replace(&self, image: Image) {
        *self.lock() = SimulatedMedia::of(image);
    }

    fn lock(&self) -> MutexGuard<'_, SimulatedMedia> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
