//! What a manager may ask, and what it is refused (M1, M3).

use std::sync::Arc;
use std::thread;

use outlive_fabric::{FabricError, Refusal, RegionId};
use outlive_media::Stored;
use outlive_proto::v1::unit_event::Event;
use outlive_proto::v1::{
    AdmitRequest, AttachRequest, ConnectionsRequest, DescribeRequest, ErrorCode, EventsRequest, Extent,
    FenceRequest, Level, PrepareRequest, ProgramRequest, UnitEvent, UnitStateRequest, WithdrawRequest,
};
use outlive_proto::{ControlError, FromStatus};
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use crate::controlled::Controlled;
use crate::rig::{BLOCK, Rig, SECRET, options};

fn code(outcome: Result<impl Sized, ControlError>) -> ErrorCode {
    outcome.err().expect("must be refused").code
}

#[test]
fn attach_tells_where_everything_is() {
    let rig = Rig::memory();
    let attached = &rig.attached;
    assert_eq!((attached.incarnation, attached.manager_generation), (1, 1));
    assert_eq!((attached.unit.len(), attached.catalog_region.len()), (16, 16));
    assert_eq!(attached.strongest(), Level::Placed);
    assert_eq!(attached.data_address, rig.address().to_string());
    assert_eq!(attached.allocatable_start % BLOCK, 0);
    assert!(attached.allocatable_len > 12 << 20 && attached.catalog_len >= 1 << 20);
    assert!(attached.connections.is_empty());
}

#[test]
fn only_who_knows_the_secret_attaches() {
    let rig = Rig::memory();
    for proof in [&b""[..], b"the manager's secreT", b"guess"] {
        let request = AttachRequest {
            proof: proof.to_vec(),
            manager: "impostor".into(),
        };
        let outcome = rig.call(async |mut admin| admin.attach(request).await);
        assert_eq!(code(outcome), ErrorCode::NoAccess);
    }
    // Nobody was superseded by that.
    rig.region(1, &[(0, 2)]);
}

#[test]
fn nothing_is_done_for_a_superseded_manager() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 2)]);
    assert_eq!(rig.attach().manager_generation, 2);
    refuses_every_call(&rig, region, 1);
}

