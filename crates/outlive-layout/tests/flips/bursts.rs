//! More than one bit: words, cache lines and sectors that are lost, mixed up, or of another time or place.

use std::sync::atomic::{AtomicUsize, Ordering};

use outlive_layout::geometry::SEALS_OFFSET;
use outlive_layout::heartbeat::FLOOR_OFFSET;
use outlive_layout::{Finding, FloorRecord, Reader, RecoveryOptions, RegionId, Start, Writer};

use crate::bits::{EVERY, on_all_cores};
use crate::damaged::{Damaged, LINE};
use crate::judge::{Outcome, judge, served};
use crate::model::{Model, Use, index};
use crate::region::REGION;

const WORD: usize = 8;
const SECTOR: usize = 512;

/// One burst: where, and what lies there now.
struct Burst {
    what: String,
    at: usize,
    bytes: Vec<u8>,
}

#[test]
fn lost_and_misplaced_words_lines_and_sectors_are_found_or_harm_nobody() {
    let model = Model::new();
    let bursts = bursts(&model, &other_region(&model));
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let Some(burst) = bursts.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let mut source = Damaged::of(&model.bytes);
            source.bytes[burst.at..][..burst.bytes.len()].copy_from_slice(&burst.bytes);
            if let Err(wrong) = judge_burst(&model, &mut source) {
                panic!("{} at {}: {wrong}", burst.what, burst.at);
            }
        }
    };
    on_all_cores(&work);
    println!("{} bursts", bursts.len());
}

/// A checksum of 32 bits finds any two flips in one set: they are found as one is.
#[test]
fn two_flips_in_one_set_are_found() {
    let model = Model::new();
    let mut random = 7_u64;
    let mut draw = |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).expect("31 bits") % below
    };
    let meaningful: Vec<usize> = (0..model.bytes.len())
        .filter(|at| {
            matches!(
                model.use_of(*at),
                Use::Set(_) | Use::Seal(_) | Use::Payload(_) | Use::Control(_)
            )
        })
        .collect();
    for _ in 0..1000 {
        let first = meaningful[draw(meaningful.len())];
        let same: Vec<_> = meaningful
            .iter()
            .filter(|at| model.use_of(**at) == model.use_of(first))
            .collect();
        let second = *same[draw(same.len())];
        let (one, other) = (draw(8), draw(8));
        if (first, one) == (second, other) {
            continue;
        }
        let mut source = Damaged::of(&model.bytes);
        source.bytes[first] ^= 1 << one;
        source.bytes[second] ^= 1 << other;
        if let Err(wrong) = judge(&model, &mut source, &[first, second]) {
            panic!("bits {one} of {first} and {other} of {second}: {wrong}");
        }
    }
}

fn bursts(model: &Model, other: &[u8]) -> Vec<Burst> {
    let every = std::env::var_os(EVERY).is_some();
    let unread = |at: &usize| !matches!(model.use_of(*at), Use::Padding | Use::Leftover);
    let mut bursts = Vec::new();
    let len = model.bytes.len();
    for at in (0..len - WORD).step_by(WORD) {
        if !every && !(at..at + WORD).any(|at| unread(&at)) {
            continue;
        }
        let mut swapped = model.bytes[at..(at + 2 * WORD).min(len)].to_vec();
        swapped.rotate_left(WORD);
        for (what, bytes) in [
            ("zeroes", vec![0; WORD]),
            ("ones", vec![0xff; WORD]),
            ("swapped words", swapped),
        ] {
            let what = what.to_owned();
            bursts.push(Burst { what, at, bytes });
        }
    }
    for unit in [LINE, SECTOR] {
        for at in (0..len).step_by(unit) {
            let (here, beside) = (at..at + unit, (at + unit) % len);
            let from = [
                ("zeroes", vec![0; unit]),
                ("what lay there earlier", model.earlier[here.clone()].to_vec()),
                ("another region's bytes", other[here].to_vec()),
                (
                    "its neighbour's bytes",
                    model.bytes[beside..beside + unit].to_vec(),
                ),
            ];
            bursts.extend(from.into_iter().map(|(what, bytes)| Burst {
                what: format!("{unit} bytes: {what}"),
                at,
                bytes,
            }));
        }
    }
    bursts
}

