//! C3: a journal that is full says so and overwrites nothing; a snapshot makes room; the ring goes round many times.

use crate::support::Server;
use outlive::{Error, OpenOptions, RegionSpec};

fn small() -> RegionSpec {
    RegionSpec::checkpoint(256 << 10).max_snapshot(64 << 10)
}

#[test]
fn a_full_journal_refuses_until_a_snapshot_makes_room() {
    let server = Server::in_memory("16MiB");
    let session = server.session();
    session.create("r", &small()).expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    let mut appended = 0u64;
    let error = loop {
        match primary.append(vec![7; 5000]) {
            Ok(commit) => drop(commit),
            Err(error) => break error,
        }
        appended += 1;
        assert!(appended < 100, "the journal is finite");
    };
    assert!(
        matches!(error, Error::JournalFull { needed, .. } if needed >= 5000),
        "{error}"
    );
    let usage = primary.usage();
    assert!(usage.capacity - usage.used < 5200, "{usage:?}");
    let mut backup = session.backup("r").expect("opened");
    primary.confirm().expect("asked").wait().expect("owned");
    assert_eq!(
        backup.read_all().expect("read").updates.len() as u64,
        appended,
        "nothing was overwritten"
    );

    primary
        .save(b"all of it".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    assert!(primary.usage().used < 1000, "{:?}", primary.usage());
    primary
        .append(vec![8; 5000])
        .expect("there is room")
        .wait()
        .expect("committed");
    assert_eq!(backup.read_all().expect("read").updates.len(), 1);
}

#[test]
fn a_region_opened_again_and_again_while_full_can_still_be_saved_to() {
    let server = Server::in_memory("16MiB");
    let session = server.session();
    session.create("r", &small()).expect("created");
    let mut primary = session.primary("r", &OpenOptions::default()).expect("opened");
    while let Ok(commit) = primary.append(vec![7; 500]) {
        drop(commit);
    }
    let mut backup = session.backup("r").expect("opened");
    primary.confirm().expect("asked").wait().expect("owned");
    let kept = backup.read_all().expect("read").updates.len();
    // Each opening writes a mark into what is reserved for them; for this region that is some 60.
    for _ in 0..100 {
        primary.close().expect("closed");
        primary = session.primary("r", &OpenOptions::default()).expect("opened");
    }
    let error = primary.append(b"more").err().expect("full");
    assert!(matches!(error, Error::JournalFull { .. }), "{error}");
    let error = primary.clear().err().expect("full");
    assert!(matches!(error, Error::JournalFull { .. }), "{error}");
    assert_eq!(backup.read_all().expect("read").updates.len(), kept);

    let saved = primary.save(b"all of it".to_vec()).expect("saved");
    let saved = saved.wait().expect("committed");
    let appended = primary.append(b"more").expect("room").wait().expect("committed");
    assert!(appended.sequence > saved.sequence);
    let fresh = session.backup("r").expect("opened").read_all().expect("read");
    assert_eq!(fresh.snapshot.expect("saved").bytes, b"all of it");
    assert_eq!(fresh.updates.len(), 1);
    let last = session
        .backup("r")
        .expect("opened")
        .log()
        .expect("read")
        .last()
        .map(|set| set.sequence);
    assert_eq!(
        last,
        Some(appended.sequence),
        "a walk from the oldest set passes the new generation's"
    );
}

#[test]
fn the_ring_goes_round_many_times() {
    let server = Server::in_memory("16MiB");
    let session = server.session();
    session.create("r", &small()).expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    let mut backup = session.backup("r").expect("opened");
    let (mut laps, mut number) = (0u64, 0u64);
    let mut written = 0;
    while laps < 20 {
        // Odd lengths, so that the ring's end is met at every kind of place.
        let length = 1 + usize::try_from(number * 37 % 4001).expect("small");
        let mut bytes = vec![u8::try_from(number % 251).expect("a byte"); length];
        bytes.extend(number.to_le_bytes());
        match primary.append(&bytes) {
            Ok(commit) => drop(commit),
            Err(Error::JournalFull { .. }) => {
                primary
                    .save(number.to_le_bytes().to_vec())
                    .expect("saved")
                    .wait()
                    .expect("committed");
                primary
                    .append(&bytes)
                    .expect("there is room")
                    .wait()
                    .expect("committed");
            }
            Err(error) => panic!("{error}"),
        }
        written += length as u64;
        laps = written / primary.usage().capacity;
        number += 1;
        if number % 50 == 0 {
            let commit = primary.append(b"a mark").expect("appended");
            let sequence = commit.sequence();
            commit.wait().expect("committed");
            let sets = backup.read_all().expect("read");
            assert_eq!(sets.last_sequence(), sequence);
        }
    }
}

#[test]
fn a_set_that_can_never_fit_is_refused_as_such() {
    let server = Server::in_memory("16MiB");
    let session = server.session();
    session.create("r", &small()).expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    let limit = usize::try_from(primary.max_update()).expect("small");
    primary
        .append(vec![0; limit])
        .expect("fits")
        .wait()
        .expect("committed");
    let error = primary.append(vec![0; limit + 1]).err().expect("too large");
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}
