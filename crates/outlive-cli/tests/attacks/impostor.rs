//! Whoever stands where clients expect the unit, and whoever stands in between.

use std::time::Duration;

use outlive::{Context, Error, OpenOptions, RawOptions, RegionSpec, Session, SessionOptions};
use outlive_fabric::tcp::hello::{Challenge, HELLO_BYTES, RESPONSE_BYTES, Reply};
use outlive_fabric::tcp::{ConnectOptions, connect};
use outlive_fabric::{ConnectionId, Endpoint, FabricError, Refusal, SessionInfo};
use outlive_proto::v1::Role;

use crate::proxy::{Proxy, Way};
use crate::session;
use crate::support::World;
use crate::wire::{Control, ticket_of};

/// What an impostor says to a hello, without knowing any secret.
fn inventions(incarnation: u64) -> Vec<(&'static str, Reply)> {
    let challenge = Challenge {
        nonce: [1; 32],
        connection: ConnectionId(1),
        incarnation,
        proof: [2; 32],
    };
    let session = SessionInfo {
        incarnation,
        access: Vec::new(),
        persist: None,
    };
    vec![
        ("a challenge with an invented proof", Reply::Challenge(challenge)),
        (
            "a welcome at once",
            Reply::Welcome {
                session,
                max_op_bytes: 1 << 20,
            },
        ),
        (
            "that the region moved on",
            Reply::Refused(Refusal::Fenced { generation: 77 }),
        ),
        ("that rights were revoked", Reply::Refused(Refusal::Revoked)),
    ]
}

#[test]
fn an_impostor_unit_is_never_believed() {
    let world = World::in_memory();
    let proxy = Proxy::start();
    let _serve = proxy.serve(&world, &[]);
    let session = hasty(&world);
    session
        .create("orders", &RegionSpec::checkpoint(4 << 20))
        .unwrap();
    let incarnation = session.status().unwrap().units[0].incarnation;
    for (what, reply) in inventions(incarnation) {
        proxy.impersonate(Some(reply.encode()));
        let ticket = ticket_of(&Control::of(&world).open("orders", Role::Primary));
        let connected = connect(&proxy.address(), &ticket, &ConnectOptions::default());
        let error = connected.err().expect(what);
        assert!(
            matches!(error, FabricError::Impostor { .. } | FabricError::Protocol(_)),
            "{what}: {error:?}"
        );
        assert!(
            proxy.heard().iter().all(|bytes| *bytes == 0),
            "nothing is said to it: {what}"
        );
        // So nothing is ever acknowledged by it, either.
        let options = OpenOptions {
            take_over: true,
            ..OpenOptions::default()
        };
        let error = session.primary("orders", &options).err().expect(what);
        assert!(
            !matches!(error, Error::Fenced { .. } | Error::NoAccess { .. }),
            "{what}: {error:?}"
        );
        assert!(proxy.heard().iter().all(|bytes| *bytes == 0), "{what}");
    }
    proxy.impersonate(None);
    let options = OpenOptions {
        take_over: true,
        ..OpenOptions::default()
    };
    let primary = session
        .primary("orders", &options)
        .expect("the unit itself is believed");
    primary.append(b"kept").unwrap().wait().unwrap();
}

#[test]
fn every_byte_of_the_handshake_that_is_changed_on_the_way_is_noticed() {
    let world = World::in_memory();
    let proxy = Proxy::start();
    let _serve = proxy.serve(&world, &[]);
    session(&world)
        .create("target", &RegionSpec::raw(1 << 20))
        .unwrap();
    let mut control = Control::of(&world);
    let options = ConnectOptions {
        connect_timeout: Duration::from_millis(300),
        ..ConnectOptions::default()
    };
    let mut attempt = |role| {
        let ticket = ticket_of(&control.open("target", role));
        let connected = connect(&proxy.address(), &ticket, &options);
        connected.map(|endpoint| (ticket.terms, endpoint.session().clone()))
    };
    for way in [Way::Up, Way::Down] {
        proxy.taken(way);
    }
    attempt(Role::Backup).expect("nothing was changed");
    // What the client says last, that it closes the connection, is no part of it.
    let lens = [
        (Way::Up, HELLO_BYTES + RESPONSE_BYTES),
        (Way::Down, proxy.taken(Way::Down).len()),
    ];
    let mut noticed = 0;
    for (way, len) in lens {
        assert!(len > 128, "a whole handshake");
        for at in 0..len {
            proxy.flip(Some((way, at)));
            match attempt(Role::Backup) {
                Err(_) => noticed += 1,
                // What nothing depends on: then all that was agreed is as it should be.
                Ok((terms, session)) => {
                    assert_eq!(session.incarnation, terms.incarnation, "{way:?} {at}");
                    for info in session.access {
                        assert_eq!(info.region, terms.region, "{way:?} {at}");
                        assert_eq!(info.rights, terms.rights, "{way:?} {at}");
                        assert_eq!(info.generation, terms.generation, "{way:?} {at}");
                    }
                }
            }
        }
    }
    let all: usize = lens.iter().map(|(_, len)| len).sum();
    assert!(noticed + 40 > all, "{noticed} of {all} changes were noticed");
    proxy.flip(None);
    attempt(Role::Primary).expect("it is served again");
}

#[test]
fn secrets_never_cross_the_data_network() {
    let world = World::in_memory();
    let proxy = Proxy::start();
    let _serve = proxy.serve(&world, &[]);
    let session = session(&world);
    session.create("target", &RegionSpec::raw(1 << 20)).unwrap();
    let ticket = ticket_of(&Control::of(&world).open("target", Role::Primary));
    drop(connect(&proxy.address(), &ticket, &ConnectOptions::default()).unwrap());
    let mut region = session
        .raw(
            "target",
            &RawOptions {
                take_over: true,
                ..RawOptions::default()
            },
        )
        .unwrap();
    region.write(0, b"what is not encrypted can be read").unwrap();
    let (up, down) = (proxy.taken(Way::Up), proxy.taken(Way::Down));
    let secret = ticket.secret.as_bytes();
    for piece in secret.chunks(8) {
        assert!(!contains(&up, piece) && !contains(&down, piece));
    }
    assert!(contains(&up, &ticket.id.0), "the ticket's id does cross");
    // As docs/security.md says of an unencrypted data connection.
    assert!(contains(&up, b"what is not encrypted can be read"));
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// A session that does not try for long.
fn hasty(world: &World) -> Session {
    let context = Context::load(&world.path("context.json")).unwrap();
    let options = SessionOptions {
        retry_for: Duration::from_millis(300),
    };
    Session::connect_with(&context, options).unwrap()
}
