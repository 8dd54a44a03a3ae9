//! A pair's replica: a snapshot and then journalled sets, as a backup takes them off the region.
//!
//! A second replica that begins with the first one's snapshot goes on as the first one does: nothing of the state is outside
//! of the snapshot, and no bytes lead to a state that its own snapshot does not describe.

use std::collections::BTreeMap;

use outlive_pair::batch::{self, Body, Bounds, Entry, Record};
use outlive_pair::replica::Replica;
use outlive_pair::{Moment, ReplyBounds, RestoreError, Service, SessionId};

use super::batches::SESSION;
use super::frames::{Frames, framed};
use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "replica",
    about: "a pair's snapshot and the journal behind it, at its backup",
    run,
    seeds,
    // As for a set of the journal, for each of the lists of lists that a snapshot holds.
    allowance_bytes: 8 << 20,
};

/// Counts requests by their text, so that every request changes the state and has a reply that depends on it.
#[derive(Default)]
struct Tally(BTreeMap<Vec<u8>, u64>);

impl Service for Tally {
    fn is_read_only(&self, request: &[u8]) -> bool {
        request.is_empty()
    }

    fn apply(&mut self, request: &[u8], _: Moment) -> Vec<u8> {
        let count = self.0.entry(request.to_vec()).or_default();
        *count = count.wrapping_add(1);
        count.to_le_bytes().to_vec()
    }

    fn query(&self, _: &[u8], at: Moment) -> Vec<u8> {
        at.unix_ms.to_le_bytes().to_vec()
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (request, count) in &self.0 {
            let len = u32::try_from(request.len()).expect("a request of a fuzzer");
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(request);
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        bytes
    }

    fn restore(&mut self, mut snapshot: &[u8]) -> Result<(), RestoreError> {
        self.0.clear();
        while let Some((len, rest)) = snapshot.split_first_chunk() {
            let len = u32::from_le_bytes(*len) as usize;
            let entry = rest.split_at_checked(len);
            let (request, rest) = entry.ok_or_else(|| RestoreError::new("a request is cut off"))?;
            let (count, rest) = rest
                .split_first_chunk()
                .ok_or_else(|| RestoreError::new("no count"))?;
            self.0.insert(request.to_vec(), u64::from_le_bytes(*count));
            snapshot = rest;
        }
        Ok(())
    }
}

fn run(input: &[u8]) {
    let mut frames = Frames(input);
    let mut replica = Replica::new(Tally::default(), bounds());
    if let Some(snapshot) = frames.next()
        && replica
            .restore(Some(snapshot).filter(|bytes| !bytes.is_empty()))
            .is_err()
    {
        return;
    }
    let mut twin = twin_of(&replica);
    for set in frames {
        let (applied, also) = (replica.apply_set(set), twin.apply_set(set));
        assert_eq!(
            applied.is_ok(),
            also.is_ok(),
            "a restored replica goes on as the one it was saved from"
        );
        if applied.is_err() {
            return;
        }
        assert_eq!(replica.snapshot(), twin.snapshot());
    }
    let last = twin_of(&replica);
    assert_eq!(
        (last.at_ms(), last.sessions()),
        (replica.at_ms(), replica.sessions())
    );
    assert_eq!(last.snapshot(), replica.snapshot());
}

fn twin_of(replica: &Replica<Tally>) -> Replica<Tally> {
    let mut twin = Replica::new(Tally::default(), bounds());
    let snapshot = replica.snapshot();
    twin.restore(Some(&snapshot))
        .expect("a replica's own snapshot restores");
    twin
}

fn bounds() -> ReplyBounds {
    ReplyBounds {
        sessions: 3,
        replies_per_session: 2,
        bytes: 64,
    }
}

fn seeds() -> Vec<Seed> {
    let session: SessionId = SESSION.parse().expect("a session");
    let bounds = Bounds::from(bounds());
    let numbered = |number| Entry::Numbered {
        session,
        number,
        body: Body(b"count"),
    };
    let sets = [
        Record::Began {
            at_ms: 1,
            generation: 1,
            bounds,
        },
        Record::Requests {
            at_ms: 2,
            entries: vec![Entry::Open(session), Entry::Plain(Body(b"plain"))],
        },
        Record::Requests {
            at_ms: 3,
            entries: (1..5).map(numbered).collect(),
        },
        Record::Ended { at_ms: 4 },
    ];
    let sets: Vec<Vec<u8>> = sets.iter().map(batch::encode).collect();
    let mut replica = Replica::new(Tally::default(), self::bounds());
    for set in &sets {
        replica.apply_set(set).expect("a set of the seed's");
    }
    let first: Vec<&[u8]> = std::iter::once(&[][..])
        .chain(sets.iter().map(Vec::as_slice))
        .collect();
    let snapshot = replica.snapshot();
    let next = batch::encode(&Record::Requests {
        at_ms: 9,
        entries: vec![numbered(5)],
    });
    vec![
        ("from-the-start", framed(&first)),
        ("from-a-snapshot", framed(&[snapshot, next])),
    ]
}
