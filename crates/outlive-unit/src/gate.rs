//! One manager at a time.
//!
//! Every control call passes here and names its manager's generation. Attach waits until calls in progress
//! have ended, so a superseded manager's call can neither begin nor go on once its successor was answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use outlive_proto::ControlError;
use outlive_proto::v1::ErrorCode;

/// Guards the generation of the manager that attached last.
#[derive(Debug)]
pub(crate) struct Gate {
    attached: RwLock<Attached>,
    /// Managers that wait to attach.
    waiting: AtomicUsize,
}

/// What the gate knows.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) generation: u64,
    /// False until a manager has attached in this incarnation of the unit, and while attaching failed half-way.
    pub(crate) served: bool,
}

impl Gate {
    pub(crate) fn new(generation: u64) -> Self {
        Self {
            attached: RwLock::new(Attached {
                generation,
                served: false,
            }),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Lets a call of the present manager in, until the guard is dropped. Blocks while a manager attaches.
    pub(crate) fn pass(&self, generation: u64) -> Result<RwLockReadGuard<'_, Attached>, ControlError> {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        if attached.served && generation == attached.generation {
            return Ok(attached);
        }
        let reason = if attached.served {
            format!(
                "this manager (generation {generation}) was superseded by generation {}",
                attached.generation
            )
        } else {
            "no manager is attached since the unit started; attach first".to_owned()
        };
        Err(ControlError::new(ErrorCode::Superseded, reason).at_generation(attached.generation))
    }

    /// Keeps everybody out, after the calls in progress have ended.
    pub(crate) fn close(&self) -> RwLockWriteGuard<'_, Attached> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let closed = self.attached.write().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        closed
    }

    /// For calls that take long: whether a successor waits for them to end.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}
