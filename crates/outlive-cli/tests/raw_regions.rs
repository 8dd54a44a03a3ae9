//! Raw regions of several extents at a real server: one array of bytes at any offset and length, across every
//! border, for its owner and for readers, before and after kill -9 of the unit; nobody else's bytes change.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use outlive::{RawOptions, RawRegion, RegionSpec, Session};
use support::{World, noise};

const PIECES: usize = 14;
/// With so many of them in 64 MiB, what is free at the end of the medium is too little for the wide region.
const PIECE_BYTES: u64 = 4 << 20;
const WIDE_BYTES: u64 = 20 << 20;

#[test]
fn a_raw_region_of_several_extents_is_one_array_also_after_kill_9() {
    let world = World::new();
    let serve = world.serve();
    let session = Session::connect(&outlive::Context::load(&world.path("context.json")).unwrap()).unwrap();
    let mut neighbours = fragment(&session);
    let wide = session.create("wide", &RegionSpec::raw(WIDE_BYTES)).unwrap();
    assert!(wide.extents > 1, "{wide:?}");
    let mut raw = session.raw("wide", &RawOptions::default()).unwrap();
    assert!(
        all_of(&mut raw).iter().all(|byte| *byte == 0),
        "what others had there is not seen"
    );

    let mut model = vec![0; to_usize(WIDE_BYTES)];
    for (seed, (offset, len)) in ranges(&borders(&session)).into_iter().enumerate() {
        let bytes = noise(seed as u64 + 100, to_usize(len));
        raw.write(offset, &bytes).unwrap();
        model[to_usize(offset)..][..bytes.len()].copy_from_slice(&bytes);
        // One byte around it on each side, as far as there is one.
        let from = offset.saturating_sub(1);
        let mut found = vec![0; to_usize((offset + len + 1).min(WIDE_BYTES) - from)];
        raw.read(from, &mut found).unwrap();
        assert!(found == model[to_usize(from)..][..found.len()], "{offset}+{len}");
    }
    assert!(
        all_of(&mut session.raw_reader("wide").unwrap()) == model,
        "as a reader sees it"
    );

    // Placed survives the unit's process, so nothing was made persistent.
    let before = serve.kill();
    let _serve = world.serve_again(&before);
    assert!(all_of(&mut raw) == model, "after kill -9");
    assert!(
        all_of(&mut session.raw_reader("wide").unwrap()) == model,
        "to a newcomer, too"
    );
    for (name, held) in &mut neighbours {
        assert!(
            all_of(&mut session.raw_reader(name).unwrap()) == *held,
            "{name} changed"
        );
    }
}

/// Fills the medium with regions and deletes every second one. Returns what the others hold.
fn fragment(session: &Session) -> Vec<(String, Vec<u8>)> {
    let mut kept = Vec::new();
    let names: Vec<String> = (0..PIECES).map(|number| format!("r{number}")).collect();
    for (seed, name) in names.iter().enumerate() {
        session.create(name, &RegionSpec::raw(PIECE_BYTES)).unwrap();
        let bytes = noise(seed as u64 + 1, to_usize(PIECE_BYTES));
        let mut raw = session.raw(name, &RawOptions::default()).unwrap();
        raw.write(0, &bytes).unwrap();
        raw.close(std::time::Duration::from_secs(30)).unwrap();
        kept.push((name.clone(), bytes));
    }
    for name in names.iter().step_by(2) {
        session.delete(name).unwrap();
    }
    kept.into_iter().skip(1).step_by(2).collect()
}

/// Where one piece ends and the next begins, as the address context tells it.
fn borders(session: &Session) -> Vec<u64> {
    let context = session.address_context("wide").unwrap();
    let borders: Vec<u64> = context
        .mappings
        .iter()
        .map(|(offset, _)| *offset)
        .skip(1)
        .collect();
    assert_eq!(borders.len() + 1, context.region.extents as usize);
    borders
}

/// Odd offsets and lengths: across each border by one byte or many, over several borders at once, and the ends.
fn ranges(borders: &[u64]) -> Vec<(u64, u64)> {
    let mut ranges = vec![(0, WIDE_BYTES), (0, 1), (WIDE_BYTES - 1, 1), (1, WIDE_BYTES - 2)];
    for border in borders {
        for (before, len) in [(1, 2), (1, 1), (0, 1), (7, 13), (4097, 8191), (65_537, 131_101)] {
            ranges.push((border - before, len));
        }
    }
    let (first, last) = (borders[0], borders[borders.len() - 1]);
    ranges.push((first - 3, last - first + 5));
    ranges
}

fn all_of(raw: &mut RawRegion) -> Vec<u8> {
    let mut bytes = vec![0; to_usize(raw.size())];
    raw.read(0, &mut bytes).unwrap();
    bytes
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap()
}
