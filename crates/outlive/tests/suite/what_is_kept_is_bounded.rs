//! Sets that are not committed are kept within a bound; beyond it `append` waits, and a unit that stays away ends that.

use std::time::Duration;

use outlive::{Error, OpenOptions, RegionSpec};

use crate::support::{Server, eventually, primary_of};

#[test]
fn append_waits_for_room_and_not_for_ever() {
    let mut server = Server::in_memory("128MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(96 << 20).max_snapshot(1 << 20))
        .expect("created");
    let options = OpenOptions {
        retry_for: Some(Duration::from_millis(500)),
        ..OpenOptions::default()
    };
    let primary = session.primary("r", &options).expect("opened");
    server.stop();
    let mut commits = Vec::new();
    let error = loop {
        match primary.append(vec![1; 1 << 20]) {
            Ok(commit) => commits.push(commit),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(
        (1..=17).contains(&commits.len()),
        "{} MiB were kept",
        commits.len()
    );
    for commit in commits {
        assert!(matches!(commit.wait(), Err(Error::Unreachable { .. })));
    }
}

#[test]
fn sets_that_nobody_waits_for_are_committed_too() {
    let server = Server::on_file("16MiB");
    let (session, primary) = primary_of(&server, "r");
    let sequence = {
        let commit = primary.append(b"on its own").expect("appended");
        commit.sequence()
    };
    eventually(|| (primary.committed() >= sequence).then_some(()));
    let mut backup = session.backup("r").expect("opened");
    assert_eq!(backup.read_all().expect("read").updates[0].bytes, b"on its own");
}

#[test]
fn close_commits_first_and_a_dropped_handle_leaves_nothing_hanging() {
    let server = Server::on_file("16MiB");
    let (session, primary) = primary_of(&server, "r");
    let commits: Vec<_> = (0..100u8)
        .map(|number| primary.append([number]).expect("appended"))
        .collect();
    primary.close().expect("closed");
    for commit in commits {
        commit.wait().expect("committed before it was closed");
    }
    let again = session
        .primary("r", &OpenOptions::default())
        .expect("nobody owns it");
    let commit = again.append(b"outstanding").expect("appended");
    drop(again);
    match commit.wait() {
        Ok(receipt) => assert_eq!(receipt.generation, 2),
        Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
    }
    session
        .primary("r", &OpenOptions::default())
        .expect("a dropped handle has given it up");
}
