//! Every combination of offset and length around the borders, up to 2^64−1 and sums beyond it.

use outlive::{RawOptions, RegionSpec};
use outlive_fabric::tcp::MAX_OP_BYTES;
use outlive_fabric::tcp::frame::{Answer, Op};
use outlive_fabric::tcp::reason;
use outlive_fabric::{Refusal, RemoteKey};

use crate::bystander::Bystander;
use crate::session;
use crate::support::{World, noise};
use crate::wire::Wire;

const LIMIT: u64 = 1 << 20;
/// Longest write that is sent with its payload: beyond it nothing changes but the time that sending takes.
const SENT_BYTES: u64 = 2 * LIMIT;

/// Whether the range lies in the region, reckoned so that nothing can overflow.
fn is_inside(offset: u64, len: u64) -> bool {
    u128::from(offset) + u128::from(len) <= u128::from(LIMIT)
}

/// Offsets and lengths around every border there is, and for each such offset the lengths whose sum with it lies
/// around a border, that of 2^64 among them.
fn combinations() -> Vec<(u64, u64)> {
    let borders = [
        0,
        4096,
        32 << 10,
        128 << 10,
        LIMIT,
        u64::from(MAX_OP_BYTES),
        1 << 31,
        1 << 32,
        1 << 63,
    ];
    let around = |border: u64| [border.wrapping_sub(1), border, border.wrapping_add(1)];
    let edges: Vec<u64> = borders.into_iter().flat_map(around).collect();
    let mut combinations = Vec::new();
    for offset in &edges {
        combinations.extend(edges.iter().map(|len| (*offset, *len)));
        combinations.extend(edges.iter().map(|sum| (*offset, sum.wrapping_sub(*offset))));
    }
    combinations.sort_unstable();
    combinations.dedup();
    combinations
}

struct Target {
    world: World,
    wire: Wire,
    bytes: Vec<u8>,
}

impl Target {
    /// One operation on a range; the refusal, if it was refused.
    fn carry_out(&mut self, op: impl Fn(RemoteKey) -> Op, payload: &[u8]) -> Option<Refusal> {
        self.wire.post(op(RemoteKey(self.wire.key)), payload);
        loop {
            match self.wire.answer() {
                (Answer::Refused { .. }, why) => return Some(reason::decode(&why).unwrap()),
                (
                    Answer::Placed { .. } | Answer::Persistent { .. } | Answer::ReadPart { last: true, .. },
                    _,
                ) => {
                    return None;
                }
                (Answer::ReadPart { .. }, _) => {}
                (Answer::Stopped { .. }, why) => {
                    self.wire = Wire::writer(&self.world, "target");
                    return Some(reason::decode(&why).unwrap());
                }
            }
        }
    }

    fn write(&mut self, offset: u64, len: u64) -> Option<Refusal> {
        let payload = if len > SENT_BYTES {
            Vec::new()
        } else if is_inside(offset, len) {
            // What is there already.
            self.bytes[offset as usize..(offset + len) as usize].to_vec()
        } else {
            vec![0xaa; len as usize]
        };
        self.carry_out(|key| Op::Write { key, offset, len }, &payload)
    }
}

#[test]
fn every_offset_and_length_is_inside_or_refused() {
    let world = World::with_media("64MiB");
    let serve = world.serve();
    let session = session(&world);
    let mut neighbours = Vec::new();
    for (seed, name) in (1..).zip(["before", "target", "after"]) {
        session.create(name, &RegionSpec::raw(LIMIT)).unwrap();
        let mut region = session.raw(name, &RawOptions::default()).unwrap();
        let bytes = noise(seed, LIMIT as usize);
        region.write(0, &bytes).unwrap();
        if name == "target" {
            drop(region);
        } else {
            neighbours.push((region, bytes));
        }
    }
    let bystander = Bystander::start(session.clone());
    let wire = Wire::writer(&world, "target");
    let mut target = Target {
        world,
        wire,
        bytes: noise(2, LIMIT as usize),
    };

    for (offset, len) in combinations() {
        let what = format!("offset {offset}, {len} bytes");
        let read = target.carry_out(|key| Op::Read { key, offset, len }, &[]);
        let persisted = target.carry_out(|key| Op::Persist { key, offset, len }, &[]);
        if is_inside(offset, len) {
            assert_eq!((read, persisted), (None, None), "{what}");
        } else {
            let outside = Refusal::OutOfRange {
                offset,
                len,
                limit: LIMIT,
            };
            assert_eq!(persisted, Some(outside.clone()), "persist, {what}");
            if len > u64::from(MAX_OP_BYTES) {
                assert!(
                    matches!(read, Some(Refusal::Limit { .. })),
                    "read, {what}: {read:?}"
                );
            } else {
                assert_eq!(read, Some(outside), "read, {what}");
            }
        }
        // One that long costs the connection: once for each length is enough.
        if len <= SENT_BYTES || offset == 1 && len > u64::from(MAX_OP_BYTES) {
            match target.write(offset, len) {
                None => assert!(is_inside(offset, len), "write, {what}"),
                Some(Refusal::OutOfRange { .. }) => assert!(!is_inside(offset, len), "write, {what}"),
                Some(Refusal::Protocol(why)) if len > u64::from(MAX_OP_BYTES) => {
                    assert!(why.contains("longer"), "{why}");
                }
                Some(other) => panic!("write, {what}: {other}"),
            }
        }
    }

    let found = target.wire.read(0, LIMIT);
    assert!(found == target.bytes, "the region is what it was");
    for (mut region, bytes) in neighbours {
        let mut found = vec![0; LIMIT as usize];
        region.read(0, &mut found).unwrap();
        assert!(found == bytes, "its neighbours are what they were");
    }
    bystander.finish();
    drop(serve);
}
