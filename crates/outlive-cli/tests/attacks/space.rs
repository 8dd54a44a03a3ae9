//! Space that changes hands: nothing of the old tenant is left in it, and nobody still reaches it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use outlive::{RawOptions, RegionSpec, Session};
use outlive_fabric::RemoteKey;
use outlive_fabric::tcp::frame::{Answer, Op};

use crate::bystander::Bystander;
use crate::session;
use crate::support::World;
use crate::wire::{Control, Wire};

/// Most of the free space, so that what is made next lies where this lay.
const SIZE: u64 = 40 << 20;
const OLD: u8 = 0xa5;
const WRITTEN: u8 = 0xb6;

fn fill(session: &Session, name: &str, with: u8) {
    let mut region = session.raw(name, &RawOptions::default()).unwrap();
    for at in (0..SIZE).step_by(4 << 20) {
        region.write(at, &vec![with; 4 << 20]).unwrap();
    }
}

#[test]
fn an_old_tenants_bytes_are_not_found_in_a_new_region() {
    for world in [World::new(), World::in_memory()] {
        let _serve = world.serve();
        let session = session(&world);
        session
            .create("old-tenants-name", &RegionSpec::raw(SIZE))
            .unwrap();
        fill(&session, "old-tenants-name", OLD);
        session.delete("old-tenants-name").unwrap();

        // Half of it new, the rest by growing.
        session.create("new", &RegionSpec::checkpoint(SIZE / 4)).unwrap();
        session.create("raw", &RegionSpec::raw(SIZE / 4)).unwrap();
        let primary = session.primary("new", &outlive::OpenOptions::default()).unwrap();
        primary.resize(SIZE / 2).unwrap();
        primary.close().unwrap();
        for (name, size) in [("new", SIZE / 2), ("raw", SIZE / 4)] {
            let mut wire = Wire::reader(&world, name);
            for at in (0..size).step_by(4 << 20) {
                let len = (size - at).min(4 << 20);
                let bytes = wire.read(at, len);
                assert_eq!(bytes.len() as u64, len);
                assert!(!has_run(&bytes), "the old tenant's bytes at {at} in {name}");
            }
            let page = wire.read_metadata();
            assert_eq!(page.len(), 4096);
            let old_name = b"old-tenants-name";
            assert!(!page.windows(old_name.len()).any(|window| window == old_name));
            assert!(!has_run(&page));
        }
    }
}

/// Whether sixteen of the old tenant's bytes stand in a row.
fn has_run(bytes: &[u8]) -> bool {
    bytes
        .windows(16)
        .any(|window| window.iter().all(|byte| *byte == OLD))
}

#[test]
fn an_old_connection_reaches_nothing_of_who_got_its_space() {
    let world = World::in_memory();
    let _serve = world.serve();
    let session = session(&world);
    let bystander = Bystander::start(session.clone());
    session.create("old", &RegionSpec::raw(SIZE)).unwrap();
    fill(&session, "old", OLD);
    let mut reader = Wire::reader(&world, "old");
    assert_eq!(reader.read(0, 4), [OLD; 4]);
    let writer = Wire::writer(&world, "old");
    let generation = writer.generation;

    let (read, written) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        // Neither ever stops by itself.
        let (read, written) = (&read, &written);
        let reading = scope.spawn(|| read_until_stopped(reader, read));
        let writing = scope.spawn(|| write_until_stopped(writer, written));
        let deadline = Instant::now() + Duration::from_secs(20);
        while read.load(Ordering::Acquire) < 5 || written.load(Ordering::Acquire) < 5 {
            assert!(Instant::now() < deadline, "both are served, so far");
            thread::yield_now();
        }
        // Its owner gives the region up over control, and goes on over its data connection.
        Control::of(&world).close("old", generation);
        session.delete("old").unwrap();
        session.create("new", &RegionSpec::raw(SIZE)).unwrap();
        fill(&session, "new", 0x11);
        reading.join().unwrap();
        writing.join().unwrap();
    });
    let mut region = session.raw_reader("new").unwrap();
    let mut bytes = vec![0; SIZE as usize];
    for (at, piece) in (0..).step_by(4 << 20).zip(bytes.chunks_mut(4 << 20)) {
        region.read(at, piece).unwrap();
        assert!(piece.iter().all(|byte| *byte == 0x11), "only its owner's bytes");
    }
    bystander.finish();
}

/// Reads as fast as it can, checks that nobody else's bytes come, and counts.
fn read_until_stopped(mut wire: Wire, count: &AtomicU64) {
    let key = RemoteKey(wire.key);
    loop {
        let at = count.fetch_add(1, Ordering::AcqRel);
        let (offset, len) = ((at % 40) << 20, 64 << 10);
        if !wire.try_post(Op::Read { key, offset, len }, &[]) {
            return;
        }
        match wire.try_answer() {
            Some((Answer::ReadPart { .. }, bytes)) => {
                assert!(bytes.iter().all(|byte| [OLD, WRITTEN].contains(byte)));
            }
            None | Some((Answer::Stopped { .. } | Answer::Refused { .. }, _)) => return,
            Some(other) => panic!("no read: {other:?}"),
        }
    }
}

/// Writes as fast as it can, not waiting for answers, and counts.
fn write_until_stopped(mut wire: Wire, count: &AtomicU64) {
    let key = RemoteKey(wire.key);
    loop {
        let at = count.fetch_add(1, Ordering::AcqRel);
        let (offset, len) = ((at % 40) << 20, 64 << 10);
        if !wire.try_post(Op::Write { key, offset, len }, &[WRITTEN; 64 << 10]) {
            return;
        }
    }
}
