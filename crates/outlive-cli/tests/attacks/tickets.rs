//! Tickets that were never made, or not for this: whoever comes with one is refused, and learns no more than that.

use std::net::TcpStream;
use std::time::Duration;

use outlive::RegionSpec;
use outlive_fabric::tcp::hello::{Challenge, Reply, Response};
use outlive_fabric::testing::raw;
use outlive_fabric::{Refusal, Rights, Ticket, TicketId, TicketSecret};
use outlive_proto::v1::Role;

use crate::bystander::Bystander;
use crate::session;
use crate::support::{Serve, World};
use crate::wire::{Control, Wire, ticket_of};

/// Longer than any ticket is valid.
const EXPIRED: Duration = Duration::from_millis(5_500);

struct Scene {
    world: World,
    serve: Serve,
    bystander: Bystander,
}

impl Scene {
    fn new() -> Self {
        let world = World::in_memory();
        let serve = world.serve();
        let session = session(&world);
        session.create("own", &RegionSpec::raw(1 << 20)).unwrap();
        session.create("other", &RegionSpec::raw(1 << 20)).unwrap();
        let bystander = Bystander::start(session);
        Self {
            world,
            serve,
            bystander,
        }
    }

    fn ticket(&self, role: Role) -> Ticket {
        ticket_of(&Control::of(&self.world).open("own", role))
    }

    fn unit(&self) -> TcpStream {
        unit(&self.serve)
    }

    /// What comes of a whole handshake with it.
    fn greet(&self, ticket: &Ticket) -> Reply {
        raw::greet(&mut self.unit(), ticket).unwrap()
    }

    fn assert_refused(&self, ticket: &Ticket, what: &str) {
        let reply = self.greet(ticket);
        assert_eq!(reply, Reply::Refused(Refusal::Ticket), "{what}");
    }

    fn assert_let_in(&self, ticket: &Ticket, what: &str) {
        let reply = self.greet(ticket);
        assert!(matches!(reply, Reply::Welcome { .. }), "{what}: {reply:?}");
    }
}

