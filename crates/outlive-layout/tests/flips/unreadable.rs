//! Lines and pages that the device cannot read: what is whole is served, and the next owner makes the region whole again.

use outlive_layout::set::SET_HEADER_BYTES;
use outlive_layout::{
    Cursor, Finding, Fresh, Geometry, ReadError, ReadOptions, Reader, Recovery, RecoveryOptions, SetPlan,
    Settling, Start, Writer,
};

use crate::damaged::{Damaged, LINE, Unreadable};
use crate::judge::{Outcome, judge};
use crate::model::{Model, Use, index};
use crate::region::REGION;
use crate::region::primary::{Primary, SAVE_PHASES, state_of, update_payload};

const PAGE: usize = 4096;

#[test]
fn whatever_cannot_be_read_is_named_and_takes_nothing_else_with_it() {
    let model = Model::new();
    for unit in [LINE, PAGE] {
        for from in (0..model.bytes.len()).step_by(unit) {
            let mut source = Damaged::of(&model.bytes);
            source.poison(from, unit);
            let hit: Vec<usize> = (from..from + unit).collect();
            let end = model.end().1;
            let at_the_end = from < end + SET_HEADER_BYTES && end < from + unit;
            let outcome = if at_the_end && !hits_a_set(&model, &hit) {
                end_unreadable(&model, &mut source)
            } else if hit.iter().any(|at| *model.use_of(*at) == Use::Floor) {
                heartbeat_unreadable(&mut source)
            } else {
                judge(&model, &mut source, &hit)
            };
            if let Err(wrong) = outcome {
                panic!("{unit} bytes at {from}: {wrong}");
            }
        }
    }
}

/// With consent where something is lost: the next owner goes on, what it could not read is written anew, and from then on
/// nobody is told of any damage to what the region holds.
#[test]
fn the_next_owner_makes_the_region_whole() {
    let model = Model::new();
    for unit in [LINE, PAGE] {
        for from in (0..model.bytes.len()).step_by(unit) {
            let mut source = Damaged::of(&model.bytes);
            source.poison(from, unit);
            let place = format!("{unit} bytes at {from}");
            let len = model.bytes.len() as u64;
            let mut reader = Reader::open(&mut source, REGION, len).expect("one control block copy is whole");
            let options = RecoveryOptions {
                accept_loss: true,
                scan_whole: false,
            };
            let recovery = reader.recover(&mut source, Start::Everything, &options);
            let recovery = recovery.unwrap_or_else(|error| panic!("{place}: {error}"));
            let kept = state_of(recovery.snapshot.as_ref(), &recovery.updates);
            assert!(model.states.contains(&kept), "{place}");
            for step in recovery.settling() {
                if let Settling::Write(offset, bytes) = step {
                    assert!(source.write(offset, bytes), "{place}: repairs write whole lines");
                }
            }
            let (mut writer, takeover) = Writer::resume(REGION, &recovery.point, 9, 7).expect("room");
            assert!(post(&mut source, &takeover, &[]), "{place}");
            let payload = update_payload(77, 9);
            let plan = writer.append(&payload, 7).expect("room");
            let appended = post(&mut source, &plan, &payload);
            // A line further on that cannot be read is met by a write that fails, not by a commit that cannot be read; and where
            // the journal ends right before it by readers, who cannot know that nothing lies there.
            let options = ReadOptions {
                accept_loss: true,
                ..ReadOptions::default()
            };
            let read = reader.read(&mut source, &options);
            let read = read.unwrap_or_else(|error| panic!("{place}: {error}"));
            let expected = if appended { [kept, vec![77]].concat() } else { kept };
            assert_eq!(
                state_of(read.snapshot.as_ref(), &read.updates),
                expected,
                "{place}"
            );
            let head = reader.head(&mut source).expect("readable");
            assert_eq!(head.unreadable, [], "{place}");
        }
    }
}

/// Only where nothing is left is the device's own error what readers get.
#[test]
fn with_both_control_blocks_unreadable_the_error_is_the_devices() {
    let model = Model::new();
    let mut source = Damaged::of(&model.bytes);
    source.poison(0, LINE);
    source.poison(4096, LINE);
    let opened = Reader::open(&mut source, REGION, model.bytes.len() as u64);
    assert!(matches!(opened, Err(ReadError::Source { .. })), "{opened:?}");
}

