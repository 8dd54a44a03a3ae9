//! C2: earlier snapshots are kept in their slots, and can be loaded by their sequence.

use crate::support::Server;
use outlive::{Error, Finding, LoadOptions, OpenOptions, RegionSpec, SetKind};

#[test]
fn as_many_snapshots_are_kept_as_there_are_slots() {
    let server = Server::in_memory("32MiB");
    let session = server.session();
    session
        .create(
            "r",
            &RegionSpec::checkpoint(4 << 20).slots(3).max_snapshot(64 << 10),
        )
        .expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    let sequences: Vec<_> = (0..5u8)
        .map(|number| {
            primary
                .save(vec![number; 1000])
                .expect("saved")
                .wait()
                .expect("committed")
                .sequence
        })
        .collect();
    let update = primary
        .append(b"an update")
        .expect("appended")
        .wait()
        .expect("committed")
        .sequence;

    let mut backup = session.backup("r").expect("opened");
    let at = |sequence| LoadOptions {
        sequence: Some(sequence),
        ..LoadOptions::default()
    };
    for (number, sequence) in (0..5u8).zip(&sequences) {
        let loaded = backup.load(&at(*sequence));
        if number < 2 {
            assert!(matches!(loaded, Err(Error::NoSuchSet { sequence: s, .. }) if s == *sequence));
        } else {
            assert_eq!(
                loaded.expect("kept").snapshot.expect("a snapshot").bytes,
                vec![number; 1000]
            );
        }
    }
    assert_eq!(
        backup.load(&at(update)).expect("kept").updates[0].bytes,
        b"an update"
    );
    let after = backup
        .load(&LoadOptions {
            after: Some(sequences[4]),
            ..LoadOptions::default()
        })
        .expect("loaded");
    assert!(after.snapshot.is_none());
    assert_eq!(after.updates.len(), 1);

    let log = backup.log().expect("a log");
    let snapshots: Vec<_> = log.iter().filter(|set| set.kind == SetKind::Snapshot).collect();
    assert_eq!(
        snapshots.iter().map(|set| set.sequence).collect::<Vec<_>>(),
        sequences[2..]
    );
    assert!(log.iter().all(|set| set.finding == Finding::Verified), "{log:?}");
    assert_eq!(log.last().expect("the update").bytes, 9);
    assert!(log.last().expect("the update").unix_ms > 0);
}