fn unit(serve: &Serve) -> TcpStream {
    let stream = TcpStream::connect(serve.ready["data"].as_str().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

#[test]
fn invented_used_and_expired_tickets_are_refused_alike() {
    let scene = Scene::new();
    let expiring = scene.ticket(Role::Backup);
    let expired = std::time::Instant::now() + EXPIRED;
    let used = scene.ticket(Role::Backup);
    scene.assert_let_in(&used, "the first time");
    scene.assert_refused(&used, "the second time");
    let invented = Ticket {
        id: TicketId([0x5a; 16]),
        ..used.clone()
    };
    scene.assert_refused(&invented, "never made");
    std::thread::sleep(expired.saturating_duration_since(std::time::Instant::now()));
    scene.assert_refused(&expiring, "expired");
    // Not a byte tells them apart.
    let said = [&invented, &used, &expiring].map(|ticket| {
        let reply = raw::say_hello(&mut scene.unit(), ticket.id).unwrap();
        reply.encode()
    });
    assert!(said.iter().all(|bytes| *bytes == said[0]));
    scene.bystander.finish();
}

#[test]
fn a_ticket_is_good_for_what_it_was_made_for_only() {
    let scene = Scene::new();
    let other = ticket_of(&Control::of(&scene.world).open("other", Role::Backup));
    let good = scene.ticket(Role::Backup);
    let changed = |change: &dyn Fn(&mut Ticket)| {
        let mut ticket = scene.ticket(Role::Backup);
        change(&mut ticket);
        ticket
    };
    let cases = [
        (
            "another identity's",
            changed(&|it| it.terms.identity = "somebody".into()),
        ),
        (
            "another region's",
            changed(&|it| it.terms.region = other.terms.region),
        ),
        ("another generation's", changed(&|it| it.terms.generation += 1)),
        (
            "with more rights",
            changed(&|it| it.terms.rights = Rights::ReadWrite),
        ),
        ("another incarnation's", changed(&|it| it.terms.incarnation += 1)),
        (
            "seen on the way, without its secret",
            changed(&|it| it.secret = TicketSecret::new([0; 32])),
        ),
        (
            "with another ticket's secret",
            changed(&|it| it.secret = other.secret.clone()),
        ),
    ];
    for (what, ticket) in &cases {
        scene.assert_refused(ticket, what);
    }
    // What lets in shows the one region only.
    let Reply::Welcome { session, .. } = scene.greet(&good) else {
        panic!("not let in");
    };
    assert!(session.access.iter().all(|info| info.region == good.terms.region));
    assert!(session.access.iter().all(|info| info.rights == Rights::Read));
    scene.bystander.finish();
}

#[test]
fn three_wrong_answers_use_nothing_up_and_the_fourth_voids_the_ticket() {
    let scene = Scene::new();
    for (wrong, survives) in [(3, true), (4, false)] {
        let ticket = scene.ticket(Role::Backup);
        for _ in 0..wrong {
            let guessed = Ticket {
                secret: TicketSecret::new([9; 32]),
                ..ticket.clone()
            };
            scene.assert_refused(&guessed, "guessed");
        }
        if survives {
            scene.assert_let_in(&ticket, "after three");
        } else {
            scene.assert_refused(&ticket, "after four");
        }
    }
    scene.bystander.finish();
}

#[test]
fn a_recorded_handshake_opens_nothing() {
    let scene = Scene::new();
    let challenged = |stream: &mut TcpStream, ticket: &Ticket| -> Challenge {
        match raw::say_hello(stream, ticket.id).unwrap() {
            Reply::Challenge(challenge) => challenge,
            other => panic!("no challenge: {other:?}"),
        }
    };
    let answer = |ticket: &Ticket, challenge: &Challenge| -> Response {
        raw::client_proof(ticket, challenge, outlive_fabric::proof::UNBOUND)
    };
    // Held back on its way, so that the ticket is not used yet, and sent on a connection of the attacker's own.
    let ticket = scene.ticket(Role::Primary);
    let mut first = scene.unit();
    let held_back = answer(&ticket, &challenged(&mut first, &ticket));
    let mut second = scene.unit();
    challenged(&mut second, &ticket);
    let reply = raw::respond(&mut second, &held_back).unwrap();
    assert_eq!(reply, Reply::Refused(Refusal::Ticket));
    // The unit's own proof is no client's.
    let mut third = scene.unit();
    let challenge = challenged(&mut third, &ticket);
    let mirrored = Response {
        proof: challenge.proof,
    };
    let reply = raw::respond(&mut third, &mirrored).unwrap();
    assert_eq!(reply, Reply::Refused(Refusal::Ticket));
    // Its owner still gets in where it began, once.
    let reply = raw::respond(&mut first, &held_back).unwrap();
    assert!(matches!(reply, Reply::Welcome { .. }), "{reply:?}");
    // And the whole, word by word, afterwards.
    let reply = raw::say_hello(&mut scene.unit(), ticket.id).unwrap();
    assert_eq!(reply, Reply::Refused(Refusal::Ticket));
    scene.bystander.finish();
}

#[test]
fn a_ticket_does_not_outlive_the_units_restart() {
    let world = World::new();
    let serve = world.serve();
    session(&world).create("own", &RegionSpec::raw(1 << 20)).unwrap();
    let ticket = ticket_of(&Control::of(&world).open("own", Role::Primary));
    let serve = world.serve_again(&serve.kill());
    let reply = raw::greet(&mut unit(&serve), &ticket).unwrap();
    assert_eq!(reply, Reply::Refused(Refusal::Ticket));
}

#[test]
fn keys_mean_nothing_on_another_connection() {
    let scene = Scene::new();
    let writer = Wire::writer(&scene.world, "own");
    let mut reader = Wire::reader(&scene.world, "own");
    let other = Wire::writer(&scene.world, "other");
    for key in [writer.key, writer.metadata_key, other.key, other.metadata_key] {
        assert!(reader.refused_read(key, 0, 8).contains("key"));
        assert!(reader.refused_write(key, 0, &[1; 8]).contains("key"));
        assert!(reader.refused_persist(key, 0, 8).contains("key"));
    }
    assert_eq!(reader.read(0, 8), [0; 8]);
    scene.bystander.finish();
}
