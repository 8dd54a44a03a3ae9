//! M4: a region is deleted under its readers: they are told by name and see not one byte of who gets the space next.

use std::time::Duration;

use outlive::{Error, RawOptions, RegionSpec};

use crate::support::{Server, primary_of};

#[test]
fn readers_of_a_deleted_region_are_told_and_read_nothing_more() {
    let server = Server::in_memory("16MiB");
    let (session, primary) = primary_of(&server, "r");
    primary
        .save(b"held".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    primary.close().expect("closed");
    let mut backups: Vec<_> = (0..5).map(|_| session.backup("r").expect("opened")).collect();
    let mut raw = session.raw_reader("r").expect("opened");
    for backup in &mut backups {
        backup.read_all().expect("read");
    }
    let free = || session.status().expect("status").units[0].free_bytes;
    let before = free();
    session.delete("r").expect("deleted");
    assert!(free() > before, "its space is free");

    // All of what is free goes to somebody else, who writes to it.
    let size = free() / 4096 * 4096 - 4096;
    session.create("next", &RegionSpec::raw(size)).expect("created");
    let mut next = session.raw("next", &RawOptions::default()).expect("opened");
    next.write(0, &vec![9; usize::try_from(size).expect("small")])
        .expect("written");
    let gone = |error: Option<Error>| matches!(error, Some(Error::NoSuchRegion { region }) if region == "r");
    for backup in &mut backups {
        assert!(gone(backup.read_all().err()));
        assert!(gone(backup.read_new().err()));
        assert!(gone(backup.await_failure(Duration::from_secs(30)).err()));
    }
    assert!(gone(raw.read(0, &mut [0; 16]).err()));
}
