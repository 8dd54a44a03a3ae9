//! What stands where an operation should: garbage, unknown kinds, lengths that cannot be, frames cut off or dribbled.

use outlive::{RawOptions, RegionSpec};
use outlive_fabric::tcp::frame::{Answer, OP_HEADER_BYTES, Op, OpFrame};
use outlive_fabric::tcp::reason;
use outlive_fabric::{Refusal, RemoteKey};

use crate::bystander::Bystander;
use crate::session;
use crate::support::{World, noise};
use crate::vitals::Vitals;
use crate::wire::Wire;

const SIZE: u64 = 1 << 20;
/// What the server may grow by while hostile connections come and go: buffers that the allocator keeps.
const GROWTH_BYTES: u64 = 48 << 20;
/// Threads that may still be ending.
const THREADS: u64 = 40;

/// A server with a raw region that holds noise.
fn world() -> (World, crate::support::Serve, Vec<u8>) {
    let world = World::in_memory();
    let serve = world.serve();
    let session = session(&world);
    session.create("target", &RegionSpec::raw(SIZE)).unwrap();
    let bytes = noise(1, SIZE as usize);
    let mut region = session.raw("target", &RawOptions::default()).unwrap();
    region.write(0, &bytes).unwrap();
    drop(region);
    (world, serve, bytes)
}

/// Why the unit ended the connection. Answers to operations before that do not matter.
fn ended(wire: &mut Wire) -> Refusal {
    loop {
        match wire.answer() {
            (Answer::Stopped { .. }, why) => return reason::decode(&why).unwrap(),
            (Answer::Placed { .. } | Answer::Refused { .. } | Answer::ReadPart { .. }, _) => {}
            (other, _) => panic!("not ended: {other:?}"),
        }
    }
}

#[test]
fn whatever_is_no_frame_ends_its_own_connection_only() {
    let (world, serve, bytes) = world();
    let bystander = Bystander::start(session(&world));
    let before = Vitals::of(&serve);
    let mut wire = Wire::reader(&world, "target");
    let key = RemoteKey(wire.key);
    let frame = |op| OpFrame { tag: 1, op }.encode();
    let read = frame(Op::Read {
        key,
        offset: 0,
        len: 8,
    });
    // Kind, flags, magic and tag, each with every value that it may not have.
    let mut hostile: Vec<[u8; OP_HEADER_BYTES]> = Vec::new();
    for (at, good) in [(0, 1), (1, 1), (2, 5), (3, 0), (4, 1), (5, 0), (6, 0), (7, 0)] {
        for value in [0, 6, 7, 99, 127, 128, 255] {
            let mut header = read;
            header[at] = value;
            if at != 2 || value == 0 || value > good {
                hostile.push(header);
            }
        }
    }
    // Fields that their kind leaves zero.
    for at in [8, 16, 24] {
        let mut close = frame(Op::Close);
        close[at] = 1;
        hostile.push(close);
    }
    let mut oversize = frame(Op::Oversize { len: 1 });
    oversize[8] = 1;
    hostile.push(oversize);
    hostile.retain(|header| *header != read);
    for header in hostile {
        wire.send_garbage(&header);
        let why = ended(&mut wire);
        assert!(matches!(why, Refusal::Protocol(_)), "{header:?}: {why}");
        wire = Wire::reader(&world, "target");
    }
    // Whatever noise means, it ends somewhere, and never by reading more than was asked for.
    for seed in 0..20 {
        wire.send_garbage(&noise(seed, 1 + seed as usize * 97));
        wire.send_garbage(&noise(seed, 64));
        assert!(matches!(ended(&mut wire), Refusal::Protocol(_)), "seed {seed}");
        wire = Wire::reader(&world, "target");
    }
    bystander.finish();
    assert!(wire.read(0, SIZE) == bytes, "nothing was changed");
    before.assert_grown_by_less_than(&serve, GROWTH_BYTES, THREADS);
}

#[test]
fn lengths_that_cannot_be_cost_nothing() {
    let (world, serve, bytes) = world();
    let bystander = Bystander::start(session(&world));
    let before = Vitals::of(&serve);
    for len in [
        u64::MAX,
        1 << 63,
        (1 << 63) + 1,
        1 << 32,
        u64::from(u32::MAX),
        (16 << 20) + 1,
    ] {
        let mut wire = Wire::writer(&world, "target");
        let key = RemoteKey(wire.key);
        // Asked for, a refusal; announced as payload, the end.
        wire.post(Op::Read { key, offset: 0, len }, &[]);
        assert!(
            matches!(wire.answer(), (Answer::Refused { .. }, _)),
            "a read of {len}"
        );
        wire.post(Op::Oversize { len }, &[]);
        assert!(
            matches!(wire.answer(), (Answer::Refused { .. }, _)),
            "too long by {len}"
        );
        wire.post(Op::Write { key, offset: 0, len }, &[0xee; 100]);
        assert!(
            matches!(ended(&mut wire), Refusal::Protocol(_)),
            "a write of {len}"
        );
    }
    bystander.finish();
    assert!(
        Wire::reader(&world, "target").read(0, SIZE) == bytes,
        "nothing was changed"
    );
    before.assert_grown_by_less_than(&serve, GROWTH_BYTES, THREADS);
}

#[test]
fn frames_cut_off_place_nothing_outside_what_they_name() {
    let (world, serve, mut bytes) = world();
    let bystander = Bystander::start(session(&world));
    let before = Vitals::of(&serve);
    for cut in [0, 1, 31] {
        let mut wire = Wire::writer(&world, "target");
        let key = RemoteKey(wire.key);
        let write = OpFrame {
            tag: 1,
            op: Op::Write {
                key,
                offset: 0,
                len: 100,
            },
        };
        wire.send_garbage(&write.encode()[..cut]);
    }
    // A small write lands whole or not at all; a large one as far as it came.
    for (offset, len, sent) in [(0_u64, 100_u64, 99_usize), (4096, 200 << 10, 5000)] {
        let mut wire = Wire::writer(&world, "target");
        let key = RemoteKey(wire.key);
        wire.post(Op::Write { key, offset, len }, &vec![0xcc; sent]);
        wire.hang_up();
    }
    bystander.finish();
    let found = Wire::writer(&world, "target").read(0, SIZE);
    bytes[4096..4096 + 5000].fill(0xcc);
    let same = found
        .iter()
        .zip(&bytes)
        .filter(|(found, expected)| found == expected);
    assert_eq!(same.count() as u64, SIZE, "only what came of the large write");
    before.assert_grown_by_less_than(&serve, GROWTH_BYTES, THREADS);
}

#[test]
fn frames_dribbled_byte_by_byte_are_served_and_hold_nobody_up() {
    let (world, _serve, bytes) = world();
    let bystander = Bystander::start(session(&world));
    let mut wire = Wire::writer(&world, "target");
    let key = RemoteKey(wire.key);
    let (offset, len) = (7, 300);
    for _ in 0..3 {
        wire.dribble(Op::Write { key, offset, len }, &bytes[7..307]);
        assert!(matches!(wire.answer(), (Answer::Placed { .. }, _)));
        wire.dribble(Op::Read { key, offset, len }, &[]);
        assert_eq!(wire.answer().1, &bytes[7..307]);
        bystander.assert_served();
    }
    bystander.finish();
}
