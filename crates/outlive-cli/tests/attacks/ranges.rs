//! Every combination of offset and length around the borders, up to 2^64−1 and sums beyond it.

use outlive::{RawOptions, RegionSpec, Session};
use outlive_fabric::tcp::MAX_OP_BYTES;
use outlive_fabric::tcp::frame::{Answer, Op};
use outlive_fabric::tcp::reason;
use outlive_fabric::{Refusal, RemoteKey};

use crate::bystander::Bystander;
use crate::session;
use crate::support::{World, noise};
use crate::wire::Wire;

const LIMIT: u64 = 1 << 20;
/// They lie side by side.
const REGIONS: [&str; 3] = ["before", "target", "after"];
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

/// Three regions side by side, each full of noise of its own, and their bytes.
fn neighbourhood(session: &Session) -> Vec<Vec<u8>> {
    let made = (1..).zip(REGIONS).map(|(seed, name)| {
        session.create(name, &RegionSpec::raw(LIMIT)).unwrap();
        let bytes = noise(seed, LIMIT as usize);
        let mut region = session.raw(name, &RawOptions::default()).unwrap();
        region.write(0, &bytes).unwrap();
        bytes
    });
    made.collect()
}

fn assert_holds(session: &Session, region: &str, bytes: &[u8]) {
    let mut found = vec![0; bytes.len()];
    session.raw_reader(region).unwrap().read(0, &mut found).unwrap();
    assert!(found == bytes, "{region} is what it was");
}

#[test]
fn every_offset_and_length_is_inside_or_refused() {
    let world = World::with_media("64MiB");
    let _serve = world.serve();
    let session = session(&world);
    let bytes = neighbourhood(&session);
    let bystander = Bystander::start(session.clone());
    let wire = Wire::writer(&world, "target");
    let mut target = Target {
        world,
        wire,
        bytes: bytes[1].clone(),
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
    drop(target.wire);
    for (region, bytes) in REGIONS.iter().zip(&bytes) {
        assert_holds(&session, region, bytes);
    }
    bystander.finish();
}

/// Operations of any kind on any key and range, many at once, with what stands behind them. Lengths that are too long
/// to be sent are left out: they end the connection.
fn random_operations(seed: u64, keys: [u64; 4]) -> Vec<(Op, Vec<u8>)> {
    let random = noise(seed, 400 * 32);
    let edges = [
        0,
        1,
        4095,
        4096,
        65_535,
        LIMIT - 1,
        LIMIT,
        LIMIT + 1,
        1 << 32,
        1 << 63,
        u64::MAX,
    ];
    let operations = random.chunks_exact(32).map(|chunk| {
        let number = |at: usize| u64::from_le_bytes(chunk[at..at + 8].try_into().unwrap());
        let key = RemoteKey(keys[chunk[0] as usize % 4]);
        let near = edges[chunk[1] as usize % edges.len()]
            .wrapping_add(number(8) % 64)
            .wrapping_sub(32);
        let offset = if chunk[2] & 1 == 0 {
            near
        } else {
            number(16) % (2 * LIMIT)
        };
        let len = number(24) % (48 << 10);
        match chunk[3] % 4 {
            0 => (Op::Read { key, offset, len }, Vec::new()),
            1 => (Op::Persist { key, offset, len }, Vec::new()),
            _ => (Op::Write { key, offset, len }, vec![0xdd; len as usize]),
        }
    });
    operations.collect()
}

#[test]
fn random_operations_touch_nothing_but_their_own_region() {
    let world = World::with_media("64MiB");
    let _serve = world.serve();
    let session = session(&world);
    let bytes = neighbourhood(&session);
    let bystander = Bystander::start(session.clone());
    let other = Wire::reader(&world, "after");
    for seed in 1..=10 {
        let mut wire = Wire::writer(&world, "target");
        let keys = [wire.key, wire.key, wire.metadata_key, other.key];
        let page = wire.read_metadata();
        let mut replies = wire.answers();
        let reading = std::thread::spawn(move || {
            while let Some((answer, _)) = replies.try_answer() {
                assert!(
                    !matches!(answer, Answer::Stopped { .. }),
                    "nothing of it breaks the protocol"
                );
            }
        });
        for (op, payload) in random_operations(seed, keys) {
            assert!(wire.try_post(op, &payload), "seed {seed}");
        }
        wire.post(Op::Close, &[]);
        reading.join().unwrap();
        assert!(
            Wire::reader(&world, "target").read_metadata()[..64] == page[..64],
            "seed {seed}"
        );
    }
    for at in [0, 2] {
        assert_holds(&session, REGIONS[at], &bytes[at]);
    }
    bystander.finish();
}