/// What freed journal that was reused since is needed, whatever the floor record says; and one that freed none is not,
/// also where there is no record.
#[test]
fn an_unreadable_seal_needs_consent_where_the_journal_does_not_hold_everything_without_it() {
    let model = Model::new();
    for seal in model.seals.iter().filter(|seal| seal.slot != model.newest.slot) {
        let mut source = Damaged::of(&model.bytes);
        source.poison(index(model.geometry.seal_offset(seal.slot)), LINE);
        source.poison(8256, LINE);
        let outcome = Outcome::of(&mut source).expect("opened");
        let state = |reading: &outlive_layout::Reading| state_of(reading.snapshot.as_ref(), &reading.updates);
        assert_eq!(outcome.read.as_ref().map(state).expect("whole"), model.state);
    }
    let lapped = Lapped::new();
    for forgotten in [false, true] {
        let mut source = lapped.without_seal();
        if forgotten {
            source.bytes[8256..8256 + 48].fill(0);
        }
        let outcome = Outcome::of(&mut source).expect("opened");
        assert!(outcome.read.is_err(), "{:?}", outcome.read);
        assert!(outcome.recovered.is_err());
        assert!(outcome.consented.is_ok());
    }
}

/// A backup needs no snapshot to go on; but its next save would overwrite the one whose seal cannot be read, and that may be
/// all there is.
#[test]
fn a_takeover_at_a_cursor_asks_before_it_writes_over_a_seal_that_cannot_be_read() {
    let lapped = Lapped::new();
    let mut source = lapped.without_seal();
    let recovered = recover_at(&mut source, Start::Cursor(&lapped.cursor), false);
    assert!(
        matches!(&recovered, Err(ReadError::Corrupt { finding: Finding::SealLost { slot, .. } }) if *slot == lapped.newest),
        "{recovered:?}"
    );
    let consented = recover_at(&mut source, Start::Cursor(&lapped.cursor), true).expect("consented to");
    assert!(consented.findings.iter().any(Finding::is_corruption));
}

/// What a device fails to read once is asked for again, and then neither given up nor written over.
#[test]
fn what_cannot_be_read_for_a_moment_is_left_as_it_is() {
    let lapped = Lapped::new();
    let seal = lapped.geometry.seal_offset(lapped.newest);
    let slot = lapped.geometry.slot_offset(lapped.newest);
    for place in [seal, slot, 8256, 4096] {
        let mut source = Damaged::of(&lapped.bytes);
        source.poison(index(place), LINE);
        source.is_passing = true;
        let recovered =
            recover_at(&mut source, Start::Cursor(&lapped.cursor), false).expect("nothing is lost");
        assert_eq!(recovered.repairs, [], "{place}");
        source.poison(index(place), LINE);
        let mut reader = Reader::open(&mut source, REGION, lapped.bytes.len() as u64).expect("whole");
        source.poison(index(place), LINE);
        let read = reader
            .read(&mut source, &ReadOptions::default())
            .expect("nothing is lost");
        assert_eq!(
            state_of(read.snapshot.as_ref(), &read.updates),
            lapped.state,
            "{place}"
        );
    }
}

/// The record tells a torn set from a damaged one: without it, nobody is told "never acknowledged" unasked.
#[test]
fn without_the_floor_record_a_torn_end_needs_consent() {
    let lapped = Lapped::new();
    let mut source = Damaged::of(&lapped.bytes);
    source.bytes[index(lapped.last) + SET_HEADER_BYTES] ^= 1;
    let told = Outcome::of(&mut source)
        .expect("opened")
        .recovered
        .expect("no record of it");
    assert_eq!(told.torn_sets, 1);
    source.poison(8256, LINE);
    let outcome = Outcome::of(&mut source).expect("opened");
    assert!(outcome.recovered.is_err());
    let consented = recover_at(&mut source, Start::Everything, true).expect("consented to");
    assert!(consented.findings.iter().any(Finding::is_corruption));
}

