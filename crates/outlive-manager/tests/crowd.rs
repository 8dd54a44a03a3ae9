//! Many regions, and bounds that hold.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a failed step is a failed test"
)]

mod support;

use outlive_layout::catalog::{AccessList, Catalog, Extent, Record};
use outlive_layout::{Reader, RecoveryOptions, RegionId, Start, Writer};
use outlive_manager::{Manager, limits};
use outlive_proto::v1::{AdmitRequest, AttachRequest, ErrorCode, Opened, RegionKind, WatchRegionRequest};
use outlive_unit::Unit;
use support::{Calls, Data, SECRET, World, memory};

const REGIONS: u64 = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_regions_are_recovered_listed_and_opened() {
    let unit = support::unit(&memory(4096));
    fill_catalog(&unit, REGIONS).await;
    let manager = Manager::attach(support::options(unit.admin_client()))
        .await
        .unwrap();
    let client = support::serve(&manager).await;
    let listed = client.list().await;
    assert_eq!(listed.len() as u64, REGIONS);
    assert_eq!(listed[77_777].name, "r077777");
    let mut data = Data::connect(&client.primary("r077777", "p").await.unwrap()).unwrap();
    data.write(0, b"one of many").unwrap().unwrap();
    client.create("one-more", RegionKind::Raw, 4096).await.unwrap();
    let manager = Manager::attach(support::options(unit.admin_client()))
        .await
        .unwrap();
    let client = support::serve(&manager).await;
    support::audit::Audit::of(&mut client.clone()).await.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_several_pieces_is_saved_and_recovered() {
    let unit = support::unit(&memory(256));
    fill_catalog(&unit, 12_000).await;
    let mut options = support::options(unit.admin_client());
    // Faster than one identity may be for long.
    options.identity_open_burst = options.open_burst;
    options.identity_opens_per_second = options.opens_per_second;
    let manager = Manager::attach(options).await.unwrap();
    let client = support::serve(&manager).await;
    let before = support::audit::snapshot_sequence(&client).await;
    let owner = "x".repeat(200);
    let mut generation = 0;
    while support::audit::snapshot_sequence(&client).await == before {
        for _ in 0..200 {
            client.take_over("r000000", generation, &owner).await.unwrap();
            generation += 1;
        }
        assert!(generation < 10_000, "no snapshot however full the journal");
    }
    let manager = Manager::attach(support::options(unit.admin_client()))
        .await
        .unwrap();
    let client = support::serve(&manager).await;
    let audit = support::audit::Audit::of(&mut client.clone()).await;
    audit.check();
    assert!(audit.catalog.encode().len() > 1 << 20, "one piece only");
    assert_eq!(client.show("r000000").await.unwrap().generation, generation);
}

/// Writes a catalog as a manager would have left it.
async fn fill_catalog(unit: &Unit, regions: u64) {
    let mut admin = unit.admin_client();
    let request = AttachRequest {
        proof: SECRET.to_vec(),
        manager: "filler".into(),
    };
    let attached = admin.attach(request).await.unwrap().into_inner();
    let generation = attached.manager_generation;
    let admit = AdmitRequest {
        manager_generation: generation,
        ticket_id: vec![1; 16],
        region: attached.catalog_region.clone(),
        identity: "filler".into(),
        writable: true,
        generation,
        valid_ms: 5_000,
        secret: vec![8; 32],
    };
    admin.admit(admit).await.unwrap();
    let region = RegionId(attached.catalog_region.as_slice().try_into().unwrap());
    let mut catalog = Catalog::new(Extent {
        start: attached.allocatable_start,
        len: attached.allocatable_len,
    });
    for number in 0..regions {
        let record = Record::RegionCreated {
            region: RegionId(u128::from(number).to_le_bytes()),
            name: format!("r{number:06}"),
            kind: outlive_layout::RegionKind::Raw,
            size: 4096,
            slots: 0,
            max_snapshot: 0,
            extents: vec![Extent {
                start: attached.allocatable_start + number * 8192,
                len: 8192,
            }],
            created_ms: number,
            access: AccessList::new([support::ADMINISTRATOR.to_owned()], []).unwrap(),
        };
        catalog.apply(&record).unwrap();
    }
    let payload = catalog.encode();
    let ticket = Opened {
        ticket_id: vec![1; 16],
        ticket_secret: vec![8; 32],
        identity: "filler".into(),
        generation,
        writable: true,
        incarnation: attached.incarnation,
        region: Some(outlive_proto::v1::Region {
            id: attached.catalog_region.clone(),
            ..Default::default()
        }),
        data_address: attached.data_address.clone(),
        ..Opened::default()
    };
    write_snapshot(&ticket, region, generation, &payload);
}

fn write_snapshot(ticket: &Opened, region: RegionId, generation: u64, payload: &[u8]) {
    let mut data = Data::connect(ticket).unwrap();
    let len = data.len;
    let mut reader = Reader::open(&mut data, region, len).unwrap();
    let found = reader
        .recover(&mut data, Start::Everything, &RecoveryOptions::default())
        .unwrap();
    let (mut writer, takeover) = Writer::resume(region, &found.point, generation, 1).unwrap();
    data.write(takeover.offset, &takeover.header).unwrap().unwrap();
    let plan = writer.begin_snapshot(payload.len() as u64, 2).unwrap();
    data.write(plan.payload_offset(), payload).unwrap().unwrap();
    let sealed = plan.seal(&plan.checksum().with(payload));
    let (offset, seal) = sealed.publish();
    data.write(offset, &seal).unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn opens_beyond_the_rate_are_refused_and_pass_later() {
    let unit = support::unit(&memory(16));
    let mut options = support::options(unit.admin_client());
    (options.opens_per_second, options.open_burst) = (2, 3);
    let manager = Manager::attach(options).await.unwrap();
    let client = support::serve(&manager).await;
    client.create("r", RegionKind::Raw, 4096).await.unwrap();
    let mut outcomes = Vec::new();
    for _ in 0..8 {
        outcomes.push(client.backup("r").await);
    }
    assert!(outcomes[..3].iter().all(Result::is_ok));
    let refused = outcomes.into_iter().find_map(Result::err).unwrap();
    assert_eq!(refused.code, ErrorCode::Limit, "{refused}");
    assert!(refused.message.contains("2 opens per second"), "{refused}");
    while client.backup("r").await.is_err() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_are_bounded_and_make_room_when_they_leave() {
    let world = World::new(&memory(16)).await;
    world.client.create("r", RegionKind::Raw, 4096).await.unwrap();
    let mut watches = Vec::new();
    let mut client = world.client.clone();
    let mut watch = async || client.watch_region(WatchRegionRequest { name: "r".into() }).await;
    for _ in 0..limits::WATCHERS_PER_IDENTITY {
        watches.push(watch().await.unwrap());
    }
    assert_eq!(watch().await.unwrap_err().code(), tonic::Code::ResourceExhausted);
    // Others have theirs.
    world.client.admit("other", true).await.unwrap();
    support::Watch::start(&world.client_as("other"), "r").await;
    watches.truncate(1);
    while watch().await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_watcher_holds_nobody_up_and_ends_at_the_present_state() {
    let world = World::new(&memory(16)).await;
    world.client.create("r", RegionKind::Raw, 4096).await.unwrap();
    let mut slow = support::Watch::start(&world.client, "r").await;
    for generation in 0..100 {
        world.client.take_over("r", generation, "x").await.unwrap();
    }
    while slow.next().await.region.unwrap().generation < 100 {}
}
