//! A restarted manager rebuilds everything; a restarted unit is found again; one manager at a time.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a failed step is a failed test"
)]

mod support;

use std::sync::Arc;

use outlive_fabric::FabricError;
use outlive_manager::{AttachError, Manager, ManagerOptions};
use outlive_media::MediaSpec;
use outlive_proto::v1::region_event::Kind;
use outlive_proto::v1::{AdmitRequest, AttachRequest, ErrorCode, ProgramRequest, RegionKind, Role};
use outlive_unit::{AttachSecret, Unit, UnitOptions};
use support::faults::{Fuse, fused_admin};
use support::{Calls, Data, PATIENCE, SECRET, Watch, World, memory};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_manager_rebuilds_everything_while_data_connections_go_on() {
    let mut world = World::new(&memory(64)).await;
    world.client.create("raw", RegionKind::Raw, MIB).await.unwrap();
    world
        .client
        .create("ckpt", RegionKind::Checkpoint, 2 * MIB)
        .await
        .unwrap();
    world.client.create("closed", RegionKind::Raw, MIB).await.unwrap();
    world.client.primary("closed", "c").await.unwrap();
    world.client.close("closed", 1).await.unwrap();
    let mut owner = Data::connect(&world.client.primary("raw", "p").await.unwrap()).unwrap();
    let mut reader = Data::connect(&world.client.backup("raw").await.unwrap()).unwrap();
    owner.write(0, b"before").unwrap().unwrap();
    // The manager hears of connections a moment after they are made.
    while world.client.show("raw").await.unwrap().readers == 0 {
        tokio::task::yield_now().await;
    }
    let before = world.client.list().await;
    let generation = world.manager.generation();

    world.manager.stop();
    owner.write(6, b" during").unwrap().unwrap();
    assert_eq!(reader.read(0, 13).unwrap(), b"before during");
    let stopped = world.client.show("raw").await.unwrap_err();
    assert_eq!(stopped.code, ErrorCode::Superseded);

    world.restart_manager().await;
    assert!(world.manager.generation() > generation);
    assert_eq!(world.client.list().await, before);
    world.audit().await.check();
    owner.write(13, b" after").unwrap().unwrap();
    assert_eq!(reader.read(0, 19).unwrap(), b"before during after");

    // The owner is known to be alive, so it is told of its loss and nobody opens beside it.
    assert_eq!(
        world.client.primary("raw", "q").await.unwrap_err().code,
        ErrorCode::Owned
    );
    assert_eq!(
        world
            .client
            .primary("closed", "q")
            .await
            .unwrap()
            .region
            .unwrap()
            .generation,
        2
    );
    let mut watch = Watch::start(&world.client, "raw").await;
    drop(owner);
    watch.await_kind(Kind::OwnerLost).await;
    let taken = world.client.take_over("raw", 1, "q").await.unwrap();
    assert_eq!(Data::connect(&taken).unwrap().read(0, 6).unwrap(), b"before");
    assert_eq!(reader.read(0, 6).unwrap(), b"before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_reaches_the_connection_that_a_manager_before_let_in() {
    let mut world = World::new(&memory(16)).await;
    world.client.create("r", RegionKind::Raw, MIB).await.unwrap();
    let mut owner = Data::connect(&world.client.primary("r", "p").await.unwrap()).unwrap();
    world.restart_manager().await;
    world.client.close("r", 1).await.unwrap();
    assert!(matches!(
        owner.await_closed(),
        FabricError::Stopped(_) | FabricError::Lost(_)
    ));
    // Nothing to stop is no error.
    world.client.create("s", RegionKind::Raw, MIB).await.unwrap();
    world.client.primary("s", "p").await.unwrap();
    world.restart_manager().await;
    world.client.close("s", 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unit_and_manager_restarted_find_every_region_and_byte() {
    let folder = tempfile::tempdir().unwrap();
    let media = MediaSpec::File {
        path: folder.path().join("media"),
        size: Some(32 << 20),
    };
    let world = World::new(&media).await;
    world.client.create("r", RegionKind::Raw, MIB).await.unwrap();
    let mut owner = Data::connect(&world.client.primary("r", "p").await.unwrap()).unwrap();
    owner.write(MIB - 5, b"bytes").unwrap().unwrap();
    let before = world.client.show("r").await.unwrap();
    world.manager.stop();
    world.unit.close().unwrap();
    drop((world, owner));

    let world = World::on(support::reopened(&media).await).await;
    let shown = world.client.show("r").await.unwrap();
    assert_eq!(
        (shown.id, shown.generation, shown.owner, shown.size),
        (before.id, 1, "p".to_owned(), MIB)
    );
    world.audit().await.check();
    // The owner of before has time to come back ...
    assert!(shown.owner_alive);
    assert_eq!(
        world.client.primary("r", "q").await.unwrap_err().code,
        ErrorCode::Owned
    );
    let mut back = Data::connect(&world.client.reconnect("r", 1).await.unwrap()).unwrap();
    assert_eq!(back.read(MIB - 5, 5).unwrap(), b"bytes");
    // ... and needs none once it is back.
    let mut watch = Watch::start(&world.client, "r").await;
    drop(back);
    watch.await_kind(Kind::OwnerLost).await;
    assert_eq!(
        world
            .client
            .primary("r", "q")
            .await
            .unwrap()
            .region
            .unwrap()
            .generation,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_learn_that_an_owner_did_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let media = MediaSpec::File {
        path: folder.path().join("media"),
        size: Some(32 << 20),
    };
    let world = World::new(&media).await;
    world.client.create("r", RegionKind::Raw, MIB).await.unwrap();
    world.client.primary("r", "p").await.unwrap();
    world.manager.stop();
    world.unit.close().unwrap();
    drop(world);
    let world = World::on(support::reopened(&media).await).await;
    let mut watch = Watch::start(&world.client, "r").await;
    assert!(
        !watch
            .await_kind(Kind::OwnerLost)
            .await
            .region
            .unwrap()
            .owner_alive
    );
    world.client.primary("r", "q").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_in_another_process_finds_its_restarted_unit() {
    let folder = tempfile::tempdir().unwrap();
    let media = MediaSpec::File {
        path: folder.path().join("media"),
        size: Some(32 << 20),
    };
    let unit = support::unit(&media);
    let (address, serving) = support::serve_admin(&unit);
    let manager = Manager::attach(support::options(support::admin_at(address)))
        .await
        .unwrap();
    let client = support::serve(&manager).await;
    client.create("r", RegionKind::Raw, MIB).await.unwrap();
    let opened = client.primary("r", "p").await.unwrap();
    let mut owner = Data::connect(&opened).unwrap();
    owner.write(0, b"bytes").unwrap().unwrap();
    let mut watch = Watch::start(&client, "r").await;
    let incarnation = unit.incarnation();

    serving.shutdown_background();
    unit.close().unwrap();
    drop(unit);
    let unit = support::reopened(&media).await;
    let (_, serving) = support::serve_admin_at(&unit, address);

    // Watchers are told of the new incarnation, calls wait for the unit, and regions are programmed again.
    loop {
        let event = watch.next().await;
        if event.incarnation > incarnation {
            assert_eq!(event.incarnation, unit.incarnation());
            break;
        }
    }
    assert!(matches!(
        owner.await_closed(),
        FabricError::Stopped(_) | FabricError::Lost(_)
    ));
    let again = client.reconnect("r", 1).await.unwrap();
    assert_eq!(again.incarnation, unit.incarnation());
    assert_eq!(Data::connect(&again).unwrap().read(0, 5).unwrap(), b"bytes");
    client.create("more", RegionKind::Raw, MIB).await.unwrap();
    serving.shutdown_background();
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_told_why_the_unit_cannot_be_attached_to() {
    let unit = support::unit(&memory(64));
    let (address, serving) = support::serve_admin(&unit);
    let manager = Manager::attach(support::options(support::admin_at(address)))
        .await
        .unwrap();
    let client = support::serve(&manager).await;
    serving.shutdown_background();
    unit.close().unwrap();
    let options = UnitOptions::new(AttachSecret::new(*b"another secret"));
    let stranger = Unit::open(&memory(64), options).unwrap();
    let (_, serving) = support::serve_admin_at(&stranger, address);
    let refused = async {
        loop {
            let error = client.show("r").await.unwrap_err();
            assert_eq!(error.code, ErrorCode::UnitUnreachable);
            if error
                .message
                .contains("cannot prove that it may program the unit")
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, refused)
        .await
        .expect("the reason is told");
    serving.shutdown_background();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_manager_ends_the_one_before_for_good() {
    let world = World::new(&memory(64)).await;
    world.client.create("r", RegionKind::Raw, MIB).await.unwrap();
    let second = Manager::attach(support::options(world.unit.admin_client()))
        .await
        .unwrap();
    let client = support::serve(&second).await;
    client.create("s", RegionKind::Raw, MIB).await.unwrap();
    // Whether it has heard of it or not yet: it changes nothing any more.
    let error = world.client.create("t", RegionKind::Raw, MIB).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Superseded, "{error}");
    let generation = second.generation();
    assert_eq!(
        world.client.show("r").await.unwrap_err().code,
        ErrorCode::Superseded
    );
    assert_eq!(
        second.generation(),
        generation,
        "the superseded manager does not fight back"
    );
    let names: Vec<_> = client
        .list()
        .await
        .into_iter()
        .map(|region| region.name)
        .collect();
    assert_eq!(names, ["r", "s"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_without_the_secret_attaches_to_nothing() {
    let unit = support::unit(&memory(16));
    let options = ManagerOptions::new(unit.admin_client(), b"guess".to_vec());
    let error = Manager::attach(options).await.unwrap_err();
    assert!(matches!(error, AttachError::Unit(error) if error.code == ErrorCode::NoAccess));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_catalog_does_not_allow_are_stopped_before_anything_is_granted() {
    let world = World::new(&memory(64)).await;
    world.client.create("r", RegionKind::Raw, MIB).await.unwrap();
    let stale = world.client.primary("r", "p").await.unwrap();
    let mut owner = Data::connect(&stale).unwrap();
    // A manager gone wrong grants access to a region that the catalog never had.
    let mut admin = world.unit.admin_client();
    let proof = SECRET.to_vec();
    let attached = admin
        .attach(AttachRequest {
            proof,
            manager: "rogue".into(),
        })
        .await
        .unwrap()
        .into_inner();
    let (manager_generation, region) = (attached.manager_generation, vec![7; 16]);
    let start = attached.allocatable_start + attached.allocatable_len - (64 << 10);
    let extents = vec![outlive_proto::v1::Extent { start, len: 64 << 10 }];
    let program = ProgramRequest {
        manager_generation,
        region: region.clone(),
        extents,
        data_len: 4096,
        min_generation: 1,
    };
    admin.program(program).await.unwrap();
    let ticket_id = vec![9; 16];
    let admit = AdmitRequest {
        manager_generation,
        ticket_id: ticket_id.clone(),
        region: region.clone(),
        identity: "rogue".into(),
        writable: true,
        generation: 1,
        valid_ms: 5_000,
        secret: vec![8; 32],
    };
    admin.admit(admit).await.unwrap();
    let mut rogue = Data::connect(&outlive_proto::v1::Opened {
        ticket_id,
        ticket_secret: vec![8; 32],
        identity: "rogue".into(),
        generation: 1,
        writable: true,
        region: Some(outlive_proto::v1::Region {
            id: region,
            ..Default::default()
        }),
        ..stale.clone()
    })
    .unwrap();
    rogue.write(0, b"rogue").unwrap().unwrap();

    let manager = Manager::attach(support::options(world.unit.admin_client()))
        .await
        .unwrap();
    let client = support::serve(&manager).await;
    assert!(
        rogue.write(0, b"rogue").is_err(),
        "the unknown connection was not stopped"
    );
    owner.write(0, b"owner").unwrap().unwrap();
    assert_eq!(
        client
            .open("r", Role::Primary, false, "q")
            .await
            .unwrap_err()
            .code,
        ErrorCode::Owned
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_region_that_cannot_be_fenced_keeps_no_manager_from_the_others() {
    let unit = support::unit(&memory(64));
    let fuse = Fuse::new();
    let admin = fused_admin(unit.admin_client(), Arc::clone(&fuse)).await;
    let manager = Manager::attach(support::options(admin.clone())).await.unwrap();
    let client = support::serve(&manager).await;
    for name in ["stuck", "other"] {
        client.create(name, RegionKind::Raw, MIB).await.unwrap();
    }
    let mut owner = Data::connect(&client.primary("stuck", "p").await.unwrap()).unwrap();
    fuse.refuse_fences(true);
    client.take_over("stuck", 1, "q").await.unwrap_err();

    manager.stop();
    let manager = Manager::attach(support::options(admin)).await.unwrap();
    let client = support::serve(&manager).await;
    let error = client.take_over("stuck", 2, "q").await.unwrap_err();
    assert_eq!(
        error.code,
        ErrorCode::FenceUnconfirmed,
        "nothing is granted before the fence"
    );
    fuse.refuse_fences(false);
    client.primary("other", "p").await.unwrap();
    let taken = client.take_over("stuck", 3, "q").await.unwrap();
    assert!(matches!(owner.await_closed(), FabricError::Stopped(_)));
    Data::connect(&taken).unwrap();
}
