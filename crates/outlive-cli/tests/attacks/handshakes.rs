//! Handshakes that never end, by the thousand, from one address that honest clients share.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use outlive::RegionSpec;
use outlive_fabric::TicketId;
use outlive_fabric::tcp::hello::Hello;
use outlive_fabric::testing::raw;
use outlive_proto::v1::Role;

use crate::bystander::Bystander;
use crate::support::{Serve, World};
use crate::vitals::Vitals;
use crate::wire::{Control, Wire, ticket_of};
use crate::{Ending, session};

const THOUSAND: usize = 1000;
/// A newcomer that is not let in within this time is locked out.
const LOCKED_OUT: Duration = Duration::from_secs(5);
/// What a thousand half handshakes may cost, which is less than a thousand of anything.
const GROWTH_BYTES: u64 = 48 << 20;
/// The unit's bound on unfinished handshakes, and a few that are just ending.
const THREADS: u64 = 64 + 64;

fn scene() -> (World, Serve, Bystander) {
    let world = World::in_memory();
    let serve = world.serve();
    let session = session(&world);
    session.create("target", &RegionSpec::raw(1 << 20)).unwrap();
    let bystander = Bystander::start(session);
    (world, serve, bystander)
}

/// A newcomer with a ticket is let in and served.
fn assert_lets_in(world: &World) {
    let begun = Instant::now();
    assert_eq!(Wire::reader(world, "target").read(0, 8), [0; 8]);
    assert!(begun.elapsed() < LOCKED_OUT, "let in after {:?}", begun.elapsed());
}

#[test]
fn half_handshakes_by_the_thousand_lock_nobody_out() {
    let (world, serve, bystander) = scene();
    let data = serve.ready["data"].as_str().unwrap();
    let before = Vitals::of(&serve);
    let hello = Hello {
        ticket: TicketId([0x77; 16]),
        nonce: [1; 32],
    }
    .encode();
    for round in 0..3 {
        let held: Vec<TcpStream> = (0..THOUSAND)
            .map(|number| {
                let mut stream = TcpStream::connect(data).unwrap();
                // The unit may have given this one up already.
                let _ = stream.write_all(&hello[..number % hello.len()]);
                stream
            })
            .collect();
        before.assert_grown_by_less_than(&serve, GROWTH_BYTES, THREADS);
        assert_lets_in(&world);
        bystander.assert_served();
        assert_eq!(held.len(), THOUSAND, "round {round}");
    }
    bystander.finish();
}

#[test]
fn challenges_that_are_never_answered_lock_nobody_out() {
    let (world, serve, bystander) = scene();
    let data = serve.ready["data"].as_str().unwrap();
    let before = Vitals::of(&serve);
    let mut control = Control::of(&world);
    let held: Vec<TcpStream> = (0..300)
        .map(|_| {
            let ticket = ticket_of(&control.open("target", Role::Backup));
            let mut stream = TcpStream::connect(data).unwrap();
            raw::say_hello(&mut stream, ticket.id).unwrap();
            stream
        })
        .collect();
    assert_lets_in(&world);
    before.assert_grown_by_less_than(&serve, GROWTH_BYTES, THREADS);
    bystander.finish();
    drop(held);
}

#[test]
fn a_flood_of_invented_tickets_locks_nobody_out() {
    let (world, serve, bystander) = scene();
    let data = serve.ready["data"].as_str().unwrap();
    let before = Vitals::of(&serve);
    let (ended, tried) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _ending = Ending(&ended);
        for seed in 0..4_u8 {
            let (ended, tried) = (&ended, &tried);
            scope.spawn(move || {
                while !ended.load(Ordering::Acquire) {
                    let hello = Hello {
                        ticket: TicketId([seed; 16]),
                        nonce: [seed; 32],
                    };
                    // Refused, or not even looked at: neither matters here.
                    if let Ok(mut stream) = TcpStream::connect(data) {
                        let _ = stream.write_all(&hello.encode());
                        let _ = stream.read(&mut [0; 256]);
                    }
                    tried.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            assert_lets_in(&world);
            bystander.assert_served();
            before.assert_grown_by_less_than(&serve, GROWTH_BYTES, THREADS);
        }
    });
    assert!(tried.load(Ordering::Relaxed) > 100, "it was a flood");
    bystander.finish();
}
