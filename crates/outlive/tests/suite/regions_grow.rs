//! M4: a region grows under its owner, also while the journal is wrapped; readers go on.

use std::time::Duration;

use outlive::{BackupOptions, Error, OpenOptions, RegionSpec, TakeoverOptions};

use crate::support::Server;

#[test]
fn a_wrapped_journal_keeps_every_set_when_the_region_grows() {
    let server = Server::on_file("32MiB");
    let session = server.session();
    let spec = RegionSpec::checkpoint(512 << 10).max_snapshot(64 << 10);
    let size = session.create("r", &spec).expect("created").size;
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    let mut follower = session.backup("r").expect("opened");
    let capacity = primary.usage().capacity;
    // To the middle of the ring, then a snapshot there, then round its end.
    let fill = |bytes: u64| {
        let mut expected = Vec::new();
        let until = primary.usage().used + bytes;
        while primary.usage().used < until {
            let set = vec![u8::try_from(expected.len() % 251).expect("a byte"); 2000];
            drop(primary.append(&set).expect("appended"));
            expected.push(set);
        }
        expected
    };
    fill(capacity * 6 / 10);
    primary
        .save(b"in the middle".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    let mut expected = fill(capacity * 8 / 10);
    assert!(matches!(primary.resize(size / 2), Err(Error::Invalid { .. })));
    primary.resize(4 * size).expect("grown");
    assert_eq!(session.describe("r").expect("described").size, 4 * size);
    assert!(primary.usage().capacity > capacity + 2 * size);
    expected.extend(fill(2 * capacity));
    primary
        .append(b"the end")
        .expect("appended")
        .wait()
        .expect("committed");
    expected.push(b"the end".to_vec());

    let sets = session.backup("r").expect("opened").read_all().expect("read");
    assert_eq!(
        sets.snapshot.as_ref().expect("a snapshot").bytes,
        b"in the middle"
    );
    assert!(
        sets.updates.iter().map(|set| &set.bytes).eq(&expected),
        "a set is missing or another"
    );
    let followed = follower
        .read_all()
        .expect("a reader of the smaller region goes on");
    assert_eq!(followed, sets);
    // And who opens it next finds it so.
    let taken = follower
        .takeover(&TakeoverOptions::default())
        .expect("taken over");
    assert!(taken.unread.is_empty());
    assert_eq!(taken.primary.read_all().expect("read"), sets);
}

#[test]
fn a_backup_does_not_take_growth_for_a_failure() {
    let server = Server::on_file("64MiB");
    let session = server.session();
    let spec = RegionSpec::checkpoint(1 << 20);
    session.create("r", &spec).expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    // Silence is not what is asked about: only whether the owner is told as lost.
    let options = BackupOptions {
        suspect_after: Duration::ZERO,
        ..BackupOptions::default()
    };
    let mut backup = session.backup_with("r", &options).expect("opened");
    let watch = std::thread::spawn(move || backup.await_failure(Duration::from_secs(2)));
    for size in [4_u64 << 20, 16 << 20, 24 << 20] {
        primary.resize(size).expect("grown");
        primary.append(b"x").expect("appended").wait().expect("committed");
    }
    let suspicion = watch.join().expect("no panic").expect("the unit is there");
    assert_eq!(suspicion, None);
}
