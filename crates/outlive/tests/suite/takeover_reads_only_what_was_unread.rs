//! C7, X3, P3: after a failure the backup reads only the rest, and the certificate says so.

use std::time::Duration;

use crate::support::{Server, primary_of};
use outlive::{BackupOptions, Error, Follow, Suspicion, TakeoverOptions};

#[test]
fn only_the_rest_is_read() {
    let server = Server::on_file("16MiB");
    let (session, primary) = primary_of(&server, "r");
    let mut backup = session.backup("r").expect("opened");
    primary
        .save(b"full".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    primary
        .append(b"read")
        .expect("appended")
        .wait()
        .expect("committed");
    assert_eq!(backup.read_new().expect("read").sets.len(), 2);
    let last = primary
        .append(b"unread")
        .expect("appended")
        .wait()
        .expect("committed");

    let taken = backup
        .takeover(&TakeoverOptions::owner("the backup"))
        .expect("taken over");
    assert_eq!(
        taken
            .unread
            .iter()
            .map(|set| set.bytes.as_slice())
            .collect::<Vec<_>>(),
        [b"unread"]
    );
    let certificate = &taken.certificate;
    assert_eq!(certificate.fenced_generation, 1);
    assert_eq!(certificate.generation, 2);
    assert_eq!(certificate.last_sequence, last.sequence);
    assert_eq!((certificate.unread_sets, certificate.unread_bytes), (1, 6));
    assert_eq!(certificate.torn_sets, 0);
    assert_eq!(certificate.accepted_loss, None);
    assert_eq!(certificate.ahead, None);
    let steps =
        certificate.detect + certificate.fence + certificate.read + certificate.persist + certificate.resume;
    assert_eq!(certificate.total(), steps);

    let receipt = taken
        .primary
        .append(b"by the new one")
        .expect("appended")
        .wait()
        .expect("committed");
    assert_eq!(receipt.generation, 2);
    assert!(receipt.sequence > last.sequence);
    let error = primary
        .append(b"too late")
        .and_then(outlive::Commit::wait)
        .expect_err("fenced");
    assert!(error.is_fenced(), "{error}");
    assert_eq!(session.describe("r").expect("described").owner, "the backup");

    let sets = session.backup("r").expect("opened").read_all().expect("read");
    let updates: Vec<_> = sets.updates.iter().map(|set| set.bytes.as_slice()).collect();
    assert_eq!(updates, [b"read".as_slice(), b"unread", b"by the new one"]);
}

#[test]
fn who_has_read_nothing_gets_everything() {
    let server = Server::in_memory("16MiB");
    let (session, primary) = primary_of(&server, "r");
    primary
        .save(b"full".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    primary
        .append(b"more")
        .expect("appended")
        .wait()
        .expect("committed");
    let mut backup = session.backup("r").expect("opened");
    let taken = backup.takeover(&TakeoverOptions::default()).expect("taken over");
    assert_eq!(
        taken
            .unread
            .iter()
            .map(|set| set.bytes.as_slice())
            .collect::<Vec<_>>(),
        [b"full", b"more"]
    );
}

#[test]
fn the_second_of_two_loses_the_race_and_stays_backup() {
    let server = Server::in_memory("16MiB");
    let (session, primary) = primary_of(&server, "r");
    primary
        .append(b"one")
        .expect("appended")
        .wait()
        .expect("committed");
    let options = BackupOptions {
        follow: Follow::Updates,
        ..BackupOptions::default()
    };
    let mut first = session.backup_with("r", &options).expect("opened");
    let mut second = session.backup_with("r", &options).expect("opened");
    assert_eq!(second.read_new().expect("read").sets.len(), 1);
    drop(primary);
    // Both suspect generation 1.
    for backup in [&mut first, &mut second] {
        let suspicion = backup.await_failure(Duration::from_secs(30)).expect("watched");
        assert_eq!(suspicion, Some(Suspicion::Closed));
    }
    let taken = first.takeover(&TakeoverOptions::default()).expect("taken over");
    let error = second.takeover(&TakeoverOptions::default()).err().expect("lost");
    assert!(matches!(error, Error::LostRace { generation: 2, .. }), "{error}");
    taken
        .primary
        .append(b"two")
        .expect("appended")
        .wait()
        .expect("committed");
    let fresh = second.read_new().expect("read");
    assert_eq!(
        fresh
            .sets
            .iter()
            .map(|set| set.bytes.as_slice())
            .collect::<Vec<_>>(),
        [b"two"]
    );
}
