//! Making, growing and deleting regions; where they lie.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a failed step is a failed test"
)]

mod support;

use std::sync::Arc;

use outlive_manager::Manager;
use outlive_proto::v1::region_event::Kind;
use outlive_proto::v1::{CreateRegionRequest, ErrorCode, RegionKind, StatusRequest};
use support::audit::Audit;
use support::faults::{Fuse, fused_admin};
use support::{Calls, Data, PATIENCE, Watch, World, memory};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_named_and_change_nothing() {
    let world = World::new(&memory(64)).await;
    let free = world.audit().await.free;
    let good = CreateRegionRequest {
        name: "r".into(),
        kind: RegionKind::Checkpoint.into(),
        size: MIB,
        ..Default::default()
    };
    let bad = [
        (
            CreateRegionRequest {
                name: String::new(),
                ..good.clone()
            },
            "name",
        ),
        (
            CreateRegionRequest {
                name: "x".repeat(1_000),
                ..good.clone()
            },
            "name",
        ),
        (
            CreateRegionRequest {
                name: "a\nb".into(),
                ..good.clone()
            },
            "name",
        ),
        (
            CreateRegionRequest {
                kind: 0,
                ..good.clone()
            },
            "kind",
        ),
        (
            CreateRegionRequest {
                kind: 77,
                ..good.clone()
            },
            "kind",
        ),
        (
            CreateRegionRequest {
                size: 0,
                ..good.clone()
            },
            "bytes",
        ),
        (
            CreateRegionRequest {
                size: u64::MAX,
                ..good.clone()
            },
            "bytes",
        ),
        (
            CreateRegionRequest {
                size: 4096,
                ..good.clone()
            },
            "too small",
        ),
        (
            CreateRegionRequest {
                slots: 1,
                ..good.clone()
            },
            "slots",
        ),
        (
            CreateRegionRequest {
                max_snapshot: u64::MAX,
                ..good.clone()
            },
            "",
        ),
        (
            CreateRegionRequest {
                kind: RegionKind::Raw.into(),
                slots: 2,
                ..good.clone()
            },
            "slots",
        ),
    ];
    for (request, word) in bad {
        let error = support::create(&world.client, request.clone()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid, "{request:?}: {error}");
        assert!(error.message.contains(word), "{error}");
    }
    let error = world.create("huge", 1 << 40).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NoSpace);
    assert!(
        error.message.contains(&free.to_string()),
        "the message has figures: {error}"
    );
    for error in [
        world.client.show("none").await.unwrap_err(),
        world.client.delete("none").await.unwrap_err(),
        world.client.primary("none", "").await.unwrap_err(),
        world.client.backup("none").await.unwrap_err(),
        world.client.take_over("none", 0, "").await.unwrap_err(),
    ] {
        assert_eq!(error.code, ErrorCode::NoSuchRegion);
        assert!(error.message.contains("none"));
    }
    assert!(world.client.list().await.is_empty());
    assert_eq!(world.audit().await.free, free);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_region_is_laid_out_when_it_is_visible() {
    let world = World::new(&memory(64)).await;
    let request = CreateRegionRequest {
        name: "ckpt".into(),
        kind: RegionKind::Checkpoint.into(),
        size: 2 * MIB + 1,
        slots: 3,
        max_snapshot: 256 << 10,
        ..CreateRegionRequest::default()
    };
    let region = support::create(&world.client, request.clone()).await.unwrap();
    assert_eq!(
        (region.size, region.slots, region.max_snapshot),
        (2 * MIB + 4096, 3, 256 << 10)
    );
    assert_eq!(
        support::create(&world.client, request).await.unwrap_err().code,
        ErrorCode::RegionExists
    );
    let mut data = Data::connect(&world.client.backup("ckpt").await.unwrap()).unwrap();
    assert_eq!(data.len, region.size);
    let geometry = support::audit::geometry(&mut data, &region.id);
    assert_eq!(
        (geometry.size, geometry.slots, geometry.max_snapshot),
        (region.size, 3, 256 << 10)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_creates_of_one_name_exactly_one_wins() {
    let world = World::new(&memory(64)).await;
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let client = world.client.clone();
            tokio::spawn(async move { client.create("r", RegionKind::Raw, MIB).await })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error.code, ErrorCode::RegionExists, "{error}"),
        }
    }
    assert_eq!(won, 1);
    world.audit().await.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragmented_medium_gives_regions_of_several_extents_that_hold_their_bytes() {
    let world = World::new(&memory(32)).await;
    let audit = world.audit().await;
    let count = audit.free / (MIB + 4096);
    for number in 0..count {
        world.create(&format!("small-{number}"), MIB).await.unwrap();
    }
    for number in (0..count).step_by(2) {
        let mut data = Data::connect(
            &world
                .client
                .primary(&format!("small-{number}"), "")
                .await
                .unwrap(),
        )
        .unwrap();
        data.write(0, &vec![0xee; 1 << 20]).unwrap().unwrap();
        drop(data);
        support::delete_when_lost(&world.client, &format!("small-{number}")).await;
    }
    let large = world.create("large", 5 * MIB + 12_288).await.unwrap();
    assert!(large.extents >= 5, "{} extents", large.extents);
    world.audit().await.check();

    // Zeroed, and one range: odd lengths at odd places across every border.
    let mut data = Data::connect(&world.client.primary("large", "").await.unwrap()).unwrap();
    assert!(
        data.read(0, large.size).unwrap().iter().all(|byte| *byte == 0),
        "what was there before shows"
    );
    let mut expected = vec![0; usize::try_from(large.size).unwrap()];
    for border in 0..6_u64 {
        let at = border * MIB + 1_001;
        let bytes: Vec<u8> = (0..MIB - 77)
            .map(|index| (index % 251) as u8 ^ border as u8)
            .collect();
        let end = (at + bytes.len() as u64).min(large.size);
        let bytes = &bytes[..usize::try_from(end - at).unwrap()];
        data.write(at, bytes).unwrap().unwrap();
        expected[usize::try_from(at).unwrap()..usize::try_from(end).unwrap()].copy_from_slice(bytes);
    }
    assert_eq!(data.read(0, large.size).unwrap(), expected);
    for number in (1..count).step_by(2) {
        let mut other =
            Data::connect(&world.client.backup(&format!("small-{number}")).await.unwrap()).unwrap();
        assert!(
            other.read(0, MIB).unwrap().iter().all(|byte| *byte == 0),
            "a neighbour was written to"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_grows_for_its_owner_and_keeps_its_bytes() {
    let world = World::new(&memory(64)).await;
    let client = &world.client;
    world.create("r", MIB).await.unwrap();
    world.create("wall", MIB).await.unwrap();
    let mut owner = Data::connect(&client.primary("r", "p").await.unwrap()).unwrap();
    owner.write(MIB - 4, b"tail").unwrap().unwrap();
    let mut watch = Watch::start(client, "r").await;
    let grown = client.resize("r", 3 * MIB, 1).await.unwrap();
    assert_eq!((grown.size, grown.extents), (3 * MIB, 2));
    assert_eq!(
        watch.await_kind(Kind::Resized).await.region.unwrap().size,
        3 * MIB
    );
    // The connection keeps what it was admitted with; a reconnect sees the rest.
    assert_eq!(owner.read(MIB - 4, 4).unwrap(), b"tail");
    let mut owner = Data::connect(&client.reconnect("r", 1).await.unwrap()).unwrap();
    assert_eq!(owner.len, 3 * MIB);
    assert_eq!(owner.read(MIB - 4, 8).unwrap(), b"tail\0\0\0\0");
    owner.write(MIB - 2, b"across").unwrap().unwrap();
    assert_eq!(owner.read(MIB - 4, 8).unwrap(), b"taacross");
    assert_eq!(
        client.resize("r", MIB, 1).await.unwrap_err().code,
        ErrorCode::Invalid
    );
    assert_eq!(
        client.resize("r", 1 << 40, 1).await.unwrap_err().code,
        ErrorCode::NoSpace
    );
    assert_eq!(client.resize("r", 3 * MIB, 1).await.unwrap().size, 3 * MIB);
    world.audit().await.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_does_not_wait_for_the_space_that_the_owner_asked_for() {
    let unit = support::unit(&memory(64));
    let fuse = Fuse::new();
    let admin = fused_admin(unit.admin_client(), Arc::clone(&fuse)).await;
    let manager = Manager::attach(support::options(admin)).await.unwrap();
    let client = support::serve(&manager).await;
    client.create("r", RegionKind::Raw, MIB).await.unwrap();
    client.primary("r", "p").await.unwrap();
    fuse.prepare_asked.notified().await;
    let zeroing = fuse.preparing.lock().await;
    let growing = tokio::spawn({
        let client = client.clone();
        async move { client.resize("r", 2 * MIB, 1).await }
    });
    fuse.prepare_asked.notified().await;
    let taken = tokio::time::timeout(PATIENCE, client.take_over("r", 1, "q")).await;
    taken.expect("the takeover does not wait").unwrap();
    drop(zeroing);
    assert_eq!(growing.await.unwrap().unwrap_err().code, ErrorCode::Fenced);
    assert_eq!(client.show("r").await.unwrap().size, MIB);
    // What was set aside is free again: all that the catalog leaves can be used.
    let audit = Audit::of(&mut client.clone()).await;
    audit.check();
    client
        .create("rest", RegionKind::Raw, audit.free - 4096)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_stops_readers_frees_the_space_and_ends_the_watch() {
    let world = World::new(&memory(64)).await;
    let free = world.audit().await.free;
    world.create("r", MIB).await.unwrap();
    let mut backup = Data::connect(&world.client.backup("r").await.unwrap()).unwrap();
    let unused = world.client.backup("r").await.unwrap();
    let mut watch = Watch::start(&world.client, "r").await;
    world.client.delete("r").await.unwrap();
    backup.await_closed();
    assert!(Data::connect(&unused).is_err(), "its tickets are void");
    watch.await_kind(Kind::Deleted).await;
    let audit = world.audit().await;
    audit.check();
    assert_eq!(audit.free, free);
    let again = world.create("r", MIB).await.unwrap();
    assert_eq!(again.generation, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_paged_lists_agree() {
    let world = World::new(&memory(64)).await;
    for number in 0..25 {
        world.create(&format!("r{number:02}"), 4096).await.unwrap();
    }
    let status = world
        .client
        .clone()
        .status(StatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (status.region_count, status.regions.len(), status.units.len()),
        (25, 25, 1)
    );
    assert_eq!(status.units[0].free_bytes, world.audit().await.free);
    assert!(status.units[0].incarnation > 0 && status.manager_generation > 0);
    let all: Vec<_> = world
        .client
        .list()
        .await
        .into_iter()
        .map(|region| region.name)
        .collect();
    let mut paged = Vec::new();
    loop {
        let after = paged.last().cloned().unwrap_or_default();
        let page = support::page(&world.client, after, 10).await;
        paged.extend(page.regions.into_iter().map(|region| region.name));
        if !page.more {
            break;
        }
    }
    assert_eq!(paged, all);
    assert!(all.is_sorted());
}
