//! C2, C3, C5: updates are appended to a full set, and read together.

use crate::support::{Server, primary_of};

#[test]
fn updates_follow_the_snapshot_in_order() {
    let server = Server::in_memory("16MiB");
    let (session, primary) = primary_of(&server, "r");
    primary
        .append(b"before")
        .expect("appended")
        .wait()
        .expect("committed");
    primary
        .save(b"full".to_vec())
        .expect("saved")
        .wait()
        .expect("committed");
    let commits: Vec<_> = (0..100u32)
        .map(|number| primary.append(number.to_le_bytes()).expect("appended"))
        .collect();
    let mut last = 0;
    for commit in commits {
        let sequence = commit.sequence();
        let receipt = commit.wait().expect("committed");
        assert_eq!(receipt.sequence, sequence);
        assert!(sequence > last, "sequences rise");
        last = sequence;
    }
    assert_eq!(primary.committed(), last);

    let sets = session.backup("r").expect("opened").read_all().expect("read");
    assert_eq!(sets.snapshot.as_ref().expect("a snapshot").bytes, b"full");
    let numbers: Vec<_> = sets.updates.iter().map(|set| set.bytes.clone()).collect();
    let expected: Vec<_> = (0..100u32).map(|number| number.to_le_bytes().to_vec()).collect();
    assert_eq!(numbers, expected);
    assert_eq!(sets.last_sequence(), last);
    assert_eq!(
        primary.read_all().expect("read"),
        sets,
        "the owner reads the same"
    );
}
