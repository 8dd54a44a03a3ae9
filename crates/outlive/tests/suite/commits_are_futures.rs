//! Commits and confirmations are awaited in async code, and sync calls work inside it.

use std::time::Duration;

use outlive::{OpenOptions, RegionSpec};
use tokio::task::JoinSet;

use crate::support::Server;

#[test]
fn many_tasks_await_their_commits() {
    let server = Server::on_file("32MiB");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let sequences = runtime.block_on(async {
        let session = server.session();
        session
            .create("r", &RegionSpec::checkpoint(8 << 20))
            .expect("created");
        let primary = std::sync::Arc::new(session.primary("r", &OpenOptions::default()).expect("opened"));
        let mut tasks = JoinSet::new();
        for number in 0..200u32 {
            let primary = std::sync::Arc::clone(&primary);
            tasks.spawn(async move {
                let receipt = primary
                    .append(number.to_le_bytes())
                    .expect("appended")
                    .await
                    .expect("committed");
                primary.confirm().expect("asked").await.expect("owned");
                receipt.sequence
            });
        }
        let saved = primary.save(vec![1; 100_000]).expect("saved");
        saved.await.expect("committed");
        let mut sequences: Vec<_> = tasks.join_all().await;
        sequences.sort_unstable();
        sequences
    });
    let mut unique = sequences.clone();
    unique.dedup();
    assert_eq!(unique.len(), 200);
}

#[test]
fn a_commit_that_is_dropped_half_awaited_changes_nothing() {
    let server = Server::on_file("32MiB");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let session = server.session();
        session
            .create("r", &RegionSpec::checkpoint(1 << 20))
            .expect("created");
        let primary = session.primary("r", &OpenOptions::default()).expect("opened");
        let commit = primary.append(b"dropped").expect("appended");
        let _ = tokio::time::timeout(Duration::ZERO, commit).await;
        primary
            .append(b"awaited")
            .expect("appended")
            .await
            .expect("committed");
        let sets = session.backup("r").expect("opened").read_all().expect("read");
        assert_eq!(sets.updates.len(), 2);
    });
}

#[test]
fn sessions_are_made_used_and_dropped_inside_async_code() {
    let server = Server::in_memory("16MiB");
    let context = server.context();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let session = outlive::Session::connect(&context).expect("a session");
        assert!(session.regions().expect("listed").is_empty());
        drop(session);
    });
}
