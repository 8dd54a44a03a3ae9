//! U7, M8: while the manager is down open connections go on working; the next one rebuilds everything from the unit.

use std::time::Duration;

use outlive::{Error, OpenOptions, RegionSpec, SessionOptions};

use crate::support::{Server, primary_of};

#[test]
fn open_connections_go_on_and_the_next_one_knows_everything() {
    let mut server = Server::on_file("32MiB");
    let (session, primary) = primary_of(&server, "r");
    session
        .create("other", &RegionSpec::raw(1 << 20))
        .expect("created");
    primary
        .save(b"before".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    let mut backup = session.backup("r").expect("opened");
    assert_eq!(backup.read_new().expect("read").sets.len(), 1);
    let known = session.regions().expect("listed");

    server.stop_manager();
    for number in 0..100u8 {
        let receipt = primary
            .append([number])
            .expect("appended")
            .wait()
            .expect("committed");
        assert_eq!(receipt.incarnation, server.incarnation());
        let fresh = backup.read_new().expect("read");
        assert_eq!(fresh.sets.len(), 1);
        assert_eq!(fresh.sets[0].bytes, [number]);
    }
    primary
        .save(b"meanwhile".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    // What needs a manager says that there is none, and after which time.
    let short = SessionOptions {
        retry_for: Duration::from_millis(100),
    };
    let nobody = outlive::Session::connect_with(&server.context(), short)
        .err()
        .expect("nobody is there");
    assert!(matches!(nobody, Error::Unreachable { .. }), "{nobody}");

    server.resume_manager();
    assert_eq!(
        session.regions().expect("listed"),
        known,
        "and the owner is alive"
    );
    let owned = session.primary("r", &OpenOptions::default()).err();
    assert!(
        matches!(owned, Some(Error::Owned { generation: 1, .. })),
        "{owned:?}"
    );
    let receipt = primary
        .append(b"after")
        .expect("appended")
        .wait()
        .expect("committed");
    assert_eq!(receipt.generation, 1, "nobody was fenced");
    let sets = session.backup("r").expect("opened").read_all().expect("read");
    assert_eq!(sets.snapshot.expect("a snapshot").bytes, b"meanwhile");
    assert_eq!(sets.updates[0].bytes, b"after");
    primary.close().expect("closed");
    session.delete("r").expect("deleted");
}
