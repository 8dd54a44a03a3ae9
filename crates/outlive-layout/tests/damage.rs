//! Bits flip: at or below the best known floor that is corruption, named with set and place; above it
//! the set is torn and void. Neither is ever served.

mod region;

use outlive_layout::set::SET_HEADER_BYTES;
use outlive_layout::{
    Finding, Geometry, ReadError, ReadOptions, Reader, Reading, RecoveryOptions, Start, View, Writer,
};
use proptest::prelude::*;
use region::REGION;
use region::primary::{Primary, SAVE_PHASES, state_of};

fn geometry() -> Geometry {
    Geometry::new(64 * 1024, 2, 8192).expect("fits")
}

fn reader(primary: &mut Primary) -> Reader {
    let length = primary.region.placed.len() as u64;
    Reader::open(&mut primary.region, REGION, length).expect("formatted")
}

fn flip(primary: &mut Primary, offset: u64, bit: usize) {
    primary.region.placed[usize::try_from(offset).expect("small") + bit / 8] ^= 1 << (bit % 8);
}

fn read_accepting(primary: &mut Primary) -> Reading {
    let options = ReadOptions {
        accept_loss: true,
        ..ReadOptions::default()
    };
    reader(primary)
        .read(&mut primary.region, &options)
        .expect("with consent")
}

