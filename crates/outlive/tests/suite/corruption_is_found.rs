//! C9: torn, stale and corrupt data are told apart and never returned as good.

use outlive::{Error, Finding, OpenOptions, SetKind, TakeoverOptions};

use crate::support::{Server, find_in, overwrite, primary_of};

#[test]
fn a_committed_set_with_a_flipped_byte_is_corrupt() {
    let mut server = Server::on_file("16MiB");
    let (session, primary) = primary_of(&server, "r");
    primary
        .append(b"a good first set")
        .expect("appended")
        .wait()
        .expect("committed");
    let bad = primary
        .append(b"a set to be damaged")
        .expect("appended")
        .wait()
        .expect("committed");
    primary
        .append(b"a good last set")
        .expect("appended")
        .wait()
        .expect("committed");
    primary.close().expect("closed");
    server.stop();
    let at = find_in(&server.medium(), b"a set to be damaged");
    overwrite(&server.medium(), at, b"A");
    server.resume();

    let mut backup = session.backup("r").expect("opened");
    let error = backup.read_all().expect_err("corrupt");
    let Error::Corrupt { sequence, offset, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*sequence, bad.sequence);
    assert!(error.to_string().contains(&offset.to_string()), "{error}");
    let log = backup.log().expect("a log");
    let found: Vec<_> = log
        .iter()
        .filter(|set| matches!(set.finding, Finding::Corrupt { .. }))
        .collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].sequence, bad.sequence);

    let open = session
        .primary("r", &OpenOptions::default())
        .err()
        .expect("it stops at corruption");
    assert!(
        matches!(open, Error::Corrupt { sequence, .. } if sequence == bad.sequence),
        "{open}"
    );
    let error = backup
        .takeover(&TakeoverOptions::default())
        .err()
        .expect("it stops at corruption");
    assert!(
        matches!(error, Error::Corrupt { .. } | Error::LostRace { .. }),
        "{error}"
    );
    let options = TakeoverOptions {
        accept_loss: true,
        ..TakeoverOptions::default()
    };
    let mut backup = session.backup("r").expect("opened");
    let taken = backup.takeover(&options).expect("the loss is accepted");
    let (from, to) = taken.certificate.accepted_loss.expect("it is recorded");
    assert_eq!(from, bad.sequence);
    assert!(to >= bad.sequence);
    assert_eq!(
        taken
            .unread
            .iter()
            .map(|set| set.bytes.as_slice())
            .collect::<Vec<_>>(),
        [b"a good first set"]
    );
    taken
        .primary
        .append(b"goes on")
        .expect("appended")
        .wait()
        .expect("committed");
    let sets = session
        .backup("r")
        .expect("opened")
        .read_all()
        .expect("whole again");
    assert_eq!(sets.updates.last().expect("the new one").bytes, b"goes on");
}

#[test]
fn a_set_that_was_never_committed_is_torn_and_not_corrupt() {
    let mut server = Server::on_file("16MiB");
    let (session, primary) = primary_of(&server, "r");
    primary
        .append(b"a good set")
        .expect("appended")
        .wait()
        .expect("committed");
    primary
        .append(b"a torn last set")
        .expect("appended")
        .wait()
        .expect("committed");
    // Killed at once: its last set is above every floor that it wrote down.
    std::mem::forget(primary);
    server.stop();
    let at = find_in(&server.medium(), b"a torn last set");
    overwrite(&server.medium(), at, b"A");
    server.forget_floors();
    server.resume();
    let sets = session
        .backup("r")
        .expect("opened")
        .read_all()
        .expect("what is committed is whole");
    assert_eq!(
        sets.updates
            .iter()
            .map(|set| set.bytes.as_slice())
            .collect::<Vec<_>>(),
        [b"a good set"]
    );
    let mut backup = session.backup("r").expect("opened");
    let taken = backup.takeover(&TakeoverOptions::default()).expect("taken over");
    assert_eq!(taken.certificate.torn_sets, 1);
    assert_eq!(taken.certificate.accepted_loss, None);
}

#[test]
fn a_damaged_snapshot_is_named_and_the_earlier_one_is_still_there() {
    let mut server = Server::on_file("16MiB");
    let (session, primary) = primary_of(&server, "r");
    let first = primary
        .save(b"the first snapshot".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    let second = primary
        .save(b"the other snapshot".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    primary.close().expect("closed");
    server.stop();
    let at = find_in(&server.medium(), b"the other snapshot");
    overwrite(&server.medium(), at + 4, b"X");
    server.resume();
    let mut backup = session.backup("r").expect("opened");
    let error = backup.read_all().expect_err("corrupt");
    assert!(
        matches!(error, Error::Corrupt { sequence, .. } if sequence == second.sequence),
        "{error}"
    );
    let earlier = outlive::LoadOptions {
        sequence: Some(first.sequence),
        ..outlive::LoadOptions::default()
    };
    assert_eq!(
        backup
            .load(&earlier)
            .expect("kept")
            .snapshot
            .expect("a snapshot")
            .bytes,
        b"the first snapshot"
    );
    let log = backup.log().expect("a log");
    let bad = log
        .iter()
        .find(|set| set.sequence == second.sequence)
        .expect("named");
    assert_eq!(bad.kind, SetKind::Snapshot);
    assert!(matches!(bad.finding, Finding::Corrupt { .. }));
}
