//! The journal's space: full, reserved, cleared, grown, and taken over with a predecessor's sets behind.

mod region;

use outlive_layout::{
    Finding, Fresh, Geometry, ReadError, ReadOptions, Reader, RecoveryOptions, ResizeError, Start, View,
    WriteError, Writer,
};
use proptest::prelude::*;
use region::REGION;
use region::primary::{Primary, SAVE_PHASES, state_of, update_payload};

fn geometry() -> Geometry {
    Geometry::new(64 * 1024, 2, 8192).expect("fits")
}

fn reader(primary: &mut Primary) -> Reader {
    let length = primary.region.placed.len() as u64;
    Reader::open(&mut primary.region, REGION, length).expect("formatted")
}

fn fill(primary: &mut Primary, length: usize) -> WriteError {
    let error = loop {
        if let Err(error) = primary.append(length) {
            break error;
        }
    };
    primary.commit();
    error
}

#[test]
fn a_full_journal_keeps_everything_and_can_be_taken_over_and_cleared() {
    let mut primary = Primary::create(&geometry());
    let error = fill(&mut primary, 700);
    assert!(matches!(error, WriteError::JournalFull { .. }), "{error}");
    let usage = primary.writer.usage();
    assert!(usage.used <= usage.capacity);
    let before = primary.items.clone();
    for _ in 0..3 {
        let recovery = primary.taken_over(Start::Everything);
        assert_eq!(state_of(None, &recovery.updates), before);
        primary.region.commit();
    }
    assert!(matches!(primary.append(700), Err(WriteError::JournalFull { .. })));
    primary.clear().expect("the reserve is there for that");
    primary.commit();
    assert_eq!(primary.read().updates, []);
    let options = ReadOptions {
        view: View::Cleared,
        ..ReadOptions::default()
    };
    let cleared = reader(&mut primary)
        .read(&mut primary.region, &options)
        .expect("whole");
    assert_eq!(state_of(None, &cleared.updates), before);
    primary.save(SAVE_PHASES, &mut |_| {});
    assert_eq!(primary.writer.usage().used, 0);
    primary.append(700).expect("a verified snapshot makes room");
}

#[test]
fn even_the_reserve_ends_with_a_clear_error() {
    let mut primary = Primary::create(&geometry());
    fill(&mut primary, 700);
    let error = loop {
        if let Err(error) = primary.clear() {
            break error;
        }
    };
    assert!(matches!(error, WriteError::JournalFull { .. }), "{error}");
    primary.commit();
    primary.save(SAVE_PHASES, &mut |_| {});
    primary.clear().expect("room again");
}

#[test]
fn a_writer_without_room_for_its_takeover_owes_it_until_a_snapshot_makes_room() {
    let mut primary = Primary::create(&geometry());
    fill(&mut primary, 700);
    while primary.clear().is_ok() {}
    primary.commit();
    let mut reader = reader(&mut primary);
    let recovery = reader
        .recover(
            &mut primary.region,
            Start::Everything,
            &RecoveryOptions::default(),
        )
        .expect("whole");
    let point = &recovery.point;
    let refused = Writer::resume(REGION, point, 2, 0).map(|_| ());
    assert!(
        matches!(refused, Err(WriteError::JournalFull { .. })),
        "{refused:?}"
    );

    let (mut writer, plan) = Writer::resume_owing(REGION, point, 2, 0).expect("can save");
    assert_eq!(plan, None);
    assert_eq!(writer.owed_takeover(), None, "nothing has made room");
    assert!(matches!(
        writer.append(b"x", 0),
        Err(WriteError::JournalFull { .. })
    ));
    assert!(matches!(writer.clear(0), Err(WriteError::JournalFull { .. })));

    let snapshot = writer.begin_snapshot(0, 0).expect("a save is always possible");
    let sealed = snapshot.seal(&snapshot.checksum());
    writer.snapshot_committed(&sealed);
    assert_eq!(writer.owed_takeover(), None, "not verified yet");
    writer.snapshot_verified(&sealed);
    assert!(
        matches!(writer.append(b"x", 0), Err(WriteError::JournalFull { .. })),
        "not before the takeover"
    );
    let owed = writer.owed_takeover().expect("there is room");
    assert_eq!(owed.kind, outlive_layout::SetKind::Takeover);
    let update = writer.append(b"x", 0).expect("room");
    assert!(update.sequence > owed.sequence && owed.sequence > snapshot.sequence());
    assert_eq!(writer.owed_takeover(), None, "once only");
}

