//! Snapshots: the journal is lapped many times, and a newcomer catches up.

use outlive::RegionSpec;
use outlive_pair::{CallError, Request, Role};

use crate::support::{Server, ask, becomes, config, number, settled, within};

/// Adds one, with so many bytes in the journal.
fn padded(bytes: usize) -> Request {
    let mut body = b"add 1 ".to_vec();
    body.resize(bytes, b'.');
    Request::plain(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_lapped_under_load_and_a_newcomer_has_everything() {
    const TASKS: usize = 8;
    const EACH: usize = 300;
    let server = Server::start();
    let mut small = config("pair", "a:1");
    small.region = Some(RegionSpec::checkpoint(512 << 10));
    let first = server.member_with(small.clone());
    settled(&first, Role::Primary).await;
    // One backup follows through all laps.
    let second = server.member_with({
        let mut config = small.clone();
        config.advertise = "b:2".into();
        config
    });
    settled(&second, Role::Backup).await;

    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let member = first.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    ask(std::slice::from_ref(&member), &padded(2000)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        within(task).await.expect("no panic");
    }
    let total = i64::try_from(TASKS * EACH).expect("small");
    let metrics = first.metrics();
    assert!(metrics.snapshots >= 5, "{metrics:?}");
    assert!(
        metrics.journal_capacity_bytes * 5 < 2000 * (TASKS * EACH) as u64,
        "many laps: {metrics:?}"
    );
    assert_eq!(number(&first, Request::plain("get")).await, Ok(total));

    // The follower has it all; and so has one that joins now and reads a snapshot and the rest.
    within(first.leave()).await;
    becomes(&second, Role::Primary).await;
    assert_eq!(number(&second, Request::plain("get")).await, Ok(total));
    let third = server.member_with({
        let mut config = small;
        config.advertise = "c:3".into();
        config
    });
    settled(&third, Role::Backup).await;
    within(second.leave()).await;
    becomes(&third, Role::Primary).await;
    assert_eq!(number(&third, Request::plain("add 1")).await, Ok(total + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_outgrew_its_snapshots_is_said_and_reads_go_on() {
    let server = Server::start();
    let mut small = config("pair", "a:1");
    small.region = Some(RegionSpec::checkpoint(512 << 10).max_snapshot(64 << 10));
    let member = server.member_with(small);
    settled(&member, Role::Primary).await;
    within(member.call(Request::plain("fill 100000")))
        .await
        .expect("filled");
    let mut added = 0;
    let full = loop {
        match number(&member, padded(4000)).await {
            Ok(value) => added = value,
            Err(error) => break error,
        }
        assert!(added < 10_000, "never full");
    };
    assert!(matches!(full, CallError::Full { .. }), "{full:?}");
    assert_eq!(number(&member, Request::plain("get")).await, Ok(added));
}
