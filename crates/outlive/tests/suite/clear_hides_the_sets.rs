//! C4, X6: cleared sets vanish from ordinary reads; the last verified checkpoint stays loadable until a newer one is.

use crate::support::{Server, primary_of};
use outlive::{LoadOptions, SetKind};

#[test]
fn cleared_sets_vanish_and_can_still_be_asked_for() {
    let server = Server::in_memory("16MiB");
    let (session, primary) = primary_of(&server, "r");
    primary
        .save(b"full".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    primary
        .append(b"change")
        .expect("appended")
        .wait()
        .expect("committed");
    let mut follower = session.backup("r").expect("opened");
    assert!(!follower.read_all().expect("read").is_empty());

    primary.clear().expect("cleared").wait().expect("committed");
    let mut backup = session.backup("r").expect("opened");
    assert!(backup.read_all().expect("read").is_empty());
    let fresh = follower.read_new().expect("read");
    assert_eq!(
        fresh.sets.iter().map(|set| set.kind).collect::<Vec<_>>(),
        [SetKind::Clear]
    );

    let cleared = backup
        .load(&LoadOptions {
            cleared: true,
            ..LoadOptions::default()
        })
        .expect("loaded");
    assert_eq!(cleared.snapshot.expect("a snapshot").bytes, b"full");
    assert_eq!(cleared.updates[0].bytes, b"change");

    primary
        .append(b"anew")
        .expect("appended")
        .wait()
        .expect("committed");
    let sets = backup.read_all().expect("read");
    assert!(sets.snapshot.is_none());
    assert_eq!(sets.updates[0].bytes, b"anew");

    primary
        .save(b"newer".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    assert_eq!(
        backup
            .read_all()
            .expect("read")
            .snapshot
            .expect("a snapshot")
            .bytes,
        b"newer"
    );
}