fn recover_at(
    source: &mut Damaged,
    start: Start<'_>,
    accept_loss: bool,
) -> Result<Recovery, ReadError<Unreadable>> {
    let len = source.bytes.len() as u64;
    let mut reader = Reader::open(source, REGION, len).expect("one control block copy is whole");
    let options = RecoveryOptions {
        accept_loss,
        scan_whole: false,
    };
    reader.recover(source, start, &options)
}

/// A region with two snapshots, the newer of which freed journal that was written over since, while the floor record still
/// names the older one; and a backup that has seen everything.
struct Lapped {
    bytes: Vec<u8>,
    geometry: Geometry,
    newest: u32,
    /// Where the last set lies.
    last: u64,
    cursor: Cursor,
    state: Vec<u32>,
}

impl Lapped {
    fn new() -> Self {
        let geometry = Geometry::new(12_288 + 3 * 8192 + 16_384, 3, 4096).expect("fits");
        let mut primary = Primary::create(&geometry);
        primary.append(300).expect("room");
        primary.commit();
        primary.save(SAVE_PHASES, &mut |_| {});
        primary.beat();
        primary.commit();
        let mut reader = Reader::open(&mut primary.region, REGION, geometry.size).expect("whole");
        let read = reader.read(&mut primary.region, &ReadOptions::default());
        let mut cursor = read.expect("whole").cursor;
        let mut last = 0;
        for save in [true, false] {
            for _ in 0..4 {
                last = primary.append(2500).expect("room").offset;
            }
            primary.commit();
            let fresh = reader.follow(&mut primary.region, &mut cursor);
            assert!(matches!(fresh, Ok(Fresh::Sets { .. })), "{fresh:?}");
            if save {
                primary.save(SAVE_PHASES, &mut |_| {});
            }
        }
        let head = reader.head(&mut primary.region).expect("whole");
        let newest = head.snapshots().first().expect("two").slot;
        Self {
            bytes: primary.region.placed.clone(),
            geometry,
            newest,
            last,
            cursor,
            state: primary.items,
        }
    }

    fn without_seal(&self) -> Damaged {
        let mut source = Damaged::of(&self.bytes);
        source.poison(index(self.geometry.seal_offset(self.newest)), LINE);
        source
    }
}

/// Writes a set; false where the device refuses.
fn post(source: &mut Damaged, plan: &SetPlan, payload: &[u8]) -> bool {
    let wrap = plan
        .wrap
        .as_ref()
        .is_none_or(|wrap| source.write(wrap.offset, &wrap.header));
    wrap && source.write(plan.offset, &[&plan.header[..], payload].concat())
}

fn hits_a_set(model: &Model, hit: &[usize]) -> bool {
    hit.iter().any(|at| matches!(model.use_of(*at), Use::Set(_)))
}

/// Where the next set goes: no crash does that, so what lay there may have been acknowledged.
fn end_unreadable(model: &Model, source: &mut Damaged) -> Result<(), String> {
    let outcome = Outcome::of(source).ok_or("not opened")?;
    let corrupt = |error: &ReadError<_>| matches!(error, ReadError::Corrupt { finding } if finding.offset() == Some(model.end().1 as u64));
    let stopped = outcome.read.as_ref().is_err_and(corrupt) && outcome.recovered.as_ref().is_err_and(corrupt);
    let consented = outcome.consented.as_ref().map_err(ToString::to_string)?;
    let kept = state_of(consented.snapshot.as_ref(), &consented.updates) == model.state;
    if stopped && kept && !outcome.findings().is_empty() {
        Ok(())
    } else {
        Err(format!("stopped: {stopped}, kept: {kept}"))
    }
}

/// News only.
fn heartbeat_unreadable(source: &mut Damaged) -> Result<(), String> {
    let outcome = Outcome::of(source).ok_or("not opened")?;
    let named = outcome
        .findings()
        .iter()
        .any(|finding| matches!(finding, Finding::Unreadable { offset: 8256, .. }));
    match (&outcome.read, &outcome.recovered) {
        (Ok(_), Ok(_)) if named => Ok(()),
        (read, recovered) => Err(format!("{named} {read:?} {recovered:?}")),
    }
}
