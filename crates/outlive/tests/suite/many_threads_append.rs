//! Many threads append to one primary; commits are in order of sequence, and share their flushes.

use std::thread;

use outlive::{Level, OpenOptions, RegionSpec};

use crate::support::Server;

#[test]
fn threads_share_flushes_and_lose_nothing() {
    const THREADS: u8 = 8;
    const SETS: u8 = 100;
    let server = Server::on_file("32MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(8 << 20))
        .expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    let flushes = || session.status().expect("status").units[0].flushes;
    let before = flushes();
    let mut receipts: Vec<_> = thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let primary = &primary;
                scope.spawn(move || {
                    let receipts: Vec<_> = (0..SETS)
                        .map(|number| {
                            primary
                                .append([thread, number])
                                .expect("appended")
                                .wait()
                                .expect("committed")
                        })
                        .collect();
                    assert!(
                        receipts
                            .windows(2)
                            .all(|pair| pair[0].sequence < pair[1].sequence)
                    );
                    receipts
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|writer| writer.join().expect("no panic"))
            .collect()
    });
    let commits = u64::from(THREADS) * u64::from(SETS);
    let used = flushes() - before;
    assert!(used < commits, "{used} flushes for {commits} commits");
    receipts.sort_by_key(|receipt| receipt.sequence);
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt.level == Level::Persistent && receipt.method.is_some())
    );
    assert_eq!(primary.committed(), receipts.last().expect("some").sequence);
    let sets = session.backup("r").expect("opened").read_all().expect("read");
    assert_eq!(
        sets.updates.iter().map(|set| set.sequence).collect::<Vec<_>>(),
        receipts
            .iter()
            .map(|receipt| receipt.sequence)
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_commit_is_there_only_when_all_before_it_are() {
    let server = Server::on_file("32MiB");
    let session = server.session();
    session
        .create("r", &RegionSpec::checkpoint(8 << 20))
        .expect("created");
    let primary = session.primary("r", &OpenOptions::default()).expect("opened");
    let commits: Vec<_> = (0..500u32)
        .map(|number| primary.append(number.to_le_bytes()).expect("appended"))
        .collect();
    let middle = commits[250].sequence();
    let receipt = commits[250]
        .wait_for(std::time::Duration::from_secs(30))
        .expect("committed")
        .expect("in time");
    assert_eq!(receipt.sequence, middle);
    assert!(primary.committed() >= middle);
    for commit in &commits[..250] {
        let done = commit.wait_for(std::time::Duration::ZERO).expect("committed");
        assert!(done.is_some(), "it was acknowledged after one behind it");
    }
}
