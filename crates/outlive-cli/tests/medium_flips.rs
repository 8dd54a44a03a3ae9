//! Bits of a small medium are flipped in turn: `outlive fsck` finds each, names where it is, and touches nothing else; or
//! nobody ever looks at it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use outlive_layout::control::ControlBlock;
use outlive_layout::heartbeat::{FLOOR_BYTES, FLOOR_OFFSET};
use outlive_layout::seal::{SEAL_BYTES, Seal, SealState};
use outlive_layout::set::{SET_HEADER_BYTES, SetHeader};
use outlive_layout::{MetadataPage, RegionId};
use serde_json::Value;
use support::{World, noise};

/// Set to anything: every bit of all that means something, instead of one bit of some bytes.
const EVERY: &str = "OUTLIVE_FLIPS_EVERY";
/// Of so many bytes that mean something, one is hit.
const SAMPLE: usize = 61;
const BLOCK: usize = 4096;

/// What a byte of the medium is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Use {
    Superblock(usize),
    Page,
    Control(usize),
    Floor,
    Seal,
    /// Zeroes: the slot holds nothing.
    EmptySeal,
    /// Of a snapshot, with the offset that is named.
    Payload(usize),
    /// Of a journal set, with the offset that is named.
    Set(usize),
}

/// A run of bytes with one purpose, and the region it belongs to.
struct Run {
    at: usize,
    len: usize,
    place: String,
    used: Use,
}

#[test]
fn each_flip_of_a_small_medium_is_found_where_it_is() {
    let world = small_world();
    let bytes = std::fs::read(world.medium()).unwrap();
    let runs = runs(&bytes);
    let every = std::env::var_os(EVERY).is_some();
    let mut flips: Vec<(usize, usize, usize)> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        for at in run.at..run.at + run.len {
            let bits = (0..8).filter(|bit| every || *bit == at % 8);
            flips.extend(bits.map(|bit| (number, at, bit)));
        }
    }
    let step = if every { 1 } else { SAMPLE };
    // The first byte of each run, and a sample of the rest.
    let mut first = BTreeMap::new();
    for flip in &flips {
        first.entry(flip.0).or_insert(*flip);
    }
    let mut chosen: Vec<_> = first.into_values().collect();
    chosen.extend(flips.iter().step_by(step));
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let copy = world.path(&format!("copy{worker}"));
            std::fs::write(&copy, &bytes).unwrap();
            let (world, runs, chosen, next, bytes) = (&world, &runs, &chosen, &next, &bytes);
            scope.spawn(move || {
                while let Some((run, at, bit)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let file = std::fs::OpenOptions::new().write(true).open(&copy).unwrap();
                    file.write_all_at(&[bytes[*at] ^ 1 << bit], *at as u64).unwrap();
                    let (code, report) = check(world, &copy, false);
                    let run = &runs[*run];
                    if let Err(wrong) = judge(run, code, &report) {
                        panic!(
                            "bit {bit} of byte {at} ({:?} of {}): {wrong}: {report}",
                            run.used, run.place
                        );
                    }
                    file.write_all_at(&bytes[*at..=*at], *at as u64).unwrap();
                }
            });
        }
    });
    println!(
        "{} flips of {} bytes that mean something",
        chosen.len(),
        flips.len()
    );
}

/// What nobody reads: blocks kept for later, blocks beyond what they hold, free space, the heartbeat word.
#[test]
fn flips_where_nothing_lies_harm_nobody() {
    let world = small_world();
    let clean = std::fs::read(world.medium()).unwrap();
    let mut used = vec![false; clean.len()];
    for run in runs(&clean) {
        used[run.at..run.at + run.len].fill(true);
    }
    let mut bytes = clean.clone();
    let mut flipped = 0;
    for at in (0..bytes.len()).filter(|at| !used[*at]).step_by(97) {
        bytes[at] ^= 1 << (at % 8);
        flipped += 1;
    }
    assert!(flipped > 10_000);
    std::fs::write(world.medium(), &bytes).unwrap();
    let (code, report) = check(&world, &world.medium(), false);
    assert_eq!(code, 0, "{report}");
    let serve = world.serve();
    assert_eq!(world.ok(&["load", "orders"]), noise(1, 600));
    assert_eq!(world.ok(&["load", "other"]), b"other");
    serve.stop();
}

