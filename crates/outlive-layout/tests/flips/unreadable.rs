//! Lines and pages that the device cannot read: what is whole is served, and the next owner makes the region whole again.

use outlive_layout::set::SET_HEADER_BYTES;
use outlive_layout::{
    Finding, ReadError, ReadOptions, Reader, RecoveryOptions, SetPlan, Settling, Start, Writer,
};

use crate::damaged::{Damaged, LINE};
use crate::judge::{Outcome, judge};
use crate::model::{Model, Use, index};
use crate::region::REGION;
use crate::region::primary::{state_of, update_payload};

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

/// Without the floor record nobody can say that an unreadable seal was not the newest's.
#[test]
fn a_seal_that_may_have_been_the_newest_needs_consent() {
    let model = Model::new();
    for seal in &model.seals {
        let mut source = Damaged::of(&model.bytes);
        source.poison(index(model.geometry.seal_offset(seal.slot)), LINE);
        source.poison(8256, LINE);
        let outcome = Outcome::of(&mut source).expect("opened");
        let lost = |error: &ReadError<_>| matches!(error, ReadError::Corrupt { finding: Finding::SealLost { slot, .. } } if *slot == seal.slot);
        assert!(outcome.read.as_ref().is_err_and(lost), "{:?}", outcome.read);
        assert!(outcome.recovered.as_ref().is_err_and(lost));
        assert!(outcome.consented.is_ok());
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