#[test]
fn an_update_of_the_largest_size_fits_wherever_the_head_stands() {
    let geometry = geometry();
    let largest = usize::try_from(geometry.max_update()).expect("small");
    let mut primary = Primary::create(&geometry);
    for step in 0..200 {
        primary.append(step * 131 % 3000).expect("an empty journal");
        primary.save(SAVE_PHASES, &mut |_| {});
        primary.append(largest - 4).expect("an empty journal");
        primary.commit();
        let reading = primary.read();
        assert_eq!(
            state_of(reading.snapshot.as_ref(), &reading.updates),
            primary.items
        );
        primary.save(SAVE_PHASES, &mut |_| {});
    }
    let error = primary.append(largest - 3).expect_err("one byte more");
    assert_eq!(
        error,
        WriteError::TooLarge {
            kind: outlive_layout::SetKind::Update,
            length: largest as u64 + 1,
            max: largest as u64
        }
    );
}

#[test]
fn nothing_is_reclaimed_before_the_snapshot_is_verified() {
    for phases in 0..SAVE_PHASES {
        let mut primary = Primary::create(&geometry());
        fill(&mut primary, 700);
        primary.save(phases, &mut |_| {});
        assert!(
            matches!(primary.append(700), Err(WriteError::JournalFull { .. })),
            "after phase {phases}"
        );
        primary.writer.snapshot_failed();
        primary.save(SAVE_PHASES, &mut |_| {});
        primary.append(700).expect("verified");
    }
}

#[test]
fn the_newest_verified_snapshot_is_never_the_one_overwritten() {
    let mut primary = Primary::create(&Geometry::new(96 * 1024, 3, 8192).expect("fits"));
    primary.save(SAVE_PHASES, &mut |_| {});
    for round in 0..30u8 {
        let verified = primary.writer.floor_record(0).snapshot;
        primary.append(10).expect("room");
        primary.commit();
        primary.save(round % (SAVE_PHASES + 1), &mut |_| {});
        primary.writer.snapshot_failed();
        primary.region.commit();
        let set = reader(&mut primary).set(&mut primary.region, verified);
        assert_eq!(set.expect("still loadable").sequence, verified);
    }
}

#[test]
fn kept_sets_are_found_by_sequence_and_listed() {
    let mut primary = Primary::create(&geometry());
    let first = primary.append(5).expect("room");
    primary.save(SAVE_PHASES, &mut |_| {});
    let second = primary.append(6).expect("room");
    primary.save(SAVE_PHASES, &mut |_| {});
    let third = primary.append(7).expect("room");
    primary.commit();
    let mut reader = reader(&mut primary);
    for (item, plan) in (1..).zip([&first, &second, &third]) {
        let set = reader.set(&mut primary.region, plan.sequence).expect("kept");
        let length = usize::try_from(plan.length).expect("small") - 4;
        assert_eq!(set.payload, update_payload(item, length));
    }
    let missing = reader.set(&mut primary.region, 99);
    assert!(matches!(missing, Err(ReadError::NoSuchSet { sequence: 99 })));
    let (sets, findings) = reader.log(&mut primary.region).expect("memory does not fail");
    assert_eq!(findings, []);
    let sequences: Vec<_> = sets.iter().map(|set| set.sequence).collect();
    assert_eq!(sequences, (1..=sets.len() as u64).collect::<Vec<_>>());
    assert_eq!(sets.len(), 6);
}

#[test]
fn a_follower_pays_two_small_reads_for_nothing_new() {
    let mut primary = Primary::create(&geometry());
    primary.append(5).expect("room");
    primary.commit();
    let mut reader = reader(&mut primary);
    let mut cursor = reader
        .read(&mut primary.region, &ReadOptions::default())
        .expect("whole")
        .cursor;
    let before = primary.region.reads;
    let fresh = reader.follow(&mut primary.region, &mut cursor).expect("whole");
    assert_eq!(
        fresh,
        Fresh::Sets {
            sets: vec![],
            more: false
        }
    );
    assert_eq!(primary.region.reads - before, 2);
}

