//! A ticket lets one connection in, once, soon, and not past a fence (U5).

use std::net::TcpStream;

use outlive_fabric::tcp::hello::Reply;
use outlive_fabric::testing::raw;
use outlive_fabric::{FabricError, Refusal, Ticket, TicketSecret};
use outlive_proto::v1::ErrorCode;

use crate::rig::{Client, Rig, unknown};

fn refused(outcome: Result<Client, FabricError>) -> Refusal {
    match outcome.err().expect("must be refused") {
        FabricError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[test]
fn used_expired_and_unknown_tickets_are_refused_alike() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 2)]);
    let ticket = rig.admit(region, false, 0, 10_000).unwrap();
    let _held = rig.connect(&ticket).unwrap();
    assert_eq!(refused(rig.connect(&ticket)), Refusal::Ticket);
    assert_eq!(refused(rig.connect(&unknown(0xAB))), Refusal::Ticket);

    let short = rig.admit(region, false, 0, 1).unwrap();
    let since = std::time::Instant::now();
    while since.elapsed() < std::time::Duration::from_millis(2) {
        std::thread::yield_now();
    }
    assert_eq!(refused(rig.connect(&short)), Refusal::Ticket);
}

/// Answers the unit's challenge with another secret, as one does who saw the id pass by.
fn guess(rig: &Rig, ticket: &Ticket) -> Reply {
    let guessed = Ticket {
        secret: TicketSecret::new([0; 32]),
        ..ticket.clone()
    };
    raw::greet(&mut TcpStream::connect(rig.address()).unwrap(), &guessed).unwrap()
}

#[test]
fn three_wrong_answers_leave_a_ticket_to_its_owner_and_four_void_it() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 2)]);
    let (kept, void) = (
        rig.admit(region, false, 0, 10_000).unwrap(),
        rig.admit(region, false, 0, 10_000).unwrap(),
    );
    for _ in 0..3 {
        for ticket in [&kept, &void] {
            assert_eq!(guess(&rig, ticket), Reply::Refused(Refusal::Ticket));
        }
    }
    assert_eq!(guess(&rig, &void), Reply::Refused(Refusal::Ticket));
    rig.connect(&kept).unwrap();
    assert_eq!(refused(rig.connect(&void)), Refusal::Ticket);
}

#[test]
fn a_ticket_with_terms_of_ones_own_lets_nobody_in() {
    let rig = Rig::memory();
    let (region, other) = (rig.region(1, &[(0, 2)]), rig.region(2, &[(4, 2)]));
    let ticket = rig.admit(region, false, 3, 10_000).unwrap();
    let mut changed = [(); 5].map(|()| ticket.clone());
    changed[0].terms.identity = "somebody else".into();
    changed[1].terms.region = other;
    changed[2].terms.generation = 4;
    changed[3].terms.rights = outlive_fabric::Rights::ReadWrite;
    changed[4].terms.incarnation += 1;
    for changed in &changed {
        // Whoever believes in other terms does not believe the unit, which has these in mind.
        let error = rig.connect(changed).err().unwrap();
        assert!(matches!(error, FabricError::Impostor { .. }), "{error:?}");
    }
    rig.connect(&ticket).unwrap();
}

/// A ticket that is voided while its owner is being challenged is void: the fence and the admission take
/// the same lock, and a challenge reserves nothing.
#[test]
fn a_fence_between_challenge_and_answer_voids_the_ticket() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 2)]);
    let ticket = rig.admit(region, true, 1, 10_000).unwrap();
    let mut stream = TcpStream::connect(rig.address()).unwrap();
    let Reply::Challenge(challenge) = raw::say_hello(&mut stream, ticket.id).unwrap() else {
        panic!("not challenged");
    };
    rig.fence(region, 2, false).unwrap();
    let response = raw::client_proof(&ticket, &challenge, outlive_fabric::proof::UNBOUND);
    let reply = raw::respond(&mut stream, &response).unwrap();
    assert_eq!(reply, Reply::Refused(Refusal::Ticket));
}

#[test]
fn a_ticket_below_the_minimum_generation_is_not_made() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 2)]);
    rig.fence(region, 5, false).unwrap();
    let error = rig.admit(region, true, 4, 1000).unwrap_err();
    assert_eq!((error.code, error.generation), (ErrorCode::Fenced, 5));
    rig.open(region, true, 5);
    rig.open(region, false, 0);
    // Programming again, as a manager does that restarted, does not lower it.
    rig.program(region, rig.extents(&[(0, 2)]), 1).unwrap();
    assert_eq!(
        rig.admit(region, true, 4, 1000).unwrap_err().code,
        ErrorCode::Fenced
    );
}

#[test]
fn a_fence_voids_the_write_tickets_below_it() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 2)]);
    let write = rig.admit(region, true, 1, 10_000).unwrap();
    let read = rig.admit(region, false, 1, 10_000).unwrap();
    let current = rig.admit(region, true, 2, 10_000).unwrap();
    rig.fence(region, 2, false).unwrap();
    assert_eq!(refused(rig.connect(&write)), Refusal::Ticket);
    rig.connect(&read).unwrap();
    rig.connect(&current).unwrap();
}

#[test]
fn tickets_of_a_superseded_manager_are_void() {
    let rig = Rig::memory();
    let region = rig.region(1, &[(0, 2)]);
    let ticket = rig.admit(region, false, 1, 10_000).unwrap();
    rig.attach();
    assert_eq!(refused(rig.connect(&ticket)), Refusal::Ticket);
}

#[test]
fn tickets_that_wait_are_bounded() {
    let mut options = crate::rig::options();
    options.max_tickets = 3;
    let spec = outlive_media::MediaSpec::Memory { size: 16 << 20 };
    let rig = Rig::on(spec.open_volume().unwrap(), options);
    let region = rig.region(1, &[(0, 2)]);
    let first = rig.admit(region, false, 0, 10_000).unwrap();
    for _ in 0..2 {
        rig.admit(region, false, 0, 10_000).unwrap();
    }
    assert_eq!(
        rig.admit(region, false, 0, 10_000).unwrap_err().code,
        ErrorCode::Limit
    );
    rig.connect(&first).unwrap();
    rig.admit(region, false, 0, 10_000).unwrap();
}
