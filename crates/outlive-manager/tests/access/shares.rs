//! One identity cannot use up what all share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outlive_manager::limits;
use outlive_proto::v1::ErrorCode;

use crate::support::faults::{Fuse, fused_admin};
use crate::support::{self, Calls, World, memory, raw};

#[tokio::test(flavor = "multi_thread")]
async fn the_opens_of_one_identity_are_bounded_and_others_still_open() {
    let unit = support::unit(&memory(64));
    let mut options = support::options(unit.admin_client());
    (options.identity_opens_per_second, options.identity_open_burst) = (1, 3);
    let world = World::with(unit, options).await;
    support::create(&world.client, raw("r", &["p", "q"], &[]))
        .await
        .unwrap();
    let (p, q) = (world.client_as("p"), world.client_as("q"));
    let mut refused = None;
    for number in 0..100 {
        match p.backup("r").await {
            Ok(_) => assert!(number < 99, "never refused"),
            Err(error) => {
                assert!(number >= 3, "refused at once");
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.code, ErrorCode::Limit);
    assert!(refused.message.contains("p opens more than 1"), "{refused}");
    for _ in 0..3 {
        q.backup("r").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_one_identity_are_bounded_and_others_are_answered() {
    let unit = support::unit(&memory(64));
    let fuse = Fuse::new();
    let admin = fused_admin(unit.admin_client(), Arc::clone(&fuse)).await;
    let world = World::with(unit, support::options(admin)).await;
    support::create(&world.client, raw("r", &["p"], &["b"]))
        .await
        .unwrap();
    let held = fuse.admitting.lock().await;
    let p = world.client_as("p");
    let calls: Vec<_> = (0..limits::CALLS_PER_IDENTITY)
        .map(|_| {
            let p = p.clone();
            tokio::spawn(async move { p.backup("r").await })
        })
        .collect();
    let refused = loop {
        match p.show("r").await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.code, ErrorCode::Limit);
    assert!(refused.message.contains("p has"), "{refused}");
    world.client_as("b").show("r").await.unwrap();
    world.client.show("r").await.unwrap();
    drop(held);
    for call in calls {
        // All but one waited for the region; who waited too long was told so.
        if let Err(error) = call.await.unwrap() {
            assert_eq!(error.code, ErrorCode::UnitUnreachable, "{error}");
        }
    }
    p.show("r").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_readers_stands_in_no_takeovers_way() {
    const CROWD: usize = 100;
    let unit = support::unit(&memory(64));
    let fuse = Fuse::new();
    let admin = fused_admin(unit.admin_client(), Arc::clone(&fuse)).await;
    let world = World::with(unit, support::options(admin)).await;
    support::create(&world.client, raw("r", &["p"], &["b"]))
        .await
        .unwrap();
    let held = fuse.admitting.lock().await;
    let opened = Arc::new(AtomicUsize::new(0));
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let (b, opened) = (world.client_as("b"), Arc::clone(&opened));
            tokio::spawn(async move {
                b.backup("r").await.unwrap();
                opened.fetch_add(1, Ordering::SeqCst)
            })
        })
        .collect();
    fuse.admit_asked.notified().await;
    let p = world.client_as("p");
    let taking = tokio::spawn({
        let p = p.clone();
        async move { p.take_over("r", 0, "").await }
    });
    // While it is on its way, the others of the crowd have long been.
    for _ in 0..50 {
        p.show("r").await.unwrap();
    }
    let fencing = fuse.fencing.lock().await;
    drop(held);
    fuse.fence_asked.notified().await;
    let before = opened.load(Ordering::SeqCst);
    drop(fencing);
    taking.await.unwrap().unwrap();
    assert!(before < CROWD / 2, "{before} of {CROWD} readers came first");
    for reader in crowd {
        reader.await.unwrap();
    }
}
