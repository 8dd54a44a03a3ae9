//! X2: a receipt says level, method, incarnation, generation and sequence; an unknown level is refused.

use outlive::{Error, Level, OpenOptions, PersistMethod, RegionSpec};

use crate::support::Server;

#[test]
fn memory_media_promise_placement_only() {
    let server = Server::in_memory("16MiB");
    let session = server.session();
    let created = session
        .create("r", &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    let persistent = OpenOptions {
        level: Some(Level::Persistent),
        ..OpenOptions::default()
    };
    let error = session.primary("r", &persistent).err().expect("refused");
    assert!(
        matches!(
            error,
            Error::Level {
                level: Level::Persistent,
                ..
            }
        ),
        "{error}"
    );
    let primary = session
        .primary("r", &OpenOptions::default())
        .expect("the refused owner has given it up");
    assert_eq!(primary.level(), Level::Placed);
    let receipt = primary
        .append(b"four")
        .expect("appended")
        .wait()
        .expect("committed");
    assert_eq!((receipt.level, receipt.method), (Level::Placed, None));
    assert_eq!(
        (receipt.region, receipt.generation, receipt.bytes),
        (created.id, primary.generation(), 4)
    );
    assert_eq!(receipt.incarnation, server.incarnation());
}

#[test]
fn file_media_persist_by_a_flush_of_the_unit_unless_less_is_chosen() {
    let server = Server::on_file("16MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(1 << 20))
        .expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    for receipt in [
        primary
            .append(b"one")
            .expect("appended")
            .wait()
            .expect("committed"),
        primary
            .save(b"two".to_vec())
            .expect("saved")
            .wait()
            .expect("committed"),
        primary.clear().expect("cleared").wait().expect("committed"),
    ] {
        assert_eq!(receipt.level, Level::Persistent);
        assert_eq!(receipt.method, Some(PersistMethod::TargetFlush));
        assert!(receipt.to_string().contains("persistent"), "{receipt}");
    }
    primary.close().expect("closed");

    let flushes = || session.status().expect("status").units[0].flushes;
    let placed = OpenOptions {
        level: Some(Level::Placed),
        ..OpenOptions::default()
    };
    let primary = session.primary("r", &placed).expect("opened");
    let before = flushes();
    let receipt = primary
        .append(b"three")
        .expect("appended")
        .wait()
        .expect("committed");
    assert_eq!((receipt.level, receipt.method), (Level::Placed, None));
    primary
        .save(b"four".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    assert_eq!(flushes(), before, "placed commits flush nothing");
}
