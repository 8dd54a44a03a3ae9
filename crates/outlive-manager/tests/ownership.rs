//! Who owns a region: open, reconnect, take over, close, and races between them.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a failed step is a failed test"
)]

mod support;

use std::sync::Arc;

use outlive_fabric::{FabricError, Refusal};
use outlive_manager::Manager;
use outlive_proto::v1::region_event::Kind;
use outlive_proto::v1::{AddressContextRequest, ErrorCode, OpenCatalogRequest, RegionKind, Role};
use support::faults::{Fuse, fused_admin};
use support::{Calls, Data, Watch, World, memory};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_region_has_one_owner_until_it_is_closed_lost_or_taken() {
    let world = World::new(&memory(64)).await;
    let client = &world.client;
    let created = client.create("r", RegionKind::Raw, MIB).await.unwrap();
    assert_eq!(
        (created.generation, created.owner.as_str(), created.owner_alive),
        (0, "", false)
    );

    // The ticket alone makes the opener the owner.
    let first = client.primary("r", "a:1").await.unwrap();
    assert_eq!(
        (first.region.as_ref().unwrap().generation, first.fenced_generation),
        (1, 0)
    );
    let refused = client.primary("r", "b:1").await.unwrap_err();
    assert_eq!(
        (refused.code, refused.generation, refused.owner.as_str()),
        (ErrorCode::Owned, 1, "a:1")
    );

    // The connection keeps it so.
    let mut watch = Watch::start(client, "r").await;
    let mut owner = Data::connect(&first).unwrap();
    owner.write(0, b"first").unwrap().unwrap();
    assert!(
        watch
            .await_kind(Kind::OwnerConnected)
            .await
            .region
            .unwrap()
            .owner_alive
    );
    assert_eq!(
        client.primary("r", "b:1").await.unwrap_err().code,
        ErrorCode::Owned
    );
    assert_eq!(client.delete("r").await.unwrap_err().code, ErrorCode::Owned);

    // Its loss frees the region for the next generation.
    drop(owner);
    let lost = watch.await_kind(Kind::OwnerLost).await.region.unwrap();
    assert!(!lost.owner_alive);
    let second = client.primary("r", "b:1").await.unwrap();
    assert_eq!(
        (
            second.region.as_ref().unwrap().generation,
            second.fenced_generation
        ),
        (2, 1)
    );
    let mut owner = Data::connect(&second).unwrap();
    assert_eq!(owner.read(0, 5).unwrap(), b"first");

    // Closing does, too, and stops the connection.
    client.close("r", 2).await.unwrap();
    assert_eq!(
        watch.await_kind(Kind::OwnerClosed).await.region.unwrap().owner,
        ""
    );
    assert!(matches!(
        owner.await_closed(),
        FabricError::Stopped(Refusal::Fenced { .. })
    ));
    assert_eq!(
        client.reconnect("r", 2).await.unwrap_err().code,
        ErrorCode::Fenced
    );
    assert_eq!(client.close("r", 2).await.unwrap_err().code, ErrorCode::Fenced);

    // And take-over by name.
    let third = client.primary("r", "c:1").await.unwrap();
    let mut owner = Data::connect(&third).unwrap();
    let taken = client.open("r", Role::Primary, true, "d:1").await.unwrap();
    assert_eq!(
        (
            taken.fenced_generation,
            taken.region.as_ref().unwrap().owner.as_str()
        ),
        (3, "d:1")
    );
    assert!(matches!(
        owner.await_closed(),
        FabricError::Stopped(Refusal::Fenced { generation: 4 })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_takeovers_exactly_one_wins_and_the_old_owner_is_fenced_first() {
    let world = World::new(&memory(64)).await;
    world.create("r", MIB).await.unwrap();
    for round in 1..6_u64 {
        let opened = match round {
            1 => world.client.primary("r", "p").await.unwrap(),
            _ => world.client.open("r", Role::Primary, true, "p").await.unwrap(),
        };
        let generation = opened.region.as_ref().unwrap().generation;
        let mut old = Data::connect(&opened).unwrap();
        old.write(0, b"old").unwrap().unwrap();
        let racers = (0..8).map(|racer| {
            let client = world.client.clone();
            tokio::spawn(async move { client.take_over("r", generation, &format!("racer-{racer}")).await })
        });
        let mut won = Vec::new();
        for racer in racers.collect::<Vec<_>>() {
            match racer.await.unwrap() {
                Ok(opened) => won.push(opened),
                Err(error) => {
                    assert_eq!(
                        (error.code, error.generation),
                        (ErrorCode::LostRace, generation + 1),
                        "{error}"
                    );
                    assert!(error.owner.starts_with("racer-"));
                }
            }
        }
        assert_eq!(won.len(), 1);
        assert_eq!(won[0].fenced_generation, generation);
        assert!(won[0].fence_us > 0);
        // The grant came after the fence: nothing of the old connection lands, whatever it tries.
        assert!(matches!(
            old.write(0, b"late"),
            Err(FabricError::Stopped(Refusal::Fenced { .. }) | FabricError::Lost(_))
        ));
        let mut new = Data::connect(&won[0]).unwrap();
        assert_eq!(new.read(0, 4).unwrap(), b"old\0");
        let shown = world.client.show("r").await.unwrap();
        assert_eq!(
            (shown.generation, shown.owner.as_str()),
            (generation + 1, won[0].region.as_ref().unwrap().owner.as_str())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_keeps_the_generation_and_is_not_a_loss() {
    let world = World::new(&memory(64)).await;
    let client = &world.client;
    world.create("r", MIB).await.unwrap();
    let opened = client.primary("r", "p").await.unwrap();
    let mut watch = Watch::start(client, "r").await;
    let mut first = Data::connect(&opened).unwrap();
    assert_eq!(watch.next().await.kind(), Kind::OwnerConnected);
    let again = client.reconnect("r", 1).await.unwrap();
    assert_eq!(again.region.as_ref().unwrap().generation, 1);
    assert!(matches!(
        first.await_closed(),
        FabricError::Stopped(Refusal::Fenced { .. })
    ));
    // Between the two connections the owner counts as alive.
    assert!(client.show("r").await.unwrap().owner_alive);
    assert_eq!(client.primary("r", "q").await.unwrap_err().code, ErrorCode::Owned);
    let second = Data::connect(&again).unwrap();
    let event = watch.next().await;
    assert_eq!(
        event.kind(),
        Kind::OwnerConnected,
        "the end of the first connection was no loss"
    );
    drop(second);
    assert_eq!(watch.next().await.kind(), Kind::OwnerLost);

    // Once another owns the region, the one before is fenced.
    client.take_over("r", 1, "q").await.unwrap();
    let error = client.reconnect("r", 1).await.unwrap_err();
    assert_eq!(
        (error.code, error.generation, error.owner.as_str()),
        (ErrorCode::Fenced, 2, "q")
    );
    assert_eq!(client.close("r", 1).await.unwrap_err().code, ErrorCode::Fenced);
    assert_eq!(
        client.resize("r", 2 * MIB, 1).await.unwrap_err().code,
        ErrorCode::Fenced
    );
    assert_eq!(
        client.take_over("r", 1, "p").await.unwrap_err().code,
        ErrorCode::LostRace
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_from_a_living_owner_is_not_told_as_a_loss() {
    let world = World::new(&memory(64)).await;
    let client = &world.client;
    world.create("r", MIB).await.unwrap();
    let mut owner = Data::connect(&client.primary("r", "p").await.unwrap()).unwrap();
    let mut watch = Watch::start(client, "r").await;
    for generation in 2..10_u64 {
        let taken = client.take_over("r", generation - 1, "q").await.unwrap();
        owner.await_closed();
        owner = Data::connect(&taken).unwrap();
        loop {
            let event = watch.next().await;
            assert_ne!(event.kind(), Kind::OwnerLost, "generation {generation}");
            if event.kind() == Kind::OwnerConnected && event.region.unwrap().generation == generation {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_that_fails_halfway_leaves_an_owner_that_is_told_as_lost() {
    let unit = support::unit(&memory(64));
    let fuse = Fuse::new();
    let admin = fused_admin(unit.admin_client(), Arc::clone(&fuse)).await;
    let manager = Manager::attach(support::options(admin)).await.unwrap();
    let client = support::serve(&manager).await;
    client.create("r", RegionKind::Raw, MIB).await.unwrap();
    let _owner = Data::connect(&client.primary("r", "p").await.unwrap()).unwrap();
    // Every lost owner is told again when the time to reconnect to a new manager ends: let that pass first.
    client.create("s", RegionKind::Raw, MIB).await.unwrap();
    let other = Data::connect(&client.primary("s", "p").await.unwrap()).unwrap();
    let mut watch = Watch::start(&client, "s").await;
    drop(other);
    watch.await_kind(Kind::OwnerLost).await;
    watch.await_kind(Kind::OwnerLost).await;

    let mut watch = Watch::start(&client, "r").await;
    fuse.refuse_fences(true);
    let error = client.take_over("r", 1, "q").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::FenceUnconfirmed);
    let lost = watch.await_kind(Kind::OwnerLost).await.region.unwrap();
    assert_eq!((lost.generation, lost.owner_alive), (2, false));
    fuse.refuse_fences(false);
    client.take_over("r", 2, "q").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_stuck_region_is_answered_while_it_is_stuck() {
    let unit = support::unit(&memory(64));
    let fuse = Fuse::new();
    let admin = fused_admin(unit.admin_client(), Arc::clone(&fuse)).await;
    let manager = Manager::attach(support::options(admin)).await.unwrap();
    let client = support::serve(&manager).await;
    client.create("r", RegionKind::Raw, MIB).await.unwrap();
    client.primary("r", "p").await.unwrap();
    fuse.fence_asked.notified().await;
    let stuck = fuse.fencing.lock().await;
    let taking = tokio::spawn({
        let client = client.clone();
        async move { client.take_over("r", 1, "q").await }
    });
    fuse.fence_asked.notified().await;
    let error = client.backup("r").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UnitUnreachable, "{error}");
    assert!(!taking.is_finished());
    drop(stuck);
    taking.await.unwrap().unwrap();
    client.backup("r").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_of_an_older_generation_lets_nobody_in() {
    let world = World::new(&memory(64)).await;
    world.create("r", MIB).await.unwrap();
    let slow = world.client.primary("r", "slow").await.unwrap();
    world.client.take_over("r", 1, "quick").await.unwrap();
    assert!(matches!(
        Data::connect(&slow).err(),
        Some(FabricError::Refused(_))
    ));
    let twice = world.client.backup("r").await.unwrap();
    let _used = Data::connect(&twice).unwrap();
    assert!(matches!(
        Data::connect(&twice).err(),
        Some(FabricError::Refused(Refusal::Ticket))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_read_and_only_read_and_outlive_a_takeover() {
    let world = World::new(&memory(64)).await;
    world.create("r", MIB).await.unwrap();
    let mut owner = Data::connect(&world.client.primary("r", "p").await.unwrap()).unwrap();
    owner.write(7, b"data").unwrap().unwrap();
    let mut backup = Data::connect(&world.client.backup("r").await.unwrap()).unwrap();
    assert_eq!(backup.read(7, 4).unwrap(), b"data");
    assert_eq!(backup.write(7, b"evil").unwrap(), Err(Refusal::ReadOnly));
    let page = outlive_layout::MetadataPage::decode(&backup.read_page().unwrap()).unwrap();
    assert_eq!((page.generation, page.owner.as_str()), (1, "p"));
    let context = world.client.clone();
    let request = AddressContextRequest { name: "r".into() };
    let context = context
        .clone()
        .address_context(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        context
            .mappings
            .iter()
            .map(|mapping| (mapping.offset, mapping.len))
            .collect::<Vec<_>>(),
        [(0, MIB)]
    );
    let mut writable: Vec<_> = context
        .connections
        .iter()
        .map(|connection| connection.writable)
        .collect();
    writable.sort_unstable();
    assert_eq!(writable, [false, true]);
    world.client.take_over("r", 1, "q").await.unwrap();
    assert_eq!(backup.read(7, 4).unwrap(), b"data");
    let page = outlive_layout::MetadataPage::decode(&backup.read_page().unwrap()).unwrap();
    assert_eq!((page.generation, page.owner.as_str()), (2, "q"));
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_read_the_catalog_one_sidedly() {
    let world = World::new(&memory(64)).await;
    world.create("r", MIB).await.unwrap();
    let opened = world
        .client
        .clone()
        .open_catalog(OpenCatalogRequest {})
        .await
        .unwrap()
        .into_inner();
    let mut catalog = Data::connect(&opened).unwrap();
    assert_eq!(catalog.len, opened.region.unwrap().size);
    assert_eq!(catalog.write(0, b"x").unwrap(), Err(Refusal::ReadOnly));
    assert_eq!(world.audit().await.names(), ["r"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_nobody_vouches_for_is_answered_nothing() {
    let world = World::new(&memory(64)).await;
    let request = support::unauthenticated(&world.manager).await;
    assert_eq!(request.code, ErrorCode::NoAccess);
}
