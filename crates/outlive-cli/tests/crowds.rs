//! Crowds before one real server: many connections, many readers of one region, a flood, clients that take nothing,
//! garbage. All others are served, memory stays bounded, and a crowd that does nothing costs nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;
mod wire;

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use outlive::{Backup, Level, OpenOptions, Primary, RawOptions, RegionSpec, Session};
use support::{Serve, World};
use wire::Wire;

const WRITERS: usize = 50;
const READERS: usize = 50;
const OTHERS: usize = 100;
const SETS: u64 = 20;
/// What the unit documents as the most that a connection costs, and a little for what the manager keeps of it.
const CONNECTION_BYTES: u64 = 1 << 20;

#[test]
fn two_hundred_connections_are_served_in_bounded_memory_and_cost_nothing_when_idle() {
    let world = World::with_media("512MiB");
    let serve = world.serve();
    let session = session(&world);
    session
        .create("shared", &RegionSpec::checkpoint(4 << 20))
        .unwrap();
    let shared = session.primary("shared", &quiet()).unwrap();
    let before = resident_bytes(&serve);
    let writers: Vec<Primary> = (0..WRITERS)
        .map(|number| {
            let name = format!("own{number}");
            session.create(&name, &RegionSpec::checkpoint(1 << 20)).unwrap();
            session.primary(&name, &quiet()).unwrap()
        })
        .collect();
    let mut readers: Vec<Backup> = (0..READERS).map(|_| session.backup("shared").unwrap()).collect();
    let mut others: Vec<_> = (0..OTHERS)
        .map(|_| session.raw_reader("shared").unwrap())
        .collect();
    let connections = session.status().unwrap().units[0].connections as usize;
    assert!(connections >= WRITERS + READERS + OTHERS, "{connections}");

    thread::scope(|scope| {
        for writer in &writers {
            scope.spawn(|| {
                for number in 0..SETS {
                    writer.append(number.to_le_bytes()).unwrap().wait().unwrap();
                }
            });
        }
        scope.spawn(|| {
            for number in 0..SETS {
                shared.append(number.to_le_bytes()).unwrap().wait().unwrap();
            }
        });
        for reader in &mut readers {
            scope.spawn(|| await_updates(reader));
        }
        for other in &mut others {
            scope.spawn(|| other.read(12_345, &mut [0; 4097]).unwrap());
        }
    });
    for number in 0..WRITERS {
        let held = session
            .backup(&format!("own{number}"))
            .unwrap()
            .read_all()
            .unwrap();
        assert_eq!(held.updates.len() as u64, SETS);
    }
    let grown = resident_bytes(&serve).saturating_sub(before);
    let allowed = (WRITERS + READERS + OTHERS + 1) as u64 * CONNECTION_BYTES;
    assert!(grown < allowed, "{grown} bytes for {connections} connections");

    // All of them are still connected.
    let (ticks, started) = (cpu_ticks(&serve), Instant::now());
    thread::sleep(Duration::from_secs(5));
    let used = cpu_ticks(&serve) - ticks;
    // A tick is a hundredth of a second; one more for rounding.
    let allowed = started.elapsed().as_secs() + 1;
    assert!(used <= allowed, "{used} ticks are more than 1 % of a core");
}

