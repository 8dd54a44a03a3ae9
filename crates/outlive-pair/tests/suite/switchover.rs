//! Planned hand-over: no request is lost, and none is left in doubt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outlive_pair::{CallError, Member, Request, Role};

use crate::support::{Server, ask, becomes, eventually, open_session, settled, within};

#[tokio::test(flavor = "multi_thread")]
async fn switchover_under_load_loses_no_request_and_leaves_none_in_doubt() {
    const TASKS: u64 = 6;
    let server = Server::start();
    let first = server.member("pair", "a:1");
    settled(&first, Role::Primary).await;
    let second = server.member("pair", "b:2");
    settled(&second, Role::Backup).await;
    let members = [first.clone(), second.clone()];

    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let (members, stop) = (members.clone(), Arc::clone(&stop));
        tasks.push(tokio::spawn(async move {
            let session = open_session(&members).await;
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                sent += 1;
                ask(&members, &Request::numbered(session, sent, "add 1")).await;
            }
            sent
        }));
    }
    // Once through each way: the member itself, and the manager as `outlive switchover` does.
    within(first.switchover()).await.expect("handed over");
    becomes(&second, Role::Primary).await;
    let session = server.session();
    eventually(|| {
        let status = session.status().expect("a status");
        let pair = status.pairs.into_iter().find(|pair| pair.name == "pair")?;
        let role = |address| {
            let member = pair.members.iter().find(|member| member.address == address)?;
            Some(member.role)
        };
        let swapped = (Some(outlive::Role::Backup), Some(outlive::Role::Primary));
        ((role("a:1"), role("b:2")) == swapped).then_some(())
    })
    .await;
    let view = within(tokio::task::spawn_blocking(move || {
        session.switchover("pair", Duration::from_secs(30))
    }))
    .await
    .expect("no panic")
    .expect("handed over");
    assert_eq!(
        (view.old_primary.as_str(), view.new_primary.as_str()),
        ("b:2", "a:1")
    );
    becomes(&first, Role::Primary).await;
    stop.store(true, Ordering::Relaxed);
    let mut sent = 0;
    for task in tasks {
        sent += within(task).await.expect("no panic");
    }
    assert_eq!(
        ask(&members, &Request::plain("get")).await,
        sent.to_string().into_bytes()
    );
    let unknown: u64 = members
        .iter()
        .map(|member| member.metrics().outcomes_unknown)
        .sum();
    assert_eq!(unknown, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_backup_the_primary_takes_its_region_back() {
    let server = Server::start();
    let alone = server.member("pair", "a:1");
    settled(&alone, Role::Primary).await;
    ask(std::slice::from_ref(&alone), &Request::plain("add 3")).await;
    let view = within(alone.switchover()).await.expect("back");
    assert_eq!(view.role, Role::Primary);
    assert_eq!(ask(&[alone], &Request::plain("get")).await, b"3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_cannot_hand_over() {
    let server = Server::start();
    let first = server.member("pair", "a:1");
    settled(&first, Role::Primary).await;
    let second: Member = server.member("pair", "b:2");
    settled(&second, Role::Backup).await;
    let refused = within(second.switchover()).await;
    assert_eq!(
        refused,
        Err(CallError::NotPrimary {
            primary: Some("a:1".into())
        })
    );
}