fn judge_burst(model: &Model, source: &mut Damaged) -> Result<(), String> {
    let changed: Vec<&Use> = (0..model.bytes.len())
        .filter(|at| source.bytes[*at] != model.bytes[*at])
        .map(|at| model.use_of(at))
        .collect();
    let Some(outcome) = Outcome::of(source) else {
        return Err("the region cannot be opened".to_owned());
    };
    served(model, &outcome)?;
    let needed = changed.iter().any(|hit| match hit {
        Use::Set(number) => model.sets[*number].current,
        Use::Seal(slot) | Use::Payload(slot) => *slot == model.newest.slot,
        _ => false,
    });
    if needed == outcome.read.is_ok() {
        return Err(format!("served: {}, needed: {needed}", outcome.read.is_ok()));
    }
    let silent = changed.iter().all(|hit| says_nothing(hit, source));
    let found = outcome.findings();
    if found.iter().all(|finding| is_note(finding)) && !silent {
        return Err(format!("nothing is found: {found:?}"));
    }
    Ok(())
}

/// What can change without anybody being able to tell, and why that harms nobody.
fn says_nothing(hit: &Use, source: &Damaged) -> bool {
    match hit {
        // Compared with itself only; read by nobody.
        Use::Word | Use::Padding | Use::Leftover => true,
        // One that is empty or of earlier: it knows less than the sets and seals, which are whole.
        Use::Floor => {
            let record = &source.bytes[index(FLOOR_OFFSET)..][..48];
            record.iter().all(|byte| *byte == 0) || FloorRecord::decode(REGION, record).is_some()
        }
        // An empty slot. Were it the newest snapshot's, the floor record would tell; an older one is not offered any more.
        Use::Seal(slot) => {
            let at = index(SEALS_OFFSET) + 4096 * index(u64::from(*slot));
            source.bytes[at..at + 88].iter().all(|byte| *byte == 0)
        }
        Use::Control(_) | Use::Payload(_) | Use::Set(_) => false,
    }
}

fn is_note(finding: &Finding) -> bool {
    matches!(
        finding,
        Finding::Void { .. } | Finding::Stale { .. } | Finding::Torn { .. }
    )
}

/// Another region of the same geometry, with sets everywhere.
fn other_region(model: &Model) -> Vec<u8> {
    let region = RegionId([0xa5; 16]);
    let mut bytes = Damaged::of(&vec![0; model.bytes.len()]);
    for (offset, part) in model.geometry.format(region) {
        bytes.write(offset, &part);
    }
    let mut reader = Reader::open(&mut bytes, region, model.bytes.len() as u64).expect("formatted");
    let options = RecoveryOptions::default();
    let recovery = reader
        .recover(&mut bytes, Start::Everything, &options)
        .expect("empty");
    let (mut writer, plan) = Writer::resume(region, &recovery.point, 1, 7).expect("room");
    bytes.write(plan.offset, &plan.header);
    let payload = [3; 77];
    while let Ok(plan) = writer.append(&payload, 7) {
        bytes.write(plan.offset, &[&plan.header[..], &payload].concat());
        writer.journal_committed(plan.sequence);
    }
    let plan = writer.begin_snapshot(77, 7).expect("room");
    let (offset, seal) = plan.seal(&plan.checksum().with(&payload)).publish();
    bytes.write(plan.payload_offset(), &payload);
    bytes.write(offset, &seal);
    bytes.write(FLOOR_OFFSET, &writer.floor_record(7).encode(region));
    bytes.bytes
}