/// What has a copy is served from it and mended; what has none stops only those who need it.
#[test]
fn a_unit_serves_all_that_is_whole() {
    let world = small_world();
    let bytes = std::fs::read(world.medium()).unwrap();
    let mut seen = Vec::new();
    // The last of each kind: sets before a snapshot are covered by it.
    for run in runs(&bytes).into_iter().rev() {
        let kind = (run.place.clone(), std::mem::discriminant(&run.used));
        if run.place == "other" || seen.contains(&kind) {
            continue;
        }
        seen.push(kind);
        let mut damaged = bytes.clone();
        damaged[run.at + run.len / 2] ^= 4;
        std::fs::write(world.medium(), &damaged).unwrap();
        let has_copy = matches!(run.used, Use::Superblock(_) | Use::Control(_));
        if has_copy {
            let (code, report) = check(&world, &world.medium(), true);
            assert_eq!(code, 0, "{:?} of {}: {report}", run.used, run.place);
            assert_eq!(check(&world, &world.medium(), false).0, 0);
            std::fs::write(world.medium(), &damaged).unwrap();
        } else if !matches!(run.used, Use::Floor) {
            let (code, report) = check(&world, &world.medium(), true);
            assert_eq!(
                (code, report["repairs"].as_array().unwrap().len()),
                (13, 0),
                "{report}"
            );
        }
        let needed = matches!(run.used, Use::Set(_) | Use::Payload(_) | Use::Seal);
        if run.place == "catalog" && needed {
            let outcome = world.run(&[
                "serve",
                "--media",
                &format!("file:{}", world.medium().display()),
                "--control",
                "127.0.0.1:0",
                "--data",
                "127.0.0.1:0",
            ]);
            assert_eq!(outcome.code, 12, "{:?}: {}", run.used, outcome.stderr);
            continue;
        }
        let serve = world.serve();
        assert_eq!(
            world.ok(&["load", "other"]),
            b"other",
            "{:?} of {}",
            run.used,
            run.place
        );
        let loaded = world.run(&["load", "orders", "--all", "--lines"]);
        let expected = if needed { 11 } else { 0 };
        assert_eq!(
            loaded.code, expected,
            "{:?} of {}: {}",
            run.used, run.place, loaded.stderr
        );
        serve.kill();
    }
    assert!(seen.len() > 8, "{seen:?}");
}

/// The smallest medium that there can be, with two regions.
fn small_world() -> World {
    let world = World::with_media("8MiB");
    let serve = world.serve();
    world.ok(&["region", "create", "orders", "--size", "256KiB"]);
    world.ok(&["region", "create", "other", "--size", "128KiB"]);
    world.ok_with_input(&["save", "orders"], &noise(1, 600));
    world.ok_with_input(&["append", "orders", "--lines"], b"first update\nsecond update\n");
    world.ok_with_input(&["save", "other"], b"other");
    serve.stop();
    world
}

fn check(world: &World, medium: &Path, repair: bool) -> (i32, Value) {
    let medium: PathBuf = medium.to_owned();
    let mut arguments = vec!["fsck", medium.to_str().unwrap(), "--json"];
    arguments.extend(repair.then_some("--repair"));
    let outcome = world.run(&arguments);
    (
        outcome.code,
        serde_json::from_slice(&outcome.stdout).expect("a report"),
    )
}

