//! The manager is cut off from its unit at every boundary of every operation: before and after each call of the
//! admin service, before, inside and after each write of the catalog. What the next manager finds is consistent.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a failed step is a failed test"
)]

mod support;

use std::sync::Arc;

use outlive_manager::Manager;
use outlive_proto::ControlError;
use outlive_proto::v1::{ErrorCode, RegionKind, Role};
use outlive_unit::Unit;
use support::audit::Audit;
use support::faults::{Fuse, fused_admin, fused_connector};
use support::{Calls, Client, Data, memory};

const MIB: u64 = 1 << 20;
/// More boundaries than any one operation has; reaching it means that the operation never went through.
const MOST_BOUNDARIES: i64 = 200;

/// What one cut operation leaves, compared with before and after.
struct Case {
    name: &'static str,
    /// Errors that the operation may end with when it is cut.
    prepare: fn(Client) -> futures::Step,
    operate: fn(Client) -> futures::Outcome,
}

mod futures {
    use super::*;
    use std::future::Future;
    use std::pin::Pin;

    pub(crate) type Step = Pin<Box<dyn Future<Output = ()> + Send>>;
    pub(crate) type Outcome = Pin<Box<dyn Future<Output = Result<(), ControlError>> + Send>>;
}

const CASES: [Case; 6] = [
    Case {
        name: "create",
        prepare: |_| Box::pin(async {}),
        operate: |client| {
            Box::pin(async move { client.create("new", RegionKind::Checkpoint, MIB).await.map(drop) })
        },
    },
    Case {
        name: "delete",
        prepare: |client| {
            Box::pin(async move {
                client.create("new", RegionKind::Raw, MIB).await.unwrap();
                Data::connect(&client.backup("new").await.unwrap()).unwrap();
            })
        },
        operate: |client| Box::pin(async move { client.delete("new").await }),
    },
    Case {
        name: "resize",
        prepare: |client| {
            Box::pin(async move {
                client.create("new", RegionKind::Raw, MIB).await.unwrap();
                client.create("wall", RegionKind::Raw, MIB).await.unwrap();
                client.primary("new", "p").await.unwrap();
            })
        },
        operate: |client| Box::pin(async move { client.resize("new", 2 * MIB, 1).await.map(drop) }),
    },
    Case {
        name: "open",
        prepare: |client| {
            Box::pin(async move { drop(client.create("new", RegionKind::Raw, MIB).await.unwrap()) })
        },
        operate: |client| Box::pin(async move { client.primary("new", "p").await.map(drop) }),
    },
    Case {
        name: "takeover",
        prepare: |client| {
            Box::pin(async move {
                client.create("new", RegionKind::Raw, MIB).await.unwrap();
                client.primary("new", "p").await.unwrap();
            })
        },
        operate: |client| Box::pin(async move { client.take_over("new", 1, "q").await.map(drop) }),
    },
    Case {
        name: "close",
        prepare: |client| {
            Box::pin(async move {
                client.create("new", RegionKind::Raw, MIB).await.unwrap();
                client.primary("new", "p").await.unwrap();
            })
        },
        operate: |client| Box::pin(async move { client.close("new", 1).await }),
    },
];

/// A manager whose way to the unit can be cut.
async fn cuttable(unit: &Unit) -> (Manager, Client, Arc<Fuse>) {
    let fuse = Fuse::new();
    let admin = fused_admin(unit.admin_client(), Arc::clone(&fuse)).await;
    let options = support::options_with(admin, fused_connector(Arc::clone(&fuse)));
    let manager = Manager::attach(options).await.unwrap();
    let client = support::serve(&manager).await;
    (manager, client, fuse)
}

async fn cut(case: &Case, boundaries: i64) -> bool {
    let unit = support::unit(&memory(16));
    let (manager, client, fuse) = cuttable(&unit).await;
    (case.prepare)(client.clone()).await;
    fuse.set(boundaries);
    let operation = tokio::spawn((case.operate)(client.clone()));
    let outcome = tokio::select! {
        outcome = operation => Some(outcome.unwrap()),
        () = fuse.blown() => None,
    };
    // As if the manager's process had been killed at this instant.
    manager.stop();
    let survived = matches!(outcome, Some(Ok(())));
    if !fuse.is_blown() {
        assert!(
            survived,
            "{} failed without having been cut: {outcome:?}",
            case.name
        );
    }

    let manager = Manager::attach(support::options(unit.admin_client()))
        .await
        .unwrap();
    let client = support::serve(&manager).await;
    let audit = Audit::of(&mut client.clone()).await;
    audit.check();
    check_usable(case, &client, &audit, survived).await;
    Audit::of(&mut client.clone()).await.check();
    !fuse.is_blown()
}