#[test]
fn a_follower_left_behind_is_told_from_where_to_where() {
    let mut primary = Primary::create(&geometry());
    primary.append(5).expect("room");
    primary.commit();
    let mut reader = reader(&mut primary);
    let mut cursor = reader
        .read(&mut primary.region, &ReadOptions::default())
        .expect("whole")
        .cursor;
    let seen = cursor.sequence();
    for _ in 0..4 {
        fill(&mut primary, 900);
        primary.save(SAVE_PHASES, &mut |_| {});
    }
    fill(&mut primary, 900);
    let to = primary.writer.floor_record(0).snapshot;
    let fresh = reader
        .follow(&mut primary.region, &mut cursor)
        .expect("an overrun is no error");
    assert_eq!(fresh, Fresh::Overrun { from: seen, to });
    assert_eq!(cursor.sequence(), seen);
}

#[test]
fn a_follower_whose_sets_were_lost_is_told() {
    let mut primary = Primary::create(&geometry());
    primary.append(5).expect("room");
    primary.commit();
    let persistent = primary.region.clone();
    primary.append(6).expect("room");
    primary.append(7).expect("room");
    primary.region.commit();
    let mut reader = reader(&mut primary);
    let mut cursor = reader
        .read(&mut primary.region, &ReadOptions::default())
        .expect("whole")
        .cursor;
    let (common, ahead) = (cursor.sequence() - 2, cursor.sequence());
    // The unit lost power before the last two were persistent.
    primary.region = persistent;
    primary.taken_over(Start::Everything);
    primary.region.commit();
    primary.append(40).expect("room");
    primary.append(41).expect("room");
    primary.commit();
    primary.beat();
    primary.region.commit();
    let fresh = reader
        .follow(&mut primary.region, &mut cursor)
        .expect("not damage");
    assert_eq!(
        fresh,
        Fresh::Diverged {
            from: ahead,
            common,
            generation: 2
        }
    );
}

/// A takeover set that a follower saw is lost, and a later one lies in its place with the same sequence.
#[test]
fn a_follower_of_a_lost_takeover_is_told() {
    let mut primary = Primary::create(&geometry());
    primary.append(5).expect("room");
    primary.commit();
    primary.taken_over(Start::Everything);
    let persistent = {
        let mut region = primary.region.clone();
        region.fence();
        region
    };
    primary.region.commit();
    let mut reader = reader(&mut primary);
    let mut cursor = reader
        .read(&mut primary.region, &ReadOptions::default())
        .expect("whole")
        .cursor;
    assert_eq!(cursor.generation(), 2);
    primary.region = persistent;
    primary.taken_over(Start::Everything);
    primary.region.commit();
    primary.append(40).expect("room");
    primary.commit();
    let fresh = reader
        .follow(&mut primary.region, &mut cursor)
        .expect("not damage");
    assert!(
        matches!(fresh, Fresh::Diverged { generation: 3, .. }),
        "{fresh:?}"
    );
}

#[test]
fn an_older_generation_is_refused() {
    let mut primary = Primary::create(&geometry());
    primary.commit();
    let recovery = reader(&mut primary)
        .recover(
            &mut primary.region,
            Start::Everything,
            &RecoveryOptions::default(),
        )
        .expect("whole");
    let refused = Writer::resume(REGION, &recovery.point, 1, 0).map(|_| ());
    assert_eq!(
        refused,
        Err(WriteError::Generation {
            generation: 1,
            found: 1
        })
    );
}