#[test]
fn nothing_is_done_before_a_manager_attached() {
    let unit = outlive_unit::Unit::open(&"memory:size=16MiB".parse().unwrap(), options()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let status = runtime.block_on(async {
        unit.admin_client()
            .unit_state(UnitStateRequest {
                manager_generation: 0,
            })
            .await
            .err()
            .unwrap()
    });
    assert_eq!(status.control_error().unwrap().code, ErrorCode::Superseded);
}

fn refuses_every_call(rig: &Rig, region: RegionId, manager_generation: u64) {
    let region = region.0.to_vec();
    let codes = [
        code(rig.prepare(rig.extents(&[(4, 1)]), Vec::new())),
        code(rig.program(RegionId([2; 16]), rig.extents(&[(4, 2)]), 0)),
        code(rig.withdraw(RegionId([1; 16]))),
        code(rig.admit(RegionId([1; 16]), false, 1, 1000)),
        code(rig.fence(RegionId([1; 16]), 9, true)),
        code(rig.revoke("local", None, false)),
        code(rig.call(async |mut admin| {
            admin
                .describe(DescribeRequest {
                    manager_generation,
                    region: region.clone(),
                    page: vec![1],
                })
                .await
        })),
        code(rig.call(async |mut admin| {
            admin
                .connections(ConnectionsRequest {
                    manager_generation,
                    region: Vec::new(),
                })
                .await
        })),
        code(rig.call(async |mut admin| admin.events(EventsRequest { manager_generation }).await)),
        code(rig.call(async |mut admin| admin.unit_state(UnitStateRequest { manager_generation }).await)),
    ];
    assert_eq!(codes, [ErrorCode::Superseded; 10]);
}

#[test]
fn attaching_stops_the_manager_before_it() {
    let rig = Rig::memory();
    let catalog = RegionId(rig.attached.catalog_region.clone().try_into().unwrap());
    let mut predecessor = rig.open(catalog, true, 1);
    predecessor.write(predecessor.data, 0, b"mine").unwrap();
    let region = rig.region(1, &[(0, 2)]);
    let mut client = rig.open(region, true, 7);
    let attached = rig.attach();
    assert!(matches!(
        predecessor.end(),
        FabricError::Stopped(Refusal::Fenced { generation: 2 })
    ));
    // Clients go on, and the new manager is told who they are.
    client.write(client.data, 0, b"x").unwrap();
    let [found] = &attached.connections[..] else {
        panic!("{:?}", attached.connections)
    };
    assert_eq!(
        (&found.region[..], found.writable, found.generation),
        (&region.0[..], true, 7)
    );
    assert_eq!(found.identity, "local");
}

#[test]
fn attach_waits_for_calls_in_progress() {
    let media = Controlled::new();
    let rig = Arc::new(Rig::on(media.volume(Stored::New), options()));
    let extents = rig.extents(&[(0, 1)]);
    let at = extents[0].start;
    media.hold(at);
    let preparing = thread::spawn({
        let rig = Arc::clone(&rig);
        move || rig.prepare(extents, vec![(0, b"late".to_vec())])
    });
    media.await_held();
    let attaching = thread::spawn({
        let rig = Arc::clone(&rig);
        move || rig.attach()
    });
    for _ in 0..1000 {
        thread::yield_now();
    }
    let before = media.stored().len();
    media.release();
    preparing.join().unwrap().unwrap();
    attaching.join().unwrap();
    // The prepare's bytes first, then the superblock with the new manager generation.
    let stored = media.stored();
    assert_eq!(stored[before], at);
    assert!(stored[before + 1] < 2 * BLOCK);
}

#[test]
fn extents_that_a_call_is_preparing_are_not_free() {
    let media = Controlled::new();
    let rig = Arc::new(Rig::on(media.volume(Stored::New), options()));
    let extents = rig.extents(&[(0, 4)]);
    media.hold(extents[0].start);
    let preparing = thread::spawn({
        let (rig, extents) = (Arc::clone(&rig), extents.clone());
        move || rig.prepare(extents, vec![(0, b"slow".to_vec())])
    });
    media.await_held();
    // Its manager may have given up on it and allocated the extents anew.
    assert_eq!(
        code(rig.prepare(rig.extents(&[(3, 2)]), Vec::new())),
        ErrorCode::Invalid
    );
    assert_eq!(
        code(rig.program(RegionId([1; 16]), rig.extents(&[(2, 2)]), 0)),
        ErrorCode::Invalid
    );
    rig.region(2, &[(4, 2)]);
    media.release();
    preparing.join().unwrap().unwrap();
    rig.program(RegionId([1; 16]), extents, 0).unwrap();
}

#[test]
fn extents_that_are_not_free_or_make_no_sense_are_refused() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 4), (10, 2)]);
    let start = rig.attached.allocatable_start;
    let end = start + rig.attached.allocatable_len;
    let bad = [
        vec![],
        vec![Extent {
            start: start + 1,
            len: BLOCK,
        }],
        vec![Extent {
            start: start + 20 * BLOCK,
            len: 100,
        }],
        vec![Extent {
            start: start + 20 * BLOCK,
            len: 0,
        }],
        vec![Extent {
            start: start - BLOCK,
            len: BLOCK,
        }],
        vec![Extent { start: 0, len: BLOCK }],
        vec![Extent {
            start: end,
            len: BLOCK,
        }],
        vec![Extent {
            start: end - BLOCK,
            len: 2 * BLOCK,
        }],
        vec![Extent {
            start: u64::MAX / BLOCK * BLOCK,
            len: 2 * BLOCK,
        }],
        rig.extents(&[(20, 4), (22, 1)]),
        rig.extents(&[(20, 1), (20, 1)]),
        rig.extents(&[(11, 1)]),
        rig.extents(&[(5, 6)]),
        rig.extents(&[(0, 100)]),
    ];
    for extents in bad {
        assert_eq!(
            code(rig.prepare(extents.clone(), Vec::new())),
            ErrorCode::Invalid,
            "{extents:?}"
        );
        assert_eq!(
            code(rig.program(RegionId([9; 16]), extents_with_len(extents), 0)),
            ErrorCode::Invalid
        );
    }
    let outside = vec![(BLOCK - 1, vec![1, 2])];
    assert_eq!(
        code(rig.prepare(rig.extents(&[(20, 1)]), outside)),
        ErrorCode::Invalid
    );
    let overflowing = vec![(u64::MAX, vec![1, 2])];
    assert_eq!(
        code(rig.prepare(rig.extents(&[(20, 1)]), overflowing)),
        ErrorCode::Invalid
    );
    rig.open(region, true, 1);
}

