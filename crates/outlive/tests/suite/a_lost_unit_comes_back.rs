//! U7: a primary and its backup live through the unit's restart; what is lost is said.

use std::thread;
use std::time::Duration;

use crate::support::{Server, eventually, primary_of};
use outlive::{Error, Level, OpenOptions, RegionSpec};

#[test]
fn nothing_committed_or_on_its_way_is_missing_after_a_restart_on_file_media() {
    let mut server = Server::on_file("32MiB");
    let (session, primary) = primary_of(&server, "r");
    primary
        .save(b"full".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    let first = primary
        .append(b"before")
        .expect("appended")
        .wait()
        .expect("committed");
    let mut backup = session.backup("r").expect("opened");
    assert_eq!(backup.read_new().expect("read").sets.len(), 2);

    server.stop();
    // The unit is away: these are kept, and sent when it is back.
    let outstanding: Vec<_> = (0..10u8)
        .map(|number| primary.append([number]).expect("appended"))
        .collect();
    let saved = primary.save(b"saved meanwhile".to_vec()).expect("saved");
    server.resume();
    for commit in outstanding {
        let receipt = commit.wait().expect("committed");
        assert_eq!(receipt.incarnation, server.incarnation());
        assert_eq!(
            receipt.generation, first.generation,
            "a reconnect keeps the generation"
        );
    }
    saved.wait().expect("committed");
    assert!(first.incarnation < server.incarnation());
    let sets = backup.read_all().expect("read");
    assert_eq!(sets.snapshot.expect("a snapshot").bytes, b"saved meanwhile");
    primary
        .append(b"after")
        .expect("appended")
        .wait()
        .expect("committed");
    assert_eq!(backup.read_all().expect("read").updates[0].bytes, b"after");
}

#[test]
fn writers_live_through_several_restarts() {
    let mut server = Server::on_file("32MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(8 << 20))
        .expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    const SETS: u32 = 3000;
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..SETS {
                let commit = primary.append(number.to_le_bytes()).expect("appended");
                if number % 7 == 0 {
                    commit.wait().expect("committed");
                }
            }
            primary
                .append(b"the end")
                .expect("appended")
                .wait()
                .expect("committed");
        });
        for share in 1..4 {
            eventually(|| (primary.committed() > u64::from(SETS * share / 5)).then_some(()));
            server.restart();
        }
        writer.join().expect("no panic");
    });
    let sets = session.backup("r").expect("opened").read_all().expect("read");
    let expected: Vec<_> = (0..SETS)
        .map(|number| number.to_le_bytes().to_vec())
        .chain([b"the end".to_vec()])
        .collect();
    assert_eq!(
        sets.updates.into_iter().map(|set| set.bytes).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn a_medium_that_lost_everything_is_told_as_such() {
    let mut server = Server::in_memory("16MiB");
    let (session, primary) = primary_of(&server, "r");
    let receipt = primary
        .append(b"only placed")
        .expect("appended")
        .wait()
        .expect("committed");
    assert_eq!(receipt.level, Level::Placed);
    server.restart();
    let error = primary
        .append(b"more")
        .and_then(outlive::Commit::wait)
        .expect_err("the region is gone");
    assert!(matches!(error, Error::NoSuchRegion { .. }), "{error}");
    assert!(matches!(
        session.backup("r").err(),
        Some(Error::NoSuchRegion { .. })
    ));
}

#[test]
fn committed_sets_that_the_unit_lost_are_named() {
    let mut server = Server::on_file("16MiB");
    let (_session, primary) = primary_of(&server, "r");
    let kept = primary
        .append(b"a set that stays")
        .expect("appended")
        .wait()
        .expect("committed");
    let lost = primary
        .append(b"a set that is lost")
        .expect("appended")
        .wait()
        .expect("committed");
    server.stop();
    // As if the device had lost its cache: the last set is not there.
    let at = crate::support::find_in(&server.medium(), b"a set that is lost");
    crate::support::overwrite(&server.medium(), at - 112, &[0; 130]);
    server.resume();
    let error = primary
        .append(b"more")
        .and_then(outlive::Commit::wait)
        .expect_err("sets are lost");
    let Error::Lost { from, to, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((from, to), (kept.sequence + 1, lost.sequence));
}

#[test]
fn a_verified_snapshot_that_the_unit_lost_is_named() {
    let mut server = Server::on_file("16MiB");
    let (_session, primary) = primary_of(&server, "r");
    let save = |bytes: &[u8]| primary.save(bytes).expect("saved").wait().expect("committed");
    let first = save(b"a snapshot that stays");
    let lost = save(b"a snapshot that is lost");
    server.stop();
    // The journal still leads on from the first one: but the primary would overwrite it, for the second one's sake.
    let at = crate::support::find_in(&server.medium(), b"a snapshot that is lost");
    crate::support::overwrite(&server.medium(), at, &[0; 10]);
    server.resume();
    let error = primary
        .append(b"more")
        .and_then(outlive::Commit::wait)
        .expect_err("a snapshot is lost");
    let Error::Lost { from, to, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((from, to), (first.sequence + 1, lost.sequence));
}

#[test]
fn a_unit_that_stays_away_ends_the_primary_with_the_time_it_was_tried() {
    let mut server = Server::on_file("16MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    let retry_for = Duration::from_millis(300);
    let options = OpenOptions {
        retry_for: Some(retry_for),
        ..OpenOptions::default()
    };
    let primary = session.primary("r", &options).expect("opened");
    server.stop();
    let error = primary
        .append(b"lost")
        .and_then(outlive::Commit::wait)
        .expect_err("unreachable");
    assert!(
        matches!(error, Error::Unreachable { tried, .. } if tried >= retry_for),
        "{error}"
    );
    assert!(primary.save(b"lost".to_vec()).is_err());
    server.resume();
    // For a while the manager expects the owner back; then it is gone.
    let session = server.session();
    let again = eventually(|| match session.primary("r", &OpenOptions::default()) {
        Ok(primary) => Some(primary),
        Err(Error::Owned { .. }) => None,
        Err(error) => panic!("{error}"),
    });
    assert_eq!(again.generation(), 2);
}