/// Whatever the cut left, all of it can be used, and what was reported done is there.
async fn check_usable(case: &Case, client: &Client, audit: &Audit, survived: bool) {
    let names = audit.names();
    let exists = names.contains(&"new".to_owned());
    match case.name {
        "create" => assert!(exists || !survived, "an acknowledged region is gone"),
        "delete" => assert!(!exists || !survived, "an acknowledged deletion did not happen"),
        _ => assert!(exists),
    }
    if !exists {
        client.create("new", RegionKind::Raw, MIB).await.unwrap();
    }
    let shown = client.show("new").await.unwrap();
    match case.name {
        "resize" => assert!(shown.size == 2 * MIB || !survived),
        "open" => assert!(shown.generation == 1 || !survived),
        "takeover" => assert!((shown.generation == 2 && shown.owner == "q") || !survived),
        "close" => assert!(shown.owner.is_empty() || !survived),
        _ => {}
    }
    // Two regions that shared an extent would show each other's bytes.
    client.create("beside", RegionKind::Raw, MIB).await.unwrap();
    let opened = client.open("new", Role::Primary, true, "after").await.unwrap();
    assert_eq!(opened.region.as_ref().unwrap().generation, shown.generation + 1);
    let mut data = Data::connect(&opened).unwrap();
    let mut beside = Data::connect(&client.primary("beside", "").await.unwrap()).unwrap();
    let (len, other) = (data.len, beside.len);
    data.write(0, &vec![0xaa; usize::try_from(len).unwrap()])
        .unwrap()
        .unwrap();
    beside
        .write(0, &vec![0xbb; usize::try_from(other).unwrap()])
        .unwrap()
        .unwrap();
    assert!(data.read(0, len).unwrap().iter().all(|byte| *byte == 0xaa));
    assert!(beside.read(0, other).unwrap().iter().all(|byte| *byte == 0xbb));
}

async fn cut_everywhere(name: &str) {
    let case = CASES.iter().find(|case| case.name == name).unwrap();
    for boundaries in 0..MOST_BOUNDARIES {
        if cut(case, boundaries).await {
            assert!(
                boundaries > 4,
                "{name} crossed {boundaries} boundaries only: the fuse is not where it should be"
            );
            return;
        }
    }
    panic!("{name} never went through");
}

#[tokio::test(flavor = "multi_thread")]
async fn create_can_be_cut_anywhere() {
    cut_everywhere("create").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_can_be_cut_anywhere() {
    cut_everywhere("delete").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resize_can_be_cut_anywhere() {
    cut_everywhere("resize").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_can_be_cut_anywhere() {
    cut_everywhere("open").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn takeover_can_be_cut_anywhere() {
    cut_everywhere("takeover").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn close_can_be_cut_anywhere() {
    cut_everywhere("close").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_lost_its_unit_for_a_moment_finds_out_what_became_of_its_change() {
    // The connection to the catalog breaks inside each operation on it, once; the admin service goes on. The manager
    // attaches anew by itself, and what it answers is what the catalog then holds.
    for boundaries in 0.. {
        let unit = support::unit(&memory(16));
        let fuse = Fuse::new();
        let connect = fused_connector(Arc::clone(&fuse));
        let manager = Manager::attach(support::options_with(unit.admin_client(), connect))
            .await
            .unwrap();
        let client = support::serve(&manager).await;
        let before = manager.generation();
        fuse.set_once(boundaries);
        let outcome = client.create("r", RegionKind::Raw, MIB).await;
        let audit = Audit::of(&mut client.clone()).await;
        audit.check();
        match outcome {
            Ok(_) => assert_eq!(audit.names(), ["r"]),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::UnitUnreachable, "{error}");
                assert!(
                    audit.names().is_empty(),
                    "a change that was reported as not made was made"
                );
            }
        }
        fuse.set(i64::MAX);
        client.create("after", RegionKind::Raw, MIB).await.unwrap();
        if !fuse.is_blown() {
            assert!(boundaries > 2, "the fuse is not where it should be");
            return;
        }
        assert!(manager.generation() > before, "attached anew");
    }
}