proptest! {
    /// The predecessor's pipelined sets lie beyond a torn one. The successor's takeover voids them, and
    /// its own sets may end anywhere among them.
    #[test]
    fn a_predecessors_pipelined_sets_stay_void(
        flying in prop::collection::vec(0usize..400, 2..12),
        torn in any::<prop::sample::Index>(),
        later in prop::collection::vec(0usize..400, 0..12),
    ) {
        let mut primary = Primary::create(&geometry());
        primary.append(3).expect("room");
        primary.commit();
        let plans: Vec<_> = flying.iter().map(|length| primary.append(*length).expect("room")).collect();
        primary.region.commit();
        let index = torn.index(plans.len());
        let at = usize::try_from(plans[index].offset).expect("small");
        primary.region.placed[at + 40] ^= 1;
        let recovery = primary.taken_over(Start::Everything);
        prop_assert_eq!(recovery.void_sets, (plans.len() - index - 1) as u64);
        primary.commit();
        for length in later {
            primary.append(length).expect("room");
            primary.commit();
            let found = primary.read();
            prop_assert_eq!(state_of(None, &found.updates), primary.items.clone());
        }
        prop_assert_eq!(primary.items[..=index].to_vec(), (1..=u32::try_from(index).expect("small") + 1).collect::<Vec<_>>());
    }

    /// Growing at every state of wrapping, interrupted between any two phases.
    #[test]
    fn growth_keeps_everything(
        before in prop::collection::vec(0usize..1500, 0..40),
        growth in 0u64..40_000,
        interrupted in 0usize..4,
        after in prop::collection::vec(0usize..1500, 0..12),
        save_first in any::<bool>(),
    ) {
        let mut primary = Primary::create(&geometry());
        for (n, length) in before.iter().enumerate() {
            if primary.append(*length).is_err() || n % 17 == 16 {
                primary.save(SAVE_PHASES, &mut |_| {});
            }
        }
        primary.commit();
        let mut follower = reader(&mut primary);
        let mut cursor = follower.read(&mut primary.region, &ReadOptions::default()).expect("whole").cursor;
        if save_first {
            primary.save(SAVE_PHASES, &mut |_| {});
        }
        let size = 64 * 1024 + growth;
        let plan = match primary.writer.plan_resize(size) {
            Ok(plan) => plan,
            Err(ResizeError::TooLittle { needed, .. }) => {
                prop_assert!(needed > growth / 8 * 8 && !save_first);
                primary.writer.plan_resize(64 * 1024 + needed).expect("as much as it asked for");
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        primary.region.grow(size);
        follower.grown(size);
        let phases: [&dyn Fn(&mut Primary); 3] = [
            &|primary| for copy in plan.copies() {
                let from = usize::try_from(copy.from).expect("small");
                let bytes = primary.region.placed[from..from + usize::try_from(copy.len).expect("small")].to_vec();
                primary.region.post(copy.to, &[&bytes]);
            },
            &|primary| primary.region.post(plan.first_control().0, &[&plan.first_control().1]),
            &|primary| primary.region.post(plan.second_control().0, &[&plan.second_control().1]),
        ];
        for (n, phase) in phases.iter().enumerate() {
            phase(&mut primary);
            if n == interrupted {
                primary.region.land_some(growth);
                primary.taken_over(Start::Everything);
                break;
            }
            primary.region.commit();
        }
        if interrupted == 3 {
            primary.writer.resized(&plan);
            prop_assert_eq!(primary.writer.geometry(), plan.geometry());
        }
        for length in after {
            if primary.append(length).is_err() {
                primary.save(SAVE_PHASES, &mut |_| {});
            }
            primary.commit();
            let found = primary.read();
            prop_assert_eq!(state_of(found.snapshot.as_ref(), &found.updates), primary.items.clone());
            match follower.follow(&mut primary.region, &mut cursor) {
                Ok(Fresh::Sets { .. }) => {}
                Ok(Fresh::Overrun { .. }) => {
                    cursor = follower.read(&mut primary.region, &ReadOptions::default()).expect("whole").cursor;
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let recovery = primary.taken_over(Start::Everything);
        prop_assert!(!recovery.findings.iter().any(Finding::is_corruption));
    }
}

#[test]
fn shrinking_is_refused() {
    let primary = Primary::create(&geometry());
    let refused = primary.writer.plan_resize(1024);
    assert_eq!(
        refused,
        Err(ResizeError::Shrink {
            size: 64 * 1024,
            asked: 1024
        })
    );
}
