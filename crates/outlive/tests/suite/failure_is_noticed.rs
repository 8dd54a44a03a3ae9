//! P2: a broken connection is noticed at once, a silent primary by its heartbeats; a living one is left alone.

use std::time::Duration;

use crate::support::{Server, primary_of};
use outlive::{BackupOptions, OpenOptions, RegionSpec, Suspicion, TakeoverOptions};

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_living_primary_is_not_suspected() {
    let server = Server::in_memory("16MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    let beating = OpenOptions {
        heartbeat: Duration::from_millis(20),
        ..OpenOptions::default()
    };
    let _primary = session.primary("r", &beating).expect("opened");
    let options = BackupOptions {
        suspect_after: Duration::from_secs(2),
        ..BackupOptions::default()
    };
    let mut backup = session.backup_with("r", &options).expect("opened");
    assert_eq!(
        backup.await_failure(Duration::from_secs(4)).expect("watched"),
        None
    );
}

#[test]
fn a_primary_that_beats_no_more_is_suspected() {
    let server = Server::in_memory("16MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    let silent = OpenOptions {
        heartbeat: Duration::ZERO,
        ..OpenOptions::default()
    };
    let primary = session.primary("r", &silent).expect("opened");
    let mut backup = session.backup("r").expect("opened");
    let suspicion = backup.await_failure(LONG).expect("watched");
    assert!(matches!(suspicion, Some(Suspicion::Silent { since }) if since >= Duration::from_millis(500)));
    let taken = backup.takeover(&TakeoverOptions::default()).expect("taken over");
    assert!(taken.certificate.detect >= Duration::from_millis(500));
    assert!(
        primary
            .confirm()
            .and_then(outlive::Confirm::wait)
            .is_err_and(|error| error.is_fenced())
    );
}

#[test]
fn a_killed_primary_is_suspected_without_waiting_for_heartbeats() {
    let server = Server::in_memory("16MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    let mut child = crate::support::child::start("failure_is_noticed::child_process", &server, "r");
    let options = BackupOptions {
        suspect_after: Duration::ZERO,
        ..BackupOptions::default()
    };
    let mut backup = session.backup_with("r", &options).expect("opened");
    assert_eq!(
        backup.await_failure(Duration::from_millis(50)).expect("watched"),
        None
    );
    child.kill();
    assert_eq!(
        backup.await_failure(LONG).expect("watched"),
        Some(Suspicion::OwnerLost)
    );
    let taken = backup.takeover(&TakeoverOptions::default()).expect("taken over");
    assert_eq!(
        taken
            .unread
            .iter()
            .map(|set| set.bytes.as_slice())
            .collect::<Vec<_>>(),
        [b"by the child"]
    );
}

/// Not a test by itself: the process that the test above kills.
#[test]
fn child_process() {
    crate::support::child::run(|session, region| {
        let primary = session.primary(region, &OpenOptions::default()).expect("opened");
        primary
            .append(b"by the child")
            .expect("appended")
            .wait()
            .expect("committed");
        primary
    });
}

#[test]
fn a_closed_region_is_seen_as_closed() {
    let server = Server::in_memory("16MiB");
    let (session, primary) = primary_of(&server, "r");
    let mut backup = session.backup("r").expect("opened");
    primary.close().expect("closed");
    assert_eq!(
        backup.await_failure(LONG).expect("watched"),
        Some(Suspicion::Closed)
    );
}
