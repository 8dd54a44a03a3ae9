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
