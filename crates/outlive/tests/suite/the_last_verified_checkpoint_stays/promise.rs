//! What was written, what was promised of it by when, and whether a unit keeps it.

use std::collections::BTreeMap;

use outlive::{Error, Finding, LoadOptions, Session, Set, SetKind, Sets};

use super::REGION;

/// Sets order by generation and sequence.
pub(crate) type Order = (u64, u64);

/// What somebody was told that must hold from then on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promise {
    /// The newest snapshot whose save was acknowledged: committed, read back and verified.
    pub(crate) verified: Option<Order>,
}

/// Everything that was ever written to the region, by whom it may be.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) snapshots: BTreeMap<Order, Vec<u8>>,
    pub(crate) updates: BTreeMap<Order, Vec<u8>>,
    /// Journal sets that were acknowledged, and by which event.
    pub(crate) committed: BTreeMap<Order, usize>,
    /// Snapshots that the device wrote otherwise than it was told, before anybody verified them.
    pub(crate) spoilt: Vec<Order>,
}

/// What a reader found.
pub(crate) struct Found {
    pub(crate) checkpoint: Option<Order>,
    /// A snapshot that was never verified is damaged, and hides what is before it until somebody consents.
    pub(crate) hidden: bool,
}

impl Written {
    /// Reads the region as its users do, and holds it against what was promised.
    pub(crate) fn check(&self, session: &Session, promise: &Promise) -> Result<Found, String> {
        let text = |what: &str| {
            let what = what.to_owned();
            move |error: Error| format!("{what}: {error}")
        };
        let mut backup = session.backup(REGION).map_err(text("opening for reading"))?;
        let current = match backup.read_all() {
            Err(Error::Corrupt { sequence, .. }) if self.is_spoilt(sequence) => {
                return self.hidden(session, promise);
            }
            read => read.map_err(text("reading"))?,
        };
        self.as_written(&current)?;
        let log = backup.log().map_err(text("the log"))?;
        if let Some(bad) = log
            .iter()
            .find(|set| matches!(set.finding, Finding::Corrupt { .. }))
        {
            return Err(format!("{bad:?} is called corrupt, and nothing damaged it"));
        }
        let marks = log.iter().filter(|set| set.kind == SetKind::Clear);
        let clears: Vec<Order> = marks.map(|set| (set.generation, set.sequence)).collect();
        let cleared = clears.last().copied().unwrap_or_default();
        let kept = match current.snapshot.as_ref().map(order) {
            // By name: `load --cleared`.
            None if !clears.is_empty() => {
                let options = LoadOptions {
                    cleared: true,
                    ..LoadOptions::default()
                };
                let sets = backup.load(&options).map_err(text("loading what was cleared"))?;
                self.as_written(&sets)?;
                sets
            }
            _ => current.clone(),
        };
        let checkpoint = kept.snapshot.as_ref().map(order);
        if checkpoint < promise.verified {
            return Err(format!(
                "the last verified checkpoint is {:?}, and {checkpoint:?} is loaded",
                promise.verified
            ));
        }
        self.nothing_missing(&current, cleared.max(checkpoint.unwrap_or_default()))?;
        Ok(Found {
            checkpoint,
            hidden: false,
        })
    }

    /// A damaged snapshot that was never verified stands in front: the verified one is there under its sequence.
    fn hidden(&self, session: &Session, promise: &Promise) -> Result<Found, String> {
        if let Some((generation, sequence)) = promise.verified {
            let options = LoadOptions {
                sequence: Some(sequence),
                ..LoadOptions::default()
            };
            let loaded = session
                .backup(REGION)
                .and_then(|mut backup| backup.load(&options));
            let loaded = loaded.map_err(|error| format!("loading set {sequence} by name: {error}"))?;
            self.as_written(&loaded)?;
            if loaded.snapshot.as_ref().map(order) != Some((generation, sequence)) {
                return Err(format!("set {sequence} is not the snapshot that was verified"));
            }
        }
        Ok(Found {
            checkpoint: promise.verified,
            hidden: true,
        })
    }

    fn is_spoilt(&self, sequence: u64) -> bool {
        self.spoilt.iter().any(|(_, spoilt)| *spoilt == sequence)
    }

    /// Every byte is as somebody wrote it.
    fn as_written(&self, sets: &Sets) -> Result<(), String> {
        for set in sets.iter() {
            let written = match set.kind {
                SetKind::Snapshot => self.snapshots.get(&order(set)),
                _ => self.updates.get(&order(set)),
            };
            if written != Some(&set.bytes) {
                return Err(format!("set {:?} is not what was written", order(set)));
            }
        }
        Ok(())
    }

    /// Updates that were acknowledged and are behind checkpoint and clear are all there.
    fn nothing_missing(&self, current: &Sets, behind: Order) -> Result<(), String> {
        let there: Vec<Order> = current.updates.iter().map(order).collect();
        let mut promised = self
            .committed
            .keys()
            .filter(|at| **at > behind && self.updates.contains_key(at));
        match promised.find(|at| !there.contains(at)) {
            None => Ok(()),
            Some(missing) => Err(format!(
                "{missing:?} was acknowledged and is missing from {there:?}"
            )),
        }
    }
}

pub(crate) fn order(set: &Set) -> Order {
    (set.generation, set.sequence)
}
