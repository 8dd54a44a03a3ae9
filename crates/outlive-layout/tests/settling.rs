//! Between a kill and a takeover set, what was read is only placed: nothing may rest on it yet.

mod region;

use outlive_layout::{Geometry, Reader, Recovery, RecoveryOptions, Settling, Start, Writer};
use region::primary::{Primary, SAVE_PHASES};
use region::{REGION, Region};

fn recover(region: &mut Region) -> Recovery {
    let length = region.placed.len() as u64;
    let mut reader = Reader::open(region, REGION, length).expect("formatted");
    let recovered = reader.recover(region, Start::Everything, &RecoveryOptions::default());
    recovered.expect("nothing is damaged")
}

/// Else a floor record that survives a loss of power calls a snapshot lost that nobody was ever told of.
#[test]
fn a_floor_record_names_no_snapshot_that_may_only_be_placed() {
    let mut primary = Primary::create(&Geometry::new(64 * 1024, 2, 8192).expect("fits"));
    let mut verified = Vec::new();
    for _ in 0..2 {
        primary.append(10).expect("room");
        primary.save(SAVE_PHASES, &mut |_| {});
        verified.push(primary.writer.floor_record(0).snapshot);
        if verified.len() == 1 {
            primary.beat();
            primary.commit();
        }
    }
    let recovery = recover(&mut primary.region);
    let (mut writer, takeover) = Writer::resume(REGION, &recovery.point, 2, 0).expect("room");
    assert_eq!(
        writer.floor_record(0).snapshot,
        verified[0],
        "what the record said"
    );
    writer.journal_committed(takeover.sequence);
    assert_eq!(writer.floor_record(0).snapshot, verified[1], "what was found");
}

/// Else power may go while a copy of the control block and its repair are both torn.
#[test]
fn what_was_read_is_persistent_before_a_repair_rests_on_it() {
    let geometry = Geometry::new(64 * 1024, 2, 8192).expect("fits");
    let mut primary = Primary::create(&geometry);
    let settling = |region: &mut Region| -> Vec<(bool, u64)> {
        let recovery = recover(region);
        let steps = recovery.settling();
        steps
            .map(|step| match step {
                Settling::Persist => (true, 0),
                Settling::Write(offset, _) => (false, offset),
            })
            .collect()
    };
    assert_eq!(settling(&mut primary.region), [(true, 0)]);
    primary.region.grow(80 * 1024);
    let plan = primary.writer.plan_resize(80 * 1024).expect("it grows");
    let (newest, bytes) = plan.first_control();
    primary.region.post(*newest, &[bytes]);
    primary.region.commit();
    let outdated = plan.second_control().0;
    assert_eq!(
        settling(&mut primary.region),
        [(true, 0), (false, outdated), (true, 0)]
    );
}