/// Keeps the rig's subtraction of the metadata page from overflowing.
fn extents_with_len(mut extents: Vec<Extent>) -> Vec<Extent> {
    if extents.iter().map(|extent| extent.len).sum::<u64>() < BLOCK {
        extents.push(Extent { start: 0, len: BLOCK });
    }
    extents
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 4)]);
    let manager_generation = rig.generation;
    let catalog = RegionId(rig.attached.catalog_region.clone().try_into().unwrap());
    assert_eq!(code(rig.withdraw(catalog)), ErrorCode::Invalid);
    assert_eq!(
        code(rig.program(catalog, rig.extents(&[(8, 2)]), 0)),
        ErrorCode::Invalid
    );
    assert_eq!(code(rig.admit(region, false, 1, 0)), ErrorCode::Invalid);
    assert_eq!(code(rig.admit(region, false, 1, 3_600_000)), ErrorCode::Invalid);
    assert_eq!(
        code(rig.admit(RegionId([9; 16]), false, 1, 1000)),
        ErrorCode::NoSuchRegion
    );
    for data_len in [0, 3 * BLOCK + 1, u64::MAX] {
        let (region, extents) = (vec![3; 16], rig.extents(&[(8, 4)]));
        let request = ProgramRequest {
            manager_generation,
            region,
            extents,
            data_len,
            min_generation: 0,
        };
        assert_eq!(
            code(rig.call(async |mut admin| admin.program(request).await)),
            ErrorCode::Invalid
        );
    }
    let short = || vec![1; 15];
    let codes = [
        code(rig.call(async |mut admin| {
            admin
                .withdraw(WithdrawRequest {
                    manager_generation,
                    region: short(),
                })
                .await
        })),
        code(rig.call(async |mut admin| {
            let request = FenceRequest {
                manager_generation,
                region: short(),
                ..FenceRequest::default()
            };
            admin.fence(request).await
        })),
        code(rig.call(async |mut admin| {
            let (ticket_id, region) = (short(), region.0.to_vec());
            admin
                .admit(AdmitRequest {
                    manager_generation,
                    ticket_id,
                    region,
                    ..AdmitRequest::default()
                })
                .await
        })),
        code(rig.call(async |mut admin| {
            let (region, page) = (region.0.to_vec(), vec![0; 4097]);
            admin
                .describe(DescribeRequest {
                    manager_generation,
                    region,
                    page,
                })
                .await
        })),
        code(rig.call(async |mut admin| {
            let writes = Vec::new();
            admin
                .prepare(PrepareRequest {
                    manager_generation,
                    extents: Vec::new(),
                    writes,
                })
                .await
        })),
    ];
    assert_eq!(codes, [ErrorCode::Invalid; 5]);
}

#[test]
fn extents_in_use_by_a_connection_are_not_given_up() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 4), (10, 4)]);
    let mut client = rig.open(region, true, 1);
    assert_eq!(
        code(rig.program(region, rig.extents(&[(0, 4)]), 0)),
        ErrorCode::Invalid
    );
    client.write(client.data, 5 * BLOCK, b"still mapped").unwrap();
    assert_eq!(
        code(rig.prepare(rig.extents(&[(10, 4)]), Vec::new())),
        ErrorCode::Invalid
    );
}

#[test]
fn a_described_region_shows_its_page() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 2)]);
    let mut reader = rig.open(region, false, 1);
    for page in [&b"a long first page"[..], b"second"] {
        let (region, page) = (region.0.to_vec(), page.to_vec());
        let request = DescribeRequest {
            manager_generation: rig.generation,
            region,
            page: page.clone(),
        };
        rig.call(async |mut admin| admin.describe(request).await).unwrap();
        let mut expected = page;
        expected.resize(usize::try_from(BLOCK).unwrap(), 0);
        assert_eq!(reader.read(reader.metadata, 0, expected.len()).unwrap(), expected);
    }
}

#[test]
fn events_tell_who_comes_and_goes_until_a_successor_attaches() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 2)]);
    let request = EventsRequest {
        manager_generation: rig.generation,
    };
    let mut events = rig.call(async |mut admin| admin.events(request).await).unwrap();
    let client = rig.open(region, true, 4);
    let Some(Ok(UnitEvent {
        event: Some(Event::Opened(opened)),
    })) = next(&rig, &mut events)
    else {
        panic!("no opened event");
    };
    assert_eq!(
        (&opened.region[..], opened.writable, opened.generation),
        (&region.0[..], true, 4)
    );
    assert_eq!(rig.live(), std::slice::from_ref(&opened));
    drop(client);
    assert_eq!(
        next(&rig, &mut events).unwrap().unwrap().event,
        Some(Event::Closed(opened))
    );
    assert!(rig.live().is_empty());
    rig.attach();
    let ended = next(&rig, &mut events).unwrap().unwrap_err();
    assert_eq!(ended.control_error().unwrap().code, ErrorCode::Superseded);
    assert!(next(&rig, &mut events).is_none());
}

#[test]
fn events_end_with_the_unit() {
    let rig = Rig::memory();
    let request = EventsRequest {
        manager_generation: rig.generation,
    };
    let mut events = rig.call(async |mut admin| admin.events(request).await).unwrap();
    rig.unit.close().unwrap();
    assert!(next(&rig, &mut events).is_none());
}

fn next(rig: &Rig, events: &mut Streaming<UnitEvent>) -> Option<Result<UnitEvent, Status>> {
    rig.runtime.block_on(events.next())
}

#[test]
fn a_secret_is_what_it_was_given() {
    assert_eq!(options().secret.proof(), SECRET);
}
