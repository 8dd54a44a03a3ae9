//! P3, X1: after the grant not one byte of the old primary's lands, whatever it still sends; it ends with `Fenced`.

use std::thread;

use crate::support::{Server, primary_of, whole_region};
use outlive::{Error, OpenOptions, TakeoverOptions};

#[test]
fn a_hammering_primary_is_fenced_for_good() {
    let server = Server::in_memory("32MiB");
    let session = server.session();
    session
        .create("r", &outlive::RegionSpec::checkpoint(8 << 20))
        .expect("created");
    // Without heartbeats, so that whatever changes the region would be one of its sets.
    let quiet = OpenOptions {
        heartbeat: std::time::Duration::ZERO,
        ..OpenOptions::default()
    };
    let old = session.primary("r", &quiet).expect("opened");
    thread::scope(|scope| {
        let hammers: Vec<_> = (0..2)
            .map(|number| {
                let old = &old;
                scope.spawn(move || {
                    loop {
                        let done = old.append(vec![number; 3000]).and_then(outlive::Commit::wait);
                        match done {
                            Ok(_) => {}
                            Err(Error::JournalFull { .. }) => {
                                match old.save(vec![9; 100_000]).map(outlive::Commit::wait) {
                                    Ok(Ok(_)) => {}
                                    Ok(Err(error)) | Err(error) => return error,
                                }
                            }
                            Err(error) => return error,
                        }
                    }
                })
            })
            .collect();
        let mut backup = session.backup("r").expect("opened");
        while backup.read_new().expect("read").sets.is_empty() {}
        let mut options = TakeoverOptions::default();
        options.open.heartbeat = std::time::Duration::ZERO;
        let new = backup.takeover(&options).expect("taken over");
        let before = whole_region(&session, "r");
        for hammer in hammers {
            let error = hammer.join().expect("no panic");
            assert!(matches!(error, Error::Fenced { generation: 2, .. }), "{error}");
        }
        for _ in 0..100 {
            assert!(old.append(b"again").err().is_some_and(|error| error.is_fenced()));
            assert!(
                old.save(b"again".to_vec())
                    .err()
                    .is_some_and(|error| error.is_fenced())
            );
            assert!(old.clear().err().is_some_and(|error| error.is_fenced()));
            assert!(old.confirm().err().is_some_and(|error| error.is_fenced()));
        }
        assert!(old.ended().is_some_and(|error| error.is_fenced()));
        assert!(
            before == whole_region(&session, "r"),
            "a byte of the region changed"
        );
        new.primary
            .append(b"goes on")
            .expect("appended")
            .wait()
            .expect("committed");
    });
}

#[test]
fn whatever_is_outstanding_ends_with_fenced() {
    let server = Server::in_memory("16MiB");
    let (session, old) = primary_of(&server, "r");
    let mut backup = session.backup("r").expect("opened");
    let committed = old
        .append(b"committed")
        .expect("appended")
        .wait()
        .expect("committed");
    let _new = backup.takeover(&TakeoverOptions::default()).expect("taken over");
    // Nothing has told the old primary yet: its posts are taken, and none can be committed.
    let outcome = old.confirm().and_then(outlive::Confirm::wait);
    assert!(outcome.is_err_and(|error| error.is_fenced()));
    let outcome = old.append(b"late").and_then(outlive::Commit::wait);
    assert!(outcome.is_err_and(|error| error.is_fenced()));
    assert_eq!(old.committed(), committed.sequence);
}