fn judge(run: &Run, code: i32, report: &Value) -> Result<(), String> {
    let findings = report["findings"].as_array().ok_or("no findings")?;
    let problems: Vec<_> = findings
        .iter()
        .filter(|finding| finding["severity"] == "problem")
        .collect();
    if run.used == Use::Floor {
        // News only: it is renewed with the next heartbeat.
        let noted = findings
            .iter()
            .any(|finding| finding["place"] == run.place.as_str() && finding["offset"] == 8256);
        return if code == 0 && noted {
            Ok(())
        } else {
            Err("not noted".to_owned())
        };
    }
    if code != 13 || problems.is_empty() {
        return Err("not found".to_owned());
    }
    if let Some(other) = problems
        .iter()
        .find(|problem| problem["place"] != run.place.as_str())
    {
        return Err(format!("something else is blamed: {other}"));
    }
    let at = |offset: usize| problems.iter().any(|problem| problem["offset"] == offset as u64);
    let named = match run.used {
        Use::Superblock(copy) => at(copy * BLOCK),
        Use::Control(copy) => at(copy * BLOCK),
        Use::Payload(offset) | Use::Set(offset) => at(offset),
        Use::Page => problems.iter().any(|problem| {
            problem["message"]
                .as_str()
                .is_some_and(|said| said.contains("metadata page"))
        }),
        Use::Seal | Use::EmptySeal => problems.iter().any(|problem| {
            problem["message"]
                .as_str()
                .is_some_and(|said| said.contains("seal"))
        }),
        Use::Floor => true,
    };
    if named {
        Ok(())
    } else {
        Err("found and not named".to_owned())
    }
}

/// Everything on the medium that means something, found by what it looks like.
fn runs(bytes: &[u8]) -> Vec<Run> {
    let mut runs = Vec::new();
    for copy in 0..2 {
        let (at, place) = (copy * BLOCK, "superblock".to_owned());
        runs.push(Run {
            at,
            len: 120,
            place,
            used: Use::Superblock(copy),
        });
    }
    let pages = (0..bytes.len())
        .step_by(BLOCK)
        .filter(|at| bytes[*at..].starts_with(b"OutlvMTA"));
    for at in pages {
        let page = MetadataPage::decode(&bytes[at..at + BLOCK]).unwrap();
        let body = usize::from(u16::from_le_bytes([bytes[at + 10], bytes[at + 11]]));
        let len = 32 + body;
        runs.push(Run {
            at,
            len,
            place: page.name.clone(),
            used: Use::Page,
        });
        region(bytes, at + BLOCK, &page, &mut runs);
    }
    runs
}

fn region(bytes: &[u8], start: usize, page: &MetadataPage, runs: &mut Vec<Run>) {
    let id: RegionId = page.region;
    let data = &bytes[start..start + usize::try_from(page.size).unwrap()];
    let geometry = ControlBlock::decode(id, page.size, data).unwrap().geometry;
    let mut add = |at: u64, len: usize, used: Use| {
        let at = start + usize::try_from(at).unwrap();
        runs.push(Run {
            at,
            len,
            place: page.name.clone(),
            used,
        });
    };
    add(0, 88, Use::Control(0));
    add(4096, 88, Use::Control(1));
    add(FLOOR_OFFSET, FLOOR_BYTES, Use::Floor);
    for slot in 0..geometry.slots {
        let at = geometry.seal_offset(slot);
        let SealState::Sealed(seal) =
            Seal::decode(id, &geometry, slot, &data[usize::try_from(at).unwrap()..])
        else {
            add(at, SEAL_BYTES, Use::EmptySeal);
            continue;
        };
        add(at, SEAL_BYTES, Use::Seal);
        let payload = geometry.slot_offset(slot);
        let len = usize::try_from(seal.length).unwrap();
        add(payload, len, Use::Payload(usize::try_from(payload).unwrap()));
    }
    let ring = usize::try_from(geometry.ring_start).unwrap();
    let ring = ring..ring + usize::try_from(geometry.ring_len).unwrap();
    for at in ring.step_by(8).filter(|at| data[*at..].starts_with(b"OutlvSET")) {
        let Ok(header) = SetHeader::decode_anywhere(id, &data[at..]) else {
            continue;
        };
        add(
            at as u64,
            SET_HEADER_BYTES + usize::try_from(header.length).unwrap(),
            Use::Set(at),
        );
    }
}
