//! One set of a pair's journal.

use outlive_pair::batch::{self, Body, Bounds, Entry, Record};
use outlive_pair::{ReplyBounds, SessionId};

use crate::{Seed, Target};

pub(crate) const TARGET: Target = Target {
    name: "batches",
    about: "a set of a pair's journal",
    run,
    seeds,
    // Decoding reserves up to a mebibyte for a list whose count is not yet checked by what follows.
    allowance_bytes: 4 << 20,
};

fn run(input: &[u8]) {
    let Ok(record) = batch::decode(input) else { return };
    let again = batch::encode(&record);
    assert_eq!(batch::decode(&again).expect("what was encoded decodes"), record);
    if let Record::Requests { entries, .. } = &record {
        let entries = entries.iter().map(Entry::bound_bytes).sum();
        assert!(
            again.len() <= batch::set_bound_bytes(entries),
            "the bound on a set's bytes holds"
        );
    }
}

fn seeds() -> Vec<Seed> {
    let session: SessionId = SESSION.parse().expect("a session");
    let entries = vec![
        Entry::Open(session),
        Entry::Plain(Body(b"plain")),
        Entry::Numbered {
            session,
            number: 1,
            body: Body(b"numbered"),
        },
    ];
    let bounds = Bounds::from(ReplyBounds {
        sessions: 2,
        replies_per_session: 2,
        bytes: 1000,
    });
    vec![
        (
            "began",
            batch::encode(&Record::Began {
                at_ms: 1,
                generation: 2,
                bounds,
            }),
        ),
        ("requests", batch::encode(&Record::Requests { at_ms: 3, entries })),
        ("ended", batch::encode(&Record::Ended { at_ms: 4 })),
    ]
}

/// A session of those that the seeds name.
pub(super) const SESSION: &str = "000102030405060708090a0b0c0d0e0f";
