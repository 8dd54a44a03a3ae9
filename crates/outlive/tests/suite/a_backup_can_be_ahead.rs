//! A unit that lost what was only placed comes back behind its backup: the certificate says so, the backup's state is
//! saved, and another backup is told that what it read is not there any more.

use outlive::{Ahead, BackupOptions, Follow, Level, OpenOptions, RegionSpec, SetKind, TakeoverOptions};

use crate::support::{Server, child, eventually, find_in, overwrite};

#[test]
fn the_certificate_says_that_the_unit_is_behind() {
    let mut server = Server::on_file("32MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    let mut writer = child::start("a_backup_can_be_ahead::placing_process", &server, "r");
    let options = BackupOptions {
        follow: Follow::Updates,
        ..BackupOptions::default()
    };
    let mut backup = session.backup_with("r", &options).expect("opened");
    let mut other = session.backup_with("r", &options).expect("opened");
    let read = backup.read_new().expect("read").sets;
    assert_eq!(read.len(), 2);
    assert_eq!(other.read_new().expect("read").sets.len(), 2);

    writer.kill();
    server.stop();
    let at = find_in(&server.medium(), b"read, and lost by the unit");
    // As after a power cut: header and payload never reached the device, nor any word of their commit.
    overwrite(&server.medium(), at - 112, &[0; 150]);
    server.forget_floors();
    server.resume();

    let options = TakeoverOptions::default();
    let taken = eventually(|| backup.takeover(&options).ok());
    let ahead = taken.certificate.ahead.expect("it is said");
    assert_eq!(
        ahead,
        Ahead {
            read_sequence: read[1].sequence,
            unit_sequence: read[0].sequence
        }
    );
    assert!(taken.unread.is_empty(), "there is nothing that was not read");
    taken
        .primary
        .save(b"the backup's state".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");

    let fresh = other.read_new().expect("read");
    assert!(fresh.diverged.is_some() || fresh.overrun.is_some(), "{fresh:?}");
    assert_eq!(fresh.sets[0].kind, SetKind::Snapshot);
    assert_eq!(fresh.sets[0].bytes, b"the backup's state");
}

/// Not a test by itself: a primary that commits as placed only.
#[test]
fn placing_process() {
    child::run(|session, region| {
        let options = OpenOptions {
            level: Some(Level::Placed),
            ..OpenOptions::default()
        };
        let primary = session.primary(region, &options).expect("opened");
        primary
            .append(b"read, and kept")
            .expect("appended")
            .wait()
            .expect("committed");
        primary
            .append(b"read, and lost by the unit")
            .expect("appended")
            .wait()
            .expect("committed");
        primary
    });
}

/// Loses the second of the sets that [`placing_process`] wrote, as a power cut may.
fn lose_the_second(server: &mut Server) {
    server.stop();
    let at = find_in(&server.medium(), b"read, and lost by the unit");
    overwrite(&server.medium(), at - 112, &[0; 150]);
    server.forget_floors();
    server.resume();
}

#[test]
fn a_backup_that_looked_at_the_returned_unit_does_not_build_on_a_hole() {
    let mut server = Server::on_file("32MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    let mut writer = child::start("a_backup_can_be_ahead::placing_process", &server, "r");
    let mut backup = session.backup("r").expect("opened");
    assert_eq!(backup.read_new().expect("read").sets.len(), 2);
    writer.kill();
    lose_the_second(&mut server);

    // Nothing new, in the new incarnation: that says nothing about what was read in the one before.
    assert!(backup.read_new().expect("read").sets.is_empty());
    let taken = eventually(|| backup.takeover(&TakeoverOptions::default()).ok());
    assert!(taken.certificate.ahead.is_some());
    taken
        .primary
        .append(b"after")
        .expect("appended")
        .wait()
        .expect("committed");
    let sets = session.backup("r").expect("opened").read_all().expect("read");
    let updates: Vec<_> = sets.updates.iter().map(|set| set.bytes.as_slice()).collect();
    assert_eq!(updates, [&b"read, and kept"[..], b"after"]);
}

#[test]
fn a_backup_whose_history_was_lost_begins_anew_with_its_successors() {
    let mut server = Server::on_file("32MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    let mut writer = child::start("a_backup_can_be_ahead::placing_process", &server, "r");
    let mut asleep = session.backup("r").expect("opened");
    let mut awake = session.backup("r").expect("opened");
    assert_eq!(asleep.read_new().expect("read").sets.len(), 2);
    assert_eq!(awake.read_new().expect("read").sets.len(), 2);
    writer.kill();
    lose_the_second(&mut server);

    let options = OpenOptions {
        take_over: true,
        ..OpenOptions::default()
    };
    let other = eventually(|| session.primary("r", &options).ok());
    other
        .append(b"instead")
        .expect("appended")
        .wait()
        .expect("committed");
    let expected = [&b""[..], b"read, and kept", b"instead"];
    let bytes = |sets: &[outlive::Set]| sets.iter().map(|set| set.bytes.clone()).collect::<Vec<_>>();

    let fresh = awake.read_new().expect("read");
    assert!(fresh.diverged.is_some(), "{fresh:?}");
    assert_eq!(fresh.sets[0].kind, SetKind::Clear);
    assert_eq!(bytes(&fresh.sets), expected);

    let taken = eventually(|| asleep.takeover(&TakeoverOptions::default()).ok());
    assert!(taken.certificate.ahead.is_none(), "{}", taken.certificate);
    assert!(taken.diverged.is_some());
    assert_eq!(taken.unread[0].kind, SetKind::Clear);
    assert_eq!(bytes(&taken.unread), expected);
}
