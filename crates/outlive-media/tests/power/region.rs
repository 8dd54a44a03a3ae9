//! One checkpoint region on a medium, read with the real reader, and what must hold of whatever is found there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;

use outlive_layout::{
    Finding, ReadOptions, Reader, Reading, Recovery, RecoveryOptions, RegionId, Set, Source, Start, View,
};
use outlive_media::simulated::Image;
use outlive_media::{MediaError, Medium};

use crate::content::Content;

/// Where a region lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub(crate) id: RegionId,
    /// Start of its data on the medium.
    pub(crate) start: u64,
    pub(crate) len: u64,
}

/// A region's bytes in service.
pub(crate) struct OnMedium<'a>(pub(crate) &'a Medium, pub(crate) Region);

impl Source for OnMedium<'_> {
    type Error = MediaError;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.0.load(self.1.start + offset, into)
    }
}

/// A region's bytes after a crash.
pub(crate) struct InImage<'a>(pub(crate) &'a Image, pub(crate) Region);

impl Source for InImage<'_> {
    type Error = Infallible;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Infallible> {
        self.0.read(self.1.start + offset, into);
        Ok(())
    }
}

/// A whole state, as its snapshot.
pub(crate) type State = Rc<[u8]>;
/// Every snapshot that was ever begun, by its sequence.
pub(crate) type Snapshots = BTreeMap<u64, State>;

/// What may be found in a region from one event on.
#[derive(Clone, Debug)]
pub(crate) struct Milestone {
    pub(crate) event: usize,
    /// In the order in which they came to be: the first is the last that was acknowledged.
    pub(crate) allowed: Rc<[State]>,
    /// Highest journal sequence that was acknowledged.
    pub(crate) floor: u64,
    /// Sequence of the newest snapshot that was read back and verified; 0 before the first.
    pub(crate) verified: u64,
}

/// What the real readers make of a region.
#[derive(Debug)]
pub(crate) struct Found<C> {
    pub(crate) recovery: Recovery,
    pub(crate) content: C,
    pub(crate) seen: Seen,
}

/// What can be held against a promise.
#[derive(Debug)]
pub(crate) struct Seen {
    state: Vec<u8>,
    /// Last sequence that is whole.
    last: u64,
    /// Highest floor that stands in the region's head.
    floor: u64,
}

/// Reads a region as the next primary does. Whatever power leaves is no corruption.
pub(crate) fn recover<C: Content, S: Source>(
    source: &mut S,
    region: Region,
    content: &C,
    snapshots: &Snapshots,
) -> Result<Found<C>, String> {
    let text = |error: &dyn std::error::Error| format!("recovery: {error}");
    let mut reader = Reader::open(source, region.id, region.len).map_err(|error| text(&error))?;
    let head = reader.head(source).map_err(|error| text(&error))?;
    let recovery = reader.recover(source, Start::Everything, &RecoveryOptions::default());
    let recovery = recovery.map_err(|error| text(&error))?;
    no_corruption(&recovery.findings)?;
    let point = &recovery.point;
    if point.floor > recovery.last_sequence || point.next_sequence <= recovery.last_sequence {
        return Err(format!("it goes on at {point:?}"));
    }
    let content = rebuilt(content, recovery.snapshot.as_ref(), &recovery.updates, snapshots)?;
    let seen = Seen {
        state: content.snapshot(),
        last: recovery.last_sequence,
        floor: head.best_floor(),
    };
    Ok(Found {
        recovery,
        content,
        seen,
    })
}

impl Seen {
    /// Whether it is as whole as was promised.
    pub(crate) fn keeps(&self, promised: &Milestone) -> Result<(), String> {
        let Milestone { floor, allowed, .. } = promised;
        if self.floor > *floor {
            return Err(format!(
                "the floor {} is above {floor}, the last acknowledged",
                self.floor
            ));
        }
        let last = self.last;
        if last < *floor {
            return Err(format!(
                "it ends at {last}, before {floor}, which was acknowledged"
            ));
        }
        if allowed.iter().any(|state| **state == *self.state) {
            return Ok(());
        }
        Err(format!(
            "a state of {} bytes is none of the {} allowed ones; acknowledged is one of {} bytes",
            self.state.len(),
            allowed.len(),
            allowed[0].len()
        ))
    }
}

/// What the readers who do not take over make of a region, and that no set they list is damaged: sequence of the checkpoint that they load, even after a clear.
pub(crate) fn load<C: Content>(
    image: &Image,
    region: Region,
    found: &Found<C>,
    snapshots: &Snapshots,
) -> Result<u64, String> {
    let source = &mut InImage(image, region);
    let mut reader = Reader::open(source, region.id, region.len).map_err(|error| error.to_string())?;
    let (_, findings) = reader.log(source).map_err(|error| error.to_string())?;
    no_corruption(&findings)?;
    let mut view = |view| -> Result<Reading, String> {
        let options = ReadOptions {
            view,
            ..ReadOptions::default()
        };
        let reading = reader.read(source, &options);
        let reading = reading.map_err(|error| format!("reading {view:?}: {error}"))?;
        no_corruption(&reading.findings)?;
        Ok(reading)
    };
    let current = view(View::Current)?;
    if (&current.snapshot, &current.updates) != (&found.recovery.snapshot, &found.recovery.updates) {
        return Err("a reader and the recovery disagree".to_owned());
    }
    if current.cleared.is_none() {
        return Ok(current.snapshot.map_or(0, |set| set.sequence));
    }
    let cleared = view(View::Cleared)?;
    rebuilt(
        &found.content,
        cleared.snapshot.as_ref(),
        &cleared.updates,
        snapshots,
    )?;
    Ok(cleared.snapshot.map_or(0, |set| set.sequence))
}

fn rebuilt<C: Content>(
    content: &C,
    snapshot: Option<&Set>,
    updates: &[Set],
    snapshots: &Snapshots,
) -> Result<C, String> {
    if let Some(set) = snapshot
        && snapshots
            .get(&set.sequence)
            .is_none_or(|written| **written != *set.payload)
    {
        return Err(format!("snapshot {} is not what was saved", set.sequence));
    }
    let payload = snapshot.map(|set| set.payload.as_slice());
    content.rebuild(payload, updates.iter().map(|set| set.payload.as_slice()))
}

fn no_corruption(findings: &[Finding]) -> Result<(), String> {
    match findings.iter().find(|finding| finding.is_corruption()) {
        None => Ok(()),
        Some(finding) => Err(format!("loss of power is no corruption: {finding}")),
    }
}
