//! Rights that are taken away at the very moment at which they are used, over and over: what counts is when the
//! call returns.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use outlive::Session;
use outlive_fabric::tcp::hello::Reply;
use outlive_fabric::testing::raw;
use outlive_proto::v1::{AccessRight, AdmitIdentityRequest, Role};

use crate::bystander::Bystander;
use crate::people::People;
use crate::support::World;
use crate::wire::{Control, Wire, ticket_of};
use crate::{Ending, session};

const SIZE: usize = 1 << 20;
const ROUNDS: u32 = 8;
const ATTACKERS: usize = 3;
/// How long a byte that was on its way has to land.
const LATE: Duration = Duration::from_millis(100);

/// Whether its rights are gone, and how often it got to write.
#[derive(Default)]
struct Tide {
    out: AtomicBool,
    ended: AtomicBool,
    wrote: AtomicU64,
}

/// Opens, connects and writes as often as it is let, and checks that nothing lets it in once its rights are gone.
fn surge(people: &People<'_>, tide: &Tide, seed: u64) {
    let mut control = people.control("mallory");
    while !tide.ended.load(Ordering::Acquire) {
        let Ok(opened) = control.try_open("target", Role::Primary) else {
            continue;
        };
        let was_out = tide.out.load(Ordering::Acquire);
        let ticket = ticket_of(&opened);
        let Ok(stream) = TcpStream::connect(&opened.data_address) else {
            continue;
        };
        let Ok(Reply::Welcome { session, .. }) = raw::greet(&mut &stream, &ticket) else {
            continue;
        };
        assert!(!was_out, "let in by a ticket after the call had returned");
        let mut wire = Wire::welcomed(stream, ticket, &session);
        let payload = crate::support::noise(seed + tide.wrote.load(Ordering::Relaxed), 4096);
        if wire.try_write(0, &payload) {
            tide.wrote.fetch_add(1, Ordering::AcqRel);
        }
    }
}

fn bytes_of(session: &Session) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    session.raw_reader("target").unwrap().read(0, &mut bytes).unwrap();
    bytes
}

/// Gives mallory its rights and takes them away again, while it uses them.
fn assert_rights_end_when_the_call_returns(
    give: impl Fn(&People<'_>, &World),
    take_away: impl Fn(&People<'_>),
) {
    let world = World::in_memory();
    let _serve = world.serve();
    let people = People::of(&world);
    people.region("target", &["heir"], &[]);
    let heirs = people.session("heir");
    let bystander = Bystander::start(session(&world));
    let tide = Tide::default();
    thread::scope(|scope| {
        let _ending = Ending(&tide.ended);
        for seed in 1..=ATTACKERS as u64 {
            let (people, tide) = (&people, &tide);
            scope.spawn(move || surge(people, tide, seed << 32));
        }
        for round in 0..ROUNDS {
            let before = tide.wrote.load(Ordering::Acquire);
            tide.out.store(false, Ordering::Release);
            give(&people, &world);
            let deadline = Instant::now() + Duration::from_secs(20);
            while tide.wrote.load(Ordering::Acquire) < before + 2 {
                assert!(Instant::now() < deadline, "it gets its rights in round {round}");
                thread::yield_now();
            }
            take_away(&people);
            tide.out.store(true, Ordering::Release);
            let after = bytes_of(&heirs);
            thread::sleep(LATE);
            assert!(
                bytes_of(&heirs) == after,
                "a byte landed after the call had returned, round {round}"
            );
        }
    });
    bystander.finish();
}

#[test]
fn a_right_denied_while_it_is_used_is_gone_when_the_call_returns() {
    assert_rights_end_when_the_call_returns(
        |people, _| people.change("target", "mallory", AccessRight::Owner, true),
        |people| people.change("target", "mallory", AccessRight::Owner, false),
    );
}

#[test]
fn an_identity_revoked_while_it_acts_is_out_when_the_call_returns() {
    assert_rights_end_when_the_call_returns(
        |people, world| {
            people.change("target", "mallory", AccessRight::Owner, true);
            let mut control = Control::of(world);
            let request = AdmitIdentityRequest {
                name: "mallory".to_owned(),
                administrator: false,
            };
            control
                .runtime
                .block_on(control.client.admit_identity(request))
                .unwrap();
        },
        |people| {
            people.revoke("mallory");
        },
    );
}