proptest! {
    /// The floor is learnt from a later set (`beat` false) or from the floor record.
    #[test]
    fn a_committed_set_is_reported_corrupt(
        lengths in prop::collection::vec(0usize..900, 2..12),
        victim in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(),
        beat in any::<bool>(),
    ) {
        let mut primary = Primary::create(&geometry());
        let plans: Vec<_> = lengths.iter().map(|length| {
            let plan = primary.append(*length).expect("room");
            primary.commit();
            plan
        }).collect();
        if beat {
            primary.beat();
            primary.commit();
        }
        // Without a record the last set's commit is told by nobody.
        let candidates = if beat { plans.len() } else { plans.len() - 1 };
        let index = victim.index(candidates);
        let plan = &plans[index];
        let bytes = SET_HEADER_BYTES + usize::try_from(plan.length).expect("small");
        flip(&mut primary, plan.offset, bit.index(bytes * 8));

        let mut reader = reader(&mut primary);
        let read = reader.read(&mut primary.region, &ReadOptions::default());
        let recovered = reader.recover(&mut primary.region, Start::Everything, &RecoveryOptions::default());
        let damage = [read.map(|_| ()), recovered.map(|_| ())];
        for outcome in damage {
            match outcome {
                Err(ReadError::Corrupt { finding: Finding::Corrupt { offset, after, floor, .. } }) => {
                    prop_assert_eq!(offset, plan.offset);
                    prop_assert_eq!(after, plan.sequence - 1);
                    prop_assert!(floor >= plan.sequence);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        // With consent: what comes before it, and a region that works again.
        let reading = read_accepting(&mut primary);
        prop_assert_eq!(state_of(None, &reading.updates), primary.items[..index].to_vec());
        let options = RecoveryOptions { accept_loss: true, ..RecoveryOptions::default() };
        let recovery = reader.recover(&mut primary.region, Start::Everything, &options).expect("with consent");
        prop_assert!(recovery.findings.iter().any(Finding::is_corruption));
        for (offset, bytes) in &recovery.repairs {
            primary.region.post(*offset, &[bytes]);
        }
        let (_, plan) = Writer::resume(REGION, &recovery.point, 2, 0).expect("room");
        primary.region.post(plan.offset, &[&plan.header]);
        primary.region.commit();
        let reading = primary.read();
        prop_assert_eq!(state_of(None, &reading.updates), primary.items[..index].to_vec());
    }

    #[test]
    fn an_unacknowledged_set_is_torn(
        lengths in prop::collection::vec(0usize..900, 0..6),
        flying in prop::collection::vec(0usize..900, 1..6),
        victim in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut primary = Primary::create(&geometry());
        for length in &lengths {
            primary.append(*length).expect("room");
        }
        primary.commit();
        primary.beat();
        let plans: Vec<_> = flying.iter().map(|length| primary.append(*length).expect("room")).collect();
        primary.region.commit();
        let index = victim.index(plans.len());
        let bytes = SET_HEADER_BYTES + usize::try_from(plans[index].length).expect("small");
        flip(&mut primary, plans[index].offset, bit.index(bytes * 8));

        let mut reader = reader(&mut primary);
        let recovery = reader.recover(&mut primary.region, Start::Everything, &RecoveryOptions::default())
            .expect("torn is not corrupt");
        prop_assert_eq!(state_of(None, &recovery.updates), primary.items[..lengths.len() + index].to_vec());
        prop_assert_eq!(recovery.torn_sets, 1, "{:?}", recovery.findings);
        prop_assert_eq!(recovery.void_sets, (plans.len() - index - 1) as u64);
        let reading = primary.read();
        prop_assert_eq!(reading.updates, recovery.updates);
    }

    #[test]
    fn a_damaged_snapshot_is_never_served(appends in 0usize..20, bit in any::<prop::sample::Index>(), in_seal in any::<bool>()) {
        let mut primary = Primary::create(&geometry());
        for _ in 0..5 {
            primary.append(50).expect("room");
        }
        primary.save(SAVE_PHASES, &mut |_| {});
        primary.append(1).expect("room");
        let older = primary.items[..5].to_vec();
        primary.save(SAVE_PHASES, &mut |_| {});
        for _ in 0..appends {
            primary.append(10).expect("room");
        }
        primary.commit();
        primary.beat();
        primary.commit();
        let newest = primary.writer.slots().iter().max_by_key(|slot| slot.seal.as_ref().map(|seal| seal.sequence));
        let slot = newest.expect("two slots").slot;
        let (offset, bytes) = if in_seal {
            (primary.writer.geometry().seal_offset(slot), 88)
        } else {
            (primary.writer.geometry().slot_offset(slot), 24)
        };
        flip(&mut primary, offset, bit.index(bytes * 8));
        let outcome = reader(&mut primary).read(&mut primary.region, &ReadOptions::default());
        match outcome {
            Err(ReadError::Corrupt { finding: Finding::SnapshotCorrupt { slot: named, .. } }) => {
                prop_assert!(!in_seal);
                prop_assert_eq!(named, slot);
            }
            Err(ReadError::Corrupt { finding: Finding::SnapshotLost { .. } }) => prop_assert!(in_seal),
            other => prop_assert!(false, "{:?}", other),
        }
        // The older snapshot and the journal behind it still hold everything, and consent reaches them.
        let reading = read_accepting(&mut primary);
        prop_assert!(reading.findings.iter().any(Finding::is_corruption));
        prop_assert_eq!(state_of(reading.snapshot.as_ref(), &[]), older);
        prop_assert_eq!(state_of(reading.snapshot.as_ref(), &reading.updates), primary.items.clone());
    }

    #[test]
    fn one_damaged_control_copy_is_survived_and_renewed(copy in 0usize..2, bit in 0usize..88 * 8) {
        let mut primary = Primary::create(&geometry());
        primary.append(1).expect("room");
        primary.commit();
        flip(&mut primary, 4096 * copy as u64, bit);
        let recovery = reader(&mut primary)
            .recover(&mut primary.region, Start::Everything, &RecoveryOptions::default())
            .expect("the other copy holds");
        let damaged = Finding::ControlCopy { copy, offset: 4096 * copy as u64 };
        prop_assert!(recovery.findings.contains(&damaged));
        for (offset, bytes) in &recovery.repairs {
            primary.region.post(*offset, &[bytes]);
        }
        primary.region.commit();
        flip(&mut primary, 4096 * (1 - copy) as u64, 100);
        prop_assert_eq!(primary.read().updates.len(), 1);
    }

    /// A region's bytes may be anything, a valid head in front of them or not: no panic, no hang, and no
    /// allocation beyond the region.
    #[test]
    fn hostile_bytes_are_only_ever_errors_or_sets(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<[u8; 8]>()), 0..200),
        keep_head in any::<bool>(),
    ) {
        let mut primary = Primary::create(&geometry());
        for _ in 0..20 {
            primary.append(200).expect("room");
        }
        primary.save(SAVE_PHASES, &mut |_| {});
        primary.append(200).expect("room");
        primary.commit();
        let from = if keep_head { 12 * 1024 } else { 0 };
        for (at, bytes) in &edits {
            let at = from + at.index(primary.region.placed.len() - from - 8);
            primary.region.placed[at..at + 8].copy_from_slice(bytes);
        }
        let length = primary.region.placed.len() as u64;
        let Ok(mut reader) = Reader::open(&mut primary.region, REGION, length) else { return Ok(()) };
        for view in [View::Current, View::Cleared] {
            let _ = reader.read(&mut primary.region, &ReadOptions { view, accept_loss: true });
        }
        let options = RecoveryOptions { accept_loss: true, scan_whole: true };
        let recovery = reader.recover(&mut primary.region, Start::Everything, &options).expect("with consent");
        prop_assert!(recovery.bytes() <= length);
        let (sets, _) = reader.log(&mut primary.region).expect("memory does not fail");
        prop_assert!(sets.iter().all(|set| set.length <= length));
    }
}

/// A broken header hides where its successor begins; it is found all the same.
#[test]
fn a_wholly_lost_header_is_found_by_scanning() {
    let mut primary = Primary::create(&geometry());
    let lost = primary.append(1000).expect("room");
    primary.commit();
    primary.append(10).expect("room");
    primary.commit();
    let at = usize::try_from(lost.offset).expect("small");
    primary.region.placed[at..at + 600].fill(0);
    let outcome = reader(&mut primary).recover(
        &mut primary.region,
        Start::Everything,
        &RecoveryOptions::default(),
    );
    let named = matches!(&outcome, Err(ReadError::Corrupt { finding: Finding::Corrupt { offset, .. } }) if *offset == lost.offset);
    assert!(named, "{outcome:?}");
    let text = outcome.expect_err("corrupt").to_string();
    assert!(text.contains(&format!("offset {}", lost.offset)), "{text}");
}

/// Falling back to an older snapshot needs consent and names what is missing.
#[test]
fn a_fallback_names_the_missing_sequences() {
    let mut primary = Primary::create(&geometry());
    primary.append(10).expect("room");
    primary.save(SAVE_PHASES, &mut |_| {});
    let older = primary.items.clone();
    while primary.append(900).is_ok() {}
    primary.commit();
    primary.save(SAVE_PHASES, &mut |_| {});
    let covered = primary.writer.floor_record(0).snapshot;
    let slot = primary
        .writer
        .slots()
        .iter()
        .find(|slot| slot.seal.as_ref().is_some_and(|seal| seal.sequence == covered));
    let offset = primary
        .writer
        .geometry()
        .slot_offset(slot.expect("verified").slot);
    while primary.append(900).is_ok() {}
    primary.commit();
    flip(&mut primary, offset, 3);
    let refused = reader(&mut primary).read(&mut primary.region, &ReadOptions::default());
    assert!(matches!(
        refused,
        Err(ReadError::Corrupt {
            finding: Finding::SnapshotCorrupt { .. }
        })
    ));
    let reading = read_accepting(&mut primary);
    assert_eq!(state_of(reading.snapshot.as_ref(), &reading.updates), older);
    let after = reading.cursor.sequence();
    assert!(
        reading
            .findings
            .contains(&Finding::Missing { after, to: covered }),
        "{:?}",
        reading.findings
    );
}

/// Whichever bit of its header is damaged, a set that was on its way counts as torn, not as never begun.
#[test]
fn damage_to_any_bit_of_a_header_leaves_it_torn() {
    for bit in 0..SET_HEADER_BYTES * 8 {
        let mut primary = Primary::create(&geometry());
        for length in [0, 0] {
            primary.append(length).expect("room");
        }
        primary.commit();
        primary.beat();
        let plan = primary.append(655).expect("room");
        primary.region.commit();
        flip(&mut primary, plan.offset, bit);
        let recovery = reader(&mut primary)
            .recover(
                &mut primary.region,
                Start::Everything,
                &RecoveryOptions::default(),
            )
            .expect("torn is not corrupt");
        assert_eq!(recovery.torn_sets, 1, "bit {bit}: {:?}", recovery.findings);
    }
}
