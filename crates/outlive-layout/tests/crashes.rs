//! Any history of appends, saves, clears, crashes and takeovers: what was acknowledged is there, in
//! order, and nothing torn, stale or void is served.

mod region;

use outlive_layout::{Cursor, Fresh, Geometry, Reader, Start, WriteError};
use proptest::prelude::*;
use region::primary::{Primary, SAVE_PHASES, apply, state_of};
use region::{REGION, Region};

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Clear,
    Save,
    Beat,
    Land(u64),
    Commit,
    Follow,
    /// The primary is killed (perhaps in the middle of a save) and taken over from.
    Kill {
        save: Option<u8>,
        seed: u64,
    },
    /// The unit loses power too.
    PowerCut {
        save: Option<u8>,
        seed: u64,
    },
    /// The successor dies with its takeover set in flight.
    KillTwice {
        seed: u64,
    },
    /// The follower takes over from its cursor.
    FollowerTakesOver,
}

fn step() -> impl Strategy<Value = Step> {
    let save = prop::option::of(0..SAVE_PHASES);
    prop_oneof![
        12 => (0usize..3000).prop_map(Step::Append),
        4 => (0usize..40).prop_map(Step::Append),
        1 => Just(Step::Clear),
        2 => Just(Step::Save),
        2 => Just(Step::Beat),
        3 => any::<u64>().prop_map(Step::Land),
        5 => Just(Step::Commit),
        6 => Just(Step::Follow),
        2 => (save.clone(), any::<u64>()).prop_map(|(save, seed)| Step::Kill { save, seed }),
        2 => (save, any::<u64>()).prop_map(|(save, seed)| Step::PowerCut { save, seed }),
        1 => any::<u64>().prop_map(|seed| Step::KillTwice { seed }),
        1 => Just(Step::FollowerTakesOver),
    ]
}

/// A backup that applies what it reads.
struct Follower {
    reader: Reader,
    cursor: Cursor,
    items: Vec<u32>,
}

impl Follower {
    fn start(region: &mut Region) -> Self {
        let length = region.placed.len() as u64;
        let reader = Reader::open(region, REGION, length).expect("formatted");
        let mut follower = Self {
            reader,
            cursor: Cursor::beginning(),
            items: Vec::new(),
        };
        follower.reload(region);
        follower
    }

    fn reload(&mut self, region: &mut Region) {
        let reading = self
            .reader
            .read(region, &Default::default())
            .expect("not damaged");
        self.items = state_of(reading.snapshot.as_ref(), &reading.updates);
        self.cursor = reading.cursor;
    }

    fn follow(&mut self, region: &mut Region) {
        match self.reader.follow(region, &mut self.cursor).expect("not damaged") {
            Fresh::Sets { sets, more } => {
                apply(&mut self.items, &sets);
                if more {
                    self.follow(region);
                }
            }
            Fresh::Overrun { from, to } => {
                assert!(from < to, "overrun from {from} to {to}");
                self.reload(region);
            }
            Fresh::Diverged { .. } => self.reload(region),
        }
    }
}

fn run(geometry: &Geometry, steps: &[Step]) {
    let mut primary = Primary::create(geometry);
    let mut follower = Follower::start(&mut primary.region);
    for step in steps {
        match step {
            Step::Append(length) => match primary.append(*length) {
                Ok(_) => {}
                Err(WriteError::JournalFull {
                    used,
                    capacity,
                    needed,
                }) => {
                    assert!(used + needed > capacity);
                    let found = primary.read();
                    primary.assert_allowed(&state_of(found.snapshot.as_ref(), &found.updates));
                    save(&mut primary);
                    primary.append(*length).expect("a save makes room");
                }
                Err(error) => panic!("{error}"),
            },
            Step::Clear => clear(&mut primary),
            Step::Save => save(&mut primary),
            Step::Beat => primary.beat(),
            Step::Land(seed) => primary.region.land_some(*seed),
            Step::Commit => primary.commit(),
            Step::Follow => follow(&mut primary, &mut follower),
            Step::Kill { save, seed } => {
                stop_in_save(&mut primary, *save, *seed);
                primary.region.land_some(*seed);
                primary.taken_over(Start::Everything);
            }
            Step::PowerCut { save, seed } => {
                stop_in_save(&mut primary, *save, *seed);
                primary.region.land_some(*seed);
                primary.region.lose_power(seed.rotate_left(7));
                primary.taken_over(Start::Everything);
            }
            Step::KillTwice { seed } => {
                primary.taken_over(Start::Everything);
                primary.region.land_some(*seed);
                primary.region.lose_power(*seed);
                primary.taken_over(Start::Everything);
            }
            Step::FollowerTakesOver => take_over_by(&mut primary, &mut follower),
        }
    }
    primary.commit();
    let found = primary.read();
    assert_eq!(state_of(found.snapshot.as_ref(), &found.updates), primary.items);
    follow(&mut primary, &mut follower);
    assert_eq!(follower.items, primary.items);
}

