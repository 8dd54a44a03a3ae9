//! What a reader of everything keeps of a walk.

use super::{Cursor, Reading, View, start_of};
use crate::finding::Finding;
use crate::journal::Place;
use crate::set::SetKind;
use crate::{Set, SetHeader};

/// Sets gathered on a walk that began at a snapshot.
pub(super) struct Gathered {
    snapshot: Option<Set>,
    start: Place,
    verified: Option<(u64, u64)>,
    updates: Vec<Set>,
    cleared: Option<u64>,
    view: View,
}

impl Gathered {
    pub(super) fn from_snapshot(snapshot: Option<Set>, view: View) -> Self {
        let start = snapshot.as_ref().map_or(start_of(None), |set| Place {
            logical: set.logical,
            generation: set.generation,
            sequence: set.sequence,
        });
        let verified = snapshot.as_ref().map(|set| (set.generation, set.sequence));
        Self {
            snapshot,
            start,
            verified,
            updates: Vec::new(),
            cleared: None,
            view,
        }
    }

    pub(super) fn start(&self) -> Place {
        self.start
    }

    pub(super) fn take(&mut self, header: &SetHeader, payload: &[u8]) {
        match (header.kind, self.view) {
            (SetKind::Clear, View::Current) => {
                self.cleared = Some(header.sequence);
                self.snapshot = None;
                self.updates.clear();
            }
            (SetKind::Clear, View::Cleared) => {
                self.cleared.get_or_insert(header.sequence);
            }
            (SetKind::Update, view) if view == View::Current || self.cleared.is_none() => {
                self.updates.push(header.clone().into_set(payload.to_vec()));
            }
            _ => {}
        }
    }

    pub(super) fn into_reading(self, place: Place, findings: Vec<Finding>) -> Reading {
        Reading {
            snapshot: self.snapshot,
            updates: self.updates,
            cleared: self.cleared,
            findings,
            cursor: Cursor::new(place, self.verified),
        }
    }
}
