//! Who is let in.

use std::thread;

use super::Harness;
use super::bench::Bench;
use crate::{FabricError, Refusal, Rights, Terms, Ticket, TicketId, TicketSecret};

/// C: a ticket lets in once. A used one, one that was voided, and an unknown one are refused alike, and
/// so is one whose secret is not known.
pub(super) fn a_ticket_is_good_for_one_connection<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let used = bench.target.issue(Rights::Read);
    let first = bench.harness.connect(&used).expect("a fresh ticket lets in");
    let voided = bench.target.issue(Rights::Read);
    bench.target.void(voided.id);
    let mut unknown = voided.clone();
    unknown.id = TicketId([0; 16]);
    for ticket in [used, voided, unknown] {
        assert_refused(bench.harness.connect(&ticket).map(drop));
        assert_refused(bench.harness.connect_blindly(&ticket));
    }
    assert_refused(
        bench
            .harness
            .connect_blindly(&with_wrong_secret(&bench.target.issue(Rights::Read))),
    );
    assert_eq!(bench.target.connections().len(), 1, "nobody else was let in");
    drop(first);
}

/// A ticket that is shown many times at once lets exactly one in.
pub(super) fn a_ticket_that_many_show_lets_one_in<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    for _ in 0..5 {
        let ticket = bench.target.issue(Rights::Read);
        let before = bench.target.connections().len();
        let came: Vec<_> = thread::scope(|scope| {
            let connecting: Vec<_> = (0..5)
                .map(|_| scope.spawn(|| bench.harness.connect(&ticket)))
                .collect();
            let joined = connecting.into_iter().map(|connecting| connecting.join());
            joined.map(|connected| connected.expect("no panic")).collect()
        });
        let (inside, outside): (Vec<_>, Vec<_>) = came.into_iter().partition(Result::is_ok);
        assert_eq!(inside.len(), 1, "exactly one is let in");
        for refused in outside {
            assert_refused(refused.map(drop));
        }
        assert_eq!(bench.target.connections().len(), before + 1);
    }
}

/// U5: who knows a ticket's id and not its secret is not let in, and the ticket is not used up by it.
pub(super) fn a_wrong_secret_lets_nobody_in<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let ticket = bench.target.issue(Rights::ReadWrite);
    assert_refused(bench.harness.connect_blindly(&with_wrong_secret(&ticket)));
    assert_eq!(bench.target.wrong_answers(), 1);
    assert!(bench.target.connections().is_empty());
    bench
        .harness
        .connect(&ticket)
        .expect("its owner is let in all the same");
}

/// U5: a ticket is bound to identity, region, generation, rights and incarnation. Who means anything else by
/// it is not let in, and does not let itself be let in.
pub(super) fn other_terms_let_nobody_in<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    let changes: [fn(&mut Terms); 6] = [
        |terms| terms.identity.push('s'),
        |terms| terms.identity.clear(),
        |terms| terms.region.0[15] ^= 1,
        |terms| terms.generation += 1,
        |terms| terms.rights = Rights::ReadWrite,
        |terms| terms.incarnation += 1,
    ];
    for change in changes {
        let ticket = bench.target.issue(Rights::Read);
        let mut other = ticket.clone();
        change(&mut other.terms);
        let before = bench.target.wrong_answers();
        let error = bench.harness.connect(&other).err().expect("it does not connect");
        assert!(matches!(error, FabricError::Impostor { .. }), "{error:?}");
        assert_eq!(bench.target.wrong_answers(), before, "nothing was proven to it");
        assert_refused(bench.harness.connect_blindly(&other));
        assert_eq!(bench.target.wrong_answers(), before + 1);
        bench
            .harness
            .connect(&ticket)
            .expect("with the terms agreed it is let in");
    }
}

/// X1: a target that saw a ticket's id and does not know its secret is found out before anything is
/// proven to it.
pub(super) fn an_impostor_is_given_nothing<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    bench.target.impersonate();
    let ticket = bench.target.issue(Rights::ReadWrite);
    let error = bench.harness.connect(&ticket).err().expect("it does not connect");
    assert!(matches!(error, FabricError::Impostor { .. }), "{error:?}");
    assert_eq!(bench.target.wrong_answers(), 0, "the initiator did not answer");
    assert!(bench.target.connections().is_empty());
}

/// U5: a ticket survives a bounded number of wrong answers, so that guessing does not take it from its
/// owner at once, and not more, so that guessing ends.
pub(super) fn a_ticket_survives_three_wrong_answers_and_not_four<H: Harness>() {
    let bench = Bench::<H>::new(4096);
    for wrong in 0..=4 {
        let ticket = bench.target.issue(Rights::Read);
        for _ in 0..wrong {
            assert_refused(bench.harness.connect_blindly(&with_wrong_secret(&ticket)));
        }
        let connected = bench.harness.connect(&ticket).map(drop);
        if wrong <= 3 {
            connected.expect("it is still good");
        } else {
            assert_refused(connected);
        }
    }
}

fn with_wrong_secret(ticket: &Ticket) -> Ticket {
    let mut secret = *ticket.secret.as_bytes();
    secret[31] ^= 1;
    Ticket {
        secret: TicketSecret::new(secret),
        ..ticket.clone()
    }
}

fn assert_refused(outcome: Result<(), FabricError>) {
    let error = outcome.expect_err("it is not let in");
    assert!(
        matches!(error, FabricError::Refused(Refusal::Ticket)),
        "{error:?}"
    );
}
