//! Tenants that take all they can get: others get theirs all the same.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use outlive_fabric::Refusal;
use outlive_fabric::tcp::hello::Reply;
use outlive_fabric::testing::raw;
use outlive_proto::FromStatus;
use outlive_proto::v1::{
    ErrorCode, MemberStatus, OpenRegionRequest, Opened, ReportMemberRequest, Role, StatusRequest,
    WatchRegionRequest,
};

use crate::bystander::Bystander;
use crate::people::People;
use crate::support::{Serve, World};
use crate::vitals::Vitals;
use crate::wire::{Control, Wire, ticket_of};
use crate::{Ending, session};

/// What a data connection may cost: its buffers.
const CONNECTION_BYTES: u64 = 1 << 20;
/// The bound on one identity's data connections.
const CONNECTIONS_OF_ONE: usize = 512;
/// Longest time until an identity may open once more.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the flood lasts.
const FLOOD: Duration = Duration::from_secs(3);

fn world() -> (World, Serve) {
    let world = World::in_memory();
    let serve = world.serve();
    let people = People::of(&world);
    people.region("mallorys", &["mallory"], &[]);
    people.region("heirs", &["heir"], &[]);
    (world, serve)
}

#[test]
fn a_tenant_that_floods_the_manager_keeps_no_other_from_taking_over() {
    let (world, _serve) = world();
    let people = People::of(&world);
    let bystander = Bystander::start(session(&world));
    let (ended, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _ending = Ending(&ended);
        // What exists and what does not cost the same.
        for name in ["mallorys", "heirs", "absent", "mallorys"] {
            let mallory = people.control("mallory");
            let (ended, refused) = (&ended, &refused);
            scope.spawn(move || {
                while !ended.load(Ordering::Acquire) {
                    mallory.runtime.block_on(async {
                        let mut calls = tokio::task::JoinSet::new();
                        for _ in 0..200 {
                            let mut client = mallory.client.clone();
                            let request = OpenRegionRequest {
                                name: name.to_owned(),
                                role: Role::Backup.into(),
                                ..OpenRegionRequest::default()
                            };
                            calls.spawn(async move { client.open_region(request).await });
                        }
                        while let Some(answer) = calls.join_next().await {
                            if let Err(status) = answer.unwrap()
                                && status
                                    .control_error()
                                    .is_some_and(|error| error.code == ErrorCode::Limit)
                            {
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
        }
        let mut heir = people.control("heir");
        let until = Instant::now() + FLOOD;
        while Instant::now() < until {
            heir.try_open("heirs", Role::Primary)
                .expect("the flood is not hers");
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(refused.load(Ordering::Relaxed) > 0, "the flood met its limit");
    bystander.finish();
}

#[test]
fn requests_that_are_too_long_cost_nothing() {
    let (world, serve) = world();
    let people = People::of(&world);
    let bystander = Bystander::start(session(&world));
    let before = Vitals::of(&serve);
    let mallory = people.control("mallory");
    mallory.runtime.block_on(async {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let mut client = mallory.client.clone();
            let request = OpenRegionRequest {
                name: "x".repeat(3 << 20),
                ..OpenRegionRequest::default()
            };
            calls.spawn(async move { client.open_region(request).await });
        }
        while let Some(answer) = calls.join_next().await {
            let status = answer.unwrap().unwrap_err();
            assert!(status.message().len() < 1000, "a short answer to a long question");
        }
    });
    before.assert_grown_by_less_than(&serve, 64 << 20, 16);
    bystander.finish();
}

#[test]
fn a_tenant_that_parks_calls_keeps_no_other_from_calling() {
    let (world, serve) = world();
    let people = People::of(&world);
    let bystander = Bystander::start(session(&world));
    let before = Vitals::of(&serve);
    // Twenty connections of 256 calls each: more than all that the manager takes.
    let parked: Vec<_> = (0..20).map(|_| people.control("mallory")).collect();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ending = Ending(&ended);
        for (number, mallory) in parked.iter().enumerate() {
            let ended = &ended;
            scope.spawn(move || {
                mallory.runtime.block_on(async {
                    let mut calls = tokio::task::JoinSet::new();
                    for call in 0..256_usize {
                        let mut client = mallory.client.clone();
                        let report = ReportMemberRequest {
                            pair: "mallorys".into(),
                            member: Some(MemberStatus {
                                id: [number as u8, call as u8].repeat(8),
                                address: "127.0.0.1:1".into(),
                                ..MemberStatus::default()
                            }),
                            wait_ms: 9_000,
                            ..ReportMemberRequest::default()
                        };
                        let name = "mallorys".to_owned();
                        let is_watch = number % 2 == 0;
                        calls.spawn(async move {
                            if is_watch {
                                let request = WatchRegionRequest { name };
                                if let Ok(stream) = client.watch_region(request).await {
                                    let mut stream = stream.into_inner();
                                    while let Ok(Some(_)) = stream.message().await {}
                                }
                            } else {
                                let _ = client.report_member(report).await;
                            }
                        });
                    }
                    while !ended.load(Ordering::Acquire) {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    calls.abort_all();
                });
            });
        }
        let mut heir = people.control("heir");
        let until = Instant::now() + FLOOD;
        let mut calls = 0;
        while Instant::now() < until {
            heir.try_open("heirs", Role::Primary)
                .expect("the parked calls are not hers");
            heir.runtime.block_on(async {
                heir.client.status(StatusRequest {}).await.expect("nor here");
                let name = "heirs".to_owned();
                let stream = heir
                    .client
                    .watch_region(WatchRegionRequest { name })
                    .await
                    .expect("nor here");
                stream
                    .into_inner()
                    .message()
                    .await
                    .unwrap()
                    .expect("the present state");
            });
            calls += 1;
            thread::sleep(Duration::from_millis(20));
        }
        assert!(calls > 10, "{calls} calls in {FLOOD:?}");
    });
    before.assert_grown_by_less_than(&serve, 128 << 20, 64);
    bystander.finish();
}

/// Opens as backup; where that is too often for one identity, again until it is not.
fn open_in_the_end(control: &mut Control, region: &str) -> Opened {
    let begun = Instant::now();
    loop {
        match control.try_open(region, Role::Backup) {
            Ok(opened) => return opened,
            Err(status) => {
                let error = status.control_error().expect("a refusal of the manager's");
                assert_eq!(error.code, ErrorCode::Limit, "{error}");
                assert!(begun.elapsed() < PATIENCE, "{error}");
            }
        }
    }
}

#[test]
fn a_thousand_data_connections_of_one_tenant_leave_room_for_others() {
    let (world, serve) = world();
    let people = People::of(&world);
    let bystander = Bystander::start(session(&world));
    let before = Vitals::of(&serve);
    let mut mallory = people.control("mallory");
    let (mut held, mut refused) = (Vec::new(), 0);
    for _ in 0..1000 {
        let opened = open_in_the_end(&mut mallory, "mallorys");
        let mut stream = TcpStream::connect(&opened.data_address).unwrap();
        match raw::greet(&mut stream, &ticket_of(&opened)) {
            Ok(Reply::Welcome { .. }) => held.push(stream),
            // Who is refused too often is not told why any more.
            Ok(Reply::Refused(Refusal::Limit { .. })) | Err(_) => refused += 1,
            Ok(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(
        (held.len(), refused),
        (CONNECTIONS_OF_ONE, 1000 - CONNECTIONS_OF_ONE)
    );
    let mut wire = Wire::admitted(people.control("heir").open("heirs", Role::Primary));
    assert_eq!(wire.read(0, 8), [0; 8]);
    bystander.assert_served();
    before.assert_grown_by_less_than(
        &serve,
        CONNECTIONS_OF_ONE as u64 * CONNECTION_BYTES,
        CONNECTIONS_OF_ONE as u64 + 64,
    );
    drop(held);
    bystander.finish();
}