#[test]
fn a_flood_and_clients_that_take_nothing_leave_others_served_in_bounded_memory() {
    let world = World::new();
    let serve = world.serve();
    let session = session(&world);
    session.create("flooded", &RegionSpec::raw(4 << 20)).unwrap();
    session
        .create("served", &RegionSpec::checkpoint(4 << 20))
        .unwrap();
    let primary = session.primary("served", &quiet()).unwrap();
    let mut backup = session.backup("served").unwrap();
    let before = resident_bytes(&serve);

    // Each asks for 256 MiB and reads none of it.
    let greedy: Vec<Wire> = (0..8)
        .map(|_| {
            let mut wire = Wire::reader(&world, "flooded");
            (0..64).for_each(|_| wire.ask_for(0, 4 << 20));
            wire
        })
        .collect();
    let (ended, flooded) = (AtomicBool::new(false), AtomicU64::new(0));
    let peak = thread::scope(|scope| {
        scope.spawn(|| {
            let mut flood = session.raw("flooded", &RawOptions::default()).unwrap();
            while !ended.load(Ordering::Acquire) {
                flood.write(4096, &[1; 8]).unwrap();
                flooded.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut peak = 0;
        for number in 0..300_u64 {
            primary.append(number.to_le_bytes()).unwrap().wait().unwrap();
            assert_eq!(backup.read_new().unwrap().sets.len(), 1);
            peak = peak.max(resident_bytes(&serve));
        }
        ended.store(true, Ordering::Release);
        peak
    });
    assert!(flooded.load(Ordering::Relaxed) > 0, "the flood was served, too");
    let grown = peak.saturating_sub(before);
    // They asked for 2 GiB.
    assert!(grown < 64 << 20, "{grown} bytes");
    drop(greedy);
}

#[test]
fn garbage_on_both_ports_disturbs_nobody() {
    let world = World::new();
    let serve = world.serve();
    let session = session(&world);
    session
        .create("served", &RegionSpec::checkpoint(4 << 20))
        .unwrap();
    let primary = session.primary("served", &quiet()).unwrap();
    let mut held = Vec::new();
    for port in ["control", "data"] {
        let address = serve.ready[port].as_str().unwrap();
        for number in 0..40_usize {
            let mut stream = TcpStream::connect(address).unwrap();
            // Some say nothing at all, and stay.
            let garbage = support::noise(number as u64, number * 37);
            // It may be closed on us as soon as it is known for what it is.
            let _ = stream.write_all(&garbage);
            held.push(stream);
        }
    }
    // Behind a proper greeting, too.
    let mut wire = Wire::reader(&world, "served");
    wire.send_garbage(&support::noise(7, 4096));
    for number in 0..50_u64 {
        primary.append(number.to_le_bytes()).unwrap().wait().unwrap();
    }
    assert_eq!(
        world.ok(&["load", "served", "--updates"]).len(),
        50 * 8,
        "a newcomer is let in"
    );
    drop(held);
}

#[test]
fn what_a_client_may_not_do_is_refused_by_name_and_its_connection_goes_on() {
    let world = World::new();
    let _serve = world.serve();
    let session = session(&world);
    session.create("r", &RegionSpec::raw(1 << 20)).unwrap();
    let mut owner = session.raw("r", &RawOptions::default()).unwrap();
    owner.write(0, b"held").unwrap();
    let mut wire = Wire::reader(&world, "r");
    let key = wire.key;
    assert!(wire.refused_write(key, 0, b"not yours").contains("read"));
    assert!(wire.refused_read(key, (1 << 20) - 3, 4).contains("range"));
    assert!(wire.refused_read(key, u64::MAX, 4).contains("range"));
    // A key of another connection, or of nobody, does not exist here.
    let other = Wire::reader(&world, "r");
    for foreign in [other.key, key ^ 1, key.wrapping_add(1), u64::MAX] {
        assert!(wire.refused_read(foreign, 0, 4).contains("key"));
    }
    assert!(other.refused_again().contains("ticket"), "a ticket lets in once");
    assert_eq!(wire.read(0, 4), b"held");
    let mut found = [0; 4];
    owner.read(0, &mut found).unwrap();
    assert_eq!(&found, b"held");
}

/// Follows until it has every set that the shared region gets.
fn await_updates(reader: &mut Backup) {
    let (mut read, deadline) = (0, Instant::now() + Duration::from_secs(60));
    while read < SETS {
        read += reader.read_new().unwrap().sets.len() as u64;
        assert!(Instant::now() < deadline, "{read} of {SETS} sets in a minute");
    }
}

fn session(world: &World) -> Session {
    Session::connect(&outlive::Context::load(&world.path("context.json")).unwrap()).unwrap()
}

/// Without heartbeats, so that a primary with nothing to do sends nothing; placed, for none of this is about flushes.
fn quiet() -> OpenOptions {
    OpenOptions {
        heartbeat: Duration::ZERO,
        level: Some(Level::Placed),
        ..OpenOptions::default()
    }
}

fn resident_bytes(serve: &Serve) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", serve.process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn cpu_ticks(serve: &Serve) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", serve.process.id())).unwrap();
    // The name, in parentheses, may hold blanks.
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
