//! Regions that are made and deleted beside the others: what the manager told of them must last.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use outlive::{Error, RegionSpec, RegionView, Session};

use super::judge::{Judge, violation};
use crate::machine;

const BYTES: u64 = 8 << 10;
/// Most that are there at a time: the medium is small.
const MOST: usize = 12;

/// What is known of each region, by name.
#[derive(Default)]
pub(super) struct Made {
    regions: Mutex<BTreeMap<String, Known>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Somebody was told that it is there.
    There,
    /// Somebody was told that it is gone.
    Gone,
    /// Nobody got an answer yet.
    Open,
}

impl Made {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, name: &str, known: Known) {
        machine::uninterrupted(|| self.lock().insert(name.to_owned(), known));
    }

    /// Makes a region or deletes one.
    pub(super) fn change(&self, session: &Session, judge: &Judge) -> Result<(), Error> {
        if let Some(name) = self.choose() {
            session.delete(&name)?;
            self.set(&name, Known::Gone);
        } else {
            let name = format!("made-{}", machine::random());
            self.set(&name, Known::Open);
            session.create(&name, &RegionSpec::raw(BYTES))?;
            self.set(&name, Known::There);
        }
        judge.told();
        Ok(())
    }

    /// One to delete, if there are enough; nobody else chooses the same.
    fn choose(&self) -> Option<String> {
        machine::uninterrupted(|| {
            let mut regions = self.lock();
            let there = regions.iter_mut().filter(|(_, known)| **known == Known::There);
            let mut there: Vec<_> = there.collect();
            if there.is_empty() || (there.len() < MOST && machine::below(3) > 0) {
                return None;
            }
            let chosen = usize::try_from(machine::below(there.len() as u64)).expect("few");
            let (name, known) = there.swap_remove(chosen);
            *known = Known::Open;
            Some(name.clone())
        })
    }

    /// Whether all is there that must be, and nothing that must not.
    pub(super) fn check(&self, found: &[RegionView]) {
        for (name, known) in self.lock().iter() {
            let is_there = found.iter().any(|region| region.name == *name);
            match (known, is_there) {
                (Known::There, false) => {
                    violation("region-lost", format!("{name} was made, and is not there"))
                }
                (Known::Gone, true) => violation(
                    "deleted-region-is-back",
                    format!("{name} was deleted, and is there"),
                ),
                _ => {}
            }
        }
    }
}
