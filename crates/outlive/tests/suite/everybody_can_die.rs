//! U7: with primary, backup and unit dead, a new process finds everything that was committed.

use outlive::{Error, OpenOptions, RegionSpec};

use crate::support::{Server, child, eventually};

#[test]
fn a_new_process_finds_what_was_committed() {
    let mut server = Server::on_file("32MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(4 << 20))
        .expect("created");
    let mut writer = child::start("everybody_can_die::writing_process", &server, "r");
    writer.kill();
    drop(session);
    server.restart();

    let session = server.session();
    let primary = eventually(|| match session.primary("r", &OpenOptions::default()) {
        Ok(primary) => Some(primary),
        // The manager expects the owner back for a while.
        Err(Error::Owned { .. }) => None,
        Err(error) => panic!("{error}"),
    });
    let sets = primary.read_all().expect("read");
    assert_eq!(sets.snapshot.expect("a snapshot").bytes, vec![5; 500_000]);
    let updates: Vec<_> = sets.updates.into_iter().map(|set| set.bytes).collect();
    let expected: Vec<_> = (0..200u32).map(|number| number.to_le_bytes().to_vec()).collect();
    assert_eq!(updates, expected);
}

/// Not a test by itself: the primary that is killed.
#[test]
fn writing_process() {
    child::run(|session, region| {
        let primary = session.primary(region, &OpenOptions::default()).expect("opened");
        primary
            .append(b"before")
            .expect("appended")
            .wait()
            .expect("committed");
        primary
            .save(vec![5; 500_000])
            .expect("saved")
            .wait()
            .expect("committed");
        let commits: Vec<_> = (0..200u32)
            .map(|number| primary.append(number.to_le_bytes()).expect("appended"))
            .collect();
        for commit in commits {
            commit.wait().expect("committed");
        }
        primary
    });
}
