//! C8, C1: no backup, a slow or a dead one neither blocks nor slows the primary; what is overwritten while it is read is
//! read again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use outlive::{BackupOptions, Follow, OpenOptions, RegionSpec, SetKind};

use crate::support::Server;

fn small() -> RegionSpec {
    RegionSpec::checkpoint(512 << 10).max_snapshot(64 << 10)
}

#[test]
fn a_slow_backup_is_overrun_and_goes_on_from_the_snapshot() {
    let server = Server::in_memory("16MiB");
    let session = server.session();
    session.create("r", &small()).expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    let options = BackupOptions {
        follow: Follow::Updates,
        ..BackupOptions::default()
    };
    let mut slow = session.backup_with("r", &options).expect("opened");
    let dead = session.backup("r").expect("opened");
    let first = primary
        .append(b"read")
        .expect("appended")
        .wait()
        .expect("committed");
    assert_eq!(slow.read_new().expect("read").sets.len(), 1);
    // Several laps of the ring, with nobody reading.
    for _ in 0..20 {
        for _ in 0..20 {
            primary
                .append(vec![1; 4000])
                .expect("appended")
                .wait()
                .expect("committed");
        }
        primary
            .save(b"covers them".to_vec())
            .expect("saved")
            .wait()
            .expect("committed");
    }
    primary
        .append(b"last")
        .expect("appended")
        .wait()
        .expect("committed");
    let fresh = slow.read_new().expect("read");
    let gap = fresh.overrun.expect("sets were overwritten");
    assert_eq!(gap.from, first.sequence + 1);
    assert!(gap.to >= first.sequence + 400);
    let kinds: Vec<_> = fresh.sets.iter().map(|set| set.kind).collect();
    assert_eq!(kinds, [SetKind::Snapshot, SetKind::Update]);
    assert_eq!(fresh.sets[0].bytes, b"covers them");
    assert_eq!(fresh.sets[1].bytes, b"last");
    drop(dead);
}

#[test]
fn a_snapshot_that_is_overwritten_while_it_is_read_is_never_a_mix() {
    let server = Server::in_memory("32MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(8 << 20))
        .expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..60u8 {
                primary
                    .save(vec![number; 1 << 20])
                    .expect("saved")
                    .wait()
                    .expect("committed");
            }
            ended.store(true, Ordering::Release);
        });
        let mut backup = session.backup("r").expect("opened");
        let (mut last, mut reads) = (None, 0);
        while !ended.load(Ordering::Acquire) {
            match backup.read_all() {
                Ok(sets) => {
                    let Some(snapshot) = sets.snapshot else { continue };
                    let number = snapshot.bytes[0];
                    assert!(snapshot.bytes.iter().all(|byte| *byte == number), "a mix of two");
                    assert_eq!(snapshot.bytes.len(), 1 << 20);
                    assert!(
                        last.is_none_or(|last| last <= snapshot.sequence),
                        "an older one came back"
                    );
                    last = Some(snapshot.sequence);
                    reads += 1;
                }
                // The bounded end of trying again; the primary saves without a pause.
                Err(outlive::Error::Overwritten { tries, .. }) => assert!(tries > 1),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(reads > 0);
        assert_eq!(
            backup
                .read_all()
                .expect("read")
                .snapshot
                .expect("a snapshot")
                .bytes[0],
            59
        );
    });
}

#[test]
fn fifty_readers_of_one_region_read_the_same() {
    let server = Server::in_memory("32MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(8 << 20))
        .expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    primary
        .save(vec![3; 1 << 20])
        .expect("saved")
        .wait()
        .expect("committed");
    let mut backups: Vec<_> = (0..50).map(|_| session.backup("r").expect("opened")).collect();
    thread::scope(|scope| {
        for backup in &mut backups {
            scope.spawn(|| {
                let sets = backup.read_all().expect("read");
                assert!(sets.snapshot.expect("a snapshot").bytes == vec![3; 1 << 20]);
            });
        }
        for number in 0..50u8 {
            primary
                .append([number])
                .expect("appended")
                .wait()
                .expect("committed");
        }
    });
    assert!(
        backups
            .iter_mut()
            .all(|backup| backup.read_all().expect("read").updates.len() == 50)
    );
}
