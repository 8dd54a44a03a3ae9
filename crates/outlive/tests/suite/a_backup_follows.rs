//! C6: the backup reads part of the sets periodically, while the primary goes on writing.

use std::collections::VecDeque;
use std::thread;

use crate::support::{Server, eventually, primary_of};
use outlive::{BackupOptions, Follow, OpenOptions, RegionSpec, SetKind};

#[test]
fn each_set_is_read_once_and_in_order_while_the_primary_writes() {
    let server = Server::in_memory("64MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(16 << 20))
        .expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    let mut backup = session.backup("r").expect("opened");
    const SETS: u32 = 20_000;
    let writer = thread::spawn(move || {
        for number in 0..SETS {
            drop(primary.append(number.to_le_bytes()).expect("appended"));
        }
        primary
            .append(b"the end")
            .expect("appended")
            .wait()
            .expect("committed");
        primary
    });
    let mut expected = 0;
    eventually(|| {
        let fresh = backup.read_new().expect("read");
        assert!(fresh.overrun.is_none());
        for set in fresh.sets {
            if set.bytes == b"the end" {
                return Some(());
            }
            assert_eq!(set.bytes, u32::to_le_bytes(expected));
            expected += 1;
        }
        None
    });
    assert_eq!(expected, SETS);
    drop(writer.join().expect("no panic"));
}

#[test]
fn snapshots_come_in_their_place_or_not_at_all() {
    let server = Server::in_memory("16MiB");
    let (session, primary) = primary_of(&server, "r");
    let mut all = session.backup("r").expect("opened");
    let options = BackupOptions {
        follow: Follow::Updates,
        ..BackupOptions::default()
    };
    let mut updates = session.backup_with("r", &options).expect("opened");
    assert!(all.read_new().expect("read").sets.is_empty());
    assert!(updates.read_new().expect("read").sets.is_empty());

    primary.append(b"1").expect("appended").wait().expect("committed");
    primary
        .save(b"s2".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    primary.append(b"3").expect("appended").wait().expect("committed");
    let kinds = |fresh: &outlive::Fresh| fresh.sets.iter().map(|set| set.kind).collect::<Vec<_>>();
    let fresh = all.read_new().expect("read");
    assert_eq!(
        kinds(&fresh),
        [SetKind::Update, SetKind::Snapshot, SetKind::Update]
    );
    assert_eq!(fresh.sets[1].bytes, b"s2");
    assert_eq!(
        kinds(&updates.read_new().expect("read")),
        [SetKind::Update, SetKind::Update]
    );
    assert!(all.read_new().expect("read").sets.is_empty(), "nothing is new");

    primary
        .save(b"s4".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    assert_eq!(kinds(&all.read_new().expect("read")), [SetKind::Snapshot]);
    assert!(updates.read_new().expect("read").sets.is_empty());
}

#[test]
fn one_call_returns_a_bounded_number_of_bytes() {
    let server = Server::in_memory("16MiB");
    let (session, primary) = primary_of(&server, "r");
    let options = BackupOptions {
        batch_bytes: 1000,
        ..BackupOptions::default()
    };
    let mut backup = session.backup_with("r", &options).expect("opened");
    assert!(backup.read_new().expect("read").sets.is_empty());
    let mut sent: VecDeque<_> = (0..50u8).map(|number| vec![number; 300]).collect();
    for bytes in &sent {
        primary
            .append(bytes)
            .expect("appended")
            .wait()
            .expect("committed");
    }
    let mut more = true;
    while more {
        let fresh = backup.read_new().expect("read");
        assert!((1..=3).contains(&fresh.sets.len()), "{} sets", fresh.sets.len());
        for set in fresh.sets {
            assert_eq!(Some(set.bytes), sent.pop_front());
        }
        more = fresh.more;
    }
    assert!(sent.is_empty());
}
