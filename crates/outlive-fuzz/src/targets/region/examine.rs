//! Reads a region in every way there is, takes it over, and goes on in it.

use outlive_layout::heartbeat::FLOOR_OFFSET;
use outlive_layout::{
    Cursor, Fresh, ReadOptions, Reader, Recovery, RecoveryOptions, Settling, Start, View, Writer,
};

use super::history::{apply, post, state_of};
use super::{REGION, Region};

/// Batches that a follower takes in one input: one is as much as so small a region holds, another finds nothing new.
const MAX_BATCHES: usize = 4;

/// What whatever was read must be one of; `None` where checksums were forged and anything may stand there.
#[derive(Clone, Copy)]
pub(in crate::targets) struct Expected<'a>(pub(in crate::targets) Option<&'a [Vec<u32>]>);

impl Expected<'_> {
    fn check(self, what: &str, state: impl FnOnce() -> Vec<u32>) {
        if let Some(states) = self.0 {
            let state = state();
            assert!(
                states.contains(&state),
                "{what} served {state:?}, which never was"
            );
        }
    }
}

/// Does all that a reader or a successor may do with the region. A backup stood at `backup` and held that state.
pub(in crate::targets) fn examine(
    region: &mut Region,
    expected: Expected<'_>,
    backup: Option<&(Cursor, Vec<u32>)>,
) {
    let len = region.len();
    let Ok(mut reader) = Reader::open(region, REGION, len) else {
        return;
    };
    for view in [View::Current, View::Cleared] {
        for accept_loss in [false, true] {
            read(region, &mut reader, expected, &ReadOptions { view, accept_loss });
        }
    }
    if let Some((cursor, items)) = backup {
        follow(region, &mut reader, expected, cursor.clone(), items.clone());
    }
    look_at_each(region, &mut reader);
    for scan_whole in [false, true] {
        for accept_loss in [false, true] {
            let options = RecoveryOptions {
                accept_loss,
                scan_whole,
            };
            recover(region, &mut reader, expected, backup, &options);
        }
    }
}

fn read(region: &mut Region, reader: &mut Reader, expected: Expected<'_>, options: &ReadOptions) {
    let Ok(reading) = reader.read(region, options) else {
        return;
    };
    let state = || state_of(reading.snapshot.as_ref(), &reading.updates);
    expected.check("a read", state);
    let items = expected.0.map_or_else(Vec::new, |_| state());
    let expected = if options.view == View::Cleared {
        Expected(None)
    } else {
        expected
    };
    follow(region, reader, expected, reading.cursor, items);
}

fn follow(
    region: &mut Region,
    reader: &mut Reader,
    expected: Expected<'_>,
    mut cursor: Cursor,
    mut items: Vec<u32>,
) {
    for _ in 0..MAX_BATCHES {
        let Ok(Fresh::Sets { sets, more }) = reader.follow(region, &mut cursor) else {
            return;
        };
        if expected.0.is_some() {
            apply(&mut items, &sets);
        }
        expected.check("a follower", || items.clone());
        if !more {
            // Whether it says so or not: what is torn may get whole without any change of what it looks at.
            let _ = reader.is_quiet(region, &cursor);
            return;
        }
    }
}

fn look_at_each(region: &mut Region, reader: &mut Reader) {
    let Ok((sets, findings)) = reader.log(region) else {
        return;
    };
    for finding in &findings {
        assert!(!finding.to_string().is_empty());
    }
    for set in sets.iter().take(8) {
        if let Ok(found) = reader.set(region, set.sequence) {
            assert_eq!(found.payload.len() as u64, found.length);
        }
    }
    let _ = reader.set(region, u64::MAX);
}

fn recover(
    region: &Region,
    reader: &mut Reader,
    expected: Expected<'_>,
    backup: Option<&(Cursor, Vec<u32>)>,
    options: &RecoveryOptions,
) {
    let starts = [
        Some(Start::Everything),
        backup.map(|(cursor, _)| Start::Cursor(cursor)),
        backup.map(|(cursor, _)| Start::Again(cursor)),
    ];
    for start in starts.into_iter().flatten() {
        let mut region = region.clone();
        let Ok(recovery) = reader.recover(&mut region, start, options) else {
            continue;
        };
        let state = || match (start, &recovery.overrun, backup) {
            (Start::Cursor(_), None, Some((_, items))) => {
                let mut items = items.clone();
                if recovery.cleared.is_some() {
                    items.clear();
                }
                apply(&mut items, &recovery.updates);
                items
            }
            _ => state_of(recovery.snapshot.as_ref(), &recovery.updates),
        };
        expected.check("a recovery", state);
        // Who goes on at a cursor has not looked at what lies before it.
        let looked_at_all = expected.0.is_some() && !matches!(start, Start::Cursor(_));
        go_on(&mut region, reader, looked_at_all.then(state), &recovery);
    }
}

/// A successor settles, begins, writes, saves; what it wrote is there, on top of what it found.
fn go_on(region: &mut Region, reader: &mut Reader, state: Option<Vec<u32>>, recovery: &Recovery) {
    for step in recovery.settling() {
        if let Settling::Write(offset, bytes) = step {
            region.write(offset, bytes);
        }
    }
    let Some(generation) = recovery.point.generation.checked_add(1) else {
        return;
    };
    let Ok((mut writer, takeover)) = Writer::resume_owing(REGION, &recovery.point, generation, 7) else {
        return;
    };
    let record = writer.floor_record(7).encode(REGION);
    region.write(FLOOR_OFFSET, &record);
    let Some(takeover) = takeover else {
        save(region, &mut writer);
        return;
    };
    post(region, &takeover, &[]);
    writer.journal_committed(writer.last_sequence());
    let payload = 0xffff_u32.to_le_bytes();
    let appended = writer.append(&payload, 7);
    if let Ok(plan) = &appended {
        post(region, plan, &payload);
    }
    if let Some(mut state) = state {
        if appended.is_ok() {
            state.push(0xffff);
        }
        let reading = reader
            .read(region, &ReadOptions::default())
            .expect("a successor's region is whole");
        let found = state_of(reading.snapshot.as_ref(), &reading.updates);
        assert_eq!(found, state, "a successor goes on from what was recovered");
    }
    let _ = writer.clear(8);
    save(region, &mut writer);
    let _ = writer.plan_resize(region.len().saturating_mul(2));
}

fn save(region: &mut Region, writer: &mut Writer) {
    let payload = [1, 0, 0, 0];
    let Ok(plan) = writer.begin_snapshot(payload.len() as u64, 7) else {
        return;
    };
    let (offset, zeroes) = plan.invalidate();
    region.write(offset, &zeroes);
    region.write(plan.payload_offset(), &payload);
    let sealed = plan.seal(&plan.checksum().with(&payload));
    let (offset, seal) = sealed.publish();
    region.write(offset, &seal);
    writer.snapshot_verified(&sealed);
}