fn clear(primary: &mut Primary) {
    if primary.clear().is_err() {
        save(primary);
        primary.clear().expect("a save makes room");
    }
}

fn save(primary: &mut Primary) {
    primary.save(SAVE_PHASES, &mut |primary| {
        let _ = primary.append(100);
    });
}

fn stop_in_save(primary: &mut Primary, phases: Option<u8>, seed: u64) {
    if let Some(phases) = phases {
        primary.save(phases, &mut |primary| {
            let _ = primary.append(10);
            primary.region.land_some(seed);
        });
    }
}

/// What a follower has after following is what a reader of everything gets.
fn follow(primary: &mut Primary, follower: &mut Follower) {
    follower.follow(&mut primary.region);
    let reading = primary.read();
    let all = state_of(reading.snapshot.as_ref(), &reading.updates);
    primary.assert_allowed(&all);
    assert_eq!(follower.items, all);
}

/// The unit has not restarted, so the follower may start at its cursor.
fn take_over_by(primary: &mut Primary, follower: &mut Follower) {
    follower.follow(&mut primary.region);
    primary.region.fence();
    let recovery = primary.taken_over(Start::Cursor(&follower.cursor));
    if recovery.overrun.is_some() {
        follower.items = state_of(recovery.snapshot.as_ref(), &recovery.updates);
    } else {
        if recovery.cleared.is_some() {
            follower.items.clear();
        }
        apply(&mut follower.items, &recovery.updates);
    }
    primary.assert_allowed(&follower.items);
    primary.continue_from(follower.items.clone());
    follower.cursor = recovery.cursor;
}

proptest! {
    #[test]
    fn every_acknowledged_set_survives(steps in prop::collection::vec(step(), 1..80), slots in 2u32..4) {
        let slot_bytes = u64::from(slots) * (4096 + 8192);
        let geometry = Geometry::new(3 * 4096 + slot_bytes + 16 * 1024 + 8, slots, 8192).expect("fits");
        run(&geometry, &steps);
    }
}

#[test]
fn hundreds_of_laps() {
    let geometry = Geometry::new(64 * 1024, 2, 8192).expect("fits");
    let steps: Vec<_> = (0..1500)
        .map(|n| match n % 13 {
            12 => Step::Clear,
            3 | 7 => Step::Follow,
            5 => Step::Commit,
            _ => Step::Append(n * 37 % 2900),
        })
        .chain([Step::Kill { save: None, seed: 5 }, Step::Append(1)])
        .collect();
    run(&geometry, &steps);
}

/// A takeover set in flight made the torn one before it whole, just when the follower looked.
#[test]
fn a_takeover_that_was_whole_for_a_moment() {
    let geometry = Geometry::new(3 * 4096 + 2 * (4096 + 8192) + 16 * 1024 + 8, 2, 8192).expect("fits");
    let steps = [
        Step::Land(8_420_822_457_919_631_234),
        Step::FollowerTakesOver,
        Step::Land(15_703_570_653_666_047_500),
        Step::PowerCut {
            save: Some(4),
            seed: 3_782_687_540_741_450_753,
        },
        Step::Append(0),
        Step::Append(0),
        Step::Append(0),
        Step::Append(0),
        Step::PowerCut {
            save: Some(4),
            seed: 8_859_964_054_706_364_999,
        },
        Step::Commit,
        Step::Append(2501),
        Step::Append(29),
        Step::Append(549),
        Step::Land(5_250_972_817_158_532_586),
        Step::Save,
        Step::KillTwice {
            seed: 15_031_145_850_796_695_550,
        },
        Step::Kill {
            save: Some(0),
            seed: 16_209_418_771_126_702_922,
        },
        Step::Land(16_681_867_327_605_670_114),
        Step::Follow,
        Step::Append(0),
    ];
    run(&geometry, &steps);
}
