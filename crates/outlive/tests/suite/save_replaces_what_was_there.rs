//! C1: the current checkpoint replaces the previous one.

use crate::support::{Server, primary_of};

#[test]
fn a_saved_set_replaces_the_one_before() {
    let server = Server::in_memory("16MiB");
    let (session, primary) = primary_of(&server, "r");
    let first = primary
        .save(b"one".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    let second = primary
        .save(b"two".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    assert!(second.sequence > first.sequence);
    assert_eq!(second.bytes, 3);

    let sets = session.backup("r").expect("opened").read_all().expect("read");
    let snapshot = sets.snapshot.expect("a snapshot");
    assert_eq!(snapshot.bytes, b"two");
    assert_eq!(snapshot.sequence, second.sequence);
    assert!(sets.updates.is_empty());
}

#[test]
fn an_empty_set_and_one_of_the_largest_size_are_saved() {
    let server = Server::in_memory("16MiB");
    let (session, primary) = primary_of(&server, "r");
    primary
        .save(Vec::new())
        .expect("saved")
        .wait()
        .expect("committed");
    let mut backup = session.backup("r").expect("opened");
    assert_eq!(
        backup
            .read_all()
            .expect("read")
            .snapshot
            .expect("a snapshot")
            .bytes,
        b""
    );

    let largest = usize::try_from(primary.max_snapshot()).expect("small");
    let bytes: Vec<u8> = (0..largest)
        .map(|at| u8::try_from(at % 251).expect("a byte"))
        .collect();
    primary
        .save(bytes.clone())
        .expect("saved")
        .wait()
        .expect("committed");
    assert_eq!(
        backup
            .read_all()
            .expect("read")
            .snapshot
            .expect("a snapshot")
            .bytes,
        bytes
    );

    let error = primary.save(vec![0; largest + 1]).err().expect("too large");
    assert!(
        matches!(error, outlive::Error::TooLarge { limit, .. } if limit == largest as u64),
        "{error}"
    );
}
